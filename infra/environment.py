"""Facts about where a run happens, for manifests: host, Python, packages, commit."""

from __future__ import annotations

import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "aiohttp",
    "datasketch",
    "deepspeed",
    "duckdb",
    "fastwarc",
    "lxml",
    "numpy",
    "prefect",
    "pyarrow",
    "py3langid",
    "tiktoken",
    "tldextract",
    "torch",
    "trafilatura",
    "zstandard",
)


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that the bytes depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def installed(names: Iterable[str]) -> dict[str, str]:
    """The installed versions of some of them."""
    versions = package_versions()
    return {name: versions[name] for name in names}


def other_versions(
    made_with: Mapping[str, str], names: Iterable[str]
) -> dict[str, tuple[str, str]]:
    """The packages of which something was made with another version: that, and the installed one.

    What was not recorded when it was made is taken for the same; so are builds of one version for
    different machines (2.9.0+cpu and 2.9.0+cu128).
    """
    return {
        name: (made_with[name], now)
        for name, now in installed(names).items()
        if _public(made_with.get(name, now)) != _public(now)
    }


def _public(version: str) -> str:
    """A version without what follows its `+`."""
    return version.partition("+")[0]


@cache
def git_commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside a checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


@cache
def boot() -> str | None:
    """What this start of the machine, and this container, alone have; None where it is not told."""
    try:
        processes = Path("/proc/self/ns/pid").readlink()
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {processes}"
    except OSError:
        return None


def python_version() -> str:
    """For example `CPython 3.11.7`."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
