"""Duplicates: which documents are copies or near-copies of another, and which one is kept.

Made from all partitions of signatures. Two documents are duplicates when their normalised texts are
equal, or when their signatures agree in a band (`rows` minima in succession, `bands` bands) and
then in at least `min_similarity` of all minima. Duplicates of duplicates belong together: clusters
are the connected components. Of each, the document with the highest karma is kept, then the
earliest submitted, then the smallest key; so the result is a function of the set of documents, not
of their order or partitions.

Built for millions: signatures go to a scratch file, band by band; a pass holds one band in memory
and, besides, about 60 bytes a document. No Python object is made for a document.
"""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress
from webtext.errors import ConfigError, SourceError
from webtext.tables import DUPLICATES, LINK_ID, write_table

NEIGHBOURS = 8
"""Within a bucket, each document is compared with the best-ranked one and with so many before it.
Buckets of up to nine are compared in full."""

PAIRS_A_CHUNK = 50_000
"""Candidate pairs verified at a time: 2 × 22 MB of minima at 112 permutations."""

_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)


class DuplicatesConfig(StageConfig):
    """What counts as a duplicate."""

    bands: int = Field(default=14, ge=1)
    """Bands of the signature that are looked up, each by itself."""
    rows: int = Field(default=8, ge=1)
    """Minima in a band. A pair of similarity s becomes a candidate with probability
    1 - (1 - s^rows)^bands: at 14 × 8, 0.77 for s = 0.75 and 0.92 for s = 0.8."""
    min_similarity: float = Field(default=0.75, gt=0, le=1)
    """Least estimated Jaccard similarity of a near-duplicate, as a share of equal minima."""


class _Documents(NamedTuple):
    """All documents, the best-ranked first: a document is known by its rank from here on."""

    keys: NDArray[np.uint64]
    """`link_id` as two numbers, high and low: shape (documents, 2)."""
    places: NDArray[np.int32]
    """The row of `minima` that is the document's."""
    minima: NDArray[np.uint32]
    """Signatures in the order read, a file mapped into memory: (documents, permutations)."""


def collision_probability(similarity: float, bands: int, rows: int) -> float:
    """The probability that two documents of this Jaccard similarity agree in at least one band."""
    return float(1 - (1 - similarity**rows) ** bands)


def find_duplicates(
    *, signatures: Path, destination: Path, config: DuplicatesConfig, progress: Progress
) -> Counts:
    """Write `duplicates/duplicates.parquet` for all partitions of the signatures artifact.

    Raises:
        SourceError: no partition is there, or one cannot be read.
        ConfigError: the signatures are shorter than `bands` × `rows`.
    """
    parts = sorted((signatures / "signatures").glob("part-*.parquet"))
    permutations = _count_permutations(signatures, parts)
    if config.bands * config.rows > permutations:
        raise ConfigError(
            f"{config.bands} bands of {config.rows} rows need {config.bands * config.rows} "
            f"minima, but signatures in {signatures} have {permutations}. Set permutations of "
            f"signatures to at least that, or fewer bands."
        )
    scratch = destination / "scratch"
    scratch.mkdir(parents=True)
    try:
        documents, originals = _read_documents(parts, permutations, scratch / "minima")
        survivors = originals.copy()
        for band in range(config.bands):
            progress(band, config.bands)
            _join_band(documents, originals, survivors, band, config)
        progress(config.bands, config.bands)
        table, losses = _name_duplicates(documents, originals, survivors)
    finally:
        shutil.rmtree(scratch)
    write_table(destination / "duplicates" / "duplicates.parquet", table)
    total = survivors.size
    return Counts(rows_in=total, rows_out=total - table.num_rows, losses=losses)


def _count_permutations(signatures: Path, parts: list[Path]) -> int:
    """The length of the signatures, which must be that of all partitions."""
    lengths = [int(_read_schema(path).field("signature").type.byte_width) // 4 for path in parts]
    if len(set(lengths)) != 1:
        raise SourceError(
            f"{signatures} holds {len(parts)} partitions of signatures of "
            f"{sorted(set(lengths)) or 'no'} permutations; one or more partitions of one "
            f"length are expected. Make the signatures again."
        )
    return lengths[0]


def _read_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"cannot read the table {path}: {error}") from error


def _read_documents(
    parts: list[Path], permutations: int, scratch: Path
) -> tuple[_Documents, NDArray[np.int32]]:
    """Read all signatures, and join the exact duplicates: each document's best equal by rank."""
    total = sum(pq.read_metadata(path).num_rows for path in parts)
    keys = np.empty((total, 2), dtype=np.uint64)
    digests = np.empty((total, 2), dtype=np.uint64)
    karma = np.empty(total, dtype=np.int32)
    created = np.empty(total, dtype=np.int64)
    shape = (max(total, 1), permutations)
    minima = np.memmap(scratch, mode="w+", dtype=np.uint32, shape=shape)
    start = 0
    for rows in _read_batches(parts):
        end = start + rows.num_rows
        keys[start:end] = _fixed_binary(rows.column("link_id"), ">u8")
        digests[start:end] = _fixed_binary(rows.column("text_digest"), ">u8")
        karma[start:end] = rows.column("karma").to_numpy()
        created[start:end] = rows.column("first_created_utc").to_numpy()
        minima[start:end] = _fixed_binary(rows.column("signature"), "<u4")
        start = end
    # The rule of survival: highest karma, earliest submission, smallest key.
    places = np.lexsort((keys[:, 1], keys[:, 0], created, -karma.astype(np.int64)))
    documents = _Documents(keys[places], places.astype(np.int32), minima)
    return documents, _first_equal(digests[places])


def _read_batches(parts: list[Path]) -> Iterator[pa.RecordBatch]:
    for path in parts:
        with pq.ParquetFile(path) as source:
            yield from source.iter_batches(batch_size=10_000)


def _fixed_binary(column: pa.FixedSizeBinaryArray, dtype: str) -> NDArray[np.unsignedinteger]:
    """A column of fixed-size binary as numbers, a row a value."""
    width = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    data = data[column.offset * width : (column.offset + len(column)) * width]
    numbers: NDArray[np.unsignedinteger] = data.view(dtype).reshape(len(column), -1)
    return numbers


def _first_equal(digests: NDArray[np.uint64]) -> NDArray[np.int32]:
    """For each rank, the least rank of equal digest."""
    order = np.lexsort((digests[:, 1], digests[:, 0])).astype(np.int32)
    ordered = digests[order]
    new = np.ones(order.size, dtype=np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(order.size, dtype=np.int32)
    # lexsort is stable, so the first of each run has the least rank.
    first[order] = order[new][np.cumsum(new) - 1]
    return first


def _join_band(
    documents: _Documents,
    originals: NDArray[np.int32],
    survivors: NDArray[np.int32],
    band: int,
    config: DuplicatesConfig,
) -> None:
    """Join, in `survivors`, the similar documents of every bucket of one band.

    Exact duplicates share a signature, so one of them stands for all.
    """
    ranks = np.flatnonzero(originals == np.arange(originals.size)).astype(np.int32)
    hashes = _hash_band(documents.minima, slice(band * config.rows, (band + 1) * config.rows))
    members, starts = _crowded_buckets(hashes, ranks, documents.places)
    positions = np.arange(members.size)
    needed = math.ceil(config.min_similarity * documents.minima.shape[1] - 1e-9)
    for distance in range(1, NEIGHBOURS + 1):
        later = positions[positions - distance >= starts]
        _join_similar(documents, survivors, members[later - distance], members[later], needed)
    later = positions[positions - NEIGHBOURS > starts]
    _join_similar(documents, survivors, members[starts[later]], members[later], needed)


def _hash_band(minima: NDArray[np.uint32], columns: slice) -> NDArray[np.uint64]:
    """A hash of each document's minima in `columns`, in the order read."""
    hashes = np.zeros(minima.shape[0], dtype=np.uint64)
    for start in range(0, minima.shape[0], PAIRS_A_CHUNK):
        chunk = slice(start, start + PAIRS_A_CHUNK)
        for column in minima[chunk, columns].T:
            mixed = (hashes[chunk] ^ column) * _FIBONACCI
            hashes[chunk] = mixed ^ (mixed >> np.uint64(32))
    return hashes


def _crowded_buckets(
    hashes: NDArray[np.uint64], ranks: NDArray[np.int32], places: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The ranks in buckets of two and more, bucket after bucket, the best-ranked first.

    With them, for each position, the position where its bucket starts.
    """
    hashes = hashes[places[ranks]]
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    like_last = np.zeros(order.size, dtype=np.bool_)
    like_last[1:] = ordered[1:] == ordered[:-1]
    crowded = like_last.copy()
    crowded[:-1] |= like_last[1:]
    members = ranks[order[crowded]]
    firsts = np.flatnonzero(~like_last[crowded])
    return members, np.repeat(firsts, np.diff(np.append(firsts, members.size)))


def _join_similar(
    documents: _Documents,
    survivors: NDArray[np.int32],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    needed: int,
) -> None:
    """Join the pairs that are not yet joined and agree in `needed` minima."""
    apart = survivors[left] != survivors[right]
    left, right = left[apart], right[apart]
    similar = _count_equal(documents, left, right) >= needed
    _join_pairs(survivors, left[similar], right[similar])


def _count_equal(
    documents: _Documents, left: NDArray[np.int32], right: NDArray[np.int32]
) -> NDArray[np.int32]:
    """How many minima each pair of documents shares."""
    equal = np.empty(left.size, dtype=np.int32)
    for start in range(0, left.size, PAIRS_A_CHUNK):
        chunk = slice(start, start + PAIRS_A_CHUNK)
        one = documents.minima[documents.places[left[chunk]]]
        other = documents.minima[documents.places[right[chunk]]]
        equal[chunk] = np.count_nonzero(one == other, axis=1)
    return equal


def _join_pairs(
    survivors: NDArray[np.int32], left: NDArray[np.int32], right: NDArray[np.int32]
) -> None:
    """Join the clusters of each pair; a cluster's survivor is its least rank."""
    if left.size == 0:
        return
    # Imported here: half a second that whoever reads the config alone need not spend.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    clusters, inverse = np.unique(
        np.concatenate((survivors[left], survivors[right])), return_inverse=True
    )
    pairs = (np.ones(left.size, dtype=np.int8), (inverse[: left.size], inverse[left.size :]))
    graph = coo_array(pairs, shape=(clusters.size, clusters.size))
    count, component = connected_components(graph, directed=False)
    best = np.full(count, np.iinfo(np.int32).max, dtype=np.int32)
    np.minimum.at(best, component, clusters)
    joined = np.arange(survivors.size, dtype=np.int32)
    joined[clusters] = best[component]
    survivors[:] = joined[survivors]


def _name_duplicates(
    documents: _Documents, originals: NDArray[np.int32], survivors: NDArray[np.int32]
) -> tuple[pa.Table, dict[str, int]]:
    """The duplicates table, and the losses by kind."""
    removed = np.flatnonzero(survivors != np.arange(survivors.size)).astype(np.int32)
    keys = documents.keys[removed]
    removed = removed[np.lexsort((keys[:, 1], keys[:, 0]))]
    kept = survivors[removed]
    exact = originals[removed] == originals[kept]
    similarity = _count_equal(documents, removed, kept) / documents.minima.shape[1]
    columns = [
        _link_ids(documents.keys[removed]),
        _link_ids(documents.keys[kept]),
        pa.array(np.where(exact, "exact", "near"), pa.string()),
        pa.array(similarity.astype(np.float32)),
    ]
    losses = {
        "exact_duplicate": int(np.count_nonzero(exact)),
        "near_duplicate": int(np.count_nonzero(~exact)),
    }
    return pa.Table.from_arrays(columns, schema=DUPLICATES), losses


def _link_ids(keys: NDArray[np.uint64]) -> pa.FixedSizeBinaryArray:
    data = pa.py_buffer(np.ascontiguousarray(keys.astype(">u8")).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(LINK_ID, len(keys), [None, data])
