"""Files from outside the store: known by their SHA-256, hashed once while they do not change.

    STORE/.sources.json    where each was, its size and time, and its hash

It saves hashing again, and tells `webtext reproduce` where a file with a hash was last seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
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
        # Not resolved: of a hub's cache, the link has the name and its target has not.
        key = f"{os.path.abspath(path)}:{state.st_size}:{state.st_mtime_ns}"  # noqa: PTH100
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


def places_of(store_root: Path, digest: str) -> list[Path]:
    """Where files of this SHA-256 were seen by runs of a store; they may have gone since."""
    keys = [key for key, known in _known(store_root).items() if known == digest]
    return list(dict.fromkeys(Path(key.rsplit(":", 2)[0]) for key in keys))


def _hash(store_root: Path, key: str, path: Path) -> str:
    digest = file_sha256(path)
    # It is not needed for the run: a store that cannot be written is reported by what must write.
    with contextlib.suppress(OSError), _locked(store_root):
        content = json.dumps({**_known(store_root), key: digest}, indent=1, sort_keys=True)
        write_atomic(store_root / _CACHE_NAME, content.encode())
    return digest


@contextlib.contextmanager
def _locked(store_root: Path) -> Iterator[None]:
    """Two runs that hash at once must not lose each other's entries."""
    with (store_root / f"{_CACHE_NAME}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _known(store_root: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads((store_root / _CACHE_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return known
