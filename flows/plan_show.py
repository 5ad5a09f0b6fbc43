"""Shows estimates: a table of stages, what dominates, where the figures come from."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.plan import Estimate
from flows.plan_stage import StageEstimate
from flows.plan_store import Actual, Comparison, stage_pairs


def print_estimate(console: Console, estimate: Estimate) -> None:
    """Print the estimate of a run that is not begun yet."""
    console.print(_told_of_sample(estimate), highlight=False)
    table = Table(
        title=f"Estimate for {estimate.profile}", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("stage", no_wrap=True)
    for heading in ("rows in", "rows out", "time", "memory ≤", "disk", "scratch", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound by", no_wrap=True)
    for stage in estimate.stages:
        table.add_row(
            stage.stage,
            show_count(stage.rows_in),
            "" if stage.rows_out is None else show_count(stage.rows_out),
            show_time(stage.seconds),
            show_bytes(stage.memory_bytes),
            show_bytes(stage.disk_bytes),
            show_bytes(stage.scratch_bytes) if stage.scratch_bytes else "",
            "" if stage.tokens is None else show_count(stage.tokens),
            stage.bound_by,
        )
    table.add_section()
    table.add_row(
        "in all", "", "", show_time(estimate.seconds), show_bytes(estimate.memory_bytes),
        show_bytes(estimate.disk_bytes), show_bytes(estimate.scratch_bytes), "", "",
    )  # fmt: skip
    console.print(table)
    console.print(f"{_dominant(estimate)}\n", highlight=False)
    _print_sources(console, estimate)


def print_comparison(console: Console, compared: Comparison) -> None:
    """Print a run's estimate, what it took, and how many times the estimate that was."""
    title = f"{compared.run_id} ({compared.state}): estimated → taken, and taken / estimated"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("stage", no_wrap=True)
    for heading in ("rows out", "time", "×", "disk", "×", "tokens", "memory, a worker"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage, actual in stage_pairs(compared):
        table.add_row(*comparison_cells(stage, actual))
    took = [actual for _stage, actual in stage_pairs(compared) if actual is not None]
    table.add_section()
    seconds = sum(one.seconds or 0 for one in took)
    size = sum(one.disk_bytes or 0 for one in took)
    total = compared.estimate
    table.add_row(
        "in all", "", *_beside(total.seconds, seconds, show_time),
        *_beside(total.disk_bytes, size, show_bytes), "", "",
    )  # fmt: skip
    console.print(table)
    if any(one.how == "reused" for one in took):
        told = "Figures of reused artifacts (*) are of the run that made them."
        console.print(f"[dim]{told}[/]", highlight=False)


def comparison_cells(stage: StageEstimate, actual: Actual | None) -> list[str]:
    """A stage's row of the comparison; `–` where the run did not come to it or did not record."""
    taken = actual or Actual(
        stage=stage.stage, how="–", rows_in=None, rows_out=None, seconds=None,
        memory_bytes=None, disk_bytes=None, tokens=None,
    )  # fmt: skip
    memory = stage.memory_bytes / stage.parallel
    return [
        stage.stage + (" *" if taken.how == "reused" else ""),
        _beside(stage.rows_out, taken.rows_out, show_count)[0],
        *_beside(stage.seconds, taken.seconds, show_time),
        *_beside(stage.disk_bytes, taken.disk_bytes, show_bytes),
        _beside(stage.tokens, taken.tokens, show_count)[0],
        "≤ " + _beside(memory, taken.memory_bytes, show_bytes)[0],
    ]


def show_time(seconds: float) -> str:
    """For example `4.2 s`, `12 min`, `3.5 h`, `54 days`."""
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds)} s"


def show_bytes(size: float) -> str:
    """For example `12 MB` or `1.5 TB`, in thousands."""
    for unit, step in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= step:
            return f"{_short(size / step)} {unit}"
    return f"{size:.0f} B"


def show_count(number: float) -> str:
    """For example `1,234`, `45 M` or `9.0 G`."""
    for unit, step in (("G", 1e9), ("M", 1e6)):
        if number >= step:
            return f"{_short(number / step)} {unit}"
    return f"{number:,.0f}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _beside(
    estimate: float | None, actual: float | None, show: Callable[[float], str]
) -> tuple[str, str]:
    """`estimated → taken`, and their quotient."""
    if estimate is None:
        return "", ""
    if actual is None:
        return f"{show(estimate)} → –", ""
    return f"{show(estimate)} → {show(actual)}", f"{actual / estimate:.2f}" if estimate else ""


def _told_of_sample(estimate: Estimate) -> str:
    sample, workers = estimate.sample, f"{estimate.workers} workers on {estimate.cores} cores"
    if sample is None:
        return f"No submissions are given (--submissions): training alone; {workers}"
    exact = "all read" if sample.whole else f"judged by {sample.read_rows:,} of their rows"
    return (
        f"{sample.dumps} dumps, {show_bytes(sample.file_bytes)}: about {show_count(sample.rows)} "
        f"rows, {show_count(sample.submissions)} to follow, {show_count(sample.links)} links "
        f"({exact}); {workers}"
    )


def _dominant(estimate: Estimate) -> str:
    longest = estimate.longest
    share = longest.seconds / max(estimate.seconds, 1e-9)
    largest = max(estimate.stages, key=lambda stage: stage.disk_bytes)
    hungriest = max(estimate.stages, key=lambda stage: stage.memory_bytes)
    why = longest.sources["start" if longest.bound_by == "start" else "time"]
    return (
        f"{longest.stage} takes {share:.0%} of the time, bound by {longest.bound_by} "
        f"({why}); {largest.stage} most of the disk, {hungriest.stage} most "
        "memory."
    )


def _print_sources(console: Console, estimate: Estimate) -> None:
    """Where every stage's figures come from; equal sources are told once."""
    table = Table(title="Where the figures come from", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("of", no_wrap=True)
    table.add_column("stages", overflow="fold", max_width=30)
    table.add_column("from", overflow="fold")
    told: dict[tuple[str, str], list[str]] = {}
    for stage in estimate.stages:
        for of, source in stage.sources.items():
            told.setdefault((of, source), []).append(stage.stage)
    for (of, source), names in sorted(told.items()):
        table.add_row(of, ", ".join(names), escape(source))
    console.print(table)
