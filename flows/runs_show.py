"""The runs and artifacts of a store, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.protocols import COLUMNS
from eval.table import format_score
from infra.lineage_answers import ScoreLine
from infra.lineage_runs import ArtifactRow, Inventory, RunRow

_STYLES = {"finished": "green", "running": "cyan", "unfinished": "yellow", "stopped": "yellow"}
_ORDER: dict[str, int] = {name: place for place, name in enumerate(COLUMNS)}
_WIDEST = 1_000
_PAPER = "paper"
"""The variant that the table of scores shows; JSON has all."""
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def inventory_tables(found: Inventory) -> Iterator[Table]:
    """Runs, artifacts, and where there are any, scores."""
    yield _runs(found.runs)
    if any(row.marks for row in found.runs):
        yield _marks(found.runs)
    yield _artifacts(found.artifacts)
    lines = [line for row in found.artifacts for line in row.scores if line.variant == _PAPER]
    if lines:
        yield _scores(lines)


def print_inventory(out: Console, found: Inventory) -> None:
    """Print the tables as wide as they are: what is cut cannot be pasted into another command."""
    for table in inventory_tables(found):
        wide = out.measure(table, options=out.options.update(width=_WIDEST)).maximum
        out.width = max(out.width, wide)
        out.print(table)


def _runs(rows: Iterable[RunRow]) -> Table:
    table = _table(
        "Runs", ("run", "flow", "profile", "state"), ("age", "took", "made", "reused", "MB")
    )
    for row in rows:
        table.add_row(
            row.run, row.flow, row.profile, _state_of_run(row), _duration(row.age_s),
            "" if row.seconds is None else _duration(row.seconds),
            f"{row.made}", f"{row.reused}", _megabytes(row.bytes_made),
        )  # fmt: skip
    return table


def _marks(rows: Iterable[RunRow]) -> Table:
    table = _table("Marks: expectations that runs did not meet", ("run", "gate"), ())
    table.add_column("figure")
    for row in rows:
        for mark in row.marks:
            table.add_row(row.run, f"[yellow]{escape(mark.gate)}[/]", escape(mark.message))
    return table


def _artifacts(rows: Iterable[ArtifactRow]) -> Table:
    table = _table("Artifacts", ("artifact", "state"), ("age", "MB", "runs"))
    table.add_column("made by", no_wrap=True)
    for row in rows:
        table.add_row(
            escape(row.artifact), _state_of(row), _duration(row.age_s), _megabytes(row.bytes),
            f"{row.runs}", row.run or "",
        )  # fmt: skip
    return table


def _scores(lines: Iterable[ScoreLine]) -> Table:
    table = _table("Scores", ("column",), ("score", "95 % interval"))
    for heading in ("artifact", "of"):
        table.add_column(heading, no_wrap=True)
    for line in sorted(lines, key=lambda line: (line.model, _ORDER.get(line.column, 0))):
        known = line.low is not None and line.high is not None
        interval = f"{format_score(line.low or 0)}–{format_score(line.high or 0)}" if known else ""
        score = format_score(line.value)
        table.add_row(line.column, score, interval, escape(line.artifact), escape(line.model))
    return table


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _state_of_run(row: RunRow) -> str:
    return f"{_state(row.state)} [yellow](marked)[/]" if row.marks else _state(row.state)


def _state_of(row: ArtifactRow) -> str:
    if row.superseded_by:
        return f"[red]superseded by {row.superseded_by}[/]"
    if row.removed_documents:
        return f"[red]{row.removed_documents:,} removed documents[/]"
    return _state(row.state)


def _state(state: str) -> str:
    style = _STYLES.get(state, "red")
    return f"[{style}]{state}[/]"


def _duration(seconds: float) -> str:
    """In the largest unit of which there are at least two, as `3 h`."""
    for name, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.1f} s"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"
