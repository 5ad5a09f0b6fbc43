"""Indexes: in which partition a key is, for keys that do not say so themselves.

A URL names its partition by its domain; a `link_id` or a submission's id alone does not, and to ask
each of a thousand partitions takes seconds. So the keys of an artifact are listed once, sorted, in
flat arrays that are memory-mapped: a search reads a few pages, whatever their number.

    STORE/index/links-FINGERPRINT12/keys.npy         uint64, the first 8 bytes of `link_id`, sorted
                                    partitions.npy   uint32
    STORE/index/submissions-FINGERPRINT12/keys.npy   uint64, a hash of the submission's id, sorted
                                          partitions.npy   uint32
                                          links.npy        16 bytes, the `link_id`

An index is made from a finished artifact when it is first needed, in bounded memory, and can be
thrown away: it is made again. Two keys may share their 8 bytes, so whoever finds a partition looks
there for the whole key.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.errors import CorruptArtifact, StoreError
from infra.lineage_build import Known
from infra.lineage_tables import value_set, whole_numbers

FOLDER = "index"
"""The folder of a store that holds them."""

_BUCKETS = 256
_DIGITS = 12
_ID_CHARACTERS = 12
"""Base-36 digits that 64 bits hold; Reddit's ids have up to 8."""

Keys = NDArray[np.uint64]
LinkIds = NDArray[np.void]
Indexing = Callable[[str, int, int], None]
"""Told of an index being made: of which artifact, files read, files in all."""


class Place(NamedTuple):
    """Where a key may be."""

    partition: int
    link_id: bytes | None
    """Of the link, where the key is a submission's."""


@dataclass(frozen=True)
class KeyIndex:
    """The mapped arrays of one index."""

    keys: Keys
    partitions: NDArray[np.uint32]
    links: LinkIds | None

    def find(self, key: int) -> list[Place]:
        """Every place where a key of these 8 bytes is, mostly one or none."""
        wanted = np.uint64(key)
        first = int(np.searchsorted(self.keys, wanted, side="left"))
        last = int(np.searchsorted(self.keys, wanted, side="right"))
        return [
            Place(int(self.partitions[at]), None if self.links is None else bytes(self.links[at]))
            for at in range(first, last)
        ]


def open_links(root: Path, links: Known, told: Indexing) -> KeyIndex:
    """The index of a links artifact by `link_id`; made where it is not there yet."""
    return _open(root, f"links-{_short(links)}", links, told, _link_keys, with_links=False)


def open_submissions(root: Path, submissions: Known, told: Indexing) -> KeyIndex:
    """The index of a submissions artifact by the submissions' ids; made where it is not there."""
    name = f"submissions-{_short(submissions)}"
    return _open(root, name, submissions, told, _submission_keys, with_links=True)


def link_key(link_id: bytes) -> int:
    """What stands for a `link_id` in an index."""
    return int.from_bytes(link_id[:8], "big")


def submission_key(identifier: str) -> int | None:
    """What stands for a submission's id in an index; None where it is no such id."""
    if not 0 < len(identifier) <= _ID_CHARACTERS or not (
        identifier.isascii() and identifier.isalnum()
    ):
        return None
    return int(_id_keys(value_set([identifier], pa.string()))[0])


Columns = tuple[Keys, NDArray[np.uint32], LinkIds | None]
Reader = Callable[[Known, Callable[[int, int], None]], Iterator[Columns]]


def _open(
    root: Path, name: str, artifact: Known, told: Indexing, read: Reader, *, with_links: bool
) -> KeyIndex:
    folder = root / FOLDER / name
    if not folder.is_dir():
        try:
            _make(folder, read(artifact, lambda a, b: told(artifact.label, a, b)), with_links)
        except OSError as error:
            raise StoreError(
                f"the index {folder} cannot be written ({error.strerror}): make the store writable"
            ) from error
    names = ["keys", "partitions", *(["links"] if with_links else [])]
    try:
        arrays = [np.load(folder / f"{each}.npy", mmap_mode="r") for each in names]
    except (OSError, ValueError) as error:
        raise CorruptArtifact(f"{folder} is damaged; remove it, it is made again") from error
    return KeyIndex(arrays[0], arrays[1], arrays[2] if with_links else None)


def _make(folder: Path, columns: Iterator[Columns], with_links: bool) -> None:
    """Deal the keys to buckets by their first byte, sort each, and put it in place whole."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    kind = np.dtype([("key", "<u8"), ("partition", "<u4"), *([("link", "V16")] * with_links)])
    total = _deal(aside, columns, kind)
    fields = {"key": "keys", "partition": "partitions", "link": "links"}
    outputs = {field: _array(aside / f"{fields[field]}.npy", kind[field], total)
               for field in kind.names or ()}  # fmt: skip
    for number in range(_BUCKETS):
        path = aside / f"bucket-{number}"
        rows = np.fromfile(path, dtype=kind)
        rows.sort(order=["key", "partition"])
        for field, output in outputs.items():
            output.write(np.ascontiguousarray(rows[field]).tobytes())
        path.unlink()
    for output in outputs.values():
        output.close()
    try:
        aside.rename(folder)
    except OSError:  # another process was quicker
        if not folder.is_dir():
            raise
        shutil.rmtree(aside)


def _deal(aside: Path, columns: Iterator[Columns], kind: np.dtype[np.void]) -> int:
    files = [(aside / f"bucket-{number}").open("wb") for number in range(_BUCKETS)]
    total = 0
    for keys, partitions, links in columns:
        rows = np.empty(len(keys), dtype=kind)
        rows["key"], rows["partition"] = keys, partitions
        if links is not None:
            rows["link"] = links
        buckets = (keys >> np.uint64(56)).astype(np.uint8)
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(_BUCKETS), side="right")
        rows = rows[order]
        for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if end > start:
                files[number].write(rows[start:end].tobytes())
        total += len(keys)
    for file in files:
        file.close()
    return total


def _array(path: Path, kind: np.dtype[np.void], length: int) -> BinaryIO:
    """A `.npy` file whose numbers are written one block after the other."""
    file = path.open("wb")
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False,
              "shape": (length,)}  # fmt: skip
    np.lib.format.write_array_header_1_0(file, header)
    return file


def _link_keys(links: Known, progress: Callable[[int, int], None]) -> Iterator[Columns]:
    parts = links.parts("links")
    for partition, path in enumerate(parts):
        for table in _batches(path, ["link_id"]):
            keys = _first_bytes(table["link_id"])
            yield keys, np.full(len(keys), partition, np.uint32), None
        progress(partition + 1, len(parts))


def _submission_keys(submissions: Known, progress: Callable[[int, int], None]) -> Iterator[Columns]:
    dumps = submissions.parts("submissions")
    for number, path in enumerate(dumps, 1):
        for table in _batches(path, ["partition", "link_id", "id"]):
            partitions = whole_numbers(table["partition"]).astype(np.uint32)
            yield _id_keys(table["id"]), partitions, _link_ids(table["link_id"])
        progress(number, len(dumps))


def _batches(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1 << 18, columns=columns):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as error:
        raise CorruptArtifact(f"cannot read the table {path}: {error}") from error


def _link_ids(column: pa.ChunkedArray) -> LinkIds:
    array = _whole(column)
    raw = np.frombuffer(array.buffers()[1] or b"", dtype="V16")
    return raw[array.offset : array.offset + len(array)]


def _first_bytes(column: pa.ChunkedArray) -> Keys:
    """The first 8 of each 16 bytes, as numbers that sort as the bytes do."""
    return _link_ids(column).view(">u8").reshape(-1, 2)[:, 0].astype(np.uint64)


def _id_keys(column: pa.ChunkedArray | pa.Array) -> Keys:
    """Ids as base-36 numbers, mixed so that they spread over all buckets (SplitMix64's finaliser).

    What is no base-36 digit counts as some digit: a key may then stand for several ids.
    """
    array = _whole(column)
    ends = np.frombuffer(array.buffers()[1] or b"\0" * 4, dtype=np.int32)
    ends = ends[array.offset : array.offset + len(array) + 1].astype(np.int64)
    letters = np.frombuffer(array.buffers()[2] or b"", dtype=np.uint8)
    value = np.zeros(len(array), np.uint64)
    for place in range(_ID_CHARACTERS):
        at = ends[:-1] + place
        used = at < ends[1:]
        codes = letters[at[used]].astype(np.uint64)
        digits = np.where(codes >= 97, codes - np.uint64(87), codes - np.uint64(48))
        value[used] = value[used] * np.uint64(36) + digits
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)), dtype=np.uint64)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else value_set([], column.type)
    return column


def _short(artifact: Known) -> str:
    return artifact.manifest.fingerprint[:_DIGITS]
