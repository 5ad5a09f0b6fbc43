"""Shards copied to a machine's own disk, checked against the artifact's manifest.

Training reads sequences in random order, which network storage serves badly. Each machine copies
the shards once, one process of it while the others wait:

    CACHE/FINGERPRINT/          the copy, with the artifact's manifest.json, written last
    CACHE/FINGERPRINT.lock      held while somebody copies or checks

Every file is hashed while it is copied and again whenever the copy is used, so what a kill, a full
disk or a bad one left is found and copied again. A source that does not match its own manifest is
an error, as nothing can be made of it.
"""

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.config import TrainSpec
from model.engine import any_rank
from model.errors import ShardsError
from model.tensor_file import hash_file

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_SPLITS = ("train/", "validation/")
_BLOCK_BYTES = 4 << 20
_MEET_S = 0.5


def stage_on_each_machine(spec: TrainSpec) -> TrainSpec:
    """The spec with its shards on the machine's own disk, if it asks so; every rank calls it.

    The ranks meet twice a second while the first of each machine copies, since no collective waits
    as long as a copy may take.

    Raises:
        ShardsError: see `stage_shards`.
    """
    if spec.shards_cache is None:
        return spec
    is_first = os.environ["LOCAL_RANK"] == "0"
    with ThreadPoolExecutor(1) as pool:
        copying = pool.submit(stage_shards, spec.shards, spec.shards_cache) if is_first else None
        while any_rank(copying is not None and not copying.done()):
            time.sleep(_MEET_S)
    path = copying.result() if copying else staged_path(spec.shards, spec.shards_cache)
    return spec.model_copy(update={"shards": path})


def staged_path(source: Path, cache: Path) -> Path:
    """Where the copy of an artifact's shards lies."""
    return cache / str(_read_manifest(source)["fingerprint"])


def stage_shards(source: Path, cache: Path) -> Path:
    """A folder below `cache` that holds the shards of an artifact, whole.

    Raises:
        ShardsError: the source is no sealed artifact, or differs from its manifest.
        OSError: the cache cannot be written.
    """
    manifest = _read_manifest(source)
    target = staged_path(source, cache)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        for file in manifest["files"]:
            if file["path"].startswith(_SPLITS) and not _is_whole(target / file["path"], file):
                _copy(source / file["path"], target / file["path"], file)
        _write(target / _MANIFEST, (source / _MANIFEST).read_bytes())
    return target


def _read_manifest(source: Path) -> dict[str, Any]:
    path = source / _MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        assert manifest["fingerprint"]
        assert all(file["sha256"] for file in manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ShardsError(
            f"{path} cannot be read ({error!r}): only a finished shards artifact can be copied to "
            "a local disk; leave shards_cache out"
        ) from error
    return manifest


def _is_whole(path: Path, file: dict[str, Any]) -> bool:
    if not path.is_file():
        return False
    if path.stat().st_size == file["bytes"] and hash_file(path) == file["sha256"]:
        return True
    logger.warning("%s is not as its manifest says; it is copied again", path)
    return False


def _copy(source: Path, target: Path, file: dict[str, Any]) -> None:
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.partial")
    with source.open("rb") as reading, aside.open("wb") as writing:
        while block := reading.read(_BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
        writing.flush()
        os.fsync(writing.fileno())
    if digest.hexdigest() != file["sha256"]:
        aside.unlink()
        raise ShardsError(
            f"{source} does not have the sha256 {file['sha256']} of its artifact's manifest; make "
            "the shards again, or see to the storage that they lie on"
        )
    aside.replace(target)


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(content)
    aside.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        yield
