"""How fast this machine trains: floating-point operations a second, by steps of a small GPT-2.

    python -m model.speed THREADS DEVICE

prints one JSON object: `flops` (operations a second) and `steps_s` (seconds of the steps alone;
what the process takes besides is the trainer's start, for it imports the same libraries).
"""

from __future__ import annotations

import json
import sys
import time

from model.config import ModelConfig

_SHAPE = ModelConfig(layers=2, heads=2, width=128, context=512)
_STEPS = 3


def step_operations(config: ModelConfig, tokens: int) -> float:
    """Floating-point operations of a training step.

    6 for each parameter and token (2 forward, 4 backward), and 12 × layers × width × context for
    each token's attention (Chowdhery et al. 2022, appendix B).
    """
    head = (config.padded_vocabulary - config.vocabulary) * config.width
    attention = 12 * config.layers * config.width * config.context
    return float(tokens) * (6 * (config.parameters + head) + attention)


def measure_steps(threads: int, device: str) -> list[float]:
    """Seconds of each training step of the small network: forward, backward and AdamW."""
    import torch

    from model.gpt2 import GPT2

    torch.set_num_threads(threads)
    network = GPT2(_SHAPE).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    tokens = torch.randint(0, _SHAPE.vocabulary, (1, _SHAPE.context + 1), device=device)
    seconds = []
    for _step in range(_STEPS + 1):
        began = time.perf_counter()
        loss = network(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return seconds


def main(threads: int, device: str) -> None:
    """Measure and print."""
    import deepspeed  # noqa: F401  the trainer imports it

    seconds = measure_steps(threads, device)
    # The first step sets up; the quickest is the least disturbed.
    flops = step_operations(_SHAPE, _SHAPE.context) / min(seconds[1:])
    print(json.dumps({"flops": flops, "steps_s": sum(seconds)}))  # noqa: T201  the result


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
