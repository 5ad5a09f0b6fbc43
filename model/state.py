"""The state of a training, whole and by parameter name, whatever ZeRO stage and ranks hold it.

A state is float32 weights, AdamW's two moments, and how many updates AdamW has made. DeepSpeed's
engines keep them in pieces that depend on stage and ranks; here they are put together and taken
apart again, exactly (copies and sums with zeros), so that a run may go on at another number of
ranks, and at the same number does so bitwise.

Weights are loaded before the engine is built, which then cuts them up itself; the moments are
installed afterwards.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from deepspeed.utils import safe_get_full_optimizer_state, safe_set_full_optimizer_state
from torch import Tensor, nn

from model.engine import base_optimizer
from model.errors import SettingsError
from model.export import gathered_weights

WEIGHT = "weight/"
MOMENTS = ("exp_avg", "exp_avg_sq")  # torch's names of AdamW's moments
UPDATES = "updates"


def capture_share(engine: Any, rank: int, ranks: int) -> dict[str, Tensor]:
    """This rank's share of the state, under names such as `weight/wpe.weight`.

    Every rank must call it. Parameters are dealt out, so that ranks write at the same time.
    """
    share: dict[str, Tensor] = {}
    weights = gathered_weights(engine.module)
    updates = _updates_done(engine)
    if updates:
        _link_moments(engine)
    for number, (name, parameter) in enumerate(engine.module.named_parameters()):
        mine = number % ranks == rank
        if mine:
            share[WEIGHT + name] = weights[name]
        for moment in MOMENTS if updates else ():
            whole = _whole_moment(engine, parameter, moment)
            if mine:
                share[f"{moment}/{name}"] = whole.view(weights[name].shape)
    if rank == 0:
        share[UPDATES] = torch.tensor(updates)
    return share


@torch.no_grad()
def load_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network, not yet in an engine, the weights of a state (or of some files of one)."""
    for name, parameter in network.named_parameters():
        if WEIGHT + name in tensors:
            parameter.copy_(tensors[WEIGHT + name])


def install_moments(engine: Any, files: Sequence[Mapping[str, Tensor]]) -> None:
    """Give a new engine the moments of a state that lies in some files; every rank calls it.

    Raises:
        SettingsError: ZeRO 3 cannot cut a parameter into equal pieces for this number of ranks.
    """
    updates = int(next(tensors[UPDATES] for tensors in files if UPDATES in tensors))
    if not updates:
        return
    _prepare_moments(engine, updates)
    for name, parameter in engine.module.named_parameters():
        for moment in MOMENTS:
            key = f"{moment}/{name}"
            value = next(tensors[key] for tensors in files if key in tensors)
            _set_moment(engine, name, parameter, moment, value)


def _pieces(engine: Any) -> Iterator[Tensor]:
    """The tensors that torch's optimizer updates on this rank: its state's keys."""
    stage = engine.zero_optimization_stage()
    if stage == 0:
        yield from (p for group in engine.optimizer.param_groups for p in group["params"])
    elif stage < 3:
        yield from engine.optimizer.single_partition_of_fp32_groups
    else:
        yield from engine.optimizer.fp32_partitioned_groups_flat


def _updates_done(engine: Any) -> int:
    """Updates that AdamW has made; those that were passed over do not count."""
    state = base_optimizer(engine).state
    # A piece whose updates were all passed over may have an empty state.
    return max((int(state[p].get("step", 0)) for p in _pieces(engine) if p in state), default=0)


def _prepare_moments(engine: Any, updates: int) -> None:
    """The state that torch's optimizer would have made at its first update, moments zero."""
    state = base_optimizer(engine).state
    for piece in _pieces(engine):
        state[piece] = {
            # Fused AdamW wants its counter beside the parameter.
            "step": torch.tensor(float(updates), device=piece.device),
            **{moment: torch.zeros_like(piece) for moment in MOMENTS},
        }
    _link_moments(engine)


def _link_moments(engine: Any) -> None:
    """Have parameters of ZeRO 1 and 2 find their part of the moments.

    DeepSpeed 0.19 links all groups once, after the first group's first update: the others have no
    moments yet and are never linked.
    """
    if engine.zero_optimization_stage() in (1, 2):
        engine.optimizer._hp_optimizer_states_linked = False
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _whole_moment(engine: Any, parameter: nn.Parameter, moment: str) -> Tensor:
    if engine.zero_optimization_stage():
        whole: Tensor = safe_get_full_optimizer_state(parameter, moment)
    else:
        whole = base_optimizer(engine).state[parameter][moment]
    return whole


def _set_moment(
    engine: Any, name: str, parameter: nn.Parameter, moment: str, value: Tensor
) -> None:
    stage = engine.zero_optimization_stage()
    if stage == 0:
        base_optimizer(engine).state[parameter][moment].copy_(value)
        return
    if stage == 3 and value.numel() % engine.dp_world_size:
        raise SettingsError(
            f"{name} has {value.numel()} numbers, which ZeRO 3 cannot restore on "
            f"{engine.dp_world_size} ranks; use a number of ranks that divides it, or zero_stage 2"
        )
    safe_set_full_optimizer_state(parameter, value.to(parameter.device), moment)
