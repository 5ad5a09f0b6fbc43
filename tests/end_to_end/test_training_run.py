"""Training through the command line: milestones and scores on the way, and curves over them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.zero_shot import read_on_the_way

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.toml")


def webtext(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_milestones_and_scores_on_the_way(tmp_path: Path) -> None:
    store = tmp_path / "store"
    common = ["--profile", str(TINY), "--store", str(store)]
    settings = [
        "--set", "checkpoints.milestones=[2, 4]", "--set", "zero_shot.every_steps=3",
        "--set", "zero_shot.columns=['lambada_ppl', '1bw']", "--set", "zero_shot.items=3",
        "--set", "eval.columns=['1bw']",
    ]  # fmt: skip
    webtext("run", *common, *settings)
    (model,) = store.glob("model/*")
    kept = sorted(path.name for path in (model / "milestones").iterdir())
    assert kept == ["step-00000002", "step-00000004"]
    found = read_on_the_way(model / "zero_shot.jsonl")
    assert [(step, [s.column for s in scores]) for step, scores in found] == [
        (3, ["lambada_ppl", "1bw"]), (6, ["lambada_ppl", "1bw"]),
    ]  # fmt: skip
    assert all(score.items == 3 and score.low is not None for _, of in found for score in of)
    assert "Scores of small samples" in (model / "zero_shot.svg").read_text()
    line = (model / "zero_shot.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["scores"][0]["sample"] == "quick: 3 items drawn by seed 0"
    inputs = json.loads((model / "manifest.json").read_text())["identity"]["inputs"]
    assert [entry["role"] for entry in inputs].count("benchmark") == 1
    (card,) = store.glob("card/*")
    assert not (card / "milestones").exists()

    (corpus,) = (f"corpus/{path.name}" for path in store.glob("corpus/*"))
    label = f"model/{model.name}"
    columns = ["--set", "eval.columns=['1bw']"]
    done = webtext("eval", label, "--milestones", "--held-out", corpus, *common, *columns)
    assert "Learning curves" in done.stderr + done.stdout
    (curves,) = store.glob("curves/*/curves.json")
    rows = json.loads(curves.read_text())
    assert [(row["name"], row["step"]) for row in rows] == [
        (f"{label}@2", 2), (f"{label}@4", 4), (label, 6),
    ]  # fmt: skip
    traced = webtext("trace", label, "--store", str(store), "--json").stdout
    assert f"{label}@2" in traced
    again = webtext("eval", label, "--milestones", "--held-out", corpus, *common, *columns)
    assert "= " in again.stderr + again.stdout
    webtext("verify", "--store", str(store))


@pytest.mark.slow
def test_two_machines_of_one_store(tmp_path: Path) -> None:
    """`webtext train` on machine 0 and `webtext join` on machine 1, which meet over loopback."""
    from model.launch import free_port

    store = tmp_path / "store"
    common = ["--profile", str(TINY), "--store", str(store)]
    webtext("corpus", *common)
    settings = {
        "runtime.launcher": "torchrun", "runtime.nodes": 2, "train.sequences_per_step": 2,
        "runtime.rendezvous": f'"127.0.0.1:{free_port()}"',
        "runtime.shards_cache": f'"{tmp_path / "disk"}"',
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    joining = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "join", *common, *words,
         "--set", "runtime.node_rank=1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        webtext("train", *common, *words)
        told, _ = joining.communicate(timeout=60)
    finally:
        joining.kill()
        joining.communicate()
    assert joining.returncode == 0, told
    assert "machine 1 of 2 begins" in told
    (model,) = store.glob("model/*")
    identity = json.loads((model / "manifest.json").read_text())["identity"]
    assert identity["config"]["ranks"] == 2
    assert list((tmp_path / "disk").glob("*/train/*.npy"))
