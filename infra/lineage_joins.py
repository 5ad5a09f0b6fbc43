"""Whether the tables of a build fit together: every key has its row in the table before.

Gone through a partition at a time, so memory is that of a partition's keys and of the duplicates:

    captures      one row for every link, no other
    pages         one row for every capture that is `ok`
    documents     with those rejected, every page once
    corpus        with the duplicates removed, every document once; no survivor is removed
    spans         every document of the corpus, all its tokens and its end, in order, inside its
                  shard, none over another
    submissions   every submission of a link is in the dumps' tables, for that link
    WARC          every record that captures name lies inside its file

The losses of each partition are counted again and compared with what the manifest says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.lineage_build import Build, Known
from infra.lineage_tables import open_table, partition_groups, read_columns
from infra.lineage_trace import SPLITS

Keys = NDArray[np.bytes_]


def check_joins(build: Build) -> Iterator[str]:
    """What does not fit together in the tables of a build, with an example of each."""
    if build.get("links") is None:
        return
    duplicates = _Duplicates(build)
    for partition in range(build.partitions):
        yield from _check_partition(build, partition, duplicates)
    yield from duplicates.left_over()


def _check_partition(build: Build, partition: int, duplicates: _Duplicates) -> Iterator[str]:
    links = _read(build, "links", "links", partition)
    assert links is not None
    yield from _check_order(links)
    captures = _read(build, "captures", "captures", partition, "outcome")
    pages = _read(build, "pages", "pages", partition)
    documents = _read(build, "documents", "documents", partition, "tokens")
    rejected = _read(build, "documents", "rejected", partition, "reason")
    if captures is not None:
        yield from _check_equal(captures, links, "a link")
        yield from _check_losses(build, "captures", partition, captures, "outcome", ("ok",))
        yield from _check_records(build, partition)
    if pages is not None and captures is not None:
        yield from _check_equal(pages, captures.where("outcome", "ok"), "an ok capture")
    elif pages is not None:  # rows of an existing corpus: nothing was crawled
        yield from _check_equal(pages, links, "a link")
        origins = _read(build, "pages", "origins", partition)
        assert origins is not None
        yield from _check_equal(origins, links, "a link")
    if documents is not None and rejected is not None and pages is not None:
        yield from _check_equal(_union(documents, rejected), pages, "a page")
        yield from _check_losses(build, "documents", partition, rejected, "reason", ())
    if documents is not None:
        yield from _check_corpus(build, partition, documents, duplicates)
    yield from _check_submissions(build, partition)


class _Table:
    """The keys of a partition of a table, and a column or two of it."""

    def __init__(self, name: str, keys: Keys, columns: Mapping[str, pa.ChunkedArray]) -> None:
        self.name = name
        self.keys = keys
        self.columns = columns

    def where(self, column: str, value: str) -> _Table:
        """The rows whose column is `value`."""
        here = pc.equal(self.columns[column], value).to_numpy(zero_copy_only=False)
        return _Table(f"{self.name} where {column} is {value}", self.keys[here.astype(bool)], {})


class _Duplicates:
    """Which documents were removed, and whether each of them and of their survivors was met."""

    def __init__(self, build: Build) -> None:
        known = build.get("duplicates")
        self._known = known
        self._build = build
        empty = np.empty(0, dtype="S16")
        self.removed, self._survivors = empty, empty
        self._met_removed = self._met_survivors = np.empty(0, dtype=bool)
        if known is not None:
            path = known.file("duplicates/duplicates.parquet")
            table = read_columns(path, ["link_id", "survivor_link_id"])
            self.removed = keys_of(table["link_id"])
            self._survivors = np.unique(keys_of(table["survivor_link_id"]))
            self._met_removed = np.zeros(len(self.removed), dtype=bool)
            self._met_survivors = np.zeros(len(self._survivors), dtype=bool)

    def split(self, documents: Keys) -> NDArray[np.bool_]:
        """Which of a partition's documents were removed; all of them are noted as met."""
        self._met_removed |= np.isin(self.removed, documents)
        self._met_survivors |= np.isin(self._survivors, documents)
        return np.isin(documents, self.removed)

    def left_over(self) -> Iterator[str]:
        """What the duplicates name that is no document, or was removed itself."""
        if self._known is None:
            return
        strange = self.removed[~self._met_removed]
        if len(strange):
            yield (
                f"{self._known.label} removes {len(strange):,} that are no documents: "
                f"{key_hex(strange[0])}"
            )
        unmet = self._survivors[~self._met_survivors]
        for signatures in self._build.earlier.get("signatures", ()):
            for path in signatures.parts("signatures"):
                unmet = unmet[~np.isin(unmet, keys_of(read_columns(path, ["link_id"])["link_id"]))]
        if len(unmet):
            yield (
                f"{self._known.label} keeps {len(unmet):,} that are no documents, neither of this "
                f"build nor of an earlier one: {key_hex(unmet[0])}"
            )
        earlier = bool(self._build.earlier)
        both = self._survivors[np.isin(self._survivors, self.removed)]
        if len(both) and not earlier:
            yield f"{self._known.label} removes {len(both):,} survivors: {key_hex(both[0])}"


def keys_of(column: pa.ChunkedArray) -> Keys:
    """A column of `link_id` as numpy's byte strings, of 16 bytes each."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.binary(16))
    raw = np.frombuffer(array.buffers()[1] or b"", dtype="S16")
    return raw[array.offset : array.offset + len(array)]


def _read(build: Build, role: str, table: str, partition: int, *columns: str) -> _Table | None:
    known = build.get(role)
    if known is None:
        return None
    path = known.part(table, partition)
    read = read_columns(path, ["link_id", *columns])
    label = f"{known.label}/{table}/{path.name}"
    return _Table(label, keys_of(read["link_id"]), {name: read[name] for name in columns})


def _union(first: _Table, second: _Table) -> _Table:
    return _Table(f"{first.name} and {second.name}", np.concatenate([first.keys, second.keys]), {})


def _check_order(table: _Table) -> Iterator[str]:
    if np.any(table.keys[1:] <= table.keys[:-1]):
        yield f"{table.name} is not sorted by link_id, or has a link twice"


def _check_equal(below: _Table, above: _Table, what: str) -> Iterator[str]:
    """Every key of `below` once, and the same keys as those of `above`."""
    if len(np.unique(below.keys)) != len(below.keys):
        yield f"{below.name}: a link is there twice"
    strange = below.keys[~np.isin(below.keys, above.keys)]
    if len(strange):
        yield f"{below.name}: {len(strange):,} without {what}: {key_hex(strange[0])}"
    missing = above.keys[~np.isin(above.keys, below.keys)]
    if len(missing):
        yield f"{below.name}: {len(missing):,} missing that are {what}: {key_hex(missing[0])}"


def _check_losses(
    build: Build, role: str, partition: int, table: _Table, column: str, kept: Sequence[str]
) -> Iterator[str]:
    counted = Counter(table.columns[column].to_pylist())
    found = {reason: rows for reason, rows in counted.items() if reason not in kept}
    counts = _partition_counts(build.need(role), partition)
    told = {reason: rows for reason, rows in counts.get("losses", {}).items() if rows}
    if found != told:
        yield f"{table.name}: the manifest tells of losses {told}, the table holds {found}"


def _check_corpus(
    build: Build, partition: int, documents: _Table, duplicates: _Duplicates
) -> Iterator[str]:
    splits = [_read(build, "corpus", split, partition, "tokens") for split in SPLITS]
    removed = duplicates.split(documents.keys)
    kept = [table for table in splits if table is not None]
    if not kept:
        return
    rest = _Table(f"{documents.name} without duplicates", documents.keys[~removed], {})
    yield from _check_equal(_union(*kept), rest, "a document that was kept")
    shards = build.get("shards")
    if shards is not None:
        spans = read_columns(
            shards.part("spans", partition),
            ["link_id", "split", "shard", "start", "length", "document_start"],
        )
        for split, table in zip(SPLITS, kept, strict=True):
            here = spans.filter(pc.equal(spans["split"], split))
            yield from _check_spans(shards, partition, here, table)


def _check_spans(
    shards: Known, partition: int, spans: pa.Table, documents: _Table
) -> Iterator[str]:
    """The spans of a partition's split: whose they are, how long, and where they lie."""
    name = f"{shards.label}/spans/part-{partition:05d}.parquet"
    keys = keys_of(spans["link_id"])
    start, length, before = (
        spans[column].to_numpy().astype(np.int64)
        for column in ("start", "length", "document_start")
    )
    names, first = np.unique(keys, return_index=True)
    yield from _check_equal(_Table(name, names, {}), documents, "a document of the corpus")
    # A document's spans follow one another, each beginning where the one before it ended.
    sums = np.add.reduceat(length, first) if len(keys) else np.empty(0, np.int64)
    tokens = documents.columns["tokens"].to_numpy().astype(np.int64) + 1
    same = len(names) == len(documents.keys) and bool(np.all(names == documents.keys))
    if same and np.any(sums != tokens):
        wrong = int(np.flatnonzero(sums != tokens)[0])
        yield (
            f"{name}: {key_hex(names[wrong])} has {sums[wrong]:,} tokens in the shards, "
            f"{tokens[wrong]:,} are its own"
        )
    total = np.concatenate([[0], np.cumsum(length)])
    begin = (
        np.repeat(total[first], np.diff(np.append(first, len(keys)))) if len(keys) else total[:0]
    )
    if np.any(before != total[:-1] - begin):
        yield f"{name}: a document's spans do not follow one another"
    yield from _check_places(shards, name, spans["shard"].to_pylist(), start, length)


def _check_places(
    shards: Known,
    name: str,
    files: Sequence[str],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
) -> Iterator[str]:
    context = int(shards.manifest.identity.config["sequence_tokens"])
    rows = {file.path: file.rows or 0 for file in shards.manifest.files}
    ends: dict[str, int] = {}
    for file, first, size in zip(files, start.tolist(), length.tolist(), strict=True):
        if first != ends.get(file, 0):
            yield f"{name}: {file} has no span for its tokens from {ends.get(file, 0):,} on"
        ends[file] = first + size
    for file, end in ends.items():
        room = rows.get(file, 0) * context
        if not room - context < end <= room:
            yield f"{name}: the spans of {file} end at {end:,}, the shard at {room:,}"


def _check_records(build: Build, partition: int) -> Iterator[str]:
    """Whether the WARC records that a partition names lie inside their files."""
    captures = build.need("captures")
    sizes = {file.path: file.bytes for file in captures.manifest.files}
    columns = ["warc_file", "warc_offset", "warc_length", "payload_offset", "payload_length"]
    table = read_columns(captures.part("captures", partition), columns)
    table = table.filter(pc.is_valid(table["warc_file"]))
    for file in table["warc_file"].unique().to_pylist():
        mine = table.filter(pc.equal(table["warc_file"], file))
        for kind in ("warc", "payload"):
            ends = pc.add(mine[f"{kind}_offset"], mine[f"{kind}_length"])
            last = pc.max(ends).as_py() or 0
            if last > sizes.get(file, 0):
                yield (
                    f"{captures.label}: a record of {file} ends at byte {last:,}, the file at "
                    f"{sizes.get(file, 0):,}"
                )


def _check_submissions(build: Build, partition: int) -> Iterator[str]:
    """Whether each link's submissions are in the dumps' tables, and lead to that link."""
    submissions, links = build.get("submissions"), build.need("links")
    if submissions is None:
        return
    path = links.part("links", partition)
    table = read_columns(path, ["link_id", "submissions"])
    posts = table["submissions"].combine_chunks()
    owner = pc.list_parent_indices(posts)
    ids = pc.list_flatten(posts).field("id") if len(posts) else pa.array([], pa.string())
    told = set(zip(table["link_id"].take(owner).to_pylist(), ids.to_pylist(), strict=True))
    found: set[tuple[bytes, str]] = set()
    for dump in submissions.parts("submissions"):
        found |= _posted(dump, partition)
    strange = told - found
    if strange:
        key, post = min(strange)
        yield (
            f"{links.label}/links/{path.name}: {len(strange):,} submissions that "
            f"{submissions.label} does not have: {post} of {key.hex()}"
        )


def _posted(dump: Path, partition: int) -> set[tuple[bytes, str]]:
    found: set[tuple[bytes, str]] = set()
    with open_table(dump) as file:
        for group in partition_groups(file, partition):
            rows = file.read_row_group(group, columns=["partition", "link_id", "id"])
            rows = rows.filter(pc.equal(rows["partition"], partition))
            found.update(zip(rows["link_id"].to_pylist(), rows["id"].to_pylist(), strict=True))
    return found


def _partition_counts(known: Known, partition: int) -> Mapping[str, Any]:
    parts = known.manifest.partitions
    return parts[partition] if parts else known.manifest.counts


def key_hex(key: Any) -> str:
    """A key as 32 hexadecimal digits."""
    return bytes(key).ljust(16, b"\0").hex()
