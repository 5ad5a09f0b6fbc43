"""The exact pass: which training documents hold which n-grams of the benchmarks.

The filter tells which n-grams a partition may hold; only those are looked for in its documents,
word by word, so what the filter said yes to by mistake is found out and counted. A partition that
may hold none is not read at all.

    hits/part-00007.parquet   a row a document and n-gram, in the order of `link_id`
    asked/part-00007.json     what the filter was asked, and how often it was wrong
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.overlap_benchmarks import finder_of, read_hashes
from eval.overlap_filter import (
    DOCUMENTS_A_BATCH,
    ask_partition,
    count_documents,
    read_documents,
    train_part,
)
from eval.overlap_find import NgramFinder
from eval.overlap_ngrams import MAX_WORDS
from eval.scorer import Progress

HITS = pa.schema(
    [
        pa.field("link_id", pa.binary(16), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("ngram", pa.int32(), nullable=False),
        pa.field("times", pa.int32(), nullable=False),
    ]
)

_ROWS_A_GROUP = 65_536


class HitsConfig(BaseModel):
    """What is looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ngram_words: int = Field(default=8, ge=1, le=MAX_WORDS)
    """Words of an n-gram."""


class Asked(BaseModel):
    """How one partition's filter answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    asked: int
    """Distinct n-grams asked of it."""
    likely: int
    """Those it said yes to."""
    found: int
    """Those of them that the partition's documents hold."""


def find_hits_partition(
    *,
    corpus: Path,
    ngram_filter: Path,
    benchmark_ngrams: Path,
    partition: int,
    destination: Path,
    config: HitsConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Find the benchmarks' n-grams in one partition's documents.

    Raises EvalError where the partition's table cannot be read.
    """
    path = train_part(corpus, partition)
    total = count_documents(path)
    hashes = read_hashes(benchmark_ngrams)
    likely = np.flatnonzero(ask_partition(ngram_filter, partition, hashes))
    writer = _HitWriter(destination / "hits" / path.name)
    if likely.size:
        finder = finder_of(benchmark_ngrams, likely, config.ngram_words)
        for done, hits in enumerate(_hits_of_documents(path, finder), 1):
            writer.add(hits)
            if done % DOCUMENTS_A_BATCH == 0 or done == total:
                progress(done, total)
    writer.close()
    asked = Asked(asked=len(hashes), likely=len(likely), found=len(writer.ngrams))
    _write_asked(destination, partition, asked)
    return {
        "rows_in": total,
        "rows_out": writer.documents,
        "losses": {"no_overlap": total - writer.documents},
        "facts": asked.model_dump() | {"false_positives": asked.likely - asked.found},
    }


def read_asked(artifact: Path) -> list[Asked]:
    """What the filter of each partition was asked."""
    paths = sorted((artifact / "asked").glob("part-*.json"))
    return [Asked.model_validate_json(path.read_bytes()) for path in paths]


def _write_asked(destination: Path, partition: int, asked: Asked) -> None:
    path = destination / "asked" / f"part-{partition:05d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(asked.model_dump_json() + "\n", "utf-8")


def _hits_of_documents(path: Path, finder: NgramFinder) -> Iterator[list[dict[str, Any]]]:
    """For each document the rows of what it holds, by the n-grams' ids."""
    for document in read_documents(path, ["link_id", "url", "text"]):
        times = Counter(finder.find(document["text"]).tolist())
        yield [
            {"link_id": document["link_id"], "url": document["url"], "ngram": n, "times": times[n]}
            for n in sorted(times)
        ]


class _HitWriter:
    """Writes hits and counts what they come to."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, HITS, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self.documents = 0
        self.ngrams: set[int] = set()

    def add(self, hits: list[dict[str, Any]]) -> None:
        """Take the hits of one document."""
        self.documents += bool(hits)
        self.ngrams.update(hit["ngram"] for hit in hits)
        self._rows += hits
        if len(self._rows) >= _ROWS_A_GROUP:
            self._write()

    def close(self) -> None:
        """Write what is left."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=HITS))
            self._rows.clear()
