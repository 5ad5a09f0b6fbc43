"""How fast a training goes: tokens a second, step times, the device's use, memory, time left.

MFU, the share of the device's peak that the model's own arithmetic takes, is

    operations of a step (`model.speed.step_operations`) / (seconds × ranks × peak)

after Chowdhery et al. 2022, appendix B.
"""

import resource
import statistics
import sys
import time
from collections import deque

import torch

from model.config import TrainSpec
from model.speed import step_operations

_RECENT_STEPS = 100

PEAKS: dict[str, dict[str, float]] = {
    # Dense operations a second, from the makers' data sheets (no sparsity; fp32 without TF32).
    "NVIDIA A100": {"bf16": 312e12, "fp32": 19.5e12},
    "NVIDIA H100 NVL": {"bf16": 835e12, "fp32": 60e12},
    "NVIDIA H100 PCIe": {"bf16": 756e12, "fp32": 51e12},
    "NVIDIA H100": {"bf16": 989e12, "fp32": 67e12},
    "NVIDIA H200": {"bf16": 989e12, "fp32": 67e12},
    "NVIDIA H200 NVL": {"bf16": 835e12, "fp32": 60e12},
    "NVIDIA L4": {"bf16": 121e12, "fp32": 30.3e12},
    "NVIDIA L40S": {"bf16": 362e12, "fp32": 91.6e12},
}
"""Peak by the beginning of the device's name and the number format of the matrix products."""


def peak_of(device_name: str, dtype: str) -> float | None:
    """A device's peak in operations a second; None for one that is not listed."""
    fitting = [name for name in PEAKS if _begins(device_name, name)]
    return PEAKS[max(fitting, key=len)][dtype] if fitting else None


def _begins(device_name: str, listed: str) -> bool:
    """Whether it is that device: `NVIDIA L40S` does not begin with the words of `NVIDIA L4`."""
    return f"{device_name} ".replace("-", " ").startswith(f"{listed} ")


class Pace:
    """The times of this process's steps."""

    def __init__(self, spec: TrainSpec, device: torch.device, ranks: int, first_step: int) -> None:
        self._spec, self._device, self._ranks, self._first = spec, device, ranks, first_step
        self._seconds: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._started = self._began = time.monotonic()
        self._waited_s = 0.0
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self.peak = peak_of(name, spec.training.dtype)

    def begin_step(self) -> None:
        """Start the step's clock."""
        self._began = time.monotonic()

    def end_step(self, step: int, waited_s: float) -> dict[str, float | str]:
        """The step's figures; `waited_s`: how long all steps have waited for batches so far."""
        now = time.monotonic()
        step_s, stall_s = now - self._began, waited_s - self._waited_s
        self._waited_s = waited_s
        self._seconds.append(step_s)
        config = self._spec.training
        tokens = config.sequences_per_step * self._spec.network.context
        mean_s = (now - self._started) / (step - self._first + 1)
        ordered = sorted(self._seconds)
        return {
            "tokens_per_second": round(tokens / step_s, 1),
            "step_s": round(step_s, 4),
            "step_p50_s": round(statistics.median(ordered), 4),
            "step_p99_s": round(ordered[-1 - len(ordered) // _RECENT_STEPS], 4),
            "stall_share": round(stall_s / step_s, 4),
            "mfu": self._use(tokens, step_s),
            "memory_peak_bytes": memory_peak(self._device),
            "left_s": round(mean_s * (config.steps - step), 1),
        }

    def _use(self, tokens: int, seconds: float) -> float | str:
        if self.peak is None:
            return "unknown"
        operations = step_operations(self._spec.network, tokens)
        return round(operations / (seconds * self._ranks * self.peak), 4)


def memory_peak(device: torch.device) -> int:
    """The most bytes that were in use: on a GPU its tensors', else the process's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
