"""A function of the caller's that looks at the network between steps, such as zero-shot scores.

This room knows no benchmarks. A spec names a function as `module:function`; rank 0 calls it with a
scorer over the weights as they are, its arguments, and a callback that it is to call now and then.
What it gives, a list of JSON objects, becomes a line of `zero_shot.jsonl`. Weights, order and
dropout are none of its business: a training ends with the same weights, looked at or not.

While rank 0 works the others follow its callback, so that a stop on any rank ends the look within
one batch of it, and no collective waits longer than that.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from model.config import ProbeSpec, TrainSpec
from model.engine import any_rank, from_first_rank, local_device
from model.errors import SettingsError
from model.export import gathered_weights
from model.gpt2 import GPT2
from model.likelihood import GPT2Scorer
from model.looks import Interrupted, Stopped

ZERO_SHOT = "zero_shot.jsonl"
"""Name of the log."""

Function = Callable[
    [GPT2Scorer, Mapping[str, Any], Callable[[int, int], None]], list[dict[str, Any]]
]
"""Called as (scorer, arguments, progress); `column` and `value` of a line show in the metrics."""


def find_function(probe: ProbeSpec) -> Function:
    """The function that a spec names.

    Raises:
        SettingsError: there is none.
    """
    module, _, name = probe.function.partition(":")
    try:
        function: Function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"the probe {probe.function!r} cannot be had ({error}); expected MODULE:FUNCTION"
        ) from error
    return function


def probe_network(
    engine: Any, spec: TrainSpec, rank: int, stopped: Stopped
) -> list[dict[str, Any]]:
    """What the spec's function finds, on rank 0; every rank calls it.

    Raises:
        Interrupted: `stopped` holds on some rank.
    """
    assert spec.probe is not None
    weights = gathered_weights(engine.module)
    if rank:
        while from_first_rank(None):
            _vote(stopped)
        return []

    def progress(_done: int, _total: int) -> None:
        from_first_rank(True)
        _vote(stopped)

    lines = find_function(spec.probe)(scorer_of(weights, spec), spec.probe.arguments, progress)
    from_first_rank(False)
    return lines


def _vote(stopped: Stopped) -> None:
    if any_rank(stopped()):
        raise Interrupted


def scorer_of(weights: dict[str, Tensor], spec: TrainSpec) -> GPT2Scorer:
    """A scorer over the weights themselves, in float32, that comes back after every batch."""
    with torch.device("meta"):
        network = GPT2(spec.network)
    network.load_state_dict(weights, assign=True)  # not a copy
    scorer = GPT2Scorer(network, device=str(local_device()))
    scorer.block_tokens = scorer.batch_tokens
    return scorer


def figures_of(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Lines as numbers for the metrics, by `zero_shot/COLUMN`."""
    return {f"zero_shot/{line['column']}": line["value"] for line in lines}
