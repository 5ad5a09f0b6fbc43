"""The most memory that this process ever had resident."""

import re
from pathlib import Path


def peak_mb() -> float:
    """Peak of resident memory in MB (10⁶ bytes), by proc(5)'s VmHWM.

    Not getrusage's ru_maxrss: that of a child begins with what its parent had.
    """
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6
