"""Copies of checkpoints in object storage, made in the background, and training that begins there.

    URL/step-00000500/state-00000.safetensors ...    the checkpoint's files
    URL/step-00000500/logs/losses.jsonl ...          the logs up to it
    URL/step-00000500/checkpoint.json                last: without it, the copy is unfinished
    URL/latest                                       name of the newest whole copy

Any file system of fsspec's will do. A thread of rank 0 makes the copies from hard links of its own,
so that no step waits, no checkpoint is forgotten under it, and the checkpoints' folder does not
grow: where a newer one is there before the last was begun, the last is passed over, unless it is a
milestone. Storage that fails is tried again, and then only costs the copy: training goes on.
"""

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.config import CheckpointConfig
from model.errors import CheckpointError
from model.launch import CHECKPOINT_NAME, checkpoint_name

logger = logging.getLogger(__name__)

LATEST = "latest"
LINKS = "copying"
"""Folder of the hard links in the work folder."""
_RECORD = "checkpoint.json"
_LOGS = "logs"
_TRIES = 5
_FIRST_PAUSE_S = 0.5


class Remote:
    """A folder of object storage."""

    def __init__(self, url: str) -> None:
        """Raises CheckpointError where no file system of fsspec's opens it."""
        import fsspec

        protocol = url.partition("://")[0]
        options: dict[str, Any] = {}
        try:
            if protocol in ("s3", "gs", "az", "abfs"):
                options = _use_obstore(protocol)
            self._files, self._root = fsspec.core.url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            raise CheckpointError(
                f"checkpoints.copy_to {url} cannot be opened ({error}); install what fsspec needs "
                "for it: for s3, gs and az obstore"
            ) from error

    def upload(self, path: Path, name: str) -> None:
        """Put a file there; it appears whole."""
        target = f"{self._root}/{name}"
        with suppress(FileExistsError, NotImplementedError):
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(path), target)
        size = int(self._files.size(target))
        if size != path.stat().st_size:
            raise OSError(f"{target} has {size} bytes there, {path} {path.stat().st_size} here")

    def write(self, name: str, text: str) -> None:
        """Put a small text there."""
        self._files.pipe_file(f"{self._root}/{name}", text.encode())

    def read(self, name: str) -> str:
        """A small text. Raises FileNotFoundError where it is missing."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content.decode()

    def download(self, name: str, path: Path) -> None:
        """Get a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files.get_file(f"{self._root}/{name}", str(path))

    def folders(self) -> list[str]:
        """Names of what lies directly in it."""
        with suppress(FileNotFoundError):
            self._files.invalidate_cache()
            found = self._files.ls(self._root, detail=False)
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)
        return []

    def files(self, folder: str) -> list[str]:
        """Names of all files below a folder."""
        found = self._files.find(f"{self._root}/{folder}")
        marker = f"{self._root.strip('/')}/"
        return sorted(str(path).strip("/").removeprefix(marker) for path in found)

    def remove(self, folder: str) -> None:
        """Remove a copy, its record first, so that no half of it looks whole."""
        names = self.files(folder)
        for name in sorted(names, key=lambda name: not name.endswith(f"/{_RECORD}")):
            self._files.rm_file(f"{self._root}/{name}")
        with suppress(Exception):  # what is no object storage has folders
            self._files.rm(f"{self._root}/{folder}", recursive=True)


def _use_obstore(protocol: str) -> dict[str, Any]:
    from obstore.fsspec import register

    register(protocol)
    is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return {"client_options": {"allow_http": True}} if protocol == "s3" and is_plain else {}


class Copies:
    """What copies checkpoints as they are made."""

    def __init__(self, work: Path, config: CheckpointConfig) -> None:
        assert config.copy_to is not None
        self._remote, self._work, self._config = Remote(config.copy_to), work, config
        self._links = work / LINKS
        shutil.rmtree(self._links, ignore_errors=True)
        self._changed = threading.Condition()
        self._waiting: list[Path] = []
        self._copying: Path | None = None
        # A daemon: a process that is asked to stop does not wait for storage.
        threading.Thread(target=self._work_off, daemon=True, name="copies").start()

    @property
    def is_busy(self) -> bool:
        """Whether a copy is being made or waits for it."""
        with self._changed:
            return bool(self._waiting or self._copying)

    def add(self, checkpoint: Path, logs: list[Path]) -> None:
        """Have a whole checkpoint copied; returns at once."""
        links = self._links / checkpoint.name
        milestones = {checkpoint_name(step) for step in self._config.milestones}
        with self._changed:
            passed_over = [path for path in self._waiting if path.name not in milestones]
            self._waiting = [path for path in self._waiting if path not in passed_over]
            if links == self._copying:
                return  # made again after a roll-back: the same bytes
        for path in {*passed_over, links}:
            shutil.rmtree(path, ignore_errors=True)
        (links / _LOGS).mkdir(parents=True)
        for path in checkpoint.iterdir():
            _link(path, links / path.name)
        for path in logs:
            shutil.copyfile(path, links / _LOGS / path.name)  # it grows on
        with self._changed:
            self._waiting.append(links)
            self._changed.notify()

    def _work_off(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                self._copying = self._waiting.pop(0)
            self._copy(self._copying)
            with self._changed:
                self._copying = None

    def _copy(self, links: Path) -> None:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(_TRIES):
            try:
                self._send(links)
            except Exception as error:  # noqa: BLE001  storage must not end a training
                if attempt + 1 == _TRIES:
                    logger.warning("%s was not copied: %s", links.name, error)
                    break
                time.sleep(pause_s)
                pause_s *= 2
            else:
                break
        shutil.rmtree(links, ignore_errors=True)

    def _send(self, links: Path) -> None:
        files = sorted(path for path in links.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == _RECORD):
            self._remote.upload(path, f"{links.name}/{path.relative_to(links).as_posix()}")
        self._remote.write(LATEST, links.name)
        self._forget_old()

    def _forget_old(self) -> None:
        kept = {checkpoint_name(step) for step in self._config.milestones}
        past = [name for name in copied_checkpoints(self._remote) if name not in kept]
        for name in past[: -self._config.keep_last]:
            self._remote.remove(name)


def copied_checkpoints(remote: Remote) -> list[str]:
    """Names of the copies that are there, whole or not, in numeric order."""
    found = [name for name in remote.folders() if CHECKPOINT_NAME.fullmatch(name)]
    return sorted(found, key=lambda name: int(name.removeprefix("step-")))


def fetch_newest(
    config: CheckpointConfig, work: Path, checkpoints: Path, check: Callable[[Path], Any]
) -> str | None:
    """Bring the newest whole copy into an empty work folder, with its logs; gives its name.

    The copy that `latest` names is tried first, then what else is there, the newest first. The
    milestones before it come along.

    Args:
        config: says where the copies are.
        work: the work folder.
        checkpoints: the folder of checkpoints in it.
        check: raises CheckpointError where a folder is not a whole checkpoint.
    """
    assert config.copy_to is not None
    remote = Remote(config.copy_to)
    there = copied_checkpoints(remote)
    names = there[::-1]
    with suppress(FileNotFoundError):
        latest = remote.read(LATEST).strip()
        names = [name for name in dict.fromkeys((latest, *names)) if name in there]
    for name in names:
        where = f"{config.copy_to}/{name}"
        try:
            _fetch(remote, name, checkpoints, check)
            for path in remote.files(f"{name}/{_LOGS}"):
                remote.download(path, work / path.rpartition("/")[2])
        except (OSError, ValueError, KeyError, CheckpointError) as error:
            logger.warning("the copy %s cannot be used: %s", where, error)
            continue
        logger.info("going on from the copy %s", where)
        for milestone in map(checkpoint_name, sorted(config.milestones)):
            if milestone in there[: there.index(name)]:
                _fetch(remote, milestone, checkpoints, check)
        return name
    return None


def _fetch(remote: Remote, name: str, checkpoints: Path, check: Callable[[Path], Any]) -> None:
    aside = checkpoints / f".partial-{name.removeprefix('step-')}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        record = json.loads(remote.read(f"{name}/{_RECORD}"))
        for file in (*record["files"], _RECORD):
            remote.download(f"{name}/{file}", aside / file)
        check(aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    aside.rename(checkpoints / name)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without them
        shutil.copyfile(source, target)
