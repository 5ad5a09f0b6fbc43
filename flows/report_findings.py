"""What a report tells of a model: scores beside the published ones, overlap, bias; and removals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eval.bias import read_bias
from eval.overlap_report import read_report, top_documents
from eval.overlap_scores import CleanScore, read_clean_scores
from eval.published import PAPER
from eval.scores import SCORES_NAME, read_scores
from eval.table import TableRow, notes, table_rows
from flows import bias_show, overlap_show, stages
from flows.report_source import Source
from flows.report_tables import Tables
from infra.errors import StoreError
from infra.lineage_build import Known
from infra.store import REMOVALS_NAME, Store, open_artifact

Cells = Sequence[str]
_DOCUMENTS = 3
_MOST_REMOVALS = 40


@dataclass(frozen=True)
class ScoreRow:
    """A column of the table and where its number is from."""

    row: TableRow
    artifact: str | None


@dataclass(frozen=True)
class Scores:
    """The ten columns."""

    rows: list[ScoreRow]
    sizes: list[str]
    nearest: str
    notes: list[tuple[str, str]]
    source: str
    """Where the published numbers are from."""


@dataclass(frozen=True)
class Overlap:
    """How much of each benchmark the training text holds."""

    artifact: str
    headings: Cells
    rows: list[Cells]
    explained: str
    documents: list[dict[str, Any]]
    """Those that share most with each benchmark."""
    clean_artifact: str | None
    clean: list[CleanScore]


@dataclass(frozen=True)
class Table:
    """A titled table of texts."""

    title: str
    headings: Cells
    rows: list[Cells]


@dataclass(frozen=True)
class Bias:
    """The bias probes."""

    artifact: str
    tables: list[Table]
    explained: str


@dataclass(frozen=True)
class Removals:
    """What was taken down."""

    artifact: str | None
    """The list that the run obeyed; None where there was none."""
    rows: list[dict[str, Any]]
    total: int
    read_since: int
    """Documents that the model was trained on and that were removed afterwards."""


def scores(source: Source) -> Scores | None:
    """The score table of the run; None where nothing was scored."""
    folders = source.scores
    if not folders:
        return None
    found = {
        score.column: known.label
        for known in folders
        for score in read_scores(known.file(SCORES_NAME))
        if score.variant == "paper"
    }
    every = [score for known in folders for score in read_scores(known.file(SCORES_NAME))]
    card = source.get(stages.CARD.name)
    missing = card.manifest.identity.config["missing"] if card else {}
    rows = table_rows(every, missing=missing, parameters=_parameters(source))
    return Scores(
        rows=[ScoreRow(row, found.get(row.column)) for row in rows],
        sizes=list(rows[0].published_sizes),
        nearest=rows[0].published_name,
        notes=notes(rows),
        source=f"GPT-2's model card (124M) and {PAPER}",
    )


def overlap(source: Source) -> Overlap | None:
    """The overlap table; None where `webtext overlap` was not run."""
    known = source.get(stages.OVERLAP.name)
    if known is None:
        return None
    report = read_report(known.whole())
    shown = overlap_show.headline_overlaps(report)
    clean = source.get(stages.CLEAN_SCORES.name)
    documents = [
        row | {"link_id": row["link_id"].hex()}
        for one in shown
        for row in top_documents(known.whole(), one.benchmark, _DOCUMENTS)
    ]
    return Overlap(
        artifact=known.label,
        headings=overlap_show.headings(report),
        rows=[overlap_show.overlap_cells(one) for one in shown],
        explained=overlap_show.explain(report),
        documents=documents,
        clean_artifact=clean.label if clean else None,
        clean=read_clean_scores(clean.whole()) if clean else [],
    )


def bias(source: Source) -> Bias | None:
    """The bias tables; None where the model was not probed."""
    known = source.get(stages.BIAS.name)
    if known is None:
        return None
    found = read_bias(known.whole())
    tables = [
        Table(title, heads, list(rows)) for title, heads, rows in bias_show.bias_tables(found)
    ]
    return Bias(known.label, tables, bias_show.explain(found))


def removals(source: Source, tables: Tables) -> Removals | None:
    """What was removed before the run, and what the model had read of what went since."""
    known, shards = source.get(stages.REMOVALS.name), source.get(stages.SHARDS.name)
    store = source.library.store
    since = 0 if shards is None else _removed_since(store, shards)
    if known is None and not since:
        return None
    files = known.parts("removals") if known else []
    rows = tables.rows(_REMOVALS, files, {"most": _MOST_REMOVALS})
    return Removals(
        known.label if known else None,
        [dict(zip(_REMOVAL, row, strict=True)) for row in rows],
        sum(file.rows or 0 for file in known.manifest.files) if known else 0,
        since,
    )


def _removed_since(store: Store, shards: Known) -> int:
    """Documents of the shards that are on the store's list of removals."""
    if not (store.root / REMOVALS_NAME).is_file():
        return 0
    from flows.removed import removed_documents

    try:
        return removed_documents(store, open_artifact(shards.folder))
    except StoreError:
        return 0  # its corpus is gone, and with it what could be asked


_REMOVAL = ("url", "host", "date", "reason", "copy_of")
_REMOVALS = """
SELECT url, host, date, reason, copy_of FROM read_parquet($files)
ORDER BY date DESC, coalesce(host, url), url LIMIT $most
"""


def _parameters(source: Source) -> int:
    model = source.get(stages.MODEL.name)
    return int(model.manifest.counts["parameters"]) if model else 0
