"""Training speed on one core: the trainer's steps beside nanoGPT's kind of loop.

Three loops over the same batches take turns, so that what else the machine does hits all alike:
`plain` computes all logits and calls `F.cross_entropy`, as nanoGPT does (vocabulary padded to
50,304, SDPA, fused AdamW); `chunked` is the same with our head; `deepspeed` is the trainer's step.
Figures are tokens a second of CPU time; the median of the turns decides.
"""

import os
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from model.config import ModelConfig, TrainConfig
from model.gpt2 import GPT2, build_gpt2

NETWORK = ModelConfig(layers=4, heads=4, width=128)
TRAINING = TrainConfig(steps=100, sequences_per_step=2, micro_batch=2, learning_rate=1e-3)
TURNS = 15
GOAL = 1.0  # at least nanoGPT's speed, with the DeepSpeed engine in place
OVERHEAD_GOAL = 0.03


def plain_step(*, chunked: bool) -> Callable[[torch.Tensor, torch.Tensor], float]:
    from model.engine import build_optimizer

    network = build_gpt2(NETWORK, seed=0)
    optimizer = build_optimizer(network, TRAINING)

    def step(tokens: torch.Tensor, targets: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = (
            network(tokens, targets, 1 / targets.numel())
            if chunked
            else full_loss(network, tokens, targets)
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), TRAINING.gradient_clip)
        optimizer.step()
        return float(loss.item())

    return step


def full_loss(network: GPT2, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """NanoGPT's loss: all logits at once, padding included."""
    logits = functional.linear(network.hidden_states(tokens), network.wte.weight)
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def engine_step() -> Callable[[torch.Tensor, torch.Tensor], float]:
    from model.engine import build_engine, join_ranks, update

    join_ranks("cpu")
    engine = build_engine(build_gpt2(NETWORK, seed=0), TRAINING, ranks=1)

    def step(tokens: torch.Tensor, targets: torch.Tensor) -> float:
        loss = engine(tokens, targets, 1 / targets.numel())
        engine.backward(loss)
        update(engine, TRAINING, lambda _norm: True)
        return float(loss.item())

    return step


def run() -> dict[str, object]:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    torch.set_num_threads(1)
    loops = {
        "plain, nanoGPT's loss": plain_step(chunked=False),
        "plain, chunked loss": plain_step(chunked=True),
        "DeepSpeed engine": engine_step(),
    }
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, float] = {}
    for turn in range(TURNS + 1):
        batch = torch.randint(0, 50257, (2, NETWORK.context + 1), generator=generator)
        # Whoever comes first finds the caches as another left them: take turns at that, too.
        for name in sorted(loops, key=lambda name, turn=turn: (list(loops).index(name) + turn) % 3):
            began = time.process_time()
            losses[name] = loops[name](batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
            if turn:  # the first allocates
                seconds[name].append(time.process_time() - began)
    tokens = 2 * NETWORK.context
    print(f"{NETWORK.layers} layers × {NETWORK.width}, {tokens} tokens a step, fp32, one core")
    print(f"{'tokens/s':24}{'fastest':>10}{'median':>10}{'last loss':>14}")
    for name, times in seconds.items():
        fastest, median = tokens / min(times), tokens / statistics.median(times)
        print(f"{name:24}{fastest:10.0f}{median:10.0f}{losses[name]:14.6f}")
    nano, chunked, engine = (statistics.median(times) for times in seconds.values())
    overhead = engine / chunked - 1
    fastest = min(seconds["DeepSpeed engine"]) / min(seconds["plain, chunked loss"]) - 1
    print(
        f"DeepSpeed over our own plain loop: {overhead:+.1%} by the medians, {fastest:+.1%} by the "
        f"fastest (goal below {OVERHEAD_GOAL:.0%})"
    )
    return {
        "name": "training on the CPU beside nanoGPT's loop",
        "measured": round(nano / engine, 2),
        "goal": GOAL,
        "unit": "times",
        "reached": nano / engine >= GOAL and overhead < OVERHEAD_GOAL,
    }


if __name__ == "__main__":
    print(run())
