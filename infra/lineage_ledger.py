"""Whether the books of a build balance: counts in are counts out and losses, at each arrow.

Read from the manifests alone: the totals of each stage, the partitions they are the sums of, the
rows that its files are said to hold, and what the next stage says it read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from infra.lineage_build import Build, Known, Library

_ARROWS = (
    ("submissions", "links"), ("links", "captures"), ("captures", "pages"), ("rows", "row-pages"),
    ("row-pages", "documents"), ("pages", "documents"), ("documents", "signatures"),
    ("signatures", "duplicates"), ("documents", "corpus"), ("corpus", "shards"),
)  # fmt: skip
"""Stages of which the second reads every row that the first lets through."""

_ROWS_OUT = {
    "submissions": ("submissions",),
    "links": ("links",),
    "rows": ("rows",),
    "row-pages": ("links",),
    "pages": ("pages",),
    "documents": ("documents",),
    "signatures": ("signatures",),
    "corpus": ("train", "validation"),
}
"""The tables whose rows are those that a stage lets through."""


def check_ledger(build: Build) -> Iterator[str]:
    """What does not add up in the counts of a build's stages, and from one to the next."""
    by_stage = {known.stage: known for known in build.by_role.values()}
    for known in by_stage.values():
        yield from _check_counts(known)
    for before, after in _ARROWS:
        if before in by_stage and after in by_stage:
            gave, took = (by_stage[stage].manifest.counts for stage in (before, after))
            if gave["rows_out"] != took["rows_in"]:
                yield (
                    f"{by_stage[before].label} let {gave['rows_out']:,} rows through, "
                    f"{by_stage[after].label} read {took['rows_in']:,}"
                )


def check_inputs(library: Library) -> Iterator[str]:
    """Artifacts that were made from one that is gone, or is not what it was."""
    for known in library.known.values():
        for entry in known.manifest.identity.inputs:
            if entry.kind != "artifact":
                continue
            source = library.known.get(entry.name)
            if source is None:
                yield f"{known.label} was made from {entry.name}, which is no longer in the store"
            elif source.manifest.fingerprint != entry.fingerprint:
                yield f"{known.label} was made from another {entry.name} than that in the store"


def _check_counts(known: Known) -> Iterator[str]:
    counts = known.manifest.counts
    if "rows_in" not in counts:
        return
    lost = sum(counts.get("losses", {}).values())
    if counts["rows_in"] != counts["rows_out"] + lost:
        yield (
            f"{known.label}: {counts['rows_in']:,} rows in, but {counts['rows_out']:,} out and "
            f"{lost:,} lost"
        )
    parts = known.manifest.partitions
    if parts and _total(parts) != _total([counts]):
        yield f"{known.label}: its partitions' counts are not those of the whole"
    tables = _ROWS_OUT.get(known.stage, ())
    held = sum(
        file.rows or 0
        for file in known.manifest.files
        if file.path.split("/")[0] in tables and file.path.endswith(".parquet")
    )
    if tables and held != counts["rows_out"]:
        yield f"{known.label}: {counts['rows_out']:,} rows out, but its tables hold {held:,}"


def _total(parts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(_flat(part))
    return {name: rows for name, rows in total.items() if rows}


def _flat(counts: Mapping[str, Any]) -> dict[str, int]:
    flat = {name: counts[name] for name in ("rows_in", "rows_out")}
    for group in ("losses", "facts"):
        flat |= {f"{group}.{name}": rows for name, rows in counts.get(group, {}).items()}
    return flat
