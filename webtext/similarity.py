"""How similar pairs of ranked documents are: estimated from signatures, or counted from texts."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from webtext.errors import SourceError
from webtext.ranked import Ranked, fixed_binary, forget_pages, map_rows
from webtext.shingles import hash_documents
from webtext.signatures import text_batches
from webtext.tables import reading

PAIRS_A_CHUNK = 8_000
"""Pairs compared at a time. Their rows' pages stay mapped for as long: at most 1 GiB, where the
system maps 64 KiB around each; the system may take them back, they are no private memory."""

Ranks = NDArray[np.int32]
Similarity = Callable[[Ranks, Ranks], NDArray[np.float64]]
"""Gives the similarity of each pair of ranks."""


def by_signature(ranked: Ranked) -> Similarity:
    """The share of equal minima."""
    minima = ranked.minima()

    def compare_by_place(left: Ranks, right: Ranks) -> NDArray[np.float64]:
        """Compare in the order of the left rows in the file, so that their pages are read once."""
        order = np.argsort(ranked.places[left])
        similarity = np.empty(left.size, dtype=np.float64)
        similarity[order] = chunked(left[order], right[order])
        return similarity

    def compare(left: Ranks, right: Ranks) -> NDArray[np.float64]:
        one, other = minima[ranked.places[left]], minima[ranked.places[right]]
        forget_pages(minima)
        share: NDArray[np.float64] = np.count_nonzero(one == other, axis=1) / ranked.permutations
        return share

    chunked = _in_chunks(compare)
    return compare_by_place


def by_jaccard(
    ranked: Ranked, wanted: NDArray[np.bool_], documents: Sequence[Path], shingle_words: int
) -> Similarity:
    """The Jaccard similarity of the sets of shingles, told apart by their 32-bit hashes.

    Args:
        ranked: the documents.
        wanted: for each rank, whether it may be asked for.
        documents: the documents artifact of each signatures artifact.
        shingle_words: words of a shingle.

    Raises:
        SourceError: a table cannot be read, or is not that of the signatures.
    """
    starts = np.zeros(ranked.places.size, dtype=np.int64)
    counts = np.zeros(ranked.places.size, dtype=np.int32)
    path, written = ranked.scratch / "shingles", 0
    with path.open("wb") as file:
        for ranks, texts in _wanted_texts(ranked, wanted, documents):
            for batch in text_batches(texts):
                shingles = hash_documents(texts[batch], shingle_words)
                shingles.hashes.tofile(file)
                starts[ranks[batch]] = written + shingles.starts[:-1]
                counts[ranks[batch]] = np.diff(shingles.starts)
                written += shingles.hashes.size
    hashes = map_rows(path, np.uint32, 1)

    def gather(ranks: Ranks) -> NDArray[np.uint64]:
        """The pairs' hashes below the pair's number."""
        lengths = counts[ranks].astype(np.int64)
        ends = np.cumsum(lengths)
        offsets = np.repeat(starts[ranks] - (ends - lengths), lengths) + np.arange(lengths.sum())
        pairs = np.repeat(np.arange(ranks.size, dtype=np.uint64), lengths)
        numbered: NDArray[np.uint64] = pairs << np.uint64(32) | hashes[offsets, 0]
        return numbered

    def compare(left: Ranks, right: Ranks) -> NDArray[np.float64]:
        both = np.sort(np.concatenate((gather(left), gather(right))))
        forget_pages(hashes)
        common = both[1:][both[1:] == both[:-1]] >> np.uint64(32)
        shared = np.bincount(common.astype(np.int64), minlength=left.size)
        return shared / (counts[left].astype(np.int64) + counts[right] - shared)

    return _in_chunks(compare, 200)


def _in_chunks(compare: Similarity, pairs: int = PAIRS_A_CHUNK) -> Similarity:
    def chunked(left: Ranks, right: Ranks) -> NDArray[np.float64]:
        similarity = np.empty(left.size, dtype=np.float64)
        for start in range(0, left.size, pairs):
            chunk = slice(start, start + pairs)
            similarity[chunk] = compare(left[chunk], right[chunk])
        return similarity

    return chunked


def _wanted_texts(
    ranked: Ranked, wanted: NDArray[np.bool_], documents: Sequence[Path]
) -> Iterator[tuple[Ranks, list[str]]]:
    """The wanted ranks and their texts, in the order of the tables."""
    ranks = np.empty(ranked.places.size, dtype=np.int32)
    ranks[ranked.places] = np.arange(ranks.size, dtype=np.int32)
    keys = ranked.keys()
    for artifact, start, end in zip(documents, ranked.bounds[:-1], ranked.bounds[1:], strict=True):
        row = start
        for rows in _read_texts(artifact):
            here = slice(row, row + rows.num_rows)
            mine = fixed_binary(rows.column("link_id"), ">u8")
            if here.stop > end or not np.array_equal(mine, keys[here]):
                raise SourceError(f"{artifact} does not hold the documents that were signed")
            chosen = np.flatnonzero(wanted[ranks[here]])
            yield ranks[here][chosen], rows.column("text").take(pa.array(chosen)).to_pylist()
            row = here.stop
        if row != end:
            raise SourceError(f"{artifact} does not hold the documents that were signed")


def _read_texts(artifact: Path) -> Iterator[pa.RecordBatch]:
    for path in sorted((artifact / "documents").glob("part-*.parquet")):
        with reading(path), pq.ParquetFile(path) as source:
            yield from source.iter_batches(batch_size=2_000, columns=["link_id", "text"])
