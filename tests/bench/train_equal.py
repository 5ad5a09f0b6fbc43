"""The trainer beside a loop of plain PyTorch: the largest differences of loss and gradient norm.

Twenty steps in fp32 on the CPU, at every ZeRO stage of {0, 1, 2}, with 1 and 4 micro-batches a
step, on 1 and 2 ranks.
"""

import itertools
import tempfile
from pathlib import Path

from model.trace import read_steps
from tests.model.nursery import Nursery, open_nursery
from tests.model.trainings import grid_spec, plain_training

GOAL = 1e-6


def run() -> dict[str, object]:
    print(f"{'ZeRO':>4}{'accumulation':>14}{'ranks':>7}{'loss':>12}{'gradient norm':>16}")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder, open_nursery(Path(folder) / "log") as nursery:
        for stage, accumulation, ranks in itertools.product((0, 1, 2), (1, 4), (1, 2)):
            place = Path(folder) / f"{stage}-{accumulation}-{ranks}"
            loss, norm = differences(nursery, place, stage, accumulation, ranks)
            print(f"{stage:4}{accumulation:14}{ranks:7}{loss:12.1e}{norm:16.1e}")
            worst = max(worst, loss, norm)
    return {
        "name": "the trainer's losses and gradient norms beside plain PyTorch's",
        "measured": worst,
        "goal": GOAL,
        "unit": "largest difference",
        "reached": worst <= GOAL,
    }


def differences(
    nursery: Nursery, place: Path, stage: int, accumulation: int, ranks: int
) -> tuple[float, float]:
    """The largest difference of the losses, and of the gradient norms, over all steps."""
    spec = grid_spec(place, stage, accumulation, ranks)
    if nursery.run(spec, ranks):
        raise RuntimeError(f"the training in {place} failed")
    ours, plain = read_steps(spec.destination / "losses.jsonl"), plain_training(spec)
    loss, norm = (
        max(abs(a[key] - b[key]) for a, b in zip(ours, plain, strict=True))
        for key in ("loss", "gradient_norm")
    )
    return loss, norm


if __name__ == "__main__":
    print(run())
