"""Parts of an unfinished artifact: each is made in a scratch folder, then moved in as a whole.

    ARTIFACT/.work/part-00007/          scratch of partition 7
    ARTIFACT/.work/part-00007.json      its record: partition 7 is done

The record is first written into the scratch folder, then its files are moved, then the record
itself: whenever a kill falls, what is left can be completed or is done again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import ValidationError

from infra.call import PartRecord
from infra.canonical import file_sha256
from infra.files import flush_file, flush_folder, write_atomic
from infra.manifest import FileRecord

_PENDING = ".record.json"


def scratch_folder(work: Path, part: str) -> Path:
    """Where a part is made."""
    return work / part


def describe_file(folder: Path, path: Path) -> FileRecord:
    """Size, rows where the kind has rows, and SHA-256 of `folder/path`."""
    whole = folder / path
    return FileRecord(
        path=path.as_posix(),
        bytes=whole.stat().st_size,
        rows=_count_rows(whole),
        sha256=file_sha256(whole),
    )


def finished_part(artifact: Path, work: Path, part: str) -> PartRecord | None:
    """The record of a part that is done, completing an interrupted move; None if it is not."""
    pending = scratch_folder(work, part) / _PENDING
    if pending.is_file():
        record = _read(pending)
        if record is not None:
            _move(artifact, work, part, record)
    return _read(work / f"{part}.json")


def discard_part(artifact: Path, work: Path, part: str, record: PartRecord) -> None:
    """Undo a part that is done: it is to be made again."""
    (work / f"{part}.json").unlink(missing_ok=True)
    for file in record.files:
        (artifact / file.path).unlink(missing_ok=True)
    shutil.rmtree(scratch_folder(work, part), ignore_errors=True)


def publish_part(artifact: Path, work: Path, part: str, record: PartRecord) -> None:
    """Move a part's files from its scratch folder into the artifact."""
    scratch = scratch_folder(work, part)
    for file in record.files:
        flush_file(scratch / file.path)
    write_atomic(scratch / _PENDING, record.model_dump_json().encode())
    _move(artifact, work, part, record)


def _move(artifact: Path, work: Path, part: str, record: PartRecord) -> None:
    scratch = scratch_folder(work, part)
    for file in record.files:
        source, target = scratch / file.path, artifact / file.path
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    for folder in {(artifact / file.path).parent for file in record.files}:
        flush_folder(folder)
    (scratch / _PENDING).replace(work / f"{part}.json")
    flush_folder(work)
    shutil.rmtree(scratch)


def _read(path: Path) -> PartRecord | None:
    try:
        return PartRecord.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None


def _count_rows(path: Path) -> int | None:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    if path.suffix == ".npy":
        import numpy as np

        return int(np.load(path, mmap_mode="r").shape[0])
    return None
