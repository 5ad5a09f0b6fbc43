"""Months: which dumps are of which month, and what a series or a corpus has of its months already.

A month is called by the `YYYY-MM` in its dumps' names; dumps of one month are read together. What
was crawled of a month (its submissions, links and captures) is kept for good; the stages behind it
are made anew where settings or removals changed, and reused where not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows import stages
from flows.profile import Profile
from infra.errors import StoreError
from infra.lineage import artifact_of, input_of
from infra.manifest import InputRecord
from infra.sources import describe_source
from infra.store import Artifact, Store

CRAWLED = (stages.SUBMISSIONS, stages.LINKS, stages.CAPTURES)
"""What is kept of a month for good, in the order of making."""

_MONTH = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?(0[1-9]|1[0-2])(?!\d)")
_DATES = ("created_from", "created_to")
"""Rules on submissions in which months may differ."""


@dataclass(frozen=True)
class MonthOfSeries:
    """A month: what it is called, and where it comes from."""

    name: str
    dumps: tuple[Path, ...] = ()
    """Its dumps, where it is new."""
    kept: dict[str, Artifact] | None = None
    """What was crawled of it, by stage, where it is in the series already."""


def months_of_dumps(dumps: Sequence[Path]) -> list[MonthOfSeries]:
    """The months that dumps are of, by their names' order.

    Raises:
        StoreError: a dump's name tells no month.
    """
    by_month: dict[str, list[Path]] = {}
    for dump in dumps:
        found = list(_MONTH.finditer(dump.name))
        if len(found) != 1:
            raise StoreError(
                f"the name of {dump} tells {'no month' if not found else 'several months'}; a dump "
                "is to be called by the one that it is of, such as RS_2017-09.zst"
            )
        by_month.setdefault("-".join(found[0].groups()), []).append(dump)
    return [MonthOfSeries(name, tuple(files)) for name, files in sorted(by_month.items())]


def months_of_series(store: Store, series: Artifact) -> list[MonthOfSeries]:
    """The months of a series, in its order; a corpus or shards artifact is a series of one.

    Raises:
        StoreError: it is of another stage, or something that it was made from is gone.
    """
    if series.stage in (stages.SHARDS.name, stages.CORPUS.name):
        kept = _crawled(store, series)
        return [MonthOfSeries(_name_of(kept), kept=kept)]
    if series.stage != stages.SERIES.name:
        raise StoreError(
            f"{series.label} is no corpus that months can be added to; name a series/..., "
            "shards/... or corpus/... artifact"
        )
    names = series.identity.config["months"]
    chains = zip(*(_inputs(series, stage.name) for stage in CRAWLED), strict=True)
    return [
        MonthOfSeries(name, kept={entry.role: artifact_of(store, entry) for entry in chain})
        for name, chain in zip(names, chains, strict=True)
    ]


def find_series(store: Store, name: str) -> Artifact | None:
    """The series of a profile that all others of it are the beginnings or other settings of.

    Of several with the same captures, as a takedown or a new filter leaves them, the newest.

    Raises:
        StoreError: two have months that the other lacks.
    """
    found = [one for one in store.finished() if one.stage == stages.SERIES.name]
    mine = [
        ({entry.fingerprint for entry in _inputs(one, stages.CAPTURES.name)}, one)
        for one in found
        if one.name == name
    ]
    if not mine:
        return None
    largest = max(mine, key=lambda pair: (len(pair[0]), pair[1].manifest().maker.finished_at))
    for captures, other in mine:
        if not captures <= largest[0]:
            raise StoreError(
                f"neither of {largest[1].label} and {other.label} has all months of the other; "
                "name the one to go on from with --onto"
            )
    return largest[1]


def find_trainable(store: Store, reference: str, name: str) -> Artifact:
    """The shards that a training is to read; `series` means the profile's longest series.

    Raises:
        StoreError: there are none.
    """
    if reference == stages.SERIES.name:
        found = find_series(store, name)
        if found is not None:
            return found
    return store.find(reference)


def new_months(
    store: Store, kept: Sequence[MonthOfSeries], given: Iterable[MonthOfSeries]
) -> list[MonthOfSeries]:
    """Those of the months given that the series does not have.

    Raises:
        StoreError: it has one of that name, made from other dumps.
    """
    there = {month.name: month for month in kept}
    fresh = []
    for month in given:
        known = there.get(month.name)
        if known is None:
            fresh.append(month)
            continue
        assert known.kept is not None
        made_from = _dumps_of(known.kept[stages.SUBMISSIONS.name])
        records = [describe_source(store.root, "dump", dump) for dump in month.dumps]
        if {record.fingerprint for record in records} != {one.fingerprint for one in made_from}:
            raise StoreError(
                f"the series has the month {month.name} already, made from "
                f"{', '.join(_named(one) for one in made_from)}, not from "
                f"{', '.join(_named(one) for one in records)}; what was crawled of a month is not "
                "replaced: begin another series with --anew"
            )
    return fresh


def check_settings(profile: Profile, months: Iterable[MonthOfSeries]) -> list[str]:
    """How a month's crawl was set otherwise than the profile's, for people to read.

    Raises:
        StoreError: its links were chosen by other rules; such months do not go together.
    """
    noted = []
    for month in months:
        if month.kept is None:
            continue
        for stage in (stages.SUBMISSIONS, stages.LINKS):
            differing = [
                text
                for key, text in _differing(getattr(profile, stage.name), month.kept[stage.name])
                if key not in _DATES
            ]
            if differing:
                raise StoreError(
                    f"the month {month.name} was made with other rules of {stage.name}: "
                    f"{'; '.join(differing)}. Months of one series have the same: set them so "
                    "(--set), or begin another series with --anew"
                )
        noted += [
            f"{month.name} was crawled with {text}"
            for _key, text in _differing(profile.crawl, month.kept[stages.CAPTURES.name])
        ]
    return noted


def crawled_of(made: dict[str, Artifact]) -> dict[str, Artifact]:
    """What is kept of a month for good, of all that was made of it."""
    return {stage.name: made[stage.name] for stage in CRAWLED}


def month_profile(profile: Profile, month: MonthOfSeries) -> Profile:
    """The profile by which a month is made: its dumps, and a name that tells the month."""
    if month.kept is not None:
        name = month.kept[stages.CAPTURES.name].name
        inputs = profile.inputs
    else:
        name = f"{profile.name[:32]}-{month.name}"
        inputs = profile.inputs.model_copy(update={"submissions": month.dumps})
    return profile.model_copy(update={"name": name, "inputs": inputs})


def _crawled(store: Store, artifact: Artifact) -> dict[str, Artifact]:
    """What was crawled of the month that a shards or corpus artifact is of."""
    if artifact.stage == stages.SHARDS.name:
        artifact = input_of(store, artifact, stages.CORPUS.name)
    documents = input_of(store, artifact, stages.DOCUMENTS.name)
    pages = input_of(store, documents, stages.PAGES.name)
    if pages.stage != stages.PAGES.name:
        raise StoreError(f"{artifact.label} was made from an existing corpus, not from a crawl")
    captures = input_of(store, pages, stages.CAPTURES.name)
    links = input_of(store, documents, stages.LINKS.name)
    submissions = input_of(store, links, stages.SUBMISSIONS.name)
    return {one.stage: one for one in (submissions, links, captures)}


def _inputs(artifact: Artifact, role: str) -> list[InputRecord]:
    return [entry for entry in artifact.identity.inputs if entry.role == role]


def _name_of(kept: dict[str, Artifact]) -> str:
    """The month of a corpus that was made alone, by its dumps' names."""
    names = [entry.name for entry in _dumps_of(kept[stages.SUBMISSIONS.name])]
    months = {"-".join(found.groups()) for name in names for found in _MONTH.finditer(name)}
    return "-to-".join(sorted({min(months), max(months)})) if months else "first"


def _dumps_of(submissions: Artifact) -> list[InputRecord]:
    return _inputs(submissions, "dump")


def _named(record: InputRecord) -> str:
    return f"{record.name} (sha256 {record.fingerprint[:12]}…)"


def _differing(config: BaseModel, artifact: Artifact) -> list[tuple[str, str]]:
    """The keys in which an artifact's config is not `config`, each with both values."""
    now: dict[str, Any] = config.model_dump(mode="json")
    then = artifact.identity.config
    return [
        (key, f"{key} {then.get(key)!r} and not {now.get(key)!r}")
        for key in sorted({*now, *then})
        if now.get(key) != then.get(key)
    ]
