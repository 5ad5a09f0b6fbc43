"""The overlap report as tables: for the terminal, for Prefect's pages, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.overlap_report import PUBLISHED, Overlap, Report, read_report, top_documents
from eval.overlap_scores import CleanScore, read_clean_scores
from eval.protocols import Column
from eval.table import TITLES, format_interval, format_score
from flows import stages

HEADINGS = (
    "benchmark", "8-grams", "in training", "%", "own training %", "WebText %", "its own %",
    "clean items", "documents",
)  # fmt: skip
_RIGHT = HEADINGS[1:]


def headline_overlaps(report: Report) -> list[Overlap]:
    """The first variant of each benchmark, `paper` where there is one: a row of the table."""
    first: dict[str, Overlap] = {}
    for overlap in report.overlaps:
        first.setdefault(overlap.benchmark, overlap)
    return list(first.values())


def overlap_cells(overlap: Overlap) -> tuple[str, ...]:
    """A row of the table, in the order of `HEADINGS`."""
    published = PUBLISHED.get(overlap.benchmark)
    return (
        overlap.benchmark,
        f"{overlap.ngrams:,}",
        f"{overlap.overlapping:,}",
        show_percent(overlap.share),
        show_percent(overlap.own_share),
        *(map(show_percent, published) if published else ("–", "–")),
        f"{overlap.clean_items:,} of {overlap.items:,}",
        f"{overlap.documents:,}",
    )


def overlap_markdown(report: Report) -> str:
    """The table in Markdown, with what it means below it."""
    rows = [headings(report), ("---", *("---:" for _ in _RIGHT))]
    rows += [overlap_cells(overlap) for overlap in headline_overlaps(report)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"{table}\n\n{explain(report)}"


def headings(report: Report) -> tuple[str, ...]:
    """`HEADINGS` with the n-grams' length."""
    return tuple(heading.replace("8", str(report.ngram_words)) for heading in HEADINGS)


def explain(report: Report) -> str:
    """What the columns are, and how often the filter was wrong."""
    check = report.filter
    return (
        f"%: of a benchmark's {report.ngram_words}-grams, those that the training text holds; own "
        "training: that its own training set holds, where its file is there; WebText, its own: as "
        "published (Radford et al. 2019, table 6). Clean: items without such an n-gram. The filter "
        f"was asked for {check.asked:,} n-grams and was wrong {check.false_positives:,} times "
        f"(at most {check.rate:.1e} by its bits); hits were compared word by word."
    )


def print_overlap(console: Console, store: Path, made: Mapping[str, str], documents: int) -> None:
    """Show what an overlap run made: the table, the documents that share most, clean scores."""
    folder = store / made[stages.OVERLAP.name]
    report = read_report(folder)
    table = Table(title="Overlap with the training text", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in headings(report):
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for overlap in headline_overlaps(report):
        table.add_row(*overlap_cells(overlap))
    console.print(table)
    console.print(explain(report), highlight=False)
    if documents:
        console.print(_document_table(folder, report, documents))
    if stages.CLEAN_SCORES.name in made:
        console.print(_clean_table(read_clean_scores(store / made[stages.CLEAN_SCORES.name])))
    console.print(f"All of it is in [bold]{folder}[/]")


def overlap_json(store: Path, made: Mapping[str, str], documents: int) -> str:
    """The same as JSON, `link_id`s in hexadecimal."""
    folder = store / made[stages.OVERLAP.name]
    report = read_report(folder)
    clean = stages.CLEAN_SCORES.name
    rows = read_clean_scores(store / made[clean]) if clean in made else []
    value = {
        "made": dict(made),
        "report": report.model_dump(mode="json"),
        "documents": list(_documents(folder, report, documents)),
        "clean_scores": [row.model_dump(mode="json") for row in rows],
    }
    return json.dumps(value, indent=2)


def _documents(folder: Path, report: Report, most: int) -> Iterator[dict[str, Any]]:
    """The documents that share most with each benchmark."""
    for overlap in headline_overlaps(report):
        for row in top_documents(folder, overlap.benchmark, most):
            yield row | {"link_id": row["link_id"].hex()}


def _document_table(folder: Path, report: Report, most: int) -> Table:
    table = Table(title="Documents that share most", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("benchmark", "link_id"):
        table.add_column(heading, no_wrap=True)  # to be copied
    table.add_column("shared", justify="right")
    for heading in ("URL", "one of them"):
        table.add_column(heading, overflow="fold")
    for row in _documents(folder, report, most):
        table.add_row(
            row["benchmark"],
            row["link_id"],
            f"{row['shared_ngrams']:,}",
            escape(row["url"]),
            escape(row["example"]),
        )
    return table


def _clean_table(rows: Sequence[CleanScore]) -> Table:
    table = Table(title="Scores on clean items", title_justify="left", box=box.SIMPLE_HEAD)
    names, body = _clean_rows(rows)
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if place < 2 else "right")
    for cells in body:
        table.add_row(*cells)
    return table


def clean_markdown(rows: Sequence[CleanScore]) -> str:
    """The scores on clean items as a table in Markdown."""
    names, body = _clean_rows(rows)
    ruler = ["---", "---", *("---:" for _ in names[2:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, ruler, *body))


def _clean_rows(rows: Sequence[CleanScore]) -> tuple[list[str], list[list[str]]]:
    """Headings, a column a limit, and a row a score: its value and items within each."""
    limits = sorted({row.limit for row in rows})
    by_score: dict[tuple[Column, str], dict[float, CleanScore]] = {}
    for row in rows:
        by_score.setdefault((row.column, row.variant), {})[row.limit] = row
    body = [
        [
            TITLES[column],
            variant,
            _clean_whole(found[limits[0]]),
            *(_clean_cell(found[limit]) for limit in limits),
        ]
        for (column, variant), found in by_score.items()
    ]
    names = ["no overlap" if limit == 0 else f"up to {limit:.0%}" for limit in limits]
    return ["column", "variant", "all items", *names], body


def _clean_whole(row: CleanScore) -> str:
    return f"{format_score(row.all_value)} ({row.all_items:,})"


def _clean_cell(row: CleanScore) -> str:
    if row.value is None:
        return "no item"
    interval = format_interval(row.low, row.high)
    return f"{format_score(row.value)} ({f'{interval}; ' if interval else ''}{row.items:,})"


def show_percent(share: float | None) -> str:
    """A share in per cent as text; what is little is not rounded to nothing."""
    if share is None:
        return "–"
    return f"{share:.1g}" if 0 < share < 0.005 else f"{share:.2f}"
