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
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from eval.cbt import cbt_tasks
from eval.errors import BenchmarkError
from eval.files import DataFile
from eval.intervals import Numbers, ratio_interval, widening
from eval.item_table import ItemRow, item_rows, write_items
from eval.items import Limits, Source, Task
from eval.lambada import lambada_tasks
from eval.likelihood import Likelihood, ask
from eval.protocols import (
    COLUMNS,
    VARIANTS,
    Benchmark,
    Column,
    Measure,
    Protocol,
    Variant,
    columns_of,
)
from eval.scorer import Encode, Progress, Scorer, arithmetic_of
from eval.streams import bytes_tasks, ptb_tasks, sentence_tasks, wikitext_tasks

SCORES_NAME = "scores.json"

MOST_CONTEXT = 1024
"""GPT-2's context in tokens; a longer one would be another protocol than the published table's."""


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
    quick: bool = False
    """Score a small sample of each file, drawn by `seed`: 400 passages, 60 questions, 20 windows of
    a text, 8 pages, 300 sentences. Intervals are as wide as so few items make them."""
    detokenizer_gain: bool = False
    """Score each de-tokenized text as it is in the file, too, to tell what de-tokenizing gains."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the network; the head and all sums are float32 in either."""
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
    low: float | None
    """Lower end of the 95 % bootstrap interval over items; None for a single item."""
    high: float | None
    """Upper end of it."""
    interval: str
    """How it was made, and by how much it was widened for few items."""
    untouched: float | None
    """The score on the text as it is in the file, not de-tokenized, per the same units; None where
    that was not asked for or nothing is de-tokenized."""
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
    limits = Limits(config.max_items, config.max_tokens, config.seed, config.quick)
    window = min(scorer.context, MOST_CONTEXT)
    source = Source(folder, encode, limits, window, arithmetic_of(scorer))
    tasks = [task for task in benchmark_tasks(benchmark, source) if task.variant in config.variants]
    makers = [task.untouched for task in tasks if config.detokenizer_gain and task.untouched]
    untouched = [make() for make in makers]
    found = _ask_tasks(scorer, [*tasks, *untouched], progress)
    rows = [item_rows(task, answers) for task, answers in zip(tasks, found, strict=False)]
    plain = {
        task.variant: item_rows(task, answers)
        for task, answers in zip(untouched, found[len(tasks) :], strict=True)
    }
    scores = [
        _score(protocol, task, of_task, plain.get(task.variant), config)
        for task, of_task in zip(tasks, rows, strict=True)
        for protocol in task.protocols
        if protocol.column in config.columns
    ]
    content = [score.model_dump(mode="json") for score in scores]
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=True)
    (destination / SCORES_NAME).write_text(f"{text}\n", "utf-8")
    write_items([row for of_task in rows for row in of_task], destination)
    return scores


def read_scores(path: Path) -> list[Score]:
    """The scores of a `scores.json`."""
    content = json.loads(path.read_text("utf-8"))
    for score in content:
        score["protocol"].pop("id")
    return [Score.model_validate(score) for score in content]


def benchmark_tasks(benchmark: Benchmark, source: Source) -> list[Task]:
    """The tasks that a benchmark is scored by, one for each of its variants."""
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


def statistic_of(measure: Measure) -> Callable[[Numbers], Numbers]:
    """Makes a score of Σ NLL / Σ units, or of the share of items that are right."""
    return _STATISTICS[measure]


def ratio_parts(measure: Measure, rows: list[ItemRow]) -> tuple[Numbers, Numbers]:
    """What is added up over items and what it is divided by: NLL and units, or right and one."""
    if measure == "accuracy":
        correct = np.array([row.correct or False for row in rows], dtype=np.float64)
        return correct, np.ones_like(correct)
    return (
        np.array([row.nll for row in rows], dtype=np.float64),
        np.array([row.units for row in rows], dtype=np.float64),
    )


def _ask_tasks(scorer: Scorer, tasks: list[Task], progress: Progress) -> list[list[Likelihood]]:
    """Likelihoods of each task's items; tasks that ask the same share one asking."""
    asked: dict[str, list[Likelihood]] = {}
    total = sum(task.total for task in tasks)
    done = 0

    def report(items: int, _: int) -> None:
        progress(done + items, total)

    found = []
    for number, task in enumerate(tasks):
        key = task.same_requests or str(number)
        if key not in asked:
            asked[key] = ask(scorer, task, report)
        if not asked[key]:
            raise BenchmarkError(f"{task.data.name} is too short to score; get the whole file")
        found.append(asked[key])
        done += task.total
    progress(total, total)
    return found


def _score(
    protocol: Protocol,
    task: Task,
    rows: list[ItemRow],
    untouched: list[ItemRow] | None,
    config: EvalConfig,
) -> Score:
    measure = protocol.measure
    numerators, denominators = ratio_parts(measure, rows)
    interval = ratio_interval(
        numerators, denominators, samples=config.bootstrap_samples, seed=config.seed
    )
    low, high = _ends(measure, interval)
    return Score(
        column=protocol.column,
        variant=protocol.variant,
        value=_value(measure, rows),
        unit=_UNITS[measure],
        low=low,
        high=high,
        interval=_describe_interval(len(rows), config),
        untouched=_value(measure, untouched) if untouched else None,
        items=len(rows),
        units=int(denominators.sum()),
        tokens=sum(row.tokens for row in rows),
        nll=math.fsum(row.nll for row in rows),
        correct=int(numerators.sum()) if measure == "accuracy" else None,
        protocol=protocol,
        data=task.data,
    )


def _value(measure: Measure, rows: list[ItemRow]) -> float:
    numerators, denominators = ratio_parts(measure, rows)
    ratio = math.fsum(numerators) / max(math.fsum(denominators), 1.0)
    return float(_STATISTICS[measure](np.array([ratio]))[0])


def _ends(
    measure: Measure, interval: tuple[float, float] | None
) -> tuple[float, float] | tuple[None, None]:
    """The interval of the score; no share is below 0 or above 1, and no NLL below 0."""
    if interval is None:
        return None, None
    most = 1.0 if measure == "accuracy" else math.inf
    ends = _STATISTICS[measure](np.clip(np.array(interval), 0.0, most))
    return float(ends[0]), float(ends[1])


def _describe_interval(items: int, config: EvalConfig) -> str:
    if items < 2:
        return "none: a single item"
    return (
        f"95 % bootstrap over {items:,} items, {config.bootstrap_samples:,} resamples by seed "
        f"{config.seed}, widened {widening(items):.3f} times"
    )


_STATISTICS: dict[Measure, Callable[[Numbers], Numbers]] = {
    "perplexity": np.exp,
    "bits": lambda nats: nats / math.log(2),
    "accuracy": lambda share: 100 * share,
}
_UNITS: dict[Measure, Literal["perplexity", "bits", "%"]] = {
    "perplexity": "perplexity",
    "bits": "bits",
    "accuracy": "%",
}
