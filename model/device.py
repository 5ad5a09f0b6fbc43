"""Which device a training or a scoring uses: a profile's `auto` made into `cpu` or `cuda`.

Imports no torch, so that the process of a flow stays light: what rules a GPU out costs nothing (a
torch built without one, no device of a driver), and only where neither does is torch asked, in a
child. The trainer looks again before it starts: `check_device` in `model.engine`.
"""

import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from model.errors import SettingsError

Device = Literal["cpu", "cuda"]
WantedDevice = Literal["auto", "cpu", "cuda"]

_PROBE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
_PROBE_TIMEOUT_S = 120.0
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvhost-ctrl")
"""Devices of NVIDIA's driver, of Windows' subsystem for Linux, of AMD's, and of NVIDIA's Jetson."""


def choose_device(wanted: WantedDevice, ranks: int = 1) -> Device:
    """The device that `wanted` means on this machine, for so many processes.

    Raises:
        SettingsError: a GPU is asked for and there is none, or there are fewer than `ranks`.
    """
    if wanted == "cpu":
        return "cpu"
    reason = why_no_gpu()
    if reason:
        if wanted == "auto":
            return "cpu"
        raise SettingsError(
            f"device 'cuda' was asked for, but {reason}; set runtime.device to 'auto' or 'cpu', or "
            "mend that"
        )
    found = count_gpus()
    if found < ranks:
        raise SettingsError(
            f"{ranks} ranks need a GPU each, and torch sees {found}; set runtime.ranks to {found}, "
            "or runtime.device to 'cpu'"
        )
    return "cuda"


def why_no_gpu() -> str:
    """Why torch has no GPU here; nothing where it has one."""
    version = _torch_version_file()
    if version is None:
        return "torch is not installed"
    if not re.search(r"^(cuda|hip)\b[^=]*= *'", version.read_text("utf-8"), re.MULTILINE):
        return "the installed torch was built for processors alone (install one built for CUDA)"
    if sys.platform == "linux" and not any(Path(device).exists() for device in _DRIVERS):
        return "this machine shows no GPU's driver"
    return "" if count_gpus() else "torch sees no GPU (look at `nvidia-smi`, CUDA_VISIBLE_DEVICES)"


@cache
def count_gpus() -> int:
    """GPUs that torch sees, as a child process tells; none where it fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            text=True,
            check=True,
        )
        return int(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0


def _torch_version_file() -> Path | None:
    found = importlib.util.find_spec("torch")  # looks for the package without importing it
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).with_name("version.py")
    return path if path.is_file() else None
