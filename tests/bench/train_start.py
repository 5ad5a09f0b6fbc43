"""From the command to the first step of the tiny model: what a run waits for, and what compiles.

The real thing: `python -m model.train` with the real vocabulary size, on shards of random tokens,
until its first step is in the metrics. Compiled files are counted by torch's extension folder.
"""

import os
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from model.config import PRESETS, TrainConfig, TrainSpec
from model.launch import launch_command
from model.trace import read_steps
from webtext.vocabulary import vocabulary_folder

GOAL_S = 15.0
TURNS = 3


def run() -> dict[str, object]:
    print(f"{'turn':>4}{'wall s':>10}{'CPU s':>10}{'files compiled':>16}")
    walls = []
    for turn in range(1, TURNS + 1):
        with tempfile.TemporaryDirectory() as folder:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall, compiled = start_to_first_step(Path(folder))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{turn:4}{wall:10.1f}{spent:10.1f}{compiled:16}")
        walls.append(wall)
    return {
        "name": "start of the tiny model's training to its first step",
        "measured": round(min(walls), 1),
        "goal": GOAL_S,
        "unit": "s",
        "reached": min(walls) < GOAL_S and not compiled,
    }


def start_to_first_step(folder: Path) -> tuple[float, int]:
    """Seconds to the first step, and how many files were compiled on the way."""
    network = PRESETS["tiny"]
    for split in ("train", "validation"):
        (folder / "shards" / split).mkdir(parents=True)
        tokens = np.random.default_rng(0).integers(0, 50257, (8, network.context))
        np.save(folder / "shards" / split / "shard-00000-000.npy", tokens.astype(np.uint16))
    spec = TrainSpec(
        shards=folder / "shards",
        work=folder / "work",
        destination=folder / "model",
        vocabulary=vocabulary_folder(),
        network=network,
        training=TrainConfig(steps=1000, sequences_per_step=1),
    )
    path = folder / "spec.json"
    path.write_text(spec.model_dump_json())
    command, additions = launch_command(path)
    places = {
        "TORCH_EXTENSIONS_DIR": folder / "extensions",
        "TORCHINDUCTOR_CACHE_DIR": folder / "c",
    }
    environment = os.environ | additions | {name: str(place) for name, place in places.items()}
    began = time.monotonic()
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while not read_steps(spec.work / "metrics.jsonl"):
            if child.poll() is not None or time.monotonic() - began > 120:
                raise RuntimeError("the training did not reach its first step")
            time.sleep(0.02)
        seconds = time.monotonic() - began
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    compiled = [p for place in places.values() for p in place.rglob("*") if p.suffix == ".so"]
    return seconds, len(compiled)


if __name__ == "__main__":
    print(run())
