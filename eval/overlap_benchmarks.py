"""The n-grams of the benchmarks: what is asked of the filter and looked for in the corpus.

    ngrams.parquet              every distinct n-gram: its hash and its words; the row is its id
    occurrences/NAME.parquet    each occurrence: its id, and the items that it begins and ends in
    items/NAME.parquet          the items, by the index that scores name them by
    own/BENCHMARK.parquet       ids of those in the benchmark's own training text
    benchmarks.json             what was read; NAME is BENCHMARK-VARIANT

They depend on the files and on how they are cut into items, not on any model or corpus.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.files import DataFile, missing_reason
from eval.items import Limits, Source, Task
from eval.overlap_find import NgramFinder
from eval.overlap_items import Decode, find_occurrences
from eval.overlap_ngrams import MAX_WORDS, Hashes, hash_ngrams
from eval.overlap_own import find_in_own, has_own
from eval.protocols import BENCHMARKS, Benchmark, Variant
from eval.scorer import Encode, Progress
from eval.scores import benchmark_tasks

NGRAMS = pa.schema(
    [
        pa.field("hash", pa.uint64(), nullable=False),
        pa.field("words", pa.large_string(), nullable=False),
    ]
)
OCCURRENCES = pa.schema(
    [
        pa.field("ngram", pa.int32(), nullable=False),
        pa.field("first_item", pa.int32(), nullable=False),
        pa.field("last_item", pa.int32(), nullable=False),
    ]
)
ITEMS = pa.schema([pa.field("item", pa.int32(), nullable=False)])
OWN = pa.schema([pa.field("ngram", pa.int32(), nullable=False)])

_HASHED_AT_A_TIME = 1 << 14


class BenchmarkNgramsConfig(BaseModel):
    """How the benchmarks' items are cut."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ngram_words: int = Field(default=8, ge=1, le=MAX_WORDS)
    """Words of an n-gram."""
    window: int = Field(default=1024, ge=1)
    """Most input tokens of an item: the scored model's context, at most GPT-2's 1024."""


class ReadTask(BaseModel):
    """One variant of a benchmark whose n-grams were taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    benchmark: Benchmark
    """The benchmark."""
    variant: Variant
    """The variant whose items these are."""
    data: DataFile
    """The file that they were read from."""
    own_text: bool
    """Whether the benchmark's own training text was there."""


def list_ngrams(
    *,
    folder: Path,
    encode: Encode,
    decode: Decode,
    destination: Path,
    config: BenchmarkNgramsConfig,
    progress: Progress,
) -> dict[str, Any]:
    """List the n-grams of every benchmark whose file lies in `folder`.

    Raises BenchmarkError where a file is broken.
    """
    # All items: a sample's are among them, by the same indices.
    source = Source(folder, encode, Limits(None, None, 0), config.window, "float32")
    names = [name for name in BENCHMARKS if missing_reason(name, folder) is None]
    everything = _Ngrams(config.ngram_words)
    read: list[ReadTask] = []
    for done, name in enumerate(names):
        progress(done, len(names))
        tasks = benchmark_tasks(name, source)
        asked = [find_occurrences(name, task, decode, config.ngram_words) for task in tasks]
        ids = [everything.add(found.ngrams) for found in asked]
        own = None
        if has_own(name, tasks[0].data, folder):
            finder = everything.finder(np.unique(np.concatenate(ids)))
            own = find_in_own(name, tasks[0].data, folder, finder)
        if own is not None:
            _write(destination / "own" / f"{name}.parquet", OWN, [own])
        for task, found, numbers in zip(tasks, asked, ids, strict=True):
            read.append(_describe(name, task, own is not None))
            columns = [numbers, found.first, found.last]
            _write(occurrences_path(destination, read[-1]), OCCURRENCES, columns)
            _write(items_path(destination, read[-1]), ITEMS, [found.items])
    everything.write(destination / "ngrams.parquet")
    content = [task.model_dump(mode="json") for task in read]
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (destination / "benchmarks.json").write_text(text + "\n", "utf-8")
    progress(len(names), len(names))
    return {"benchmarks": len(names), "ngrams": len(everything.numbers)}


def read_tasks(artifact: Path) -> list[ReadTask]:
    """What an artifact of benchmarks' n-grams was read from."""
    content = json.loads((artifact / "benchmarks.json").read_text("utf-8"))
    return [ReadTask.model_validate(task) for task in content]


def read_hashes(artifact: Path) -> Hashes:
    """The hash of every n-gram, by its id."""
    hashes: Hashes = pq.read_table(artifact / "ngrams.parquet", columns=["hash"])["hash"].to_numpy()
    return hashes


def occurrences_path(artifact: Path, task: ReadTask) -> Path:
    """Where the n-grams of a task's items are."""
    return artifact / "occurrences" / f"{task.benchmark}-{task.variant}.parquet"


def items_path(artifact: Path, task: ReadTask) -> Path:
    """Where a task's items are."""
    return artifact / "items" / f"{task.benchmark}-{task.variant}.parquet"


def read_own(artifact: Path, task: ReadTask) -> npt.NDArray[np.int32] | None:
    """Ids of the n-grams in the benchmark's own training text; None where that was not there."""
    if not task.own_text:
        return None
    table = pq.read_table(artifact / "own" / f"{task.benchmark}.parquet")
    ids: npt.NDArray[np.int32] = table["ngram"].to_numpy()
    return ids


def finder_of(artifact: Path, ids: npt.NDArray[np.int64], n: int) -> NgramFinder:
    """A finder of the n-grams with the given ids alone."""
    chosen = pq.read_table(artifact / "ngrams.parquet").take(pa.array(ids))
    return NgramFinder(chosen["words"].to_pylist(), chosen["hash"].to_numpy(), ids.tolist(), n)


class _Ngrams:
    """The distinct n-grams, numbered as they come; some 200 bytes of memory for each."""

    def __init__(self, n: int) -> None:
        self.numbers: dict[str, int] = {}
        self.n = n

    def add(self, ngrams: Sequence[str]) -> npt.NDArray[np.int32]:
        """The ids of `ngrams`, new ones included."""
        numbers = self.numbers
        ids = (numbers.setdefault(ngram, len(numbers)) for ngram in ngrams)
        return np.fromiter(ids, dtype=np.int32, count=len(ngrams))

    def finder(self, ids: npt.NDArray[np.int32]) -> NgramFinder:
        """A finder of some of them."""
        listed = list(self.numbers)
        chosen = [listed[i] for i in ids.tolist()]
        return NgramFinder(chosen, _hash_listed(chosen, self.n), ids.tolist(), self.n)

    def write(self, path: Path) -> None:
        """Write them, the row being the id."""
        listed = list(self.numbers)
        columns = [pa.array(_hash_listed(listed, self.n)), pa.array(listed, pa.large_string())]
        pq.write_table(pa.table(columns, schema=NGRAMS), path, compression="zstd")


def _hash_listed(ngrams: list[str], n: int) -> Hashes:
    """The hash of each n-gram, thousands at a time."""
    hashed = [np.empty(0, dtype=np.uint64)]
    for start in range(0, len(ngrams), _HASHED_AT_A_TIME):
        # Run together, they have n-grams across their seams, too: every n-th is one of the list.
        together = " ".join(ngrams[start : start + _HASHED_AT_A_TIME])
        hashed.append(hash_ngrams(together, n)[::n])
    return np.concatenate(hashed)


def _write(path: Path, schema: pa.Schema, columns: Sequence[npt.NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = zip(columns, schema, strict=True)
    arrays = [pa.array(column).cast(field.type) for column, field in fields]
    pq.write_table(pa.table(arrays, schema=schema), path, compression="zstd")


def _describe(benchmark: Benchmark, task: Task, own_text: bool) -> ReadTask:
    return ReadTask(
        benchmark=benchmark,
        variant=task.variant,
        data=task.data,
        own_text=own_text,
    )
