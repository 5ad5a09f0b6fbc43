"""A store's objects in object storage: every request tried again, every byte checked.

Whatever obstore opens will do: S3 and what speaks its protocol, Google's and Azure's storage. The
address names the place (`s3://bucket/prefix`); endpoint and credentials come from the environment
alone (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, a machine's role, ...), never from the address.

    reads     in ranges, each a request of its own, so that a slow or broken body costs its range
    uploads   whole up to 8 MiB, else in parts; afterwards size and checksum are asked for
    retries   with back-off and jitter, on everything that may pass: 5xx, time-outs, dropped and
              truncated answers; counted in `requests`
    listings  may be late by design: nothing here decides by one whether a key is there
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from infra.errors import CorruptArtifact, StoreError, StoreUnreachable
from infra.files import flush_file

Result = TypeVar("Result")

BLOCK_BYTES = 8 << 20
_MOST_PARTS = 9_000
_TRIES = 8
_DELETES = 1000
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 20.0
_READS_OF_A_FILE = 3
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Found:
    """An object's bytes, and the version that they are."""

    content: bytes
    etag: str | None
    changed_at: datetime
    """By the server's clock."""
    is_same: bool = False
    """Whether it is still the version that was asked about; then its bytes are not here."""


class Objects:
    """The objects below one address. Safe to use from several threads."""

    def __init__(self, address: str, timeout_s: float = 60.0) -> None:
        """Open the address; nothing is asked of the server yet.

        Args:
            address: for example `s3://bucket/prefix`.
            timeout_s: longest wait for an answer, or for its next bytes.

        Raises:
            StoreError: obstore is not installed, or the address is of no kind that it knows.
        """
        self.address = address.rstrip("/")
        self.requests: Counter[str] = Counter()
        """Requests and those that were tried again: `requests`, `retries`, and bytes."""
        self.clock_ahead_s = 0.0
        """How far the server's clock is before this machine's."""
        self._lock = threading.Lock()
        self._etags_are_md5 = True
        self._store = _open(self.address, timeout_s, retries=0)
        # Of a file that goes up in parts, one part is tried again, not the whole file.
        self._patient = _open(self.address, timeout_s, retries=_TRIES)

    def get(self, key: str, unless: str | None = None) -> Found | None:
        """An object, without bytes if it is still the version `unless`; None where none is."""
        import obstore
        from obstore.exceptions import NotModifiedError

        def read() -> Found | None:
            try:
                options: Any = {"if_none_match": unless} if unless else None
                got = obstore.get(self._store, key, options=options)
                content = bytes(got.bytes())
            except FileNotFoundError:
                return None
            except NotModifiedError:
                return Found(b"", unless, datetime.now(UTC), is_same=True)
            if len(content) != got.meta["size"]:
                raise ConnectionError(f"{len(content)} of {got.meta['size']} bytes came")
            return Found(content, got.meta["e_tag"], got.meta["last_modified"])

        return self._tried(f"read {key}", read)

    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""
        found = self._head(key)
        return None if found is None else int(found["size"])

    def put(self, key: str, content: bytes) -> None:
        """Write an object, whatever was there."""
        import obstore

        self._tried(
            f"write {key}",
            lambda: obstore.put(self._store, key, content, use_multipart=False),
        )

    def put_if(self, key: str, content: bytes, etag: str | None) -> str | None:
        """Write an object if it is of this version, or with None, if it is not there.

        Gives its new version; None where another writer was quicker. Bytes must not be equal among
        writers: after an answer that was lost, they tell whose they are.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if etag is None else {"e_tag": etag}

        def write() -> str | None:
            try:
                made = obstore.put(self._store, key, content, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                return None
            return made["e_tag"]

        version = self._tried(f"write {key}", write)
        if version is None:
            there = self.get(key)
            if there is not None and there.content == content:
                return there.etag
        return version

    def check_conditions(self, key: str) -> None:
        """See that the storage writes under a condition, and how its clock goes.

        Raises:
            StoreError: it cannot, or ignores the condition.
        """
        before = time.time()
        nonce = f"{os.getpid()}-{before}-{random.random()}".encode()  # noqa: S311
        try:
            self.put(key, nonce)
            held = self.put_if(key, nonce + b"?", None) is None
            held &= self.put_if(key, nonce + b"!", '"0123456789abcdef0123456789abcdef"') is None
        except FileNotFoundError as error:
            raise StoreError(f"there is no bucket for {self.address}; make it first") from error
        except NotImplementedError as error:
            raise StoreError(_no_conditions(self.address)) from error
        found = self.get(key)
        if not held or found is None or found.content != nonce:
            raise StoreError(_no_conditions(self.address))
        # Written between then and now; a second is how exactly it is told.
        self.clock_ahead_s = found.changed_at.timestamp() - (before + time.time()) / 2
        self.delete([key])

    def age_s(self, found: Found) -> float:
        """How long ago an object was written, whatever this machine's clock says."""
        now = datetime.now(UTC).timestamp() + self.clock_ahead_s
        return now - found.changed_at.timestamp()

    def upload(self, path: Path, key: str, sha256: str) -> None:
        """Write a file as an object and see that it is there whole.

        Raises:
            CorruptArtifact: the file is not the one of that hash.
        """
        import obstore

        size = path.stat().st_size
        step = _step(size)
        if size <= BLOCK_BYTES:
            content = path.read_bytes()
            self._tried(
                f"write {key}",
                lambda: obstore.put(self._store, key, content, use_multipart=False),
            )
        else:
            self._tried(
                f"write {key}",
                lambda: obstore.put(self._patient, key, path, chunk_size=step, max_concurrency=4),
            )
        with self._lock:
            self.requests["bytes_up"] += size
        self._check_upload(path, key, sha256, step)

    def download(self, key: str, size: int, sha256: str, target: Path) -> None:
        """Read an object of known size and hash into a file that nobody else writes.

        Raises:
            CorruptArtifact: it is missing, or has other bytes.
        """
        for _ in range(_READS_OF_A_FILE):
            if self._fetch(key, size, target) == sha256:
                flush_file(target)
                return
            with self._lock:
                self.requests["retries"] += 1
        raise CorruptArtifact(
            f"{self.address}/{key} has other bytes than its manifest says (sha256 {sha256[:12]}… "
            "was expected); remove its artifact and run again to remake it"
        )

    def difference(self, path: Path, key: str) -> str | None:
        """How an object differs from a file; None where it does not, as far as its tag tells."""
        found, size = self._head(key), path.stat().st_size
        if found is None:
            return f"{key} is missing"
        if int(found["size"]) != size:
            return f"{key} has {found['size']:,} bytes, its file {size:,}"
        tag = str(found["e_tag"]).strip('"')
        expected = _etag_of(path, _step(size))
        if len(tag) == len(expected) and tag != expected and self._etags_are_md5:
            return f"{key} has other bytes than its file (its tag is {tag[:12]}…)"
        return None

    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the storage."""
        import obstore

        self._tried(f"copy {source}", lambda: obstore.copy(self._store, source, target))

    def folders(self, prefix: str) -> list[str]:
        """Names of what is listed below a prefix; an object that is just written may be missing."""
        import obstore

        found = self._tried(
            f"list {prefix}", lambda: obstore.list_with_delimiter(self._store, prefix)
        )
        return sorted(name.rpartition("/")[2] for name in found["common_prefixes"])

    def keys(self, prefix: str) -> list[str]:
        """Keys that are listed below a prefix; one that is just written may be missing."""
        import obstore

        found = self._tried(f"list {prefix}", lambda: obstore.list(self._store, prefix).collect())
        return sorted(str(entry["path"]) for entry in found)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone do not matter."""
        import obstore

        def remove(some: Sequence[str]) -> None:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, list(some))

        for start in range(0, len(keys), _DELETES):
            self._tried(f"remove {keys[start]}", partial(remove, keys[start : start + _DELETES]))

    def _fetch(self, key: str, size: int, target: Path) -> str:
        import obstore

        digest = hashlib.sha256()
        with target.open("wb") as file:
            for start in range(0, size, BLOCK_BYTES):
                length = min(BLOCK_BYTES, size - start)

                def read(start: int = start, length: int = length) -> bytes:
                    try:
                        block = obstore.get_range(self._store, key, start=start, length=length)
                    except FileNotFoundError as error:
                        raise CorruptArtifact(
                            f"{self.address}/{key} is missing, though its manifest names it; "
                            "remove its artifact and run again to remake it"
                        ) from error
                    if len(block) != length:
                        raise ConnectionError(f"{len(block)} of {length} bytes came")
                    return bytes(block)

                block = self._tried(f"read {key}", read)
                file.write(block)
                digest.update(block)
        with self._lock:
            self.requests["bytes_down"] += size
        return digest.hexdigest()

    def _check_upload(self, path: Path, key: str, sha256: str, step: int) -> None:
        found, size = self._head(key), path.stat().st_size
        stored = None if found is None else int(found["size"])
        if stored != size:
            raise StoreUnreachable(
                f"{self.address}/{key} has {stored} bytes after {size:,} were written"
            )
        assert found is not None
        if not self._etags_are_md5 or str(found["e_tag"]).strip('"') == _etag_of(path, step):
            return
        # Storage that encrypts by itself has other tags: read once what it has, then believe its
        # own check of every signed request.
        aside = path.with_name(f".{path.name}.again")
        try:
            self.download(key, size, sha256, aside)
        finally:
            aside.unlink(missing_ok=True)
        self._etags_are_md5 = False

    def _head(self, key: str) -> Any:
        import obstore

        def ask() -> Any:
            try:
                return obstore.head(self._store, key)
            except FileNotFoundError:
                return None

        return self._tried(f"ask for {key}", ask)

    def _tried(self, what: str, act: Callable[[], Result]) -> Result:
        """Do it, again and again while the reason may pass.

        Raises:
            StoreUnreachable: it never did.
            StoreError: the storage refuses.
        """
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        pause = _FIRST_PAUSE_S
        for left in reversed(range(_TRIES)):
            with self._lock:
                self.requests["requests"] += 1
            try:
                return act()
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise StoreError(
                    f"{self.address} does not let this machine {what}: {_reason(error)}; check its "
                    "credentials (docs/cluster.md names the variables)"
                ) from error
            except (BaseError, ConnectionError) as error:
                if not left or _is_hopeless(error):
                    raise StoreUnreachable(
                        f"{self.address} did not {what} after {_TRIES - left} tries: "
                        f"{_reason(error)}; check its endpoint and network, then give the same "
                        "command again"
                    ) from error
            with self._lock:
                self.requests["retries"] += 1
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  so that clients part
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise AssertionError("unreachable")


def _open(address: str, timeout_s: float, retries: int) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise StoreError(
            f"the store {address} is in object storage, which needs obstore: "
            "pip install 'webtext-pipeline[s3]'"
        ) from error
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
    options: Any = {
        "timeout": f"{max(600, int(10 * timeout_s))}s",
        "read_timeout": f"{timeout_s}s",
        "connect_timeout": f"{min(10.0, timeout_s)}s",
        "allow_http": urlsplit(endpoint).scheme == "http",
    }
    try:
        return from_url(address, client_options=options, retry_config={"max_retries": retries})
    except Exception as error:
        raise StoreError(
            f"the store {address} cannot be opened ({_reason(error)}); an address is like "
            "s3://bucket/prefix"
        ) from error


def _step(size: int) -> int:
    """Bytes of a part of an upload; a file may have so many parts and no more."""
    return max(BLOCK_BYTES, -(-size // _MOST_PARTS))


def _etag_of(path: Path, step: int) -> str:
    """The tag that S3 gives a file: its MD5, or that of its parts' and their number."""
    parts = []
    with path.open("rb") as file:
        while block := file.read(step):
            parts.append(hashlib.md5(block, usedforsecurity=False).digest())
    if len(parts) <= 1 and path.stat().st_size <= BLOCK_BYTES:
        return (parts[0] if parts else hashlib.md5(usedforsecurity=False).digest()).hex()
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _is_hopeless(error: Exception) -> bool:
    """Whether a request was wrong in itself: the server understood it and said no."""
    text = str(error)
    return any(f"status code: {code}" in text for code in (400, 405, 411, 413, 414, 416, 501))


def _reason(error: Exception) -> str:
    """The first line of an error; the rest are obstore's insides."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _no_conditions(address: str) -> str:
    return (
        f"the storage of {address} does not write under a condition (If-None-Match, If-Match), "
        "without which two runs could make one artifact at once; use storage that does, as S3, "
        "MinIO, R2, Google's and Azure's do, or a folder that all machines share"
    )
