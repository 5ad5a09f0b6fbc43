"""Where a store is: a folder, or an address in object storage with this machine's copy of it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

from infra.errors import StoreError
from infra.store import Store

CACHE_VARIABLE = "WEBTEXT_CACHE"
"""Environment variable that names the folder of copies on this machine."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_address(place: object) -> bool:
    """Whether a store's place is an address such as `s3://bucket/prefix`, and no folder."""
    return isinstance(place, str) and _SCHEME.match(place) is not None


def plain_address(address: str) -> str:
    """The address as it is written down: without a slash at its end, and without credentials.

    Raises:
        StoreError: it holds credentials.
    """
    scheme, _, rest = address.rstrip("/").partition("://")
    host = rest.partition("/")[0]
    if "@" in host or "?" in rest:
        raise StoreError(
            f"the store's address {scheme}://… holds credentials or options; give them in the "
            "environment instead (docs/cluster.md names the variables)"
        )
    return f"{scheme}://{rest}"


def cache_folder(address: str) -> Path:
    """This machine's folder for what it has of the store at an address.

    It is in the folder that WEBTEXT_CACHE names, or in `webtext` in the user's cache folder.
    """
    given = os.environ.get(CACHE_VARIABLE)
    base = Path(given) if given else _user_cache() / "webtext"
    name = re.sub(r"[^a-z0-9]+", "-", address.lower().partition("://")[2]).strip("-")[:40]
    digest = base64.b32encode(hashlib.sha256(address.encode()).digest())[:10].decode().lower()
    return (base / f"{name}-{digest}").absolute()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def folder_of(place: str | Path) -> Path:
    """The folder on this machine of a store's place: itself, or of its copies."""
    if isinstance(place, str) and is_address(place):
        return cache_folder(plain_address(place))
    return Path(place)


def open_store(place: str | Path, timeout_s: float = 60.0) -> Store:
    """The store at a place; nothing is asked of object storage yet.

    Raises:
        StoreError: the address is of no kind that is known, or obstore is not installed.
    """
    if isinstance(place, str) and is_address(place):
        from infra.objects import Objects
        from infra.shared_store import SharedStore

        address = plain_address(place)
        shared = SharedStore(cache_folder(address), Objects(address, timeout_s))
        shared.hold()
        return shared
    return Store(Path(place))
