"""The trainer beside a plain PyTorch loop: the largest difference of their losses over 20 steps."""

import tempfile
from pathlib import Path

from model.trace import read_steps
from tests.model.trainings import make_spec, plain_training
from tests.model.trainings import run as run_training

GOAL = 1e-6


def run() -> dict[str, object]:
    print(f"{'micro-batch':>12}{'loss':>12}{'gradient norm':>16}   largest difference of 20 steps")
    worst = 0.0
    for micro_batch in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            spec = make_spec(Path(folder), micro_batch=micro_batch, learning_rate=3e-3)
            network = spec.network.model_copy(update={"dropout": 0.0})
            spec = spec.model_copy(update={"network": network})
            code, output = run_training(spec)
            if code:
                raise RuntimeError(output)
            ours = read_steps(spec.destination / "losses.jsonl")
            plain = plain_training(spec)
        loss, norm = (
            max(abs(a[key] - b[key]) for a, b in zip(ours, plain, strict=True))
            for key in ("loss", "gradient_norm")
        )
        print(f"{micro_batch:12}{loss:12.1e}{norm:16.1e}")
        worst = max(worst, loss)
    return {
        "name": "the trainer's losses beside plain PyTorch's",
        "measured": worst,
        "goal": GOAL,
        "unit": "nats",
        "reached": worst <= GOAL,
    }


if __name__ == "__main__":
    print(run())
