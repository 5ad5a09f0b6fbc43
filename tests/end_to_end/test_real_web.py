"""The laptop profile on real submissions, pages and benchmarks, cut down in training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from flows.cli import main
from infra.store import Store
from tests.end_to_end.conftest import last_run, webtext

CUT_DOWN = (
    "train.steps=3",
    "train.warmup_steps=1",
    "train.sequences_per_step=2",
    "train.validation_every_steps=3",
    "train.validation_sequences=2",
    "model.layers=1",
    "model.heads=1",
    "model.width=16",
    "eval.variants=['paper']",
    "eval.max_items=20",
    "eval.max_tokens=2000",
    "eval.bootstrap_samples=50",
    "runtime.launcher=direct",
)


def cut_down() -> list[str]:
    return [part for setting in CUT_DOWN for part in ("--set", setting)]


@pytest.mark.slow
def test_real_pages_become_a_scored_model(real_data: Path, shared_api: str, tmp_path: Path) -> None:
    store, web = tmp_path / "runs", real_data / "real-web"
    done = webtext(
        "run", "--profile", "infra/profiles/laptop.toml",
        "--submissions", web / "RS_2017-09.zst",
        "--replay", web / "pages.warc.gz",
        "--benchmarks", real_data / "benchmarks",
        "--store", store, *cut_down(), api_url=shared_api,
    )  # fmt: skip
    assert done.code == 0, done.err
    opened = Store(store)
    captures = opened.find("captures").manifest().counts
    # Of 1,335 pages, 1,149 have a submission of karma 3 or more and a link that is not refused.
    assert captures["rows_out"] > 1100
    assert captures["losses"].keys() == {"blocked_address", "not_archived", "opted_out"}
    documents = opened.find("documents").manifest().counts
    assert documents["rows_out"] > 500
    assert documents["losses"]["language"] > 500
    assert documents["losses"].get("extraction_limit", 0) == 0
    table = done.err[done.err.index("Zero-shot scores") :].splitlines()
    place = next(line.index("made on") for line in table if "made on" in line)
    made_on = " ".join(line[place:].strip() for line in table)  # cells are wrapped
    for label in (
        "LAMBADA, OpenAI's",
        "WikiText-2, tokens",
        "WikiText-103, tokens",
        "PTB, Mikolov's",
    ):
        assert label in made_on, table
    assert made_on.count("no file: looked for") >= 2, table  # CBT's two columns
    card = (Store(store).find("card").path / "README.md").read_text()
    assert "no file: looked for" in card
    checked = webtext("verify", "--store", store)
    assert checked.code == 0, checked.err
    assert "joins     shards/" in checked.err


@pytest.mark.slow
def test_the_real_dumps_of_2005_are_read(real_data: Path, shared_api: str, tmp_path: Path) -> None:
    store, web = tmp_path / "runs", real_data / "real-web"
    dumps = [web / "RS_v2_2005-06.xz", web / "RS_v2_2005-07.xz"]
    done = webtext(
        "corpus", "--profile", "laptop", "--submissions", *dumps,
        "--replay", web / "pages.warc.gz", "--store", store,
        "--set", "gates.crawl_yield.action=mark", api_url=shared_api,
    )  # fmt: skip
    assert done.code == 0, done.err
    manifest = Store(store).find("submissions").manifest()
    assert manifest.counts["rows_in"] == 1182
    assert manifest.counts["losses"].get("broken_json", 0) == 0
    assert [entry.name for entry in manifest.identity.inputs] == [dump.name for dump in dumps]
    digests = [hashlib.sha256(dump.read_bytes()).hexdigest() for dump in dumps]
    assert [entry.fingerprint for entry in manifest.identity.inputs] == digests
    links = Store(store).find("links").manifest().counts
    assert links["rows_out"] > 300
    # None of 2005's pages is in this archive: nothing is made up in their place.
    captures = Store(store).find("captures").manifest().counts
    assert captures["losses"].get("not_archived", 0) > 0
    assert main(["verify", "--store", str(store)]) == 0


def test_a_truncated_dump_is_named_with_the_place(
    real_data: Path, shared_api: str, tmp_path: Path
) -> None:
    cut = tmp_path / "RS_cut.zst"
    whole = (real_data / "real-web" / "RS_2017-09.zst").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    done = webtext(
        "corpus", "--profile", "laptop", "--submissions", cut,
        "--replay", real_data / "real-web" / "pages.warc.gz",
        "--store", tmp_path / "runs", api_url=shared_api,
    )  # fmt: skip
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "RS_cut.zst" in done.err
    assert "row" in done.err
    assert last_run(tmp_path / "runs")["state"] == "failed"
