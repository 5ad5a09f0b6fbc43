"""What the commands show of scores: tables, comparisons, scores on record, fetched files."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.compare import Comparison
from eval.fetch import Fetched
from eval.on_record import GPT2_124M_PARAMETERS, GPT2_124M_SHA256, check_records
from eval.protocols import COLUMNS
from eval.scores import Score
from eval.table import TITLES, TableRow, VariantRow, format_score, notes, variant_rows


def score_table(rows: Sequence[TableRow]) -> Table:
    """The ten columns, ours beside the published rows of OpenAI's four sizes."""
    table = Table(title="Zero-shot scores", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("column", no_wrap=True)
    sizes = list(rows[0].published_sizes)
    nearest = rows[0].published_name
    published = [f"[bold]GPT-2 {size}[/]" if size == nearest else size for size in sizes]
    with_gain = any(row.gain is not None for row in rows)
    gain = ["gained by\nde-tokenizing"] if with_gain else []
    for heading in ("score", "95 % interval", "items", *gain, *published):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("made on", overflow="fold")
    for row in rows:
        beside = [format_score(value) for value in row.published_sizes.values()]
        gained = [format_score(row.gain) if row.gain is not None else ""] if with_gain else []
        if row.value is None:
            empty = ["–", "", "", *([""] if with_gain else [])]
            table.add_row(row.title, *empty, *beside, escape(row.missing or ""), style="dim")
            continue
        table.add_row(
            row.title,
            format_score(row.value),
            row.interval,
            f"{row.items:,}",
            *gained,
            *beside,
            escape(row.label),
        )
    return table


def variant_table(rows: Sequence[VariantRow]) -> Table:
    """Every score by column and reading, with the protocol's id."""
    table = Table(title="All readings", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("column", "reading"):
        table.add_column(heading, no_wrap=True)
    for heading in ("score", "95 % interval", "items"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit", overflow="fold")
    table.add_column("protocol", no_wrap=True)
    for row in rows:
        value = format_score(row.value)
        table.add_row(
            row.title, row.variant, value, row.interval, f"{row.items:,}", row.unit, row.protocol
        )
    return table


def print_scores(console: Console, rows: Sequence[TableRow], scores: Sequence[Score] = ()) -> None:
    """Print the score table, why it may differ from the published one, and the other readings."""
    console.print()
    console.print(score_table(rows))
    for title, reason in notes(rows):
        console.print(f"[dim]{title}: {escape(reason)}[/]", highlight=False)
    if any(score.variant != "paper" for score in scores):
        console.print()
        console.print(variant_table(variant_rows(scores)))


def print_records(
    console: Console, scores: Sequence[Score], parameters: int, weights_sha256: str | None
) -> None:
    """Print the scores on record of OpenAI's smallest model beside those of a model of its size."""
    if parameters != GPT2_124M_PARAMETERS:
        return
    is_openai = weights_sha256 == GPT2_124M_SHA256
    whose = "these are OpenAI's weights" if is_openai else "if these are OpenAI's weights"
    table = Table(
        title=f"On record of GPT-2 124M ({whose})", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("score", overflow="fold")
    for heading in ("on record", "here"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    for check in check_records(scores):
        here = "" if check.value is None else format_score(check.value)
        outcome = f"{check.outcome}: {check.reason}" if check.reason else check.outcome
        table.add_row(check.record.what, f"{check.record.value:.2f}", here, escape(outcome))
    console.print()
    console.print(table)


def print_many(console: Console, names: Sequence[str], scores: Sequence[Sequence[Score]]) -> None:
    """Print the `paper` scores of several models, a row a model."""
    table = Table(title="Zero-shot scores", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    by_column = [{s.column: s for s in of if s.variant == "paper"} for of in scores]
    columns = [column for column in COLUMNS if any(column in found for found in by_column)]
    for column in columns:
        table.add_column(TITLES[column].replace(" (", "\n("), justify="right", no_wrap=True)
    for name, found in zip(names, by_column, strict=True):
        cells = [format_score(found[c].value) if c in found else "–" for c in columns]
        table.add_row(escape(name), *cells)
    console.print()
    console.print(table)


def print_comparisons(
    console: Console,
    first: str,
    second: str,
    found: Sequence[Comparison],
    reasons: Sequence[str],
) -> None:
    """Print the differences of two models, and what cannot be compared."""
    table = Table(
        title=f"{escape(second)} compared with {escape(first)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("column", "reading"):
        table.add_column(heading, no_wrap=True)
    for heading in ("first", "second", "change", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("items better, worse", justify="right")
    table.add_column("the second is", overflow="fold")
    for row in found:
        unit = {"bits": " bits", "percentage points": " points"}.get(row.unit, " %")
        interval = "" if row.low is None else f"{row.low:+.2f} – {row.high:+.2f}"
        table.add_row(
            TITLES[row.column],
            row.variant,
            format_score(row.first),
            format_score(row.second),
            f"{row.change:+.2f}{unit}",
            interval,
            f"{row.items_better:,}, {row.items_worse:,}",
            row.verdict,
        )
    console.print(table)
    for reason in reasons:
        console.print(f"[dim]{escape(reason)}[/]", highlight=False)


def print_fetched(console: Console, fetched: Sequence[Fetched]) -> None:
    """Print what became of each file."""
    for one in fetched:
        mark = "[green]✓[/]" if one.is_there else "[red]✗[/]"
        label = f"  {one.label}" if one.label else ""
        console.print(f"{mark} {one.name}  {escape(one.outcome)}{escape(label)}", highlight=False)
