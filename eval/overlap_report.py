"""The overlap report: how much of each benchmark the training text holds, and which documents do.

As in table 6 of Radford et al. 2019 the share is of a test set's 8-grams, each as often as it
occurs there, that are also in the training text; beside it that of the benchmark's own training
text.

    overlap.json        a row a benchmark and variant, and how often the filter was wrong
    items.parquet       a row an item: its n-grams, and how many of them are in the training text
    documents.parquet   a row a benchmark and overlapping document, those that share most first
"""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.files import DataFile
from eval.overlap_benchmarks import (
    OCCURRENCES,
    ReadTask,
    items_path,
    occurrences_path,
    read_hashes,
    read_own,
    read_tasks,
)
from eval.overlap_filter import whole_rate
from eval.overlap_hits import read_asked
from eval.overlap_ngrams import MAX_WORDS
from eval.protocols import Benchmark, Variant
from eval.scorer import Progress

PUBLISHED: dict[Benchmark, tuple[float, float]] = {
    "ptb": (0.88, 2.67),
    "wikitext2": (1.63, 0.66),
    "enwik8": (6.31, 7.50),
    "text8": (3.94, 2.34),
    "wikitext103": (2.42, 9.09),
    "1bw": (3.75, 13.19),
}
"""Per cent of the test set's 8-grams in WebText and in its own training set (table 6)."""

ITEM_OVERLAPS = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("ngrams", pa.int32(), nullable=False),
        pa.field("overlapping", pa.int32(), nullable=False),
    ]
)

DOCUMENTS = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("link_id", pa.binary(16), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("shared_ngrams", pa.int32(), nullable=False),
        pa.field("times", pa.int64(), nullable=False),
        pa.field("example", pa.large_string(), nullable=False),
    ]
)


class ReportConfig(BaseModel):
    """What the report is of."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ngram_words: int = Field(default=8, ge=1, le=MAX_WORDS)
    """Words of an n-gram."""


class Overlap(BaseModel):
    """How much of one benchmark, cut as one variant does, is in the training text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    benchmark: Benchmark
    """The benchmark."""
    variant: Variant
    """Whose items and de-tokenized text were looked at."""
    ngrams: int
    """N-grams of the test set, repeats counted."""
    overlapping: int
    """Those of them that the training text holds."""
    distinct_ngrams: int
    """Different n-grams."""
    distinct_overlapping: int
    """Those of them that the training text holds."""
    own_overlapping: int | None
    """N-grams, repeats counted, that the benchmark's own training text holds; None: not there."""
    items: int
    """Items scored."""
    clean_items: int
    """Items without any overlapping n-gram."""
    documents: int
    """Training documents that hold an n-gram of it."""
    data: DataFile
    """The file."""

    @property
    def share(self) -> float:
        """Share of the n-grams that the training text holds, in per cent."""
        return 100 * self.overlapping / max(1, self.ngrams)

    @property
    def own_share(self) -> float | None:
        """Share of the n-grams that the benchmark's own training text holds, in per cent."""
        if self.own_overlapping is None:
            return None
        return 100 * self.own_overlapping / max(1, self.ngrams)


class FilterCheck(BaseModel):
    """How often the filter was wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rate: float
    """Most chance of a false positive of an n-gram, computed from all the filter's bits."""
    asked: int
    """Distinct n-grams asked of it, in every partition."""
    false_positives: int
    """Times that a partition's filter said yes and its documents did not hold the n-gram."""


class Report(BaseModel):
    """What `overlap.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ngram_words: int
    overlaps: tuple[Overlap, ...]
    filter: FilterCheck


def report_overlap(
    *,
    ngram_filter: Path,
    benchmark_ngrams: Path,
    ngram_hits: Path,
    destination: Path,
    config: ReportConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Add up what was found into the report."""
    tasks = read_tasks(benchmark_ngrams)
    hits = sorted((ngram_hits / "hits").glob("part-*.parquet"))
    is_found = _found_ngrams(hits, len(read_hashes(benchmark_ngrams)))
    documents = _write_documents(destination, benchmark_ngrams, tasks, hits)
    overlaps, tables = [], [ITEM_OVERLAPS.empty_table()]
    for done, task in enumerate(tasks, 1):
        overlap, items = _overlap(benchmark_ngrams, task, is_found, documents)
        overlaps.append(overlap)
        tables.append(items)
        progress(done, len(tasks))
    pq.write_table(pa.concat_tables(tables), destination / "items.parquet", compression="zstd")
    answers = read_asked(ngram_hits)
    check = FilterCheck(
        rate=whole_rate(ngram_filter, len(answers)),
        asked=len(is_found),
        false_positives=sum(answer.likely - answer.found for answer in answers),
    )
    report = Report(ngram_words=config.ngram_words, overlaps=tuple(overlaps), filter=check)
    (destination / "overlap.json").write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
    return {"overlaps": len(overlaps)}


def read_report(artifact: Path) -> Report:
    """The report of an overlap artifact."""
    return Report.model_validate_json((artifact / "overlap.json").read_bytes())


def top_documents(artifact: Path, benchmark: str, most: int) -> list[dict[str, Any]]:
    """The training documents that share most with a benchmark."""
    table = pq.read_table(
        artifact / "documents.parquet", filters=[("benchmark", "=", benchmark)]
    ).slice(0, most)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _found_ngrams(hits: list[Path], count: int) -> npt.NDArray[np.bool_]:
    """For every n-gram's id whether any document holds it."""
    is_found = np.zeros(count, dtype=np.bool_)
    for path in hits:
        is_found[pq.read_table(path, columns=["ngram"])["ngram"].to_numpy()] = True
    return is_found


_DOCUMENTS = """
WITH members AS (SELECT DISTINCT ngram FROM read_parquet($occurrences))
SELECT
    $benchmark AS benchmark,
    link_id,
    any_value(url) AS url,
    count(*)::INTEGER AS shared_ngrams,
    sum(times)::BIGINT AS times,
    min(ngram) AS first_ngram
FROM read_parquet($hits) JOIN members USING (ngram)
GROUP BY link_id
ORDER BY shared_ngrams DESC, link_id
"""


def _write_documents(
    destination: Path, benchmark_ngrams: Path, tasks: list[ReadTask], hits: list[Path]
) -> dict[str, int]:
    """Write `documents.parquet`; how many overlap with each benchmark."""
    counts: dict[str, int] = {}
    words = pq.read_table(benchmark_ngrams / "ngrams.parquet", columns=["words"])["words"]
    with (
        pq.ParquetWriter(
            destination / "documents.parquet", DOCUMENTS, compression="zstd"
        ) as writer,
        duckdb.connect(config={"threads": 1}) as connection,
    ):
        for benchmark in dict.fromkeys(task.benchmark for task in tasks):
            parts = [task for task in tasks if task.benchmark == benchmark]
            found: pa.Table = connection.sql(
                _DOCUMENTS,
                params={
                    "benchmark": benchmark,
                    "occurrences": [str(occurrences_path(benchmark_ngrams, t)) for t in parts],
                    "hits": [str(path) for path in hits],
                },
            ).to_arrow_table()
            example = words.take(found["first_ngram"])
            table = found.drop_columns(["first_ngram"]).append_column("example", example)
            writer.write_table(table.cast(DOCUMENTS))
            counts[benchmark] = table.num_rows
    return counts


def _overlap(
    benchmark_ngrams: Path,
    task: ReadTask,
    is_found: npt.NDArray[np.bool_],
    documents: dict[str, int],
) -> tuple[Overlap, pa.Table]:
    """The row of one benchmark and variant, and the rows of its items."""
    table = pq.read_table(occurrences_path(benchmark_ngrams, task))
    ngrams, first, last = (table[name].to_numpy() for name in OCCURRENCES.names)
    items = pq.read_table(items_path(benchmark_ngrams, task))["item"].to_numpy()
    found, distinct = is_found[ngrams], np.unique(ngrams)
    counted = _by_item(first, last, len(items))
    overlapping = _by_item(first[found], last[found], len(items))
    own = read_own(benchmark_ngrams, task)
    overlap = Overlap(
        benchmark=task.benchmark,
        variant=task.variant,
        ngrams=len(ngrams),
        overlapping=int(found.sum()),
        distinct_ngrams=len(distinct),
        distinct_overlapping=int(is_found[distinct].sum()),
        own_overlapping=None if own is None else int(np.isin(ngrams, own).sum()),
        items=len(items),
        clean_items=int((overlapping == 0).sum()),
        documents=documents[task.benchmark],
        data=task.data,
    )
    return overlap, _item_table(task, items, counted, overlapping)


def _by_item(
    first: npt.NDArray[np.int32], last: npt.NDArray[np.int32], items: int
) -> npt.NDArray[np.int64]:
    """How many n-grams each item has a word of; `first` and `last` are those of each n-gram."""
    changes = np.bincount(first, minlength=items + 1) - np.bincount(last + 1, minlength=items + 1)
    counted: npt.NDArray[np.int64] = np.cumsum(changes)[:items]
    return counted


def _item_table(
    task: ReadTask,
    items: npt.NDArray[np.int32],
    ngrams: npt.NDArray[np.int64],
    overlapping: npt.NDArray[np.int64],
) -> pa.Table:
    columns = [
        pa.array([task.benchmark] * len(items)),
        pa.array([task.variant] * len(items)),
        pa.array(items),
        pa.array(ngrams.astype(np.int32)),
        pa.array(overlapping.astype(np.int32)),
    ]
    return pa.table(columns, schema=ITEM_OVERLAPS)
