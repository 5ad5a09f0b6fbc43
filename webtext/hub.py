"""Files of a data set on a hub, at one commit: the start of a corpus that somebody made before.

A reference is an address in the form that fsspec knows:

    hf://datasets/OWNER/NAME[@REVISION][/PATTERN]

REVISION is a branch, a tag or a commit (`main` by default; slashes in it as %2F); PATTERN chooses
files (`data/train-*.parquet`; all tables and JSON lines by default). What is kept is named by its
commit, so it never changes. The hub is the one that `HF_ENDPOINT` names, else Hugging Face's; a
token for private data sets is taken from `HF_TOKEN` and from nowhere else. No code of a data set
is ever run: only its files are read.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.errors import SourceError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

PREFIX = "hf://datasets/"
KINDS = (".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst", ".jsonl.xz", ".jsonl.bz2",
         ".json.gz", ".json.zst", ".json.xz", ".json.bz2")  # fmt: skip
"""Ends of the names of files that hold rows. A plain .json may be anything: name it by PATTERN."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REFERENCE = re.compile(rf"({_NAME}/{_NAME}|{_NAME})(?:@([^/]+))?(?:/(.+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 20


class HubConfig(StageConfig):
    """Which files of which data set."""

    repository: str
    """OWNER/NAME."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """The commit."""
    pattern: str | None = None
    """Which files, as a pattern of their paths; all tables and JSON lines by default."""


def is_hub_reference(text: str) -> bool:
    """Whether a source is on a hub and not a file."""
    return text.startswith("hf://")


def resolve_reference(reference: str) -> HubConfig:
    """What a reference stands for now; the hub is asked unless it names a commit.

    Raises:
        SourceError: it is no such reference, or the hub does not know it or cannot be reached.
    """
    repository, revision, pattern = _split(reference)
    if not _COMMIT.fullmatch(revision):
        with _explained(f"the data set {repository} at {revision}"):
            found = _api().dataset_info(repository, revision=revision, timeout=_TIMEOUT_S)
        revision = found.sha or ""
        if not _COMMIT.fullmatch(revision):
            raise SourceError(f"the hub names no commit of {repository}; name one with @COMMIT")
    return HubConfig(repository=repository, revision=revision, pattern=pattern)


def download_files(*, destination: Path, config: HubConfig, progress: Progress = silent) -> Counts:
    """Bring the files to `destination`/files, each checked by size and, where known, SHA-256.

    A file that is there already from an attempt before is not fetched again. Raises SourceError
    where nothing matches, a file differs from what the hub lists, or the hub cannot be reached.
    """
    listed = _list_files(config)
    total, done = sum(file.size for file in listed), 0
    for file in listed:
        target = destination / "files" / PurePosixPath(file.path)
        if not target.is_file():
            _fetch(config, file, target, destination / "incoming")
        done += file.size
        progress(done, total, files=1)
    shutil.rmtree(destination / "incoming", ignore_errors=True)
    return Counts(rows_in=len(listed), rows_out=len(listed), facts={"file_bytes": total})


def _split(reference: str) -> tuple[str, str, str | None]:
    found = _REFERENCE.fullmatch(reference.removeprefix(PREFIX))
    if not reference.startswith(PREFIX) or found is None:
        raise SourceError(
            f"{reference} is no data set on a hub; expected {PREFIX}OWNER/NAME[@REVISION][/PATTERN]"
        )
    return found[1], unquote(found[2] or "main"), found[3]


def _api() -> "HfApi":
    from huggingface_hub import HfApi

    # False: without a token of the environment none is looked for on the disk.
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ.get("HF_TOKEN") or False)


def _list_files(config: HubConfig) -> "list[RepoFile]":
    """The files to fetch, by path."""
    from huggingface_hub.hf_api import RepoFile

    where = f"the data set {config.repository} at {config.revision}"
    with _explained(where):
        entries = list(
            _api().list_repo_tree(
                config.repository, recursive=True, revision=config.revision, repo_type="dataset"
            )
        )
    files = [entry for entry in entries if isinstance(entry, RepoFile)]
    chosen = [file for file in files if _is_wanted(file.path, config.pattern)]
    if not chosen:
        known = ", ".join(file.path for file in files[:10]) or "nothing"
        asked = f"matches {config.pattern}" if config.pattern else "is a table or JSON lines"
        raise SourceError(f"{where} has no file that {asked}; it has {known}")
    for file in chosen:
        _check_path(file.path, where)
    return sorted(chosen, key=lambda file: file.path)


def _is_wanted(path: str, pattern: str | None) -> bool:
    if pattern is not None:
        return fnmatchcase(path, pattern)
    return path.lower().endswith(KINDS)


def _check_path(path: str, where: str) -> None:
    """A hub's names are foreign: none may lead out of the folder."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise SourceError(f"{where} lists a file by a path that leads elsewhere: {path!r}")


def _fetch(config: HubConfig, file: "RepoFile", target: Path, incoming: Path) -> None:
    """Fetch one file aside, check it, and move it to its place."""
    where = f"{file.path} of {config.repository} at {config.revision}"
    with _explained(where):
        fetched = Path(
            _api().hf_hub_download(
                config.repository,
                file.path,
                repo_type="dataset",
                revision=config.revision,
                local_dir=incoming,
            )
        )
    size = fetched.stat().st_size
    if size != file.size:
        fetched.unlink()
        raise SourceError(f"{where} has {size:,} bytes, {file.size:,} expected; try again")
    if file.lfs is not None and (digest := _digest(fetched)) != file.lfs.sha256:
        fetched.unlink()
        raise SourceError(
            f"{where} has the SHA-256 {digest}, {file.lfs.sha256} expected; try again"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    fetched.replace(target)


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the hub's errors into one that says what to do."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        told = str(error).splitlines()
        raise SourceError(
            f"{what} cannot be had: {told[0] if told else type(error).__name__}. Check the "
            "name and the network; a private data set needs its token in HF_TOKEN"
        ) from error
