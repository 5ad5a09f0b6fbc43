"""The eval and benchmarks commands on real files, folders and servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eval.scores import EvalConfig, score_benchmark
from flows.cli import main
from flows.show_scores import print_records
from flows.terminal import console
from tests.eval.scorers import UniformScorer, byte_encoding, silent
from tests.file_server import serving
from tests.flows.test_models import write_checkpoint

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "end_to_end" / "tiny.toml"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Two folders of scores of the same files."""
    sentences = "".join(f"Sentence {n} isn 't long .\n" for n in range(20))
    (tmp_path / "news.en.heldout-00000-of-00050").write_text(sentences, "utf-8")
    for name, context in (("first", 64), ("second", 64), ("other", 16)):
        (tmp_path / name).mkdir()
        score_benchmark(
            scorer=UniformScorer(context),
            encode=byte_encoding,
            benchmark="1bw",
            folder=tmp_path,
            destination=tmp_path / name,
            config=EvalConfig(bootstrap_samples=10),
            progress=silent,
        )
    return tmp_path


def test_compare_reads_folders_of_scores(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, other = (str(scored / name) for name in ("first", "second", "other"))
    changes = scored / "changes.parquet"
    assert main(["eval", "compare", first, second, "--items", str(changes)]) == 0
    shown = told(capsys)
    assert "40 items are in" in shown
    assert "not told apart" in shown
    assert pq.read_metadata(changes).num_rows == 40
    assert main(["eval", "compare", first, second, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["column"], row["variant"], row["change"]) for row in rows] == [
        ("1bw", "paper", 0.0), ("1bw", "raw-token", 0.0),
    ]  # fmt: skip
    assert main(["eval", "compare", first, other]) == 1
    assert "window: 64 and 16" in told(capsys)


def test_compare_says_what_was_not_scored(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(scored / "step-00000001", 1)
    store = scored / "store"
    (store / "scores").mkdir(parents=True)
    command = ["eval", "compare", str(scored / "step-00000001"), str(scored / "first")]
    assert main([*command, "--store", str(store)]) == 1
    assert "holds no scores of" in told(capsys)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    served = tmp_path / "served"
    served.mkdir()
    with serving(served) as address:
        yield address, served


def test_benchmarks_are_fetched_from_a_mirror(
    mirror: tuple[str, Path],
    tmp_path: Path,
    real_data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, served = mirror
    content = (real_data / "benchmarks" / "ptb.test.txt").read_bytes()
    (served / "ptb.test.txt").write_bytes(content)
    folder = tmp_path / "benchmarks"
    command = ["benchmarks", "fetch", str(folder), "--mirror", address]
    assert main([*command, "--only", "ptb"]) == 0
    assert "✓ ptb.test.txt fetched PTB, Mikolov's" in told(capsys)
    assert (folder / "ptb.test.txt").read_bytes() == content
    assert main([*command, "--only", "ptb", "lambada"]) == 1
    shown = told(capsys)
    assert "✓ ptb.test.txt there already" in shown
    assert "✗ lambada_test.jsonl" in shown
    assert "404" in shown
    assert main([*command, "--only", "glue"]) == 1
    assert "there is no benchmark glue" in told(capsys)


def test_scores_on_record_are_shown_of_that_size_only(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = score_benchmark(
        scorer=UniformScorer(),
        encode=byte_encoding,
        benchmark="wikitext2",
        folder=real_data / "benchmarks",
        destination=tmp_path,
        config=EvalConfig(bootstrap_samples=2, max_items=1),
        progress=silent,
    )
    print_records(console(), scores, 7_000_000, None)
    assert told(capsys) == ""
    print_records(console(), scores, 124_439_808, None)
    shown = told(capsys)
    assert "if these are OpenAI's weights" in shown
    for value in ("37.37", "29.94", "32.56", "40.06", "46.67", "not scored", "made on a sample"):
        assert value in shown


@pytest.mark.slow
def test_many_checkpoints_survive_a_kill_and_are_scored_once(tmp_path: Path) -> None:
    from tests.eval.scorers import random_gpt2

    for step, width in ((10, 16), (30, 32)):
        random_gpt2(1, width, 128).save_pretrained(tmp_path / "many" / f"step-{step}")
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    sentences = "".join(f"Sentence {n} isn 't long .\n" for n in range(50))
    (folder / "news.en.heldout-00000-of-00050").write_text(sentences, "utf-8")
    (folder / "ptb.test.txt").write_text(" no it was n't <unk> N \n" * 40, "utf-8")
    store = tmp_path / "store"
    command = [
        sys.executable, "-m", "flows.cli", "eval", str(tmp_path / "many"), "--profile", str(TINY),
        "--benchmarks", str(folder), "--store", str(store), "--workers", "1",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not list(store.glob("scores/*/manifest.json")):
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    before = {path.parent.name: path.stat().st_mtime_ns for path in store.glob("scores/*/mani*")}
    assert 1 <= len(before) < 4
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "Learning curves" in done.stderr
    assert done.stderr.count("= ") >= len(before)
    after = {path.parent.name: path.stat().st_mtime_ns for path in store.glob("scores/*/mani*")}
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    (curves,) = store.glob("curves/*/curves.json")
    rows = json.loads(curves.read_text())
    assert sorted({(row["step"], row["column"]) for row in rows}) == [
        (10, "1bw"), (10, "ptb"), (30, "1bw"), (30, "ptb"),
    ]  # fmt: skip
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert again.stderr.count("reused") == 5
    compared = subprocess.run(
        [*command[:3], "eval", "compare", *map(str, sorted((tmp_path / "many").iterdir())),
         "--store", str(store), "--json"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {row["column"] for row in json.loads(compared.stdout)} == {"1bw", "ptb"}
