"""The score table: ten columns, ours beside the published row of the nearest size.

`table_rows` gives plain data, a dictionary a column in the published order, also for a column
without a score, which then says why; `render_markdown` writes it down.
"""

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from eval.files import UNKNOWN
from eval.protocols import COLUMNS, Column, Variant, benchmark_of
from eval.published import PublishedRow, nearest_row
from eval.scores import Score

TITLES: dict[Column, str] = {
    "lambada_ppl": "LAMBADA (PPL)",
    "lambada_acc": "LAMBADA (ACC)",
    "cbt_cn": "CBT-CN (ACC)",
    "cbt_ne": "CBT-NE (ACC)",
    "wikitext2": "WikiText2 (PPL)",
    "ptb": "PTB (PPL)",
    "enwik8": "enwik8 (BPB)",
    "text8": "text8 (BPC)",
    "wikitext103": "WikiText103 (PPL)",
    "1bw": "1BW (PPL)",
}
"""Headings as the published table has them."""


class TableRow(BaseModel):
    """One column of the published table, as a row of ours."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: Column
    """Column of the published table."""
    title: str
    """Its heading."""
    variant: Variant
    """Which reading is shown."""
    value: float | None
    """Our score; None where there is none."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    """Upper end of it."""
    items: int | None
    """Items scored."""
    published: float
    """The published score of the nearest size."""
    published_name: str
    """That size."""
    label: str
    """What the data are: a known file, "unknown file" or "demo", and which sample of them."""
    protocol: str | None
    """The protocol's id."""
    missing: str | None
    """Why there is no score."""


def table_rows(
    scores: Iterable[Score],
    *,
    missing: Mapping[str, str],
    parameters: int,
    variant: Variant = "paper",
) -> list[TableRow]:
    """The ten rows; `missing` tells by benchmark or column why there is no score."""
    by_column = {score.column: score for score in scores if score.variant == variant}
    published = nearest_row(parameters)
    return [_row(column, by_column.get(column), missing, published, variant) for column in COLUMNS]


def render_markdown(rows: Iterable[TableRow]) -> str:
    """The rows as a Markdown table."""
    rows = list(rows)
    lines = [
        f"| column | score | 95 % interval | items | GPT-2 {rows[0].published_name} | data |"
        " protocol |",
        "|---|--:|---|--:|--:|---|---|",
    ]
    for row in rows:
        cells = [row.title, "–", "", "", format_score(row.published), row.missing or "", ""]
        if row.value is not None and row.low is not None and row.high is not None:
            interval = f"{format_score(row.low)} – {format_score(row.high)}"
            cells = [
                row.title,
                format_score(row.value),
                interval,
                f"{row.items:,}",
                format_score(row.published),
                row.label,
                f"`{row.protocol}`",
            ]
        lines.append(f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def format_score(value: float) -> str:
    """A score as the table shows it: two decimals, none of them from a thousand on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def _row(
    column: Column,
    score: Score | None,
    missing: Mapping[str, str],
    published: PublishedRow,
    variant: Variant,
) -> TableRow:
    reason = None
    if score is None:
        reason = missing.get(column) or missing.get(benchmark_of(column)) or "not scored"
    return TableRow(
        column=column,
        title=TITLES[column],
        variant=variant,
        value=score.value if score else None,
        low=score.low if score else None,
        high=score.high if score else None,
        items=score.items if score else None,
        published=published.scores[column],
        published_name=published.name,
        label=_label(score) if score else "",
        protocol=score.protocol.id if score else None,
        missing=reason,
    )


def _label(score: Score) -> str:
    """What the score was made on, in a few words."""
    data = score.data
    name = f"{data.label} ({data.name})" if data.label == UNKNOWN else f"{data.label}, {data.split}"
    return f"{name}; {score.protocol.sample}" if score.protocol.sample else name
