"""Which items of benchmarks share n-grams with some links, where the overlap was looked for.

Read from the artifacts of the overlap stages on a build's corpus: `hits` says which document holds
which n-gram, `occurrences` in which items of a benchmark each n-gram is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from infra.lineage_answers import Answer
from infra.lineage_build import Build, Known, Library
from infra.lineage_tables import find_rows, read_columns, value_set


class SharedItems(Answer):
    """The items of a benchmark that share n-grams with some documents."""

    benchmark: str
    """Its name and, after a hyphen, the variant by which it was cut into items."""
    items: tuple[int, ...]
    """Counted from 0, in order."""
    ngrams: int
    """Distinct n-grams that they share."""
    artifact: str
    """The hits that say so."""


def shared_items(
    library: Library, build: Build, chosen: Mapping[int, Sequence[bytes]]
) -> list[SharedItems]:
    """The benchmarks' items that share n-grams with links, by their partitions and keys."""
    corpus = build.get("corpus")
    found: list[SharedItems] = []
    for hits in library.users[corpus.label] if corpus is not None else ():
        if hits.stage == "ngram-hits":
            ngrams = _ngrams(hits, chosen)
            for label in hits.inputs("benchmark_ngrams"):
                if ngrams and label in library.known:
                    found += _items(library.known[label], hits, ngrams)
    return found


def _ngrams(hits: Known, chosen: Mapping[int, Sequence[bytes]]) -> set[int]:
    found: set[int] = set()
    for partition, keys in chosen.items():
        rows = find_rows(hits.part("hits", partition), "link_id", sorted(set(keys)), ["ngram"])
        found.update(row["ngram"] for row in rows)
    return found


def _items(asked: Known, hits: Known, ngrams: set[int]) -> list[SharedItems]:
    found = []
    wanted = value_set(sorted(ngrams), pa.int32())
    for path in asked.parts("occurrences"):
        table = read_columns(path, ["ngram", "first_item", "last_item"])
        table = table.filter(pc.is_in(table["ngram"], value_set=wanted))
        if table.num_rows:
            found.append(_shared(path, table, hits))
    return found


def _shared(path: Path, table: pa.Table, hits: Known) -> SharedItems:
    items: set[int] = set()
    firsts, lasts = table["first_item"].to_pylist(), table["last_item"].to_pylist()
    for first, last in zip(firsts, lasts, strict=True):
        items.update(range(first, last + 1))
    return SharedItems(
        benchmark=path.stem,
        items=tuple(sorted(items)),
        ngrams=len(set(table["ngram"].to_pylist())),
        artifact=hits.label,
    )
