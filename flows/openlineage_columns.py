"""Which columns of which tables each column of our tables is made from: column lineage, declared.

Written down rather than guessed from queries, for most stages are Python; a test holds it against
the tables' schemas. A source is named by the role of the input, its table and its column; a dump's
fields are columns of the dump itself (table `""`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from webtext import tables

Kind = Literal["IDENTITY", "TRANSFORMATION", "AGGREGATION", "FILTER", "JOIN"]


@dataclass(frozen=True)
class Source:
    """A column that another is made from, and how."""

    role: str
    table: str
    column: str
    kind: Kind
    how: str = ""
    """What is done with it, in words."""


@dataclass(frozen=True)
class TableLineage:
    """Where the columns of one table come from."""

    columns: Mapping[str, tuple[Source, ...]]
    whole: tuple[Source, ...] = field(default=())
    """Columns that decide which rows there are."""


def _same(role: str, table: str, *columns: str) -> dict[str, tuple[Source, ...]]:
    return {column: (Source(role, table, column, "IDENTITY"),) for column in columns}


def _made(
    role: str, table: str, sources: str, how: str, *columns: str, kind: Kind = "TRANSFORMATION"
) -> dict[str, tuple[Source, ...]]:
    """Each of `columns` made from all of `sources`, names parted by spaces."""
    found = tuple(Source(role, table, source, kind, how) for source in sources.split())
    return dict.fromkeys(columns, found)


def _deciding(role: str, table: str, columns: str, kind: Kind, how: str) -> tuple[Source, ...]:
    return tuple(Source(role, table, column, kind, how) for column in columns.split())


_BODY = "payload_offset payload_length"
_EXTRACTED = "extracted from the WARC record that they point at"
_MEASURED = "measured on the text"

_DOCUMENTS = TableLineage(
    {
        **_same("pages", "pages", "link_id", "title", "date", "author", "language"),
        **_same("links", "links", "url", "domain", "karma", "first_created_utc"),
        **_made("pages", "pages", "text", _MEASURED, "characters", "words", "tokens"),
        **_made("pages", "pages", "text", "masked and cleaned where that is switched on", "text"),
    },
    _deciding("pages", "pages", "reason language tokens canonical_host text", "FILTER", "rules")
    + _deciding("links", "links", "link_id", "JOIN", "equal link_id"),
)
_SELECTED = TableLineage(
    _same("documents", "documents", *tables.DOCUMENTS.names),
    _deciding("duplicates", "duplicates", "link_id", "FILTER", "duplicates are left out"),
)
_SHIPPED = tuple(
    Source("corpus", split, column, "IDENTITY")
    for split in ("train", "validation")
    for column in tables.DOCUMENTS.names
)

_LINKS = TableLineage(
    {
        **_same("submissions", "submissions", "link_id", "url", "host", "domain"),
        **_made(
            "submissions", "submissions", "karma", "the highest, or the sum",
            "karma", kind="AGGREGATION",
        ),
        **_made(
            "submissions", "submissions", "created_utc", "the earliest",
            "first_created_utc", kind="AGGREGATION",
        ),
        **_made(
            "submissions", "submissions", "id subreddit karma created_utc", "listed",
            "submissions", kind="AGGREGATION",
        ),
    },
    _deciding("submissions", "submissions", "karma", "FILTER", "enough karma"),
)  # fmt: skip
_KNOWN = TableLineage(
    {
        **_LINKS.columns,
        **_made("earlier_captures", "captures", "link_id", "which artifact has it", "month"),
        **_same("earlier_captures", "captures", "outcome", "captured_at"),
    },
    (*_LINKS.whole, *_deciding("earlier_captures", "captures", "link_id", "JOIN", "known links")),
)

COLUMNS: Mapping[tuple[str, str], TableLineage] = {
    ("submissions", "submissions"): TableLineage(
        {
            **_made(
                "dump", "", "url", "normalised, hashed, or taken apart",
                "partition", "link_id", "url", "host", "domain",
            ),
            **_same("dump", "", "id", "subreddit", "created_utc"),
            **_made("dump", "", "score", "renamed", "karma"),
        },
        _deciding("dump", "", "url is_self", "FILTER", "rules on rows and URLs"),
    ),
    ("links", "links"): _LINKS,
    ("links", "known"): _KNOWN,
    ("captures", "captures"): TableLineage(
        {
            **_same("links", "links", "link_id"),
            **_made(
                "links", "links", "url", "what was got from this address",
                *(name for name in tables.CAPTURES.names if name != "link_id"),
            ),
        }
    ),
    ("pages", "pages"): TableLineage(
        {
            **_same("captures", "captures", "link_id"),
            **_made(
                "captures", "captures", _BODY, _EXTRACTED,
                *(name for name in tables.PAGES.names if name != "link_id"),
            ),
        },
        _deciding("captures", "captures", "outcome", "FILTER", "captures with outcome ok"),
    ),
    ("documents", "documents"): _DOCUMENTS,
    ("documents", "rejected"): TableLineage(
        {
            **_same("pages", "pages", "link_id", "language", "tokens"),
            **_made(
                "pages", "pages", "reason language tokens canonical_host text",
                "the rule that was broken", "reason", "detail",
            ),
        }
    ),
    ("documents", "attributes"): TableLineage(
        {
            **_same(
                "pages", "pages", "link_id", "canonical_host", "language", "language_probability",
                "characters", "words", "tokens",
            ),
            **_made(
                "pages", "pages", "text", _MEASURED,
                *(name for name in tables.ATTRIBUTES.names if name.partition("_")[0] in
                  {"gopher", "c4", "fineweb"}),
            ),
        }
    ),
    ("signatures", "signatures"): TableLineage(
        {
            **_same("documents", "documents", "link_id", "karma", "first_created_utc"),
            **_made(
                "documents", "documents", "text", "hashed",
                "text_digest", "shingles", "signature",
            ),
        }
    ),
    ("duplicates", "duplicates"): TableLineage(
        {
            **_same("signatures", "signatures", "link_id"),
            **_made(
                "signatures", "signatures", "link_id karma first_created_utc signature",
                "the survivor of the cluster", "survivor_link_id",
            ),
            **_made(
                "signatures", "signatures", "signature text_digest", "compared",
                "kind", "similarity",
            ),
        },
        _deciding("signatures", "signatures", "signature text_digest", "FILTER", "alike enough"),
    ),
    ("corpus", "train"): _SELECTED,
    ("corpus", "validation"): _SELECTED,
    ("dataset", "data"): TableLineage(
        {
            column: tuple(source for source in _SHIPPED if source.column == column)
            for column in tables.DOCUMENTS.names
        }
    ),
    ("shards", "spans"): TableLineage(
        {
            "link_id": tuple(
                Source("corpus", split, "link_id", "IDENTITY") for split in ("train", "validation")
            ),
            **dict.fromkeys(
                ("split", "shard", "start", "length", "document_start"),
                tuple(
                    Source("corpus", split, "text", "TRANSFORMATION", "counted in tokens")
                    for split in ("train", "validation")
                ),
            ),
        }
    ),
    ("series", "spans"): TableLineage(
        {
            **_same("shards", "spans", *(n for n in tables.SPANS.names if n != "shard")),
            **_made("shards", "spans", "shard", "named with its month", "shard"),
        }
    ),
    ("series", "data"): TableLineage(
        {
            column: tuple(source for source in _SHIPPED if source.column == column)
            for column in tables.DOCUMENTS.names
        }
    ),
}  # fmt: skip
"""By stage and table."""
