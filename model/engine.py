"""DeepSpeed's part: the process group, the engine over a torch AdamW, and the gradient norm.

What must be known of DeepSpeed 0.19 on the CPU: its shared-memory op would be compiled for a minute
on the first start, so it is declared unusable (gloo serves); its own AdamW would be compiled too,
so the optimizer is torch's; bf16 at ZeRO 0 would accumulate gradients in bf16, so bf16 means torch
autocast over fp32 parameters; and it reports no gradient norm at ZeRO 0, so clipping is done here.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from torch import nn

from model.config import TrainConfig
from model.device import Device
from model.errors import SettingsError

COLLECTIVE_TIMEOUT_S = 600.0
"""Longest wait of one rank for another; reading a checkpoint of gigabytes takes a minute."""


def join_ranks(device: Device) -> tuple[int, int]:
    """Join the process group that the launcher's environment names; returns (rank, ranks).

    Without a launcher it is a group of one, which needs no port.

    Raises:
        SettingsError: this rank's device is not there.
    """
    check_device(device)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if "WORLD_SIZE" not in os.environ:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
        backend = get_accelerator().communication_backend_name()
        alone = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=alone, rank=0, world_size=1)
    deepspeed.init_distributed(timeout=timedelta(seconds=COLLECTIVE_TIMEOUT_S))
    return dist.get_rank(), dist.get_world_size()


def check_device(device: Device) -> None:
    """See that this rank has its device, and that DeepSpeed takes the same.

    Raises:
        SettingsError: it has not.
    """
    if device == "cuda":
        rank = int(os.environ.get("LOCAL_RANK", "0"))
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if rank >= count:
            raise SettingsError(
                f"device 'cuda' was asked for, but torch {torch.__version__} sees {count} GPUs and "
                f"this is rank {rank} of its machine; use a torch built for CUDA and no more ranks "
                "than GPUs, or device 'cpu'"
            )
    found = get_accelerator().device_name()
    if found != device:
        raise SettingsError(
            f"DeepSpeed took the device {found!r}, the training's is {device!r}; start it with "
            f"`launch_command`, or with DS_ACCELERATOR={device}"
        )


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
    if ranks == 1 and not config.zero_stage:
        # A sum over one rank copies every gradient twice to change nothing: 1.5 % of a small step.
        engine.enable_backward_allreduce = False
    if config.compile:
        engine.compile()
    return engine


class GatedAdamW(torch.optim.AdamW):
    """Torch's AdamW, which asks before it updates.

    Under ZeRO the gradient's norm is known only inside the engine's step, so that is where a step
    with a bad one must be held back; the engine clears its gradients either way.
    """

    gate: Callable[[], bool] | None = None
    """Whether to update; without it, always."""

    def step(self, closure: Any = None) -> Any:
        """Update the parameters if the gate is open."""
        if self.gate is not None and not self.gate():
            return None
        return super().step(closure)


def build_optimizer(network: nn.Module, config: TrainConfig) -> GatedAdamW:
    """AdamW that decays matrices only (embeddings are matrices; biases and norms are not)."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return GatedAdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,  # one pass over each parameter; torch has it for the CPU too
    )


def base_optimizer(engine: Any) -> GatedAdamW:
    """Torch's optimizer inside the engine's."""
    base: GatedAdamW = getattr(engine.optimizer, "optimizer", engine.optimizer)
    return base


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


def update(engine: Any, config: TrainConfig, accepts: Callable[[float], bool]) -> float:
    """Clip and update after a step's last micro-batch, if `accepts` the gradient's norm.

    Returns the norm of the whole gradient before clipping; infinite where it is no number.
    """
    optimizer = base_optimizer(engine)
    if config.zero_stage == 0:
        norm = float(_clip(engine.module.parameters(), config))
        accepted = accepts(norm)
        optimizer.gate = lambda: accepted
        engine.step()
        return norm
    # DeepSpeed itself holds back what is not finite; it may ask several times, once a piece.
    optimizer.gate = lambda: accepts(float(engine.optimizer._global_grad_norm))
    engine.step()
    return math.inf if engine.optimizer.overflow else float(engine.optimizer._global_grad_norm)


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


def from_first_rank(value: Any) -> Any:
    """Rank 0's `value`, on every rank."""
    held = [value]
    if dist.get_world_size() > 1:
        dist.broadcast_object_list(held)
    return held[0]
