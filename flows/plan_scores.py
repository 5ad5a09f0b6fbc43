"""Estimates of what comes after the model: scores, bias probes, and overlap with the benchmarks.

The stages of overlap that go through the corpus again are estimated with those that made it
(`flows.plan`); here are the others.
"""

from __future__ import annotations

from pathlib import Path

from eval.files import benchmark_paths
from eval.protocols import BENCHMARKS
from flows.plan_rates import Figures
from flows.plan_stage import PROCESS_BYTES, StageEstimate
from flows.profile import Profile
from model.speed import step_operations

BYTES_A_TOKEN = 4.5
"""English text in GPT-2's vocabulary."""
DEMO_BENCHMARK_BYTES = 20_000
TEST_SPLIT_BYTES = 5_000_000
"""Of a whole enwik8 or text8 the last 5 MB are scored; no other file is larger."""

BIAS_GROUPS = 6
"""Prompts of the project's set that are continued."""
BIAS_PROMPT_TOKENS = 8
BIAS_SCORED_TOKENS = 3_600
"""Of the project's occupations and pairs of sentences, with what each is scored after; counted."""
_TABLES_BYTES = 16_000  # of tables without rows
NGRAM_MEMORY_BYTES = 70
"""For each byte of the benchmarks, while their 8-grams are numbered; measured."""


def benchmark_bytes(profile: Profile) -> float | None:
    """Bytes of the benchmarks that will be scored, or None where a profile names none."""
    folder = profile.inputs.benchmarks
    if folder is not None:
        paths = {path for name in BENCHMARKS for path in benchmark_paths(name, folder)}
        return float(sum(map(_scored_bytes, paths)))
    return DEMO_BENCHMARK_BYTES if profile.demo_benchmarks is not None else None


def _scored_bytes(path: Path) -> int:
    return min(path.stat().st_size, TEST_SPLIT_BYTES)


def scores_stage(profile: Profile, figures: Figures, cores: int, size: float) -> StageEstimate:
    """All benchmarks, of `size` bytes."""
    network = profile.model
    flops, start = figures["flops"], figures["training_start_s"]
    tokens = size / BYTES_A_TOKEN
    busy = step_operations(network, 1) / 3 * tokens / flops.value
    parallel = min(profile.runtime.workers, cores)
    return StageEstimate(
        stage="scores",
        rows_in=tokens,
        rows_out=None,
        parallel=parallel,
        seconds=start.value + busy,
        memory_bytes=parallel * (PROCESS_BYTES * 2 + 4 * network.parameters),
        disk_bytes=9 * 4_000,
        bound_by="work" if busy > start.value else "start",
        sources={
            "time": f"a third of training's operations a token, each read once (a context that "
            f"is read again is not in it); {flops.source}",
            "start": start.source,
            "memory": "4 bytes a parameter in each worker",
            "disk": "nine files of scores",
            "rows": f"the benchmarks' bytes at {BYTES_A_TOKEN} a token, assumed",
        },
    )


def bias_stage(profile: Profile, figures: Figures) -> StageEstimate:
    """The bias probes: continuations a token at a time, and likelihoods in batches."""
    network, config = profile.model, profile.bias
    flops, start, read = (figures[n] for n in ("flops", "training_start_s", "weights_read"))
    continuations = BIAS_GROUPS * config.samples
    drawn = continuations * config.max_new_tokens
    batched = BIAS_SCORED_TOKENS + BIAS_GROUPS * BIAS_PROMPT_TOKENS
    operations = step_operations(network, 1) / 3 / flops.value
    weights = 4 * network.parameters / read.value
    busy = drawn * max(operations, weights) + batched * operations
    return StageEstimate(
        stage="bias",
        rows_in=continuations,
        rows_out=None,
        parallel=1,
        seconds=start.value + busy,
        memory_bytes=PROCESS_BYTES * 2 + 8 * network.parameters,
        disk_bytes=16_000,
        bound_by="work" if busy > start.value else "start",
        sources={
            "time": f"{drawn:,} tokens drawn, all weights read for each ({read.source}); "
            f"{batched:,} tokens in batches; {flops.source}",
            "start": start.source,
            "memory": "weights twice: as read, and as computed with",
            "disk": "three tables of the project's sets",
            "rows": "continuations, by bias.samples",
        },
    )


def benchmark_ngrams_stage(figures: Figures, size: float) -> StageEstimate:
    """The 8-grams of benchmarks of `size` bytes."""
    return _by_benchmark_bytes(
        figures,
        "benchmark-ngrams",
        size,
        NGRAM_MEMORY_BYTES * size,
        f"{NGRAM_MEMORY_BYTES} bytes for each of the benchmarks'",
    )


def overlap_stage(figures: Figures, size: float) -> StageEstimate:
    """The report on benchmarks of `size` bytes."""
    return _by_benchmark_bytes(
        figures, "overlap", size, NGRAM_MEMORY_BYTES * size, "the benchmarks' tables"
    )


def clean_scores_stage(profile: Profile, figures: Figures) -> StageEstimate:
    """The scores on clean items: no model is asked again."""
    start = figures["start_s"]
    scores = 10 * len(profile.eval.variants)
    return StageEstimate(
        stage="clean-scores",
        rows_in=scores,
        rows_out=None,
        parallel=1,
        seconds=start.value,
        memory_bytes=PROCESS_BYTES,
        disk_bytes=250.0 * scores * len(profile.overlap.clean_limits),
        bound_by="start",
        sources={
            "time": "sums over items",
            "start": start.source,
            "memory": "the items of one score",
            "disk": "250 bytes a score and limit",
            "rows": "ten columns, three readings of each at most",
        },
    )


def _by_benchmark_bytes(
    figures: Figures, name: str, size: float, memory: float, why: str
) -> StageEstimate:
    start, rate, disk = (figures[n] for n in ("start_s", f"{name}.seconds", f"{name}.bytes"))
    busy = rate.value * size
    return StageEstimate(
        stage=name,
        rows_in=size,
        rows_out=None,
        parallel=1,
        seconds=start.value + busy,
        memory_bytes=PROCESS_BYTES + memory,
        disk_bytes=_TABLES_BYTES + disk.value * size,
        bound_by="work" if busy > start.value else "start",
        sources={
            "time": rate.source,
            "start": start.source,
            "memory": f"{PROCESS_BYTES / 2**20:.0f} MiB, {why}",
            "disk": disk.source,
            "rows": "the benchmarks' bytes",
        },
    )
