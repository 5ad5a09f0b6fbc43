"""What the scores of a benchmark file depend on: the checkpoint, the protocol, and that file."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.protocols import BENCHMARKS, Benchmark
from flows.evaluate import Benchmarks, _score_file
from flows.models import find_model
from flows.openlineage import LineageEvents
from flows.profile import load_profile
from flows.progress import LogReporter
from flows.session import Session, WorkToDo
from infra.children import Children
from infra.runs import new_run
from infra.store import Store
from tests.flows.test_models import write_hub_folder

TINY = Path(__file__).parents[1] / "end_to_end" / "tiny.toml"
FILES: dict[Benchmark, str] = {
    "ptb": "ptb.test.txt",
    "text8": "text8",
    "1bw": "news.en.heldout-00000-of-00050",
}


def labels(folder: Path, *assignments: str) -> dict[Benchmark, str]:
    """The scores artifacts that an evaluation would make, by benchmark."""
    profile = load_profile(TINY, [f"runtime.store='{folder / 'store'}'", *assignments])
    store = Store(profile.runtime.store)
    store.prepare()
    record = new_run("evaluate", "tiny", 1)
    events = LineageEvents(store, record, None)
    children = Children(folder / "logs")
    run = Session(profile, store, record, LogReporter(), children, events, reuse_only=True)
    scorable = find_model(store, str(folder / "model"))
    found: dict[Benchmark, str] = {}
    for name in FILES:
        with pytest.raises(WorkToDo) as label:
            _score_file(run, name, scorable, Benchmarks(folder, None))
        found[name] = str(label.value)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_hub_folder(tmp_path / "model", seed=0)
    for name in FILES.values():
        (tmp_path / name).write_text(" some words of it \n" * 20, "utf-8")
    return tmp_path


def test_a_column_is_cached_by_checkpoint_protocol_and_file(folder: Path) -> None:
    assert set(FILES) < set(BENCHMARKS)
    before = labels(folder)
    assert len(set(before.values())) == len(FILES)
    assert labels(folder, "runtime.workers=1", "runtime.memory_gib=3") == before

    (folder / "ptb.test.txt").write_text(" other words \n" * 20, "utf-8")
    another_file = labels(folder)
    assert {name for name in FILES if another_file[name] != before[name]} == {"ptb"}

    for setting in ("eval.seed=1", "eval.max_items=3", "eval.dtype='bfloat16'"):
        assert not set(labels(folder, setting).values()) & set(another_file.values())

    write_hub_folder(folder / "other", seed=1)
    (folder / "other" / "model.safetensors").replace(folder / "model" / "model.safetensors")
    assert not set(labels(folder).values()) & set(another_file.values())
