"""DeepSpeed's part: the process group, the engine over a torch AdamW, and the gradient norm.

What must be known of DeepSpeed 0.19 on the CPU: its shared-memory op would be compiled for a minute
on the first start, so it is declared unusable (gloo serves); its own AdamW would be compiled too,
so the optimizer is torch's; bf16 at ZeRO 0 would accumulate gradients in bf16, so bf16 means torch
autocast over fp32 parameters; and it reports no gradient norm at ZeRO 0, so clipping is done here.
"""

import logging
import os
from collections.abc import Iterator
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from torch import nn

from model.config import TrainConfig
from model.errors import SettingsError


def join_ranks() -> tuple[int, int]:
    """Join the process group that the launcher's environment names; returns (rank, ranks).

    Without a launcher it is a group of one, which needs no port.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if "WORLD_SIZE" not in os.environ:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
        backend = get_accelerator().communication_backend_name()
        alone = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=alone, rank=0, world_size=1)
    deepspeed.init_distributed()
    return dist.get_rank(), dist.get_world_size()


def leave_ranks() -> None:
    """Leave the group together: without the barrier, ranks abort now and then."""
    dist.barrier()
    dist.destroy_process_group()


def local_device() -> torch.device:
    """This rank's device."""
    accelerator = get_accelerator()
    rank = int(os.environ["LOCAL_RANK"])
    return torch.device(
        accelerator.device_name(rank if accelerator.device_name() != "cpu" else None)
    )


def accumulation_of(config: TrainConfig, ranks: int) -> int:
    """Micro-batches of a rank in a step."""
    together = config.micro_batch * ranks
    if config.sequences_per_step % together:
        raise SettingsError(
            f"sequences_per_step {config.sequences_per_step} is not a multiple of micro_batch "
            f"{config.micro_batch} × {ranks} ranks = {together}"
        )
    return config.sequences_per_step // together


def build_engine(network: nn.Module, config: TrainConfig, ranks: int) -> Any:
    """A DeepSpeed engine over `network` and torch's AdamW."""
    engine, *_ = deepspeed.initialize(
        model=network,
        optimizer=build_optimizer(network, config),
        config=engine_settings(config, ranks),
    )
    return engine


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices only (embeddings are matrices; biases and norms are not)."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,  # one pass over each parameter; torch has it for the CPU too
    )


def engine_settings(config: TrainConfig, ranks: int) -> dict[str, Any]:
    """DeepSpeed's configuration of a training."""
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": accumulation_of(config, ranks),
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,  # the metrics log tells more
    }
    if config.zero_stage:
        settings["gradient_clipping"] = config.gradient_clip
    if config.dtype == "bf16":
        settings["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return settings


def set_learning_rate(engine: Any, rate: float) -> None:
    """Use `rate` from the next optimizer step on."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def step_engine(engine: Any, config: TrainConfig) -> float | None:
    """Take what `backward` left; after a step's last micro-batch also clip and update.

    Returns the norm of the whole gradient before clipping, None before the last micro-batch.
    """
    last = engine.is_gradient_accumulation_boundary()
    norm = _clip(engine.module.parameters(), config) if last and not config.zero_stage else None
    engine.step()
    if last and config.zero_stage:
        norm = engine.get_global_grad_norm()
    return float(norm) if norm is not None else None


def _clip(parameters: Iterator[nn.Parameter], config: TrainConfig) -> torch.Tensor:
    clipped = list(parameters)
    if config.gradient_clip:
        return nn.utils.clip_grad_norm_(clipped, config.gradient_clip)
    return nn.utils.get_total_norm([p.grad for p in clipped if p.grad is not None])


def sum_over_ranks(value: float) -> float:
    """The sum of every rank's `value`."""
    if dist.get_world_size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=local_device())
    dist.all_reduce(total)
    return float(total)


def any_rank(flag: bool) -> bool:
    """Whether `flag` holds on any rank: all ranks get the same answer."""
    return sum_over_ranks(float(flag)) > 0
