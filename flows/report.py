"""The report: one self-contained HTML page that explains a run.

    STORE/reports/RUN_ID.html

It opens from disk, loads nothing, and every number in it leads to the artifact that it was read
from. The same artifacts give the same bytes, but for what is said of the run itself, which stands
between `<!-- run -->` and `<!-- /run -->`. Lists have a fixed length and tables are added up in
bounded memory, so the page of a large corpus is as large as that of a small one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows import html, report_corpus, report_duplicates, report_findings, stages
from flows.report_artifacts import artifact_facts, environment
from flows.report_graph import pipeline_graph
from flows.report_links import Links
from flows.report_source import Source, report_source
from flows.report_svg import columns, loss_curve, score_range
from flows.report_tables import open_tables
from flows.report_trace import trace_page
from flows.report_training import Training, training
from infra.files import write_atomic
from infra.lineage_build import Library
from infra.store import Store

FOLDER = "reports"
"""The folder of a store that holds them."""

Lineage = Callable[[str], str | None]
"""The address of the page of something that can be traced; None where there is no such page."""

_CONTENTS = (
    ("pipeline", "Pipeline"), ("domains", "Domains"), ("documents", "Lengths, languages, dates"),
    ("duplicates", "Duplicates"), ("training", "Training"), ("scores", "Scores"),
    ("overlap", "Overlap"), ("bias", "Bias"), ("removals", "Removals"),
    ("artifacts", "Artifacts and hashes"), ("run", "Environment"),
)  # fmt: skip
_RUN = re.compile(r"<!-- run -->.*?<!-- /run -->", re.DOTALL)


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page."""

    name: str
    value: int | str
    label: str


def write_report(store: Store, reference: str = "latest") -> Path:
    """Write the report of a run and give its path.

    Args:
        store: where it ran.
        reference: the run's id, its first letters, or `latest`.

    Raises:
        StoreError: there is no such run, or it made nothing.
    """
    source = report_source(Library(store), reference)
    path = store.root / FOLDER / f"{source.run.run_id}.html"
    write_atomic(path, render_report(source).encode())
    return path


def write_trace(store: Store, answer: BaseModel, text: str | None) -> Path:
    """Write the page of an answer of tracing, with a document's text if given; gives its path."""
    page = trace_page(answer, Links(served=False), text)
    name = f"trace-{blake2b(answer.model_dump_json().encode(), digest_size=6).hexdigest()}.html"
    path = store.root / FOLDER / name
    write_atomic(path, page.encode())
    return path


def render_report(source: Source, lineage: Lineage | None = None) -> str:
    """The page of a run; with `lineage`, as it is served beside the lineage's pages."""
    values = _values(source)
    name = _title(source, values["training"])
    return html.render(
        "report.html.j2",
        served=lineage is not None,
        lineage=lineage or (lambda _subject: None),
        title=name,
        lede=_lede(source, values["training"]),
        profile=source.run.profile,
        contents=_CONTENTS,
        tiles=_tiles(source, values["training"]),
        **values,
        **_labels(source),
    )


def without_run(page: str) -> str:
    """A report without what it says of the run itself: equal for equal artifacts."""
    return _RUN.sub("", page)


def _values(source: Source) -> dict[str, Any]:
    """What the sections show."""
    with open_tables() as tables:
        domains = report_corpus.domains(source, tables)
        lengths = report_corpus.lengths(source, tables)
        languages = report_corpus.languages(source, tables)
        dates = report_corpus.dates(source, tables)
        duplicates = report_duplicates.duplicates(source, tables)
        removals = report_findings.removals(source, tables)
    funnel, trained = report_corpus.funnel(source), training(source)
    scores, series = report_findings.scores(source), source.get(stages.SERIES.name)
    plots = {
        "lengths_plot": lengths and columns(lengths.bins, "Documents by their number of tokens"),
        "years_plot": dates and columns(dates.years, "Documents by year"),
        "months_plot": dates and columns(dates.months, f"Documents by {dates.unit} of submission"),
        "sizes_plot": duplicates and columns(duplicates.sizes, "Clusters of duplicates by size"),
        "loss_plot": trained and trained.curve and loss_curve(trained.curve, _alt(trained)),
        "range_plots": {
            one.row.column: score_range(
                one.row.value, one.row.low, one.row.high, list(one.row.published_sizes.items())
            )
            for one in (scores.rows if scores else ())
            if one.row.value is not None
        },
    }
    return {
        "graph": pipeline_graph(source),
        "funnel": funnel,
        "funnel_most": max((row.rows_in for row in funnel), default=0),
        "domains": domains,
        "published": domains.published if domains else [],
        "lengths": lengths,
        "languages": languages,
        "dates": dates,
        "duplicates": duplicates,
        "training": trained,
        "scores": scores,
        "overlap": report_findings.overlap(source),
        "bias": report_findings.bias(source),
        "removals": removals,
        "artifacts": artifact_facts(source),
        "missing": source.missing,
        "months": len(series.inputs("shards")) if series else 0,
        "environment": environment(source),
        **plots,
    }


def _labels(source: Source) -> dict[str, str]:
    """The artifacts that numbers of the corpus sections lead to."""
    wanted = {
        "corpus": stages.CORPUS,
        "documents": stages.DOCUMENTS,
        "fidelity": stages.FIDELITY,
        "duplicates_label": stages.DUPLICATES,
        "shards": stages.SHARDS,
    }
    found = {name: source.get(stage.name) for name, stage in wanted.items()}
    return {name: known.label if known else "" for name, known in found.items()}


def _tiles(source: Source, trained: Training | None) -> list[Tile]:
    """The run in a handful of numbers, in the order of the pipeline."""
    names = (
        (stages.SUBMISSIONS, "rows_in", "rows of submissions"),
        (stages.ROWS, "rows_in", "rows of the corpus given"),
        (stages.LINKS, "rows_out", "links"),
        (stages.CAPTURES, "rows_out", "pages captured"),
        (stages.CORPUS, "rows_out", "documents in the corpus"),
    )
    tiles = []
    for stage, count, name in names:
        known = source.get(stage.name)
        if known is not None and count in known.manifest.counts:
            tiles.append(Tile(name, known.manifest.counts[count], known.label))
    shards = source.get(stages.SHARDS.name)
    if shards is not None:
        facts = shards.manifest.counts["facts"]
        tiles.append(Tile("tokens to train on", facts["train_tokens"], shards.label))
    if trained is not None:
        tiles.append(Tile("parameters", trained.parameters, trained.model))
        if trained.validation_loss is not None:
            loss = f"{trained.validation_loss:.3f}"
            tiles.append(Tile("held-out loss, nats a token", loss, trained.model))
    return tiles


def _title(source: Source, trained: Training | None) -> str:
    first = source.get(stages.SUBMISSIONS.name) or source.get(stages.ROWS.name)
    corpus = source.get(stages.CORPUS.name)
    goal = "what the run made"
    if corpus is not None:
        goal = f"{corpus.manifest.counts['rows_out']:,} documents"
    if trained is not None:
        goal = f"a GPT\N{NON-BREAKING HYPHEN}2 of {_millions(trained.parameters)} parameters"
    if first is None:
        return goal[0].upper() + goal[1:]
    what = "submissions" if first.stage == stages.SUBMISSIONS.name else "rows"
    return f"From {first.manifest.counts['rows_in']:,} {what} to {goal}"


def _lede(source: Source, trained: Training | None) -> str:
    """The run in a sentence or two, for somebody who has never seen one."""
    told = []
    links, corpus = source.get(stages.LINKS.name), source.get(stages.CORPUS.name)
    captures, shards = source.get(stages.CAPTURES.name), source.get(stages.SHARDS.name)
    if links is not None and captures is not None:
        counts = captures.manifest.counts
        told.append(
            f"{links.manifest.counts['rows_out']:,} links that people on Reddit liked were "
            f"followed, and {counts['rows_out']:,} of them gave a page."
        )
    if corpus is not None:
        kept = f"{corpus.manifest.counts['rows_out']:,} documents were left"
        tokens = ""
        if shards is not None:
            tokens = f", {shards.manifest.counts['facts']['train_tokens']:,} tokens to train on"
        told.append(f"After filters and the removal of copies {kept}{tokens}.")
    if trained is not None:
        told.append(
            f"A GPT-2 was trained on them for {trained.steps:,} steps and scored on the "
            "benchmarks of GPT-2's own table."
        )
    return " ".join(told) or "This is what the run made, and where each number of it comes from."


def _alt(trained: Training) -> str:
    """The loss curve in words."""
    if trained.first_loss is None or trained.last_loss is None:
        return "Loss over the steps of training"
    return (
        f"Training loss over {trained.steps:,} steps, from {trained.first_loss:.3f} to "
        f"{trained.last_loss:.3f} nats a token"
    )


def _millions(number: int) -> str:
    if number >= 10_000_000:
        return f"{number / 1e6:,.0f} million"
    return f"{number / 1e6:.1f} million" if number >= 1_000_000 else f"{number:,}"
