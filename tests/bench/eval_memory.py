"""Peak memory of scoring a text, of one size and of eight times as much: it should be flat.

Each size is scored in a process of its own with a small GPT-2 over the whole vocabulary. What may
grow is the text itself and 4 bytes a token.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from eval.scores import EvalConfig, score_benchmark
from model.likelihood import load_scorer
from tests.bench.eval_models import real_folder, saved_model
from tests.bench.memory import peak_mb
from tests.eval.scorers import gpt2_encoding, silent

GOAL = 1.1
SMALL, TIMES = 40_000, 8


def run() -> dict[str, object]:
    content = (real_folder() / "benchmarks" / "text8.prefix.txt").read_bytes()
    with saved_model() as (_, saved), tempfile.TemporaryDirectory() as scratch:
        peaks = []
        for times in (1, TIMES):
            folder = Path(scratch) / str(times)
            folder.mkdir()
            (folder / "text8").write_bytes(content[: SMALL * times])
            peaks.append(_peak(saved, folder))
    print(f"{'text':>12}{'before':>10}{'peak':>10}{'scoring':>10}  MB")
    for times, (before, peak) in zip((1, TIMES), peaks, strict=True):
        print(f"{SMALL * times:12,}{before:10.0f}{peak:10.0f}{peak - before:10.0f}")
    small, large = (peak for _, peak in peaks)
    return {
        "name": f"peak memory of scoring {TIMES} times the text",
        "measured": round(large / small, 3),
        "goal": GOAL,
        "unit": "times",
        "reached": large / small <= GOAL,
    }


def _peak(model: Path, folder: Path) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.eval_memory", str(model), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    before, peak = json.loads(done.stdout.splitlines()[-1])
    return before, peak


def measure(model: Path, folder: Path) -> None:
    """Score `folder` and print the peak before and after."""
    scorer = load_scorer(model)
    encode = gpt2_encoding(real_folder() / "vocab")
    before = peak_mb()
    score_benchmark(
        scorer=scorer,
        encode=encode,
        benchmark="text8",
        folder=folder,
        destination=folder,
        config=EvalConfig(variants=("paper",), bootstrap_samples=100),
        progress=silent,
    )
    print(json.dumps([before, peak_mb()]))


if __name__ == "__main__":
    measure(Path(sys.argv[1]), Path(sys.argv[2]))
