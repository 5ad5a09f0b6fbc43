"""The documents of one or more signatures artifacts, ranked, with their minima in scratch files.

Earlier artifacts come first, oldest first; within one, the rule of survival: highest karma,
earliest submission, smallest key. Per document, only numbers of 4 and 8 bytes are held in memory;
keys, minima and the hashes of the bands lie in files, which are read by mapping or in one run.
"""

import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from webtext.errors import ConfigError, SourceError
from webtext.tables import SIGNATURES_METADATA, reading

_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)
_ROWS_A_BATCH = 10_000
_RANKS_A_CHUNK = 1 << 20


@dataclass(frozen=True)
class Ranked:
    """All documents: known by rank, the best first; stored by row, in the order read."""

    places: NDArray[np.int32]
    """The row of each rank."""
    originals: NDArray[np.int32]
    """For each rank, the least rank of equal normalised text."""
    bounds: tuple[int, ...]
    """Where each artifact's rows, and so its ranks, start; and the end of all."""
    permutations: int
    scratch: Path

    @property
    def old(self) -> int:
        """How many ranks, the first ones, belong to earlier artifacts."""
        return self.bounds[-2]

    def keys(self) -> NDArray[np.uint64]:
        """`link_id` of each row as two numbers, high and low, mapped from its file."""
        return map_rows(self.scratch / "keys", np.uint64, 2)

    def minima(self) -> NDArray[np.uint32]:
        """The signature of each row, mapped from its file."""
        return map_rows(self.scratch / "minima", np.uint32, self.permutations)

    def crowded(self, band: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The ranks in buckets of two and more, bucket after bucket, the best-ranked first.

        With them, for each position, the position where its bucket starts. Of documents of equal
        text only the best-ranked is there. A hash and a rank share 64 bits, so that one sort in
        place does: below a hundred million documents 37 bits and more are left to tell bands apart.
        """
        hashes = np.fromfile(self.scratch / f"band-{band}", dtype=np.uint64)
        ranks = np.flatnonzero(self.originals == np.arange(self.originals.size, dtype=np.int32))
        ranks = ranks.astype(np.int32)
        bits = np.uint64(max(1, int(self.places.size - 1).bit_length()))
        packed = np.empty(ranks.size, dtype=np.uint64)
        for start in range(0, ranks.size, _RANKS_A_CHUNK):
            chunk = ranks[start : start + _RANKS_A_CHUNK]
            packed[start : start + chunk.size] = hashes[self.places[chunk]] << bits | chunk.astype(
                np.uint64
            )
        del hashes, ranks
        packed.sort()
        like_last = np.zeros(packed.size, dtype=np.bool_)
        like_last[1:] = (packed[1:] ^ packed[:-1]) >> bits == 0
        crowded = like_last.copy()
        crowded[:-1] |= like_last[1:]
        members = (packed[crowded] & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int32)
        firsts = np.flatnonzero(~like_last[crowded])
        sizes = np.diff(np.append(firsts, members.size))
        return members, np.repeat(firsts.astype(np.int32), sizes)


def rank_documents(artifacts: Sequence[Path], scratch: Path, bands: int, rows: int) -> Ranked:
    """Read signatures artifacts, oldest first, into `scratch`.

    Raises:
        SourceError: no partition is there, or one cannot be read.
        ConfigError: signatures of different settings, or shorter than `bands` × `rows`.
    """
    parts = [sorted((artifact / "signatures").glob("part-*.parquet")) for artifact in artifacts]
    permutations = _check_settings(artifacts, parts)
    if bands * rows > permutations:
        raise ConfigError(
            f"{bands} bands of {rows} rows need {bands * rows} minima, but signatures in "
            f"{artifacts[-1]} have {permutations}. Set permutations of signatures to at least "
            f"that, or fewer bands."
        )
    sizes = [sum(pq.read_metadata(path).num_rows for path in paths) for paths in parts]
    bounds = tuple(int(bound) for bound in np.cumsum([0, *sizes]))
    karma = np.empty(bounds[-1], dtype=np.int32)
    created = np.empty(bounds[-1], dtype=np.int64)
    _spill([path for paths in parts for path in paths], scratch, (bands, rows), karma, created)
    places = _rank(map_rows(scratch / "keys", np.uint64, 2), karma, created, bounds)
    del karma, created
    originals = _first_equal(map_rows(scratch / "digests", np.uint64, 2), places)
    return Ranked(places, originals, bounds, permutations, scratch)


def count_documents(artifacts: Sequence[Path]) -> int:
    """How many documents signatures artifacts hold; 0 where one cannot be read."""
    paths = [path for each in artifacts for path in (each / "signatures").glob("part-*.parquet")]
    try:
        return sum(pq.read_metadata(path).num_rows for path in paths)
    except (OSError, pa.ArrowInvalid):
        return 0  # whoever reads them tells what is wrong


def map_rows(path: Path, dtype: Any, width: int) -> NDArray[Any]:
    """A file of rows as an array that is read where it is touched; without rows, an empty one."""
    count = path.stat().st_size // (np.dtype(dtype).itemsize * width)
    if count == 0:
        return np.empty((0, width), dtype=dtype)
    return np.memmap(path, mode="r", dtype=dtype, shape=(count, width))


def forget_pages(mapped: NDArray[Any]) -> None:
    """Let go of the pages that reading a mapped file brought in; they are read again at need."""
    pages = getattr(mapped, "_mmap", None)
    if pages is not None:
        pages.madvise(mmap.MADV_DONTNEED)


def _check_settings(artifacts: Sequence[Path], parts: list[list[Path]]) -> int:
    """The length of the signatures; all partitions must be made with the same settings."""
    found: dict[str, Path] = {}
    for artifact, paths in zip(artifacts, parts, strict=True):
        schemas = [_read_schema(path) for path in paths]
        lengths = {int(schema.field("signature").type.byte_width) // 4 for schema in schemas}
        if len(lengths) != 1:
            raise SourceError(
                f"{artifact} holds {len(paths)} partitions of signatures of "
                f"{sorted(lengths) or 'no'} permutations; one or more partitions of one "
                f"length are expected. Make the signatures again."
            )
        for schema in schemas:
            settings = (schema.metadata or {}).get(SIGNATURES_METADATA, b"{}").decode()
            found.setdefault(json.dumps([lengths.copy().pop(), settings]), artifact)
    if len(found) > 1:
        told = "; ".join(f"{artifact}: {settings}" for settings, artifact in found.items())
        raise ConfigError(
            f"signatures made with different settings cannot be compared ({told}). Make those of "
            f"the new documents with the settings of the earlier ones."
        )
    return int(json.loads(next(iter(found)))[0])


def _read_schema(path: Path) -> pa.Schema:
    with reading(path):
        return pq.read_schema(path)


def _spill(
    parts: Sequence[Path],
    scratch: Path,
    banding: tuple[int, int],
    karma: NDArray[np.int32],
    created: NDArray[np.int64],
) -> None:
    """Write keys, digests, minima and the hash of each band to files; fill karma and created."""
    bands, rows = banding
    names = ("keys", "digests", "minima", *(f"band-{band}" for band in range(bands)))
    files = [(scratch / name).open("wb") for name in names]
    start = 0
    try:
        for batch in _read_batches(parts):
            end = start + batch.num_rows
            karma[start:end] = batch.column("karma").to_numpy()
            created[start:end] = batch.column("first_created_utc").to_numpy()
            minima = fixed_binary(batch.column("signature"), "<u4")
            fixed_binary(batch.column("link_id"), ">u8").astype(np.uint64).tofile(files[0])
            fixed_binary(batch.column("text_digest"), ">u8").astype(np.uint64).tofile(files[1])
            minima.tofile(files[2])
            for band, file in enumerate(files[3:]):
                _hash_band(minima[:, band * rows : (band + 1) * rows]).tofile(file)
            start = end
    finally:
        for file in files:
            file.close()


def _read_batches(parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in parts:
        with pq.ParquetFile(path) as source:
            yield from source.iter_batches(batch_size=_ROWS_A_BATCH)


def fixed_binary(column: pa.FixedSizeBinaryArray, dtype: str) -> NDArray[Any]:
    """A column of fixed-size binary as numbers, a row a value."""
    width = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    data = data[column.offset * width : (column.offset + len(column)) * width]
    return data.view(dtype).reshape(len(column), -1)


def _hash_band(minima: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """A hash of each row."""
    hashes = np.zeros(minima.shape[0], dtype=np.uint64)
    for column in minima.T:
        hashes = (hashes ^ column) * _FIBONACCI
        hashes ^= hashes >> np.uint64(32)
    return hashes


def _rank(
    keys: NDArray[np.uint64],
    karma: NDArray[np.int32],
    created: NDArray[np.int64],
    bounds: tuple[int, ...],
) -> NDArray[np.int32]:
    """The rows by rank, each artifact's by the rule of survival."""
    places = np.empty(karma.size, dtype=np.int32)
    for start, end in pairwise(bounds):
        rows = slice(start, end)
        # ~karma falls as karma rises, and unlike -karma it never overflows.
        order = np.lexsort((keys[rows, 1], keys[rows, 0], created[rows], ~karma[rows]))
        order += start
        places[rows] = order
    forget_pages(keys)
    return places


def _first_equal(digests: NDArray[np.uint64], places: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each rank, the least rank of equal digest."""
    digests = digests[places]
    order = np.lexsort((digests[:, 1], digests[:, 0])).astype(np.int32)
    new = np.zeros(order.size, dtype=np.bool_)
    new[:1] = True
    for half in (0, 1):
        ordered = digests[order, half]
        new[1:] |= ordered[1:] != ordered[:-1]
    del digests, ordered
    runs = np.cumsum(new, dtype=np.int32)
    runs -= 1
    first = np.empty(order.size, dtype=np.int32)
    # lexsort is stable, so the first of each run has the least rank.
    first[order] = order[new][runs]
    return first
