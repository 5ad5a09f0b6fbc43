"""Parts that need not be made again: one of another artifact was made from the same bytes.

An artifact's identity covers all of its inputs, so a change anywhere gives another artifact. But in
most stages a partition is made from the same partition of the tables before it (and from what has
none), so most parts of the new artifact are those of an old one. A part's key is the hash of
the stage, its version and config, and every input file that the part reads:

    .../part-00007.parquet, shard-00007-000.npy   is read by part-00007 alone, if the stage says so
    anything else                                 is read by every part

Equal keys, equal bytes: the files are linked from the older artifact and counted as they were.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.call import PartRecord
from infra.canonical import fingerprint
from infra.environment import other_versions
from infra.errors import CorruptArtifact
from infra.files import link_or_copy
from infra.manifest import MANIFEST_NAME, FileRecord, Identity, InputRecord, Manifest

_PARTITION = re.compile(r"(?:^|/)(?:part|shard)-(\d{5})(?=[.-])")
_PART = re.compile(r"(part|dump|file)-(\d{5})")

Read = tuple[str, str, str]
"""A file that is read: role, path, SHA-256."""


@dataclass(frozen=True)
class Donor:
    """A part of a finished artifact."""

    folder: Path
    record: PartRecord


def part_keys(
    identity: Identity,
    parts: Sequence[str],
    files: Mapping[str, Sequence[FileRecord]],
    own: Mapping[str, Sequence[InputRecord]],
    *,
    local: bool,
    optional: Collection[str] = (),
) -> dict[str, str]:
    """The key of each part.

    Args:
        identity: of the artifact that they are parts of.
        parts: their names.
        files: by role, the files of the artifacts that it is made from.
        own: by part, what it alone reads of the inputs in its roles.
        local: whether a part reads, of what is partitioned, its own partition alone.
        optional: roles in which a table without rows is the same as none.
    """
    shared: list[Read] = []
    numbered: dict[int, list[Read]] = {}
    for role, records in sorted(files.items()):
        for file in records:
            if role in optional and file.rows == 0:
                continue
            number = partition_of(file.path) if local else None
            read = (role, file.path, file.sha256)
            (shared if number is None else numbered.setdefault(number, [])).append(read)
    alone = {entry.role for entries in own.values() for entry in entries}
    outside = [
        (entry.role, "", entry.fingerprint)
        for entry in identity.inputs
        if entry.role not in alone and entry.role not in files
    ]
    common = fingerprint(
        {
            "stage": identity.stage,
            "version": identity.version,
            "config": identity.config,
            "reads": [shared, outside],
        }
    )
    keys = {}
    for part in parts:
        number = partition_of_part(part)
        mine = numbered.get(number, []) if number is not None else []
        mine = mine + [(entry.role, "", entry.fingerprint) for entry in own.get(part, ())]
        keys[part] = fingerprint({"common": common, "part": part, "reads": mine})
    return keys


def partition_of_part(part: str) -> int | None:
    """The number of a part by its name; None of one that is not numbered."""
    found = _PART.fullmatch(part)
    return int(found[2]) if found else None


def partition_of(path: str) -> int | None:
    """The partition that a file belongs to by its name; None where it has none."""
    found = _PARTITION.search(path)
    return int(found[1]) if found else None


def find_donors(
    stage_folder: Path, keys: Iterable[str], packages: Collection[str] = (), *, here: bool = True
) -> dict[str, Donor]:
    """Finished parts with these keys among a stage's artifacts, by key.

    Those are passed over that were made with other versions of `packages` than are installed.

    Args:
        stage_folder: the folder of the stage's artifacts.
        keys: of the parts that are wanted.
        packages: that the stage's bytes depend on.
        here: whether their files have to be in the folders, and not their manifests alone.
    """
    wanted, found = set(keys), dict[str, Donor]()
    if not stage_folder.is_dir():
        return found
    for folder in sorted(stage_folder.iterdir()):
        if not wanted - found.keys():
            break
        if not (folder / MANIFEST_NAME).is_file():
            continue
        try:
            manifest = Manifest.read(folder)
        except CorruptArtifact:
            continue  # whoever wants that one is told
        if other_versions(manifest.maker.packages, packages):
            continue
        for place, (part, key) in enumerate(manifest.part_keys.items()):
            if key in wanted and key not in found:
                record = _record_of(manifest, part, place)
                if record is not None and (not here or _is_whole(folder, record)):
                    found[key] = Donor(folder, record)
    return found


def lend_part(donor: Donor, scratch: Path) -> PartRecord:
    """Link (or copy, on another disk) a part's files into `scratch`; gives its record."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for file in donor.record.files:
        link_or_copy(donor.folder / file.path, scratch / file.path)
    return donor.record


def _record_of(manifest: Manifest, part: str, place: int) -> PartRecord | None:
    """What the part gave; None where its files cannot be told from the others'."""
    if len(manifest.part_keys) == 1:
        files, counts = manifest.files, manifest.counts
    else:
        made_by = [_maker_of(file.path, part) for file in manifest.files]
        if None in made_by:
            return None
        files = tuple(f for f, maker in zip(manifest.files, made_by, strict=True) if maker == part)
        counts = manifest.partitions[place]
    return PartRecord(
        files=files,
        counts=counts,
        seconds=0.0,
        cpu_seconds=0.0,
        packages=manifest.maker.packages,
    )


def _maker_of(path: str, like: str) -> str | None:
    """The part, named like `like`, that a file is from; None where its name does not tell."""
    kind = like.partition("-")[0]
    names = "part|shard" if kind == "part" else kind
    found = re.search(rf"(?:^|/)(?:{names})-(\d{{5}})(?=[.-])", path)
    return f"{kind}-{found[1]}" if found else None


def _is_whole(folder: Path, record: PartRecord) -> bool:
    """Whether the files are there with their sizes."""
    try:
        return all((folder / f.path).stat().st_size == f.bytes for f in record.files)
    except OSError:
        return False
