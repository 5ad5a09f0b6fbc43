"""Steps that go wrong: losses far above the recent ones, and numbers that are not finite.

A step is compared with the `window_steps` before it, by the z-score of its loss and of its
gradient norm: z = (value − mean) / standard deviation. The window of 128 steps and the limit of 6
are those of OLMo-core's `SkipStepOptimizer`, which judges in the same way. The window is the trace
of losses itself, so a resumed run judges alike.

Rolling back means: the weights and moments of an earlier step come back, and the steps since then
are passed over, as PaLM's authors did by hand (Chowdhery et al. 2022, section 5.1). Steps go on
counting, so the batch and the learning rate of a step never change.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from model.config import SpikeConfig
from model.errors import DivergedError

_LEAST_DEVIATION = 1e-4
"""Share of the mean below which a deviation is taken for none: rounding must not look like it."""


@dataclass(frozen=True)
class Spike:
    """What was wrong with a step."""

    kind: str
    """`loss`, `gradient_norm` or `non_finite`."""
    z_loss: float | None
    """Standard deviations above the window's mean; None before the window is full."""
    z_gradient_norm: float | None

    @property
    def numbers(self) -> dict[str, Any]:
        """For the record; six digits are enough."""
        return {
            "kind": self.kind,
            "z_loss": _rounded(self.z_loss),
            "z_gradient_norm": _rounded(self.z_gradient_norm),
        }


class SpikeWatch:
    """Judges each step by those before it."""

    def __init__(self, config: SpikeConfig, trace: Iterable[dict[str, Any]], refused: int) -> None:
        """Take up after the steps of a trace, the last `refused` of which made no update."""
        self.config, self.refused = config, refused
        self._losses: deque[float] = deque(maxlen=config.window_steps)
        self._norms: deque[float] = deque(maxlen=config.window_steps)
        for line in trace:
            self._remember(line["loss"], line["gradient_norm"])

    def judge(self, loss: float, norm: float) -> Spike | None:
        """What is wrong with a step of this loss and gradient norm; changes nothing."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return Spike("non_finite", None, None)
        z_loss, z_norm = _z_score(self._losses, loss), _z_score(self._norms, norm)
        for kind, z in (("loss", z_loss), ("gradient_norm", z_norm)):
            if z is not None and z > self.config.z_score:
                return Spike(kind, z_loss, z_norm)
        return None

    def accepts(self, loss: float, norm: float) -> bool:
        """Whether the step may update the network: never with numbers that are not finite."""
        spike = self.judge(loss, norm)
        if spike is None:
            return True
        return self.config.action == "record" and spike.kind != "non_finite"

    def take(self, loss: float, norm: float) -> Spike | None:
        """Judge a step that is done, and remember it.

        Raises:
            DivergedError: too many steps in a row made no update.
        """
        spike, accepted = self.judge(loss, norm), self.accepts(loss, norm)
        self._remember(loss, norm)
        self.refused = 0 if accepted else self.refused + 1
        if self.refused >= self.config.most_in_a_row:
            raise DivergedError(
                f"{self.refused} steps in a row were not fit for an update (the last: loss {loss}, "
                f"gradient norm {norm}); lower the learning rate or lengthen the warm-up"
            )
        return spike

    def _remember(self, loss: float | None, norm: float | None) -> None:
        if loss is not None and norm is not None and math.isfinite(loss) and math.isfinite(norm):
            self._losses.append(loss)
            self._norms.append(norm)


def refused_at_end(spikes: list[dict[str, Any]], step: int) -> int:
    """How many of the last steps up to `step` made no update, by the record of spikes."""
    without = {line["step"] for line in spikes if line["action"] != "recorded"}
    count = 0
    while step - count in without:
        count += 1
    return count


def _z_score(window: deque[float], value: float) -> float | None:
    if len(window) < (window.maxlen or 0):
        return None
    mean = math.fsum(window) / len(window)
    variance = math.fsum((other - mean) ** 2 for other in window) / len(window)
    deviation = max(math.sqrt(variance), _LEAST_DEVIATION * abs(mean))
    return (value - mean) / deviation if deviation else 0.0


def _rounded(z: float | None) -> float | None:
    return None if z is None else float(f"{z:.6g}")
