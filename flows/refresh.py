"""The refresh flow: months are added to a corpus, each made once, none of the old ones rewritten.

    series of the months before ─┐
    a new month's dump ──────────┴─► links that no month has ─► captures ─► ... ─► shards ─► series

A month is a chain of artifacts of its own. Its links are those that no month before it captured;
its documents are matched against the signatures of the months before it, whose documents stay. The
series, from which training reads, is made at the end, by links to the months' files. A kill costs
what some parts of one month had done: what is finished is found by its fingerprint.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict

from flows import stages
from flows.corpus import Month, make_month
from flows.funnel import publish_markdown
from flows.months import (
    CRAWLED,
    MonthOfSeries,
    check_settings,
    crawled_of,
    find_series,
    month_profile,
    months_of_dumps,
    months_of_series,
    new_months,
)
from flows.profile import Profile, as_profile
from flows.series_stage import SeriesConfig
from flows.session import Session, session
from flows.versions import check_kept
from flows.work import THREADS, make, whole
from infra.errors import StoreError
from infra.store import Artifact


class MonthRow(BaseModel):
    """What a month came to; a line of the table at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    month: str
    is_new: bool
    """Whether this run added it."""
    links_new: int
    links_known: int
    """Links of its dump that a month before it has captured."""
    captures: int
    """Of the new links, those that gave a page."""
    documents_new: int
    """In its corpus."""
    copies_of_older: int
    """Documents left out because a month before it has one like it."""
    copies_of_own: int
    """Documents left out for one of the same month."""
    tokens: int
    """In its shards, training and validation."""


class Refreshed(BaseModel):
    """What a refresh gave."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    series: str
    """The series artifact: give it to `webtext train`."""
    months: tuple[MonthRow, ...]
    """In the order of the shards."""
    notes: tuple[str, ...] = ()
    """How the crawls of months were set otherwise than this run's."""


@flow(name="refresh", persist_result=False, task_runner=THREADS)
def refresh(
    profile: Profile | str, onto: str | None = None, anew: bool = False, by_month: bool = False
) -> dict[str, Any]:
    """Add the months of the profile's dumps to the series; gives a `Refreshed` as plain values.

    Args:
        profile: the profile, its path or its name.
        onto: the series, or a corpus of a single run, to go on from; by default the profile's.
        anew: begin a series that goes on from nothing.
        by_month: put all months in the order of their names, older ones that come late before
            newer ones; the shards of the newer ones are made anew where that changes them.
    """
    settings = as_profile(profile)
    with session("refresh", settings) as run:
        made = make_series(run, onto, anew=anew, by_month=by_month)
        publish_markdown("months", f"## Months of `{made.series}`\n\n{months_markdown(made)}")
        return made.model_dump()


def make_series(
    run: Session, onto: str | None = None, *, anew: bool = False, by_month: bool = False
) -> Refreshed:
    """Make or find the series of all months there and given; see `refresh`."""
    kept = [] if anew else _months_there(run, onto)
    for month in kept:
        for stage in CRAWLED:
            check_kept(run, stage, (month.kept or {})[stage.name])
    notes = check_settings(run.profile, kept)
    if not run.profile.inputs.submissions:
        notes = []  # nothing is crawled
    if run.profile.inputs.documents:
        raise StoreError("months are made of dumps; an existing corpus (--documents) has none")
    fresh = new_months(run.store, kept, months_of_dumps(run.profile.inputs.dumps()))
    if not kept and not fresh:
        raise StoreError("there is no series to go on from; name the months' dumps: --submissions")
    order = [*kept, *fresh]
    if by_month:
        order.sort(key=lambda month: month.name)
    made, rows = _make_months(run, order, kept)
    series = _gather(run, order, made)
    return Refreshed(series=series.label, months=tuple(rows), notes=tuple(notes))


def _months_there(run: Session, onto: str | None) -> list[MonthOfSeries]:
    found = run.store.find(onto) if onto else find_series(run.store, run.profile.name)
    return months_of_series(run.store, found) if found is not None else []


def _make_months(
    run: Session, order: Sequence[MonthOfSeries], kept: Sequence[MonthOfSeries]
) -> tuple[list[Month], list[MonthRow]]:
    """Make the months in their order."""
    captured: list[Month] = [month.kept for month in kept if month.kept is not None]
    made: list[Month] = []
    rows: list[MonthRow] = []
    for month in order:
        mine = dataclasses.replace(run, profile=month_profile(run.profile, month))
        for artifact in (month.kept or {}).values():
            run.record_use(artifact, "reused", 0.0)
        artifacts = {a.stage: a for a in make_month(mine, made, captured, month.kept)}
        made.append(artifacts)
        rows.append(_row(month, artifacts))
        if month.kept is None:
            captured.append(crawled_of(artifacts))
    return made, rows


def _gather(run: Session, months: Sequence[MonthOfSeries], made: Sequence[Month]) -> Artifact:
    read = (stages.SHARDS.name, stages.CORPUS.name)
    # What was crawled is named too: from there the next refresh goes on.
    roles = (*read, *(stage.name for stage in CRAWLED))
    return make(
        run,
        stages.SERIES,
        SeriesConfig(
            months=tuple(month.name for month in months), description=run.profile.description
        ),
        {role: [month[role].as_input(role) for month in made] for role in roles},
        whole(),
        {role: [str(month[role].path) for month in made] for role in read},
    )


def _row(month: MonthOfSeries, made: Mapping[str, Artifact]) -> MonthRow:
    links, captures, duplicates, corpus, shards = (
        made[stage.name].manifest().counts
        for stage in (
            stages.LINKS, stages.CAPTURES, stages.DUPLICATES, stages.CORPUS, stages.SHARDS
        )
    )  # fmt: skip
    copies = sum(duplicates["losses"].values())
    older = duplicates["facts"].get("duplicates_of_earlier", 0)
    return MonthRow(
        month=month.name,
        is_new=month.kept is None,
        links_new=links["rows_out"],
        links_known=links["facts"].get("known_links", 0),
        captures=captures["rows_out"],
        documents_new=corpus["rows_out"],
        copies_of_older=older,
        copies_of_own=copies - older,
        tokens=sum(shards["facts"][f"{split}_tokens"] for split in ("train", "validation")),
    )


HEADINGS = (
    "month", "", "links new", "known", "captured", "documents", "copies of older", "of its own",
    "tokens",
)  # fmt: skip


def month_cells(rows: Sequence[MonthRow]) -> Iterator[tuple[str, ...]]:
    """The rows of the table, and their sums, as text."""
    names = [name for name in MonthRow.model_fields if name not in ("month", "is_new")]
    for row in rows:
        yield (
            row.month,
            "added" if row.is_new else "there",
            *(f"{getattr(row, name):,}" for name in names),
        )
    yield ("all", "", *(f"{sum(getattr(row, name) for row in rows):,}" for name in names))


def months_markdown(made: Refreshed) -> str:
    """The table in Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|---|---|{'---:|' * (len(HEADINGS) - 2)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in month_cells(made.months)]
    return "\n".join(lines)
