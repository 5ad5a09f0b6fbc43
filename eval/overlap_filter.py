"""The n-gram filter: the 8-grams of the training text as Bloom filters, made a partition at a time.

The text is the corpus artifact's `train` split: the very documents that the shards hold as tokens,
each by itself and with its `link_id`. (Decoding the shards would give the same words more slowly,
and n-grams across the seams of documents, which no document holds.)

A partition's 8-grams are hashed, and every `segment_ngrams` of them sorted, rid of repeats and put
into a filter of their own, so memory does not grow with the corpus. All filters together are the
artifact; an 8-gram is in it if one of them says so. Each keeps its share of the whole rate:
segment i of a partition gets 1 / ((i + 1)(i + 2)) of the partition's share, which add up to one
however many segments there are, and nothing depends on who makes which partition when.

Arithmetic for WebText's size, 9 billion tokens and so fewer words (a word has a token at least), in
1,024 partitions, at a whole rate of 1e-8: a segment's rate is 0.9e-8 / 1024 / 2 = 4.4e-12, which
takes 39 probes and 55.7 bits an 8-gram, 63 GB of files at most. In memory is one segment: 128 MiB
of hashes, as much again while repeats are removed, and 112 MiB of filter. Two equal 64-bit hashes
are a false positive, too: n / 2^64, 4.9e-10 for 9 billion, for which a tenth of the rate is kept.

    filter/part-00007-000.npy   uint8, (blocks, 4096): the first segment of partition 7
    segments/part-00007.json    what its segments are
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.bloom import Filter, build_filter, contains, false_positive_rate
from eval.errors import EvalError
from eval.overlap_ngrams import MAX_WORDS, Hashes, hash_ngrams
from eval.scorer import Progress

DOCUMENTS_A_BATCH = 256

BLOOM_SHARE = 0.9
"""Part of the rate that the filters' bits may use up; the rest is for equal hashes."""


class FilterConfig(BaseModel):
    """What the filter holds and how often it may be wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ngram_words: int = Field(default=8, ge=1, le=MAX_WORDS)
    """Words of an n-gram; GPT-2's study took 8."""
    false_positive_rate: float = Field(default=1e-8, gt=0, lt=1)
    """Most chance that the whole filter holds what the text does not; GPT-2's study kept 1e-8."""
    segment_ngrams: int = Field(default=1 << 24, ge=1)
    """8-grams of one filter: memory is about 24 bytes for each."""


class PartitionedFilterConfig(FilterConfig):
    """A filter's config and the number of partitions that share its rate."""

    partitions: int = Field(ge=1)
    """Partitions of the corpus."""


class Segment(BaseModel):
    """One filter file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    file: str
    """Path below the artifact."""
    ngrams: int
    """Distinct n-grams in it."""
    probes: int
    """Bits asked for each."""
    rate: float
    """Chance that it holds an n-gram which is none of them, computed from its bits."""


def build_filter_partition(
    *,
    corpus: Path,
    partition: int,
    destination: Path,
    config: PartitionedFilterConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Make the filters of one partition; documents that have no n-gram are counted as lost.

    Raises EvalError where the partition's table cannot be read.
    """
    writer = _SegmentWriter(destination, partition, config)
    path = train_part(corpus, partition)
    total, short = count_documents(path), 0
    for done, document in enumerate(read_documents(path, ["text"]), 1):
        hashes = hash_ngrams(document["text"], config.ngram_words)
        short += not len(hashes)
        writer.add(hashes)
        if done % DOCUMENTS_A_BATCH == 0 or done == total:
            progress(done, total)
    writer.close()
    return {
        "rows_in": total,
        "rows_out": total - short,
        "losses": {f"under_{config.ngram_words}_words": short},
        "facts": {
            "ngrams": writer.ngrams,
            "distinct_ngrams": sum(segment.ngrams for segment in writer.segments),
            "filter_bytes": writer.bytes,
        },
    }


def ask_partition(artifact: Path, partition: int, hashes: Hashes) -> npt.NDArray[np.bool_]:
    """Which of `hashes`, in any order, the filters of a partition hold."""
    found = np.zeros(len(hashes), dtype=np.bool_)
    for segment in read_segments(artifact, partition):
        bits: Filter = np.load(artifact / segment.file, mmap_mode="r")
        found |= contains(bits, segment.probes, hashes)
    return found


def read_segments(artifact: Path, partition: int) -> list[Segment]:
    """What the filters of a partition are."""
    content = json.loads(_segments_path(artifact, partition).read_text("utf-8"))
    return [Segment.model_validate(segment) for segment in content]


def whole_rate(artifact: Path, partitions: int) -> float:
    """Most chance that the whole filter holds what it was not given, from all its bits."""
    segments = [s for partition in range(partitions) for s in read_segments(artifact, partition)]
    return sum(s.rate for s in segments) + sum(s.ngrams for s in segments) / 2**64


def train_part(corpus: Path, partition: int) -> Path:
    """The table of a partition's training documents."""
    return corpus / "train" / f"part-{partition:05d}.parquet"


def count_partitions(corpus: Path) -> int:
    """How many partitions a corpus artifact has. Raises EvalError where it has none."""
    count = len(list((corpus / "train").glob("part-*.parquet")))
    if not count:
        raise EvalError(f"{corpus} holds no training documents; name a corpus artifact")
    return count


def count_documents(path: Path) -> int:
    """Rows of a table. Raises EvalError where it cannot be read."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid) as error:
        raise EvalError(f"cannot read the table {path}: {error}; make the corpus again") from error


def read_documents(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Documents of a table in its order, some at a time."""
    with pq.ParquetFile(path) as source:
        for rows in source.iter_batches(batch_size=DOCUMENTS_A_BATCH, columns=columns):
            yield from rows.to_pylist()


class _SegmentWriter:
    """Gathers hashes and writes a filter whenever it has enough of them."""

    def __init__(self, destination: Path, partition: int, config: PartitionedFilterConfig) -> None:
        self.segments: list[Segment] = []
        self.ngrams = 0
        self.bytes = 0
        self._destination = destination
        self._partition = partition
        self._config = config
        self._hashes = np.empty(0, dtype=np.uint64)
        self._filled = 0

    def add(self, hashes: Hashes) -> None:
        """Take the hashes of a document, which may end in the next segment."""
        self.ngrams += len(hashes)
        while len(hashes):
            taken = hashes[: self._config.segment_ngrams - self._filled]
            self._append(taken)
            hashes = hashes[len(taken) :]
            if self._filled == self._config.segment_ngrams:
                self._write()

    def close(self) -> None:
        """Write what is left, and what the segments are."""
        if self._filled:
            self._write()
        path = _segments_path(self._destination, self._partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = [segment.model_dump() for segment in self.segments]
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    def _append(self, hashes: Hashes) -> None:
        end = self._filled + len(hashes)
        if end > len(self._hashes):
            # Doubling, so that small partitions take little memory.
            room = min(self._config.segment_ngrams, max(end, 2 * len(self._hashes)))
            grown = np.empty(room, dtype=np.uint64)
            grown[: self._filled] = self._hashes[: self._filled]
            self._hashes = grown
        self._hashes[self._filled : end] = hashes
        self._filled = end

    def _write(self) -> None:
        number = len(self.segments)
        share = BLOOM_SHARE / self._config.partitions / ((number + 1) * (number + 2))
        hashes = _distinct(self._hashes[: self._filled])
        bits, shape = build_filter(hashes, self._config.false_positive_rate * share)
        name = f"filter/part-{self._partition:05d}-{number:03d}.npy"
        path = self._destination / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, bits, allow_pickle=False)
        rate = false_positive_rate(bits, shape.probes)
        self.segments.append(Segment(file=name, ngrams=len(hashes), probes=shape.probes, rate=rate))
        self.bytes += bits.nbytes
        self._filled = 0


def _distinct(hashes: Hashes) -> Hashes:
    """Sort `hashes` where they lie and give them without repeats."""
    hashes.sort()
    keep = np.ones(len(hashes), dtype=np.bool_)
    np.not_equal(hashes[1:], hashes[:-1], out=keep[1:])
    return hashes[keep]


def _segments_path(artifact: Path, partition: int) -> Path:
    return artifact / "segments" / f"part-{partition:05d}.json"
