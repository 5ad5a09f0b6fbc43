"""The plain loop that the trainer is measured beside: torch and our network, no engine.

    python -m tests.bench.plain_gpu_loop SPEC DEVICE

It reads the same `TrainSpec` and the same batches as the trainer and prints one JSON object: the
loss and the seconds of each step.
"""

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

from model.config import TrainConfig, TrainSpec
from model.gpt2 import build_gpt2
from model.schedule import learning_rate_at
from model.sequences import Order, Shards


def adamw(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Torch's fused AdamW, with decay on matrices only."""
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    others = [p for p in network.parameters() if p.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
        weight_decay=config.weight_decay,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def to_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    if device == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def train(spec: TrainSpec, device: str) -> tuple[list[float], list[float]]:
    """Losses and seconds of the steps."""
    config = spec.training
    network = build_gpt2(spec.network, config.seed).to(device).train()
    if config.compile:
        network.compile()
    optimizer = adamw(network, config)
    shards = Shards(spec.shards, "train", spec.network.context)
    order = Order(shards, config.seed, config.sequences_per_step)
    losses, seconds = [], []
    for step in range(1, config.steps + 1):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(config, step)
        total = torch.zeros((), device=device)
        tokens, targets = (torch.from_numpy(a) for a in shards.read(order.step_indices(step)))
        scale = 1 / order.predicted_tokens(step)
        batches = zip(*(part.split(config.micro_batch) for part in (tokens, targets)), strict=True)
        for batch in batches:
            x, y = (to_device(part, device) for part in batch)
            with torch.autocast(device, torch.bfloat16, enabled=config.dtype == "bf16"):
                loss = network(x, y, scale)
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total.item())  # waits for the device
        seconds.append(time.perf_counter() - began)
    return losses, seconds


if __name__ == "__main__":
    given = TrainSpec.model_validate_json(Path(sys.argv[1]).read_text())
    torch.set_num_threads(given.training.cpu_threads)
    found = train(given, sys.argv[2])
    print(json.dumps({"losses": found[0], "seconds": found[1]}))
