"""The score table: ten columns, ours beside OpenAI's four sizes, and why they may differ.

`table_rows` gives plain data, a row a column in the published order, also for a column without a
score, which then says why; `variant_rows` gives every score there is, whatever its reading of the
column. `render_markdown` writes both down.
"""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from eval.deviations import deviations
from eval.files import UNKNOWN
from eval.protocols import COLUMNS, VARIANTS, Column, Variant, benchmark_of
from eval.published import PUBLISHED, PublishedRow, nearest_row
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


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TableRow(_Shown):
    """One column of the published table, as a row of ours."""

    column: Column
    """Column of the published table."""
    title: str
    """Its heading."""
    variant: Variant
    """Which reading is shown."""
    value: float | None
    """Our score; None where there is none."""
    low: float | None
    """Lower end of the 95 % interval; None for a single item."""
    high: float | None
    """Upper end of it."""
    items: int | None
    """Items scored."""
    gain: float | None
    """How much better the score is than that of the text as it is in the file; None if unknown."""
    published: float
    """The published score of the nearest size."""
    published_name: str
    """That size."""
    published_sizes: dict[str, float]
    """The published scores of all sizes."""
    label: str
    """What the data are: a known file, "unknown file" or "demo", and which sample of them."""
    protocol: str | None
    """The protocol's id."""
    deviations: tuple[str, ...]
    """Why it may differ from the published score, whatever the weights."""
    missing: str | None
    """Why there is no score."""

    @property
    def interval(self) -> str:
        """The interval as the table shows it."""
        return format_interval(self.low, self.high)


class VariantRow(_Shown):
    """One score, as a row of the table of all readings."""

    title: str
    """Heading of the column."""
    variant: Variant
    """Which reading."""
    value: float
    """The score."""
    interval: str
    """Its interval as the table shows it."""
    unit: str
    """What one unit is: "perplexity a word or end of line", ..."""
    items: int
    """Items scored."""
    label: str
    """What the data are."""
    protocol: str
    """The protocol's id."""


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


def variant_rows(scores: Iterable[Score]) -> list[VariantRow]:
    """Every score, by column and reading."""
    ordered = sorted(
        scores, key=lambda score: (COLUMNS.index(score.column), VARIANTS.index(score.variant))
    )
    return [
        VariantRow(
            title=TITLES[score.column],
            variant=score.variant,
            value=score.value,
            interval=format_interval(score.low, score.high),
            unit=f"{score.unit} a {score.protocol.unit}"
            if score.unit != "%"
            else f"% right, {score.protocol.scored}",
            items=score.items,
            label=_label(score),
            protocol=score.protocol.id,
        )
        for score in ordered
    ]


def notes(rows: Iterable[TableRow]) -> list[tuple[str, str]]:
    """Heading and reasons of each scored column that may differ from the published one."""
    return [(row.title, "; ".join(row.deviations)) for row in rows if row.deviations]


def render_markdown(rows: Sequence[TableRow]) -> str:
    """The rows as a Markdown table, with the reasons below it."""
    sizes = list(rows[0].published_sizes)
    headings = ["column", "score", "95 % interval", "items", *sizes, "data", "protocol"]
    lines = [_line(headings), _line(["---", *["--:"] * (3 + len(sizes)), "---", "---"])]
    for row in rows:
        published = [format_score(value) for value in row.published_sizes.values()]
        cells = [row.title, "–", "", "", *published, row.missing or "", ""]
        if row.value is not None:
            cells = [
                row.title,
                format_score(row.value),
                row.interval,
                f"{row.items:,}",
                *published,
                row.label,
                f"`{row.protocol}`",
            ]
        lines.append(_line(cells))
    reasons = [f"- {title}: {reason}" for title, reason in notes(rows)]
    if reasons:
        lines += ["", "Why a score may differ from the published one of the same weights:", ""]
    return "\n".join([*lines, *reasons]) + "\n"


def format_score(value: float) -> str:
    """A score as the table shows it: two decimals, none of them from a thousand on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def format_interval(low: float | None, high: float | None) -> str:
    """An interval as the table shows it; nothing where there is none."""
    if low is None or high is None:
        return ""
    return f"{format_score(low)} – {format_score(high)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |"


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
        gain=_gain(score) if score else None,
        published=published.scores[column],
        published_name=published.name,
        published_sizes={row.name: row.scores[column] for row in PUBLISHED},
        label=_label(score) if score else "",
        protocol=score.protocol.id if score else None,
        deviations=tuple(deviations(score)) if score else (),
        missing=reason,
    )


def _gain(score: Score) -> float | None:
    """By how much de-tokenizing makes the score better: lower, or for accuracies higher."""
    if score.untouched is None:
        return None
    change = score.untouched - score.value
    return -change if score.unit == "%" else change


def _label(score: Score) -> str:
    """What the score was made on, in a few words."""
    data = score.data
    name = f"{data.label} ({data.name})" if data.label == UNKNOWN else f"{data.label}, {data.split}"
    return f"{name}; {score.protocol.sample}" if score.protocol.sample else name
