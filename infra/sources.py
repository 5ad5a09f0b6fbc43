"""Files from outside the store: known by their SHA-256, hashed once while they do not change."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from infra.canonical import file_sha256
from infra.errors import StoreError
from infra.files import write_atomic
from infra.manifest import InputRecord

_CACHE_NAME = ".sources.json"


def describe_source(store_root: Path, role: str, path: Path) -> InputRecord:
    """Name an outside file by content; a hash is reused while size and time stay the same.

    Raises:
        StoreError: there is no such file, or it cannot be read.
    """
    try:
        state = path.stat()
        if not path.is_file():
            raise StoreError(f"{path} is not a file; give the {role} file itself")
        key = f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}"
        digest = _known(store_root).get(key) or _hash(store_root, key, path)
    except FileNotFoundError as error:
        raise StoreError(f"there is no {role} file {path}; check the path") from error
    except OSError as error:
        raise StoreError(f"the {role} file {path} cannot be read: {error.strerror}") from error
    return InputRecord(
        role=role, kind="file", name=path.name, fingerprint=digest, bytes=state.st_size
    )


def describe_address(role: str, address: str) -> InputRecord:
    """Name a place on the web that is read from: by its address, for what it holds is not ours."""
    digest = hashlib.sha256(address.encode()).hexdigest()
    return InputRecord(role=role, kind="address", name=address, fingerprint=digest)


def describe_by_size(role: str, path: Path) -> InputRecord:
    """Name an outside file by name and size, where hundreds of gigabytes cannot be hashed."""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{path.name}:{size}".encode()).hexdigest()
    return InputRecord(role=role, kind="file", name=path.name, fingerprint=digest, bytes=size)


def _hash(store_root: Path, key: str, path: Path) -> str:
    digest = file_sha256(path)
    content = json.dumps({**_known(store_root), key: digest}, indent=1, sort_keys=True)
    # The cache only saves time: a store that cannot be written is reported by what must write it.
    with contextlib.suppress(OSError):
        write_atomic(store_root / _CACHE_NAME, content.encode())
    return digest


def _known(store_root: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads((store_root / _CACHE_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return known
