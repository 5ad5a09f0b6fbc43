"""Removals: pages that must not be in a corpus any more, with reason and date, by partition.

The list is JSON lines, appended to and never rewritten: a `Removal` a line. Extraction leaves the
named pages' text out with the reason `removed`, and with it everything made from pages. A list is
dealt to partitions as links are, so that one that grows changes only the partitions it names.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.errors import SourceError
from webtext.tables import REMOVALS, part_name, read_table, write_rows
from webtext.urls import NormalisedUrl, link_id, link_partition, names_above, normalise_url

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
        SourceError: it is no URL or domain, or the reason is empty or too long.
    """
    given, reason = value.strip(), str(facts.get("reason", ""))
    if not 1 <= len(reason.strip()) <= MOST_REASON_CHARACTERS:
        raise SourceError(
            f"the reason has {len(reason.strip()):,} characters; say why in 1 to "
            f"{MOST_REASON_CHARACTERS}"
        )
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
    *,
    list_file: Path,
    destination: Path,
    config: RemovalsConfig,
    links: Path | None = None,
    progress: Progress = silent,
) -> Counts:
    """Write `removals/part-NNNNN.parquet` for every partition.

    With `links`, the artifact of that name, domains and hosts become the links that they have in
    it. A partition that nothing is removed from has an empty table. Raises SourceError where the
    list or a table cannot be read.
    """
    removals = read_removals(list_file)
    dealt: list[list[Removal]] = [[] for _ in range(config.partitions)]
    for removal in removals:
        dealt[link_partition(removal.site(), config.partitions)].append(removal)
    for partition, mine in enumerate(dealt):
        rows = [_row(one) for one in mine]
        if links is not None and rows:
            rows = _rows_of_links(links, partition, RemovedPages.of(mine))
        # The first of several removals of one thing tells when and why it went.
        once = {(row["link_id"], row["host"]): row for row in reversed(rows)}
        ordered = sorted(once.values(), key=lambda row: (row["link_id"] or b"", row["host"] or ""))
        write_rows(destination / "removals" / part_name(partition), REMOVALS, ordered)
    progress(len(removals), len(removals))
    return Counts(rows_in=len(removals), rows_out=len(removals))


def _row(removal: Removal) -> dict[str, Any]:
    return {
        "link_id": link_id(removal.url) if removal.url else None,
        "url": removal.url,
        "host": removal.domain,
        "date": removal.date,
        "reason": removal.reason,
        "copy_of": removal.copy_of,
    }


def _rows_of_links(links: Path, partition: int, removed: "RemovedPages") -> list[dict[str, Any]]:
    table = read_table(links / "links" / part_name(partition), ["link_id", "url", "host"])
    found = ((row, removed.row_of(row["link_id"], row["host"])) for row in table.to_pylist())
    return [{**one, **row, "host": None} for row, one in found if one is not None]


class RemovedPages:
    """What is removed, asked for each link; by default nothing is."""

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._pages: dict[bytes, dict[str, Any]] = {}
        self._hosts: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row["link_id"] is not None:
                self._pages.setdefault(row["link_id"], row)
            else:
                self._hosts.setdefault(row["host"], row)

    @classmethod
    def of(cls, removals: Iterable[Removal]) -> Self:
        """Of a list."""
        return cls(map(_row, removals))

    @classmethod
    def read(cls, artifact: Path | None, partition: int) -> Self:
        """Of one partition of the artifact; nothing where there is none.

        Raises SourceError where its table cannot be read.
        """
        if artifact is None:
            return cls()
        return cls(read_table(artifact / "removals" / part_name(partition)).to_pylist())

    def find(self, key: bytes, host: str = "") -> str | None:
        """Date and reason, where a link is removed; `host` is that of its URL."""
        row = self.row_of(key, host)
        if row is None:
            return None
        copy = f" (a copy of {row['copy_of']})" if row["copy_of"] else ""
        return f"{row['date']}: {row['reason']}{copy}"

    def row_of(self, key: bytes, host: str) -> dict[str, Any] | None:
        """The row that removes a link."""
        found = self._pages.get(key)
        if found is not None or not self._hosts:
            return found
        return next((self._hosts[name] for name in names_above(host) if name in self._hosts), None)
