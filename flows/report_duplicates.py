"""What a report tells of duplicates: how large the clusters are, and examples of the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import stages
from flows.report_corpus import Bin
from flows.report_source import Source
from flows.report_tables import Tables

_CLUSTERS = 4
_COPIES = 4
_TEXT_CHARACTERS = 280


@dataclass(frozen=True)
class Copy:
    """A document that was removed."""

    link_id: str
    url: str
    kind: str
    similarity: float


@dataclass(frozen=True)
class Cluster:
    """A document that was kept, and some of its removed copies."""

    link_id: str
    url: str | None
    """None where the survivor is of an earlier build's corpus."""
    text: str
    """How it begins."""
    size: int
    """Documents in all, the survivor included."""
    copies: list[Copy]


@dataclass(frozen=True)
class Duplicates:
    """The clusters of a build."""

    exact: int
    near: int
    clusters: int
    sizes: list[Bin]
    examples: list[Cluster]


def duplicates(source: Source, tables: Tables) -> Duplicates | None:
    """The clusters by size and the largest of them; None where nothing was compared."""
    known, documents = source.get(stages.DUPLICATES.name), source.get(stages.DOCUMENTS.name)
    if known is None or documents is None:
        return None
    files = known.parts("duplicates")
    kinds = dict(tables.rows(_KINDS, files))
    sizes = dict(tables.rows(_SIZES, files))
    return Duplicates(
        exact=kinds.get("exact", 0),
        near=kinds.get("near", 0),
        clusters=sum(sizes.values()),
        sizes=_bins(sizes),
        examples=_examples(tables, files, documents.parts("documents")),
    )


def _bins(sizes: dict[int, int]) -> list[Bin]:
    """A column for each size up to 8, then one for each doubling."""
    bins = {size: sizes.get(size, 0) for size in range(2, min(max(sizes, default=1), 8) + 1)}
    columns = [Bin(f"{size}", count) for size, count in bins.items()]
    low = 9
    while low <= max(sizes, default=0):
        high = (low - 1) * 2
        inside = sum(count for size, count in sizes.items() if low <= size <= high)
        columns.append(Bin(f"{low:,}–{high:,}", inside))
        low = high + 1
    return columns


def _examples(tables: Tables, files: Sequence[Path], documents: list[Path]) -> list[Cluster]:
    """Half of them the largest clusters, the others those with the least alike copies."""
    largest = tables.rows(_LARGEST, files, {"limit": _CLUSTERS // 2})
    loosest = tables.rows(_LOOSEST, files, {"limit": _CLUSTERS})
    chosen = dict(largest) | {key: size for key, size in loosest if key not in dict(largest)}
    keys = list(chosen)[:_CLUSTERS]
    copies = tables.rows(_COPIES_OF, files, {"keys": keys, "most": _COPIES}) if keys else []
    wanted = [*keys, *(row[1] for row in copies)]
    given = {"keys": wanted, "characters": _TEXT_CHARACTERS}
    told = {key: (url, text) for key, url, text in tables.rows(_TOLD, documents, given)}
    return [
        Cluster(
            key.hex(),
            told[key][0] if key in told else None,
            told[key][1] if key in told else "",
            chosen[key],
            [
                Copy(copy.hex(), told[copy][0] if copy in told else copy.hex(), kind, similarity)
                for survivor, copy, kind, similarity in copies
                if survivor == key
            ],
        )
        for key in keys
    ]


_KINDS = "SELECT kind, count(*) FROM read_parquet($files) GROUP BY kind"

_SIZES = """
SELECT size, count(*) FROM (
    SELECT 1 + count(*) AS size FROM read_parquet($files) GROUP BY survivor_link_id
) GROUP BY size
"""

_LARGEST = """
SELECT survivor_link_id, 1 + count(*) AS size FROM read_parquet($files)
GROUP BY survivor_link_id ORDER BY size DESC, survivor_link_id LIMIT $limit
"""

_LOOSEST = """
SELECT survivor_link_id, 1 + count(*) AS size FROM read_parquet($files)
GROUP BY survivor_link_id ORDER BY min(similarity), survivor_link_id LIMIT $limit
"""

_COPIES_OF = """
SELECT survivor_link_id, link_id, kind, similarity FROM read_parquet($files)
WHERE survivor_link_id IN (SELECT unnest($keys::BLOB[]))
QUALIFY row_number() OVER (PARTITION BY survivor_link_id ORDER BY similarity, link_id) <= $most
ORDER BY survivor_link_id, similarity, link_id
"""

_TOLD = """
SELECT link_id, url, text[1:$characters] FROM read_parquet($files)
WHERE link_id IN (SELECT unnest($keys::BLOB[]))
"""
