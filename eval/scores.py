"""Scores one benchmark of a model: every variant of its columns, with protocol and interval.

`score_benchmark` reads the benchmark's original file, asks the scorer for likelihoods and writes

    scores.json     a list of `Score`s, one a column and variant
    items.parquet   a row an item and variant, so that two models can be compared item by item

The same files, model and config give the same bytes on the same machine. One call is one
benchmark, so an interrupted evaluation goes on with the next.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.cbt import cbt_tasks
from eval.errors import BenchmarkError
from eval.files import DataFile
from eval.items import Limits, Source, Task
from eval.lambada import lambada_tasks
from eval.likelihood import Likelihood, ask
from eval.protocols import (
    COLUMNS,
    VARIANTS,
    Benchmark,
    Column,
    Protocol,
    Variant,
    columns_of,
)
from eval.scorer import Encode, Progress, Scorer, arithmetic_of
from eval.streams import bytes_tasks, ptb_tasks, sentence_tasks, wikitext_tasks

MOST_CONTEXT = 1024
"""GPT-2's context in tokens; a longer one would be another protocol than the published table's."""

ITEMS = pa.schema(
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("nll", pa.float64(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("units", pa.int32(), nullable=False),
        pa.field("correct", pa.bool_()),
        pa.field("choices", pa.list_(pa.field("item", pa.float64(), nullable=False))),
    ]
)
"""`nll` in nats, of the right answer where there are choices; `choices`: log-probabilities."""


class EvalConfig(BaseModel):
    """Which columns are scored, and how much of their files."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    columns: tuple[Column, ...] = COLUMNS
    """Columns of the published table to fill."""
    variants: tuple[Variant, ...] = VARIANTS
    """Readings of a column to score, where it has them; the table shows `paper`."""
    max_items: int | None = Field(default=None, ge=1)
    """Score this many passages, questions, sentences or pages drawn by `seed`; all if not set."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Stop after about this many tokens of a file; at least one item is scored. All if not set."""
    seed: int = Field(default=0, ge=0)
    """Draws samples and the intervals' resamples."""
    bootstrap_samples: int = Field(default=1000, ge=1)
    """Resamples of the items for the 95 % interval."""


class Score(BaseModel):
    """One number of the table, and all that is needed to know what it means."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: Column
    """Column of the published table."""
    variant: Variant
    """Which reading of the column."""
    value: float
    """The score, in `unit`."""
    unit: Literal["perplexity", "bits", "%"]
    """Perplexity a canonical unit, bits a byte or character, or per cent correct."""
    low: float
    """Lower end of the 95 % bootstrap interval over items."""
    high: float
    """Upper end of it."""
    items: int
    """Items scored: passages, questions, pages, sentences or windows."""
    units: int
    """Canonical units that the likelihood was divided by; items for accuracies."""
    tokens: int
    """BPE tokens scored."""
    nll: float
    """Their negative log-likelihood in nats."""
    correct: int | None
    """Items answered rightly; None for perplexities."""
    protocol: Protocol
    """How it was made."""
    data: DataFile
    """What it was made on."""


def score_benchmark(
    *,
    scorer: Scorer,
    encode: Encode,
    benchmark: Benchmark,
    folder: Path,
    destination: Path,
    config: EvalConfig,
    progress: Progress,
) -> list[Score]:
    """Score `benchmark` from its file in `folder` and write scores and items to `destination`.

    Raises MissingBenchmark where there is no file, BenchmarkError where it is broken, ScorerError
    where the scorer's likelihoods are not finite.
    """
    limits = Limits(config.max_items, config.max_tokens, config.seed)
    window = min(scorer.context, MOST_CONTEXT)
    source = Source(folder, encode, limits, window, arithmetic_of(scorer))
    tasks = [task for task in _tasks(benchmark, source) if task.variant in config.variants]
    found = _ask_tasks(scorer, tasks, progress)
    scores = [
        _score(protocol, task, answers, config)
        for task, answers in zip(tasks, found, strict=True)
        for protocol in task.protocols
        if protocol.column in config.columns
    ]
    _write(destination, scores, tasks, found)
    return scores


def read_scores(path: Path) -> list[Score]:
    """The scores of a `scores.json`."""
    content = json.loads(path.read_text("utf-8"))
    for score in content:
        score["protocol"].pop("id")
    return [Score.model_validate(score) for score in content]


def bootstrap_interval(
    statistic: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    numerators: npt.NDArray[np.float64],
    denominators: npt.NDArray[np.float64],
    *,
    samples: int,
    seed: int,
) -> tuple[float, float]:
    """95 % percentile interval of `statistic(Σ numerators / Σ denominators)` over items.

    Items are drawn with replacement `samples` times by `seed`; a resample costs 8 bytes an item.
    """
    generator = np.random.default_rng(seed)
    ratios = np.empty(samples)
    for i in range(samples):
        drawn = generator.integers(0, len(numerators), len(numerators))
        ratios[i] = numerators[drawn].sum() / max(denominators[drawn].sum(), 1.0)
    low, high = np.percentile(statistic(ratios), [2.5, 97.5])
    return float(low), float(high)


def _tasks(benchmark: Benchmark, source: Source) -> list[Task]:
    column = columns_of(benchmark)[0]
    if benchmark == "lambada":
        return lambada_tasks(source)
    if benchmark in {"cbt_cn", "cbt_ne"}:
        return cbt_tasks(source, benchmark, column)
    if benchmark == "ptb":
        return ptb_tasks(source, benchmark, column)
    if benchmark in {"enwik8", "text8"}:
        return bytes_tasks(source, benchmark, column)
    if benchmark == "1bw":
        return sentence_tasks(source, benchmark, column)
    return wikitext_tasks(source, benchmark, column)


def _ask_tasks(scorer: Scorer, tasks: list[Task], progress: Progress) -> list[list[Likelihood]]:
    """Likelihoods of each task's items; tasks that ask the same share one asking."""
    asked: dict[str, list[Likelihood]] = {}
    total = sum(task.total for task in tasks)
    done = 0

    def report(items: int, _: int) -> None:
        progress(done + items, total)

    found = []
    for task in tasks:
        key = task.same_requests or task.variant
        if key not in asked:
            asked[key] = ask(scorer, task, report)
        if not asked[key]:
            raise BenchmarkError(f"{task.data.name} is too short to score; get the whole file")
        found.append(asked[key])
        done += task.total
    progress(total, total)
    return found


def _score(protocol: Protocol, task: Task, answers: list[Likelihood], config: EvalConfig) -> Score:
    rows = [_row(task, answer) for answer in answers]
    correct = np.array([row["correct"] or False for row in rows], dtype=np.float64)
    nll = np.array([row["nll"] for row in rows], dtype=np.float64)
    units = np.array([row["units"] for row in rows], dtype=np.float64)
    is_accuracy = protocol.measure == "accuracy"
    numerators = correct if is_accuracy else nll
    denominators = np.ones_like(nll) if is_accuracy else units
    statistic = _STATISTICS[protocol.measure]
    ratio = math.fsum(numerators) / max(math.fsum(denominators), 1.0)
    low, high = bootstrap_interval(
        statistic, numerators, denominators, samples=config.bootstrap_samples, seed=config.seed
    )
    return Score(
        column=protocol.column,
        variant=protocol.variant,
        value=float(statistic(np.array([ratio]))[0]),
        unit=_UNITS[protocol.measure],
        low=low,
        high=high,
        items=len(rows),
        units=int(denominators.sum()),
        tokens=sum(row["tokens"] for row in rows),
        nll=math.fsum(nll),
        correct=int(correct.sum()) if is_accuracy else None,
        protocol=protocol,
        data=task.data,
    )


_STATISTICS: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "perplexity": np.exp,
    "bits": lambda nats: nats / math.log(2),
    "accuracy": lambda share: 100 * share,
}
_UNITS: dict[str, Literal["perplexity", "bits", "%"]] = {
    "perplexity": "perplexity",
    "bits": "bits",
    "accuracy": "%",
}


def _row(task: Task, answer: Likelihood) -> dict[str, Any]:
    """A row of `items.parquet`."""
    item = answer.item
    if item.answer is None:
        tokens = sum(answer.tokens)
        greedy = answer.last_greedy if task.last_token else answer.all_greedy
        return {
            "variant": task.variant,
            "item": item.index,
            "nll": math.fsum(answer.nll),
            "tokens": tokens,
            "units": tokens if task.unit_is_token else item.units,
            "correct": all(greedy) if len(task.protocols) > 1 else None,
            "choices": None,
        }
    return {
        "variant": task.variant,
        "item": item.index,
        "nll": answer.nll[item.answer],
        "tokens": answer.tokens[item.answer],
        "units": item.units,
        "correct": answer.nll.index(min(answer.nll)) == item.answer,
        "choices": [-nll for nll in answer.nll],
    }


def _write(
    destination: Path, scores: list[Score], tasks: list[Task], found: list[list[Likelihood]]
) -> None:
    content = [score.model_dump(mode="json") for score in scores]
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=True)
    (destination / "scores.json").write_text(f"{text}\n", "utf-8")
    rows = [
        _row(task, answer) for task, answers in zip(tasks, found, strict=True) for answer in answers
    ]
    table = pa.Table.from_pylist(rows, schema=ITEMS)
    pq.write_table(table, destination / "items.parquet", compression="zstd")
