"""Removals: pages that must not be in a corpus any more, with reason and date, by partition.

The list is JSON lines, appended to and never rewritten: a `Removal` a line. Extraction leaves the
named pages' text out with the reason `removed`, and with it everything made from pages. A list is
dealt to partitions as links are, so that one that grows changes only the partitions it names.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.errors import SourceError
from webtext.tables import REMOVALS, part_name, write_rows
from webtext.urls import NormalisedUrl, link_id, link_partition, normalise_url

MOST_REASON_CHARACTERS = 500


class Removal(BaseModel):
    """One line of the list: a page, or all pages of a domain or host."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """Day of the removal."""
    reason: str = Field(min_length=1, max_length=MOST_REASON_CHARACTERS)
    """Why, for people."""
    url: str | None = None
    """The page's normalised URL (or the `row://` address of an existing corpus's row)."""
    domain: str | None = None
    """A registrable domain or a host, whose pages all go, hosts below it included."""
    copy_of: str | None = None
    """URL of the removed page that this page is a copy of, where that is why it goes."""

    @model_validator(mode="after")
    def _name_one(self) -> Self:
        if (self.url is None) == (self.domain is None):
            raise ValueError("a removal names a url or a domain, one of them")
        return self

    def site(self) -> str:
        """What decides its partition: the registrable domain, or the row's address."""
        if self.url is not None and self.url.startswith("row://"):
            return self.url
        known = normalise_url(self.url or f"http://{self.domain}/")
        assert isinstance(known, NormalisedUrl)
        return known.domain


class RemovalsConfig(StageConfig):
    """How the list is dealt."""

    partitions: int = Field(default=8, ge=1, le=100_000)
    """Partitions of the corpus."""


def make_removal(value: str, kind: Literal["url", "domain"], **facts: Any) -> Removal:
    """A removal of what somebody wrote, in the spelling that links have.

    Raises:
        SourceError: it is no URL or domain; the message says why.
    """
    given = value.strip()
    if kind == "url" and given.startswith("row://"):
        return Removal(url=given, **facts)
    known = normalise_url(given if kind == "url" else f"http://{given}/")
    if isinstance(known, str):
        raise SourceError(f"{value!r} is no {kind} ({known}); give it as a browser shows it")
    return Removal(**{kind: known.url if kind == "url" else known.host}, **facts)


def read_removals(path: Path) -> list[Removal]:
    """The list, in the order it was written.

    Raises:
        SourceError: it cannot be read, or a line is none; the message names it.
    """
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the list of removals {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            found.append(Removal.model_validate_json(line))
        except ValidationError as error:
            raise SourceError(
                f"line {number} of {path} is no removal: {error.errors()[0]['msg']}; mend the line"
            ) from error
    return found


def deal_removals(
    *, list_file: Path, destination: Path, config: RemovalsConfig, progress: Progress = silent
) -> Counts:
    """Write `removals/part-NNNNN.parquet` for every partition, and the list beside them.

    Raises SourceError where the list cannot be read.
    """
    removals = read_removals(list_file)
    dealt: list[list[dict[str, Any]]] = [[] for _ in range(config.partitions)]
    for removal in removals:
        dealt[link_partition(removal.site(), config.partitions)].append(_row(removal))
    for partition, rows in enumerate(dealt):
        # The first of several removals of one thing tells when and why it went.
        once = {(row["link_id"], row["host"]): row for row in reversed(rows)}
        ordered = sorted(once.values(), key=lambda row: (row["link_id"] or b"", row["host"] or ""))
        write_rows(destination / "removals" / part_name(partition), REMOVALS, ordered)
    (destination / "removals.jsonl").write_bytes(list_file.read_bytes())
    progress(len(removals), len(removals))
    return Counts(rows_in=len(removals), rows_out=len(removals))


def _row(removal: Removal) -> dict[str, Any]:
    return {
        "link_id": link_id(removal.url) if removal.url else None,
        "host": removal.domain,
        "date": removal.date,
        "reason": removal.reason,
        "copy_of": removal.copy_of,
    }


class RemovedPages:
    """What is removed, asked for each link; by default nothing is."""

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._pages: dict[bytes, str] = {}
        self._hosts: dict[str, str] = {}
        for row in rows:
            told = f"{row['date']}: {row['reason']}"
            if row["copy_of"]:
                told += f" (a copy of {row['copy_of']})"
            if row["link_id"] is not None:
                self._pages.setdefault(row["link_id"], told)
            else:
                self._hosts.setdefault(row["host"], told)

    @classmethod
    def of(cls, removals: Iterable[Removal]) -> Self:
        """Of a list."""
        return cls(map(_row, removals))

    @classmethod
    def read(cls, artifact: Path | None, partition: int) -> Self:
        """Of one partition of the artifact; nothing where there is none.

        Raises SourceError where its table cannot be read.
        """
        return cls(_read(artifact, partition) if artifact is not None else ())

    def __bool__(self) -> bool:
        return bool(self._pages or self._hosts)

    def find(self, key: bytes, host: str) -> str | None:
        """Date and reason, where a link is removed; `host` is that of its URL."""
        found = self._pages.get(key)
        if found is not None or not self._hosts:
            return found
        labels = host.split(".")
        names = (".".join(labels[place:]) for place in range(len(labels)))
        return next((self._hosts[name] for name in names if name in self._hosts), None)


def _read(artifact: Path, partition: int) -> Iterable[dict[str, Any]]:
    path = artifact / "removals" / part_name(partition)
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"cannot read the table {path}: {error}") from error
    return rows
