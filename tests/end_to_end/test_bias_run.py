"""`webtext bias` on the tiny demo's model: reused, equal from a folder, its sets checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from eval.bias_sets import PAIRS
from infra.store import Store
from tests.end_to_end.conftest import TINY, last_run, webtext


@pytest.mark.slow
def test_bias_of_the_demos_model(copied_store: Path, tmp_path: Path, shared_api: str) -> None:
    common = ("--profile", TINY, "--store", copied_store, "--json")
    first = webtext("bias", *common, api_url=shared_api)
    assert first.code == 0, first.err
    uses = last_run(copied_store)["uses"]
    assert isinstance(uses, list)
    assert [use["how"] for use in uses] == ["reused"]  # the pipeline probed it for the card

    model = Store(copied_store).find("model").path
    outside = tmp_path / "my-gpt2"
    outside.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model / name, outside / name)
    again = webtext("bias", outside, *common, api_url=shared_api)
    assert again.code == 0, again.err
    assert json.loads(again.out) == json.loads(first.out)
    assert len(list((copied_store / "bias").iterdir())) == 2

    own = tmp_path / "own.toml"
    own.write_text(PAIRS.read_text("utf-8").replace("pairs/1", "mine/1"))
    mine = webtext("bias", outside, *common, "--pairs", own, api_url=shared_api)
    assert mine.code == 0, mine.err
    assert json.loads(mine.out)["pair_set"] == "mine/1"

    own.write_text('name = "broken"')
    broken = webtext("bias", outside, *common, "--pairs", own, api_url=shared_api)
    assert broken.code == 1
    assert "Traceback" not in broken.err
    assert f"{own}: topics: Field required" in "".join(broken.err.splitlines())
