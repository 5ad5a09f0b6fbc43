"""Which items of benchmarks share n-grams with which documents, where the overlap was looked for.

Read from the artifacts of the overlap stages on a build's corpus: `hits` says which document holds
which n-gram, `occurrences` in which items of a benchmark each n-gram is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from infra.lineage_answers import Answer, SharedDocument
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


def shared_documents(
    library: Library, build: Build, benchmark: str, item: int, limit: int
) -> list[SharedDocument]:
    """The documents that share most n-grams with an item, whatever the variant that it is cut by.

    Up to `limit` of them (0: all), those that share most first.
    """
    found: list[SharedDocument] = []
    for hits, asked in _looked_for(library, build):
        ngrams = {
            ngram
            for path in asked.parts("occurrences")
            if path.stem.partition("-")[0] == benchmark
            for ngram in _ngrams_of_item(asked, path, item)
        }
        found += _documents(hits, ngrams) if ngrams else ()
    found.sort(key=lambda one: (-one.ngrams, one.link_id))
    return found[:limit] if limit else found


def shared_items(
    library: Library, build: Build, chosen: Mapping[int, Sequence[bytes]]
) -> list[SharedItems]:
    """The benchmarks' items that share n-grams with links, by their partitions and keys."""
    found: list[SharedItems] = []
    for hits, asked in _looked_for(library, build):
        ngrams = _ngrams(hits, chosen)
        found += _items(asked, hits, ngrams) if ngrams else ()
    return found


def _looked_for(library: Library, build: Build) -> Iterator[tuple[Known, Known]]:
    """The hits on a build's corpus, each with the benchmarks' n-grams that were looked for."""
    corpus = build.get("corpus")
    for hits in library.users[corpus.label] if corpus is not None else ():
        if hits.stage == "ngram-hits":
            for label in hits.inputs("benchmark_ngrams"):
                if label in library.known:
                    yield hits, library.known[label]


def _ngrams_of_item(asked: Known, path: Path, item: int) -> set[int]:
    names = _names_of_rows(asked, path)
    rows = [row for row, name in names.items() if name == item] if names else [item]
    table = read_columns(path, ["ngram", "first_item", "last_item"])
    found: set[int] = set()
    for row in rows:
        inside = pc.and_(
            pc.less_equal(table["first_item"], row), pc.greater_equal(table["last_item"], row)
        )
        found.update(table.filter(inside)["ngram"].to_pylist())
    return found


def _documents(hits: Known, ngrams: set[int]) -> Iterator[SharedDocument]:
    wanted = value_set(sorted(ngrams), pa.int32())
    for path in hits.parts("hits"):
        table = read_columns(path, ["link_id", "url", "ngram"])
        rows = table.filter(pc.is_in(table["ngram"], value_set=wanted)).to_pylist()
        urls = {row["link_id"]: row["url"] for row in rows}
        for key, number in Counter(row["link_id"] for row in rows).items():
            yield SharedDocument(
                link_id=key.hex(), url=urls[key], ngrams=number, artifact=hits.label
            )


def _names_of_rows(asked: Known, path: Path) -> dict[int, int]:
    """The number that scores name an item by, of each row of the benchmark's table of items."""
    table = asked.folder / "items" / path.name
    if not table.is_file():
        return {}
    return dict(enumerate(read_columns(table, ["item"])["item"].to_pylist()))


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
            found.append(_shared(asked, path, table, hits))
    return found


def _shared(asked: Known, path: Path, table: pa.Table, hits: Known) -> SharedItems:
    items, names = set[int](), _names_of_rows(asked, path)
    firsts, lasts = table["first_item"].to_pylist(), table["last_item"].to_pylist()
    for first, last in zip(firsts, lasts, strict=True):
        items.update(names.get(row, row) for row in range(first, last + 1))
    return SharedItems(
        benchmark=path.stem,
        items=tuple(sorted(items)),
        ngrams=len(set(table["ngram"].to_pylist())),
        artifact=hits.label,
    )
