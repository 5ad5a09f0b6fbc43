"""What a report tells of a corpus: the funnel, domains, lengths, languages and dates.

Everything is added up by DuckDB in bounded memory, and lists have a fixed length, so that a page of
eight million documents is as large as one of a hundred.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows import stages
from flows.fidelity import HEADINGS, fidelity_cells, fidelity_notes, read_fidelity
from flows.funnel import funnel_rows
from flows.report_source import Source
from flows.report_tables import Tables
from infra.lineage_build import Known
from webtext.fidelity import domain_name, published_domains

TOP_DOMAINS = 25
_TOP_LANGUAGES = 12
_MOST_MONTHS = 120


@dataclass(frozen=True)
class FunnelRow:
    """A stage and what it kept."""

    stage: str
    artifact: str
    counted: str
    rows_in: int
    rows_out: int
    losses: dict[str, int]


@dataclass(frozen=True)
class Domain:
    """A domain of the corpus beside its place in WebText."""

    name: str
    documents: int
    tokens: int
    published_rank: int | None
    published_links: int | None


@dataclass(frozen=True)
class Published:
    """A domain of WebText's list beside the rows of this build."""

    rank: int
    name: str
    links: int
    ours: dict[str, int]


@dataclass(frozen=True)
class Domains:
    """The domains of a build and those of WebText."""

    top: list[Domain]
    distinct: int
    places: tuple[str, ...]
    """Tables in which the published domains were counted, in order."""
    published: list[Published]
    headings: Sequence[str]
    fidelity: list[Sequence[str]]
    notes: list[str]


@dataclass(frozen=True)
class Bin:
    """A column of a histogram."""

    label: str
    count: int
    tick: str = ""
    """What stands below it, where that is not the label."""


@dataclass(frozen=True)
class Lengths:
    """Tokens a document."""

    bins: list[Bin]
    median: int
    longest: int


@dataclass(frozen=True)
class Language:
    """Pages of a language, and how many became documents."""

    name: str
    pages: int
    documents: int


@dataclass(frozen=True)
class Dates:
    """When pages were dated and when they were posted."""

    years: list[Bin]
    undated: int
    months: list[Bin]
    unit: str
    """What a column of `months` is."""


def funnel(source: Source) -> list[FunnelRow]:
    """The stages from the dumps to the shards' documents."""
    found = [(stage, source.get(stage.name)) for stage in stages.FUNNEL]
    if source.get(stages.CORPUS.name) is not None:  # the copies found before are lost there
        found = [(stage, one) for stage, one in found if stage is not stages.DUPLICATES]
    known = [(stage, one) for stage, one in found if one is not None and _counts(one)]
    rows = funnel_rows((stage, one.manifest.counts) for stage, one in known)
    return [
        FunnelRow(
            row["stage"], one.label, row["counted"], row["in"], row["out"], dict(row["losses"])
        )
        for row, (_, one) in zip(rows, known, strict=True)
    ]


def domains(source: Source, tables: Tables) -> Domains | None:
    """The corpus's commonest domains, and WebText's; None where there is no corpus."""
    corpus = source.get(stages.CORPUS.name)
    if corpus is None:
        return None
    files = corpus_files(corpus)
    top = tables.rows(_DOMAINS, files, {"limit": TOP_DOMAINS})
    distinct = tables.rows("SELECT count(DISTINCT domain) FROM read_parquet($files)", files)
    ranks = {name: place for place, name in enumerate(published_domains(), 1)}
    fidelity = source.get(stages.FIDELITY.name)
    figures = {} if fidelity is None else read_fidelity(fidelity.whole())
    return Domains(
        top=[_domain(name, count, tokens, ranks) for name, count, tokens in top],
        distinct=distinct[0][0] if distinct else 0,
        places=tuple(figures),
        published=[] if fidelity is None else _published(fidelity, tuple(figures)),
        headings=HEADINGS,
        fidelity=[fidelity_cells(name, one) for name, one in figures.items()],
        notes=fidelity_notes(figures),
    )


def lengths(source: Source, tables: Tables) -> Lengths | None:
    """Tokens of the corpus's documents, by powers of two."""
    corpus = source.get(stages.CORPUS.name)
    rows = tables.rows(_LENGTHS, corpus_files(corpus)) if corpus else []
    if not rows:
        return None
    counts = {int(power): count for power, count in rows}
    bins = [
        Bin(f"{2**power:,}–{2 ** (power + 1) - 1:,}", counts.get(power, 0), _power(power))
        for power in range(min(counts), max(counts) + 1)
    ]
    assert corpus is not None
    median, longest = tables.rows(_MIDDLE, corpus_files(corpus))[0]
    return Lengths(bins, median, longest)


def languages(source: Source, tables: Tables) -> list[Language]:
    """Languages of the pages with text, the commonest first; the rest in one row."""
    documents = source.get(stages.DOCUMENTS.name)
    if documents is None:
        return []
    pages = dict(tables.rows(_LANGUAGES, documents.parts("attributes")))
    kept = dict(tables.rows(_LANGUAGES, documents.parts("documents")))
    ordered = sorted(pages, key=lambda name: (-pages[name], name))
    shown = [Language(name, pages[name], kept.get(name, 0)) for name in ordered[:_TOP_LANGUAGES]]
    rest = ordered[_TOP_LANGUAGES:]
    if rest:
        more = f"{len(rest)} more"
        shown.append(Language(more, sum(pages[n] for n in rest), sum(kept.get(n, 0) for n in rest)))
    return shown


def dates(source: Source, tables: Tables) -> Dates | None:
    """Years of the documents, and months in which their links were first posted."""
    corpus = source.get(stages.CORPUS.name)
    if corpus is None:
        return None
    years = dict(tables.rows(_YEARS, corpus_files(corpus)))
    undated = years.pop(None, 0)
    known = {int(year): count for year, count in years.items()}
    months = {month: count for month, count in tables.rows(_MONTHS, corpus_files(corpus)) if month}
    columns, unit = _month_bins(months)
    return Dates(_filled(known), undated, columns, unit)


def _power(power: int) -> str:
    return f"{2**power}" if power < 10 else f"{2 ** (power - 10)}k"


def corpus_files(corpus: Known) -> list[Any]:
    """The tables of both splits."""
    return [*corpus.parts("train"), *corpus.parts("validation")]


def _counts(known: Known) -> bool:
    return "rows_in" in known.manifest.counts


def _domain(name: str, documents: int, tokens: int, ranks: dict[str, int]) -> Domain:
    key = domain_name(name)
    return Domain(name, documents, tokens, ranks.get(key), published_domains().get(key))


def _published(fidelity: Known, places: tuple[str, ...]) -> list[Published]:
    rows = json.loads(fidelity.file("fidelity.json").read_bytes())["domains"]
    return [
        Published(rank, row["name"], row["published"], {place: row[place] for place in places})
        for rank, row in enumerate(rows, 1)
    ]


def _filled(counts: dict[int, int]) -> list[Bin]:
    """A column for each year from the first to the last, those without a document included."""
    if not counts:
        return []
    return [Bin(f"{year}", counts.get(year, 0)) for year in range(min(counts), max(counts) + 1)]


def _month_bins(months: dict[str, int]) -> tuple[list[Bin], str]:
    """A column a month, or a year where the months are too many to be seen."""
    if not months:
        return [], "month"
    names = _months_between(min(months), max(months))
    if len(names) <= _MOST_MONTHS:
        return [Bin(name, months.get(name, 0)) for name in names], "month"
    years: dict[int, int] = {}
    for name, count in months.items():
        years[int(name[:4])] = years.get(int(name[:4]), 0) + count
    return _filled(years), "year"


def _months_between(first: str, last: str) -> list[str]:
    start, end = (int(name[:4]) * 12 + int(name[5:]) - 1 for name in (first, last))
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(start, end + 1)]


_DOMAINS = """
SELECT domain, count(*), sum(tokens)::BIGINT FROM read_parquet($files)
GROUP BY domain ORDER BY count(*) DESC, domain LIMIT $limit
"""

_LENGTHS = """
SELECT CAST(floor(log2(greatest(tokens, 1))) AS INTEGER) AS power, count(*)
FROM read_parquet($files) GROUP BY power ORDER BY power
"""

_MIDDLE = """
SELECT quantile_disc(tokens, 0.5)::BIGINT, max(tokens)::BIGINT FROM read_parquet($files)
"""

_LANGUAGES = """
SELECT coalesce(language, 'unknown') AS name, count(*) FROM read_parquet($files) GROUP BY name
"""

# What a page says of its year is believed between two bounds: some claim the year 1 or 9999.
_YEARS = """
SELECT CASE WHEN year BETWEEN 1990 AND 2039 THEN year END AS known, count(*)
FROM (SELECT try_cast(date[1:4] AS INTEGER) AS year FROM read_parquet($files)) GROUP BY known
"""

_MONTHS = """
SELECT CASE WHEN first_created_utc > 0
            THEN strftime(make_timestamp(first_created_utc * 1000000), '%Y-%m') END AS month,
       count(*)
FROM read_parquet($files) GROUP BY month
"""
