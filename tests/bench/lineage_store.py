"""A synthetic store: every table of a build with as many rows as one likes, and nothing crawled.

The tables fit together (`webtext verify`'s joins find no fault) and have the columns, sorts and
row groups that the stages write; URLs are made up, keys are their real hashes, domains lie in
their real partitions. Of a link's number follows what becomes of it, so tests know what to expect.
Texts are a few words long: no lookup reads them. Shards are files with holes, as only their headers
are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.environment import utc_now
from infra.manifest import FileRecord, InputRecord
from infra.store import Artifact, Store
from webtext.tables import (
    CAPTURES,
    DOCUMENTS,
    DUPLICATES,
    LINKS,
    PAGES,
    REJECTED,
    SPANS,
    SUBMISSION,
    SUBMISSIONS,
    part_name,
    signatures_schema,
)
from webtext.urls import link_id, link_partition

LINKS_A_DOMAIN = 150
"""WebText's 45 million links are of about 300,000 domains."""
TOKENS = 1_100
"""Of every document; WebText's mean is about a thousand."""
CONTEXT = 1_024
_GROUP = 10_000
_SMALL_GROUP = 1_000
"""Rows of a row group: of tables written whole, and of those written row by row."""


@dataclass(frozen=True)
class Shape:
    """How large a store is."""

    domains: int
    partitions: int
    dumps: int
    steps: int
    sequences_per_step: int
    links_a_domain: int = LINKS_A_DOMAIN

    @property
    def links(self) -> int:
        """Links of all domains."""
        return self.domains * self.links_a_domain


@dataclass
class _Written:
    """Files of one artifact and what they add up to."""

    files: list[FileRecord] = field(default_factory=list)
    partitions: list[dict] = field(default_factory=list)


def url_of(number: int, links_a_domain: int = LINKS_A_DOMAIN) -> str:
    """The address of a link by its number."""
    return f"http://site{number // links_a_domain}.example/page/{number % links_a_domain}"


def fate_of(number: int) -> str:
    """What becomes of a link: of five, three are captured and two become documents.

    One document of 28 is removed as a copy of the one before it.
    """
    place = number % 5
    if place >= 3:
        return "not_archived"
    if place == 2:
        return "language"
    return "near_duplicate" if number % 70 == 1 else "validation" if number % 95 == 0 else "train"


def submission_id(number: int) -> str:
    """The id of a link's submission."""
    return f"{number + 0x1000000:x}"


def write_store(root: Path, shape: Shape) -> Store:
    """Write a whole build: submissions to scores, with a model of made-up training."""
    store = Store(root)
    root.mkdir(parents=True, exist_ok=True)
    artifacts = _identities(store, shape)
    writer = _Writer(shape, artifacts)
    for partition, numbers in enumerate(_by_partition(shape)):
        writer.write_partition(partition, numbers)
    writer.close()
    for name in ("submissions", "links", "captures", "pages", "documents", "signatures",
                 "duplicates", "corpus", "shards"):  # fmt: skip
        _finish(store, artifacts[name], writer.written[name])
    _write_model(store, artifacts["model"], artifacts["shards"], writer.sequences, shape)
    _write_scores(store, artifacts["scores"])
    return store


def _identities(store: Store, shape: Shape) -> dict[str, Artifact]:
    made: dict[str, Artifact] = {}
    config = {
        "links": {"min_karma": 3, "karma_rule": "any", "partitions": shape.partitions},
        "submissions": {"partitions": shape.partitions},
        "shards": {"sequence_tokens": CONTEXT, "max_rows": 65_536},
        "model": {
            "network": {"context": CONTEXT},
            "training": {
                "steps": shape.steps,
                "sequences_per_step": shape.sequences_per_step,
                "seed": 0,
            },
        },
        "scores": {"benchmark": "lambada"},
    }
    inputs = {
        "submissions": (),
        "links": ("submissions",),
        "captures": ("links",),
        "pages": ("captures",),
        "documents": ("pages", "links"),
        "signatures": ("documents",),
        "duplicates": ("signatures",),
        "corpus": ("documents", "duplicates"),
        "shards": ("corpus",),
        "model": ("shards",),
        "scores": ("model",),
    }
    for stage, sources in inputs.items():
        records = [
            made[source].as_input("scored_model" if source == "model" else source)
            for source in sources
        ]
        if stage == "submissions":
            records = [InputRecord(role="dump", kind="file", name="RS.zst", fingerprint="d" * 64)]
        made[stage] = store.artifact(stage, 1, "synthetic", config.get(stage, {}), records)
        made[stage].path.mkdir(parents=True, exist_ok=True)
    return made


def _by_partition(shape: Shape) -> Iterator[np.ndarray]:
    """The numbers of each partition's links."""
    homes = np.array(
        [link_partition(f"site{d}.example", shape.partitions) for d in range(shape.domains)]
    )
    order = np.argsort(homes, kind="stable")
    starts = np.searchsorted(homes[order], np.arange(shape.partitions + 1))
    within = np.arange(shape.links_a_domain)
    for partition in range(shape.partitions):
        domains = order[starts[partition] : starts[partition + 1]]
        yield (domains[:, None] * shape.links_a_domain + within).reshape(-1)


class _Writer:
    """Writes all tables of a partition, and the dumps' and duplicates' tables over all."""

    def __init__(self, shape: Shape, artifacts: dict[str, Artifact]) -> None:
        self.shape, self.artifacts = shape, artifacts
        self.written = {stage: _Written() for stage in artifacts}
        self.sequences = 0
        self._removed: list[pa.Table] = []
        self._dumps = [self._open_dump(number) for number in range(shape.dumps)]
        self._held: list[list[pa.Table]] = [[] for _ in self._dumps]

    def write_partition(self, partition: int, numbers: np.ndarray) -> None:
        urls = [url_of(int(number), self.shape.links_a_domain) for number in numbers]
        keys = np.array([link_id(url) for url in urls], dtype="V16")
        order = np.argsort(keys.view(">u8").reshape(-1, 2)[:, 0], kind="stable")
        numbers, keys = numbers[order], keys[order]
        urls = [urls[place] for place in order]
        self._links(partition, numbers, keys, urls)
        fates = np.array([fate_of(int(number)) for number in numbers])
        self._captures(partition, keys, urls, fates)
        self._pages_and_documents(partition, numbers, keys, urls, fates)

    def close(self) -> None:
        for number, (writer, path) in enumerate(self._dumps):
            self._flush(number, everything=True)
            writer.close()
            self._note("submissions", path)
        total = sum(part["rows_out"] for part in self.written["links"].partitions)
        self.written["submissions"].partitions = [_counts(total, total)]
        self._duplicates()

    def _links(
        self, partition: int, numbers: np.ndarray, keys: np.ndarray, urls: list[str]
    ) -> None:
        hosts = _texts(url[7 : url.index("/", 7)] for url in urls)
        ids = _texts(submission_id(int(number)) for number in numbers)
        created = pa.array(1_200_000_000 + numbers * 7)
        karma = pa.array((3 + numbers % 500).astype(np.int32))
        subreddit = _texts(f"sub{number % 997}" for number in numbers)
        posts = pa.StructArray.from_arrays(
            [ids, subreddit, karma, created], fields=list(SUBMISSION)
        )
        lists = pa.ListArray.from_arrays(
            pa.array(np.arange(len(numbers) + 1), pa.int32()), posts,
            type=LINKS.field("submissions").type,
        )  # fmt: skip
        table = pa.table(
            [_keys(keys), _texts(urls), hosts, hosts, karma, created, lists], schema=LINKS
        )
        self._write("links", f"links/{part_name(partition)}", table, _GROUP)
        self._count("links", _counts(len(numbers), len(numbers)))
        dump = (numbers * 7919 // 13) % self.shape.dumps
        rows = pa.table(
            [pa.array(np.full(len(numbers), partition, np.int32)), _keys(keys), _texts(urls),
             hosts, hosts, ids, subreddit, karma, created],
            schema=SUBMISSIONS,
        )  # fmt: skip
        order = np.argsort(dump, kind="stable")
        rows = rows.take(pa.array(order))
        ends = np.searchsorted(dump[order], np.arange(self.shape.dumps + 1))
        for number in range(self.shape.dumps):
            self._held[number].append(rows.slice(ends[number], ends[number + 1] - ends[number]))
            self._flush(number)

    def _captures(
        self, partition: int, keys: np.ndarray, urls: list[str], fates: np.ndarray
    ) -> None:
        got = fates != "not_archived"
        mask = ~got
        size = np.where(got, 8_000, 0).cumsum()
        name = f"warc/part-{partition:05d}.warc.gz"

        def where(values: object, kind: pa.DataType) -> pa.Array:
            return pa.array(values, kind, mask=mask)

        count = len(keys)
        starts = size - 8_000
        fixed = np.full(count, 8_000)
        digests = [f"sha1:{key.tobytes().hex().upper()}" for key in keys]
        table = pa.table(
            [
                _keys(keys),
                _texts(np.where(got, "ok", "not_archived").tolist()),
                pa.nulls(count, pa.string()),
                _texts(["gateway"] * count),
                where(np.full(count, 200, np.int16), pa.int16()),
                where(urls, pa.string()),
                where(np.zeros(count, np.int16), pa.int16()),
                where(["text/html"] * count, pa.string()),
                where([name] * count, pa.string()),
                where(starts, pa.int64()),
                where(fixed, pa.int64()),
                where(starts, pa.int64()),
                where(fixed, pa.int64()),
                where(digests, pa.string()),
                where(fixed * 3, pa.int64()),
                where(1_500_000_000_000 + np.arange(count), pa.int64()).cast(
                    pa.timestamp("ms", tz="UTC")
                ),
            ],
            schema=CAPTURES,
        )
        self._write("captures", f"captures/{part_name(partition)}", table, _SMALL_GROUP)
        record = FileRecord(path=name, bytes=int(size[-1]) if count else 0, sha256="0" * 64)
        self.written["captures"].files.append(record)
        kept = int(got.sum())
        self._count("captures", _counts(count, kept, not_archived=count - kept))

    def _pages_and_documents(
        self,
        partition: int,
        numbers: np.ndarray,
        keys: np.ndarray,
        urls: list[str],
        fates: np.ndarray,
    ) -> None:
        got = fates != "not_archived"
        all_urls = np.array(urls, dtype=object)
        self._write(
            "pages",
            f"pages/{part_name(partition)}",
            _pages(keys[got], all_urls[got], fates[got]),
            _SMALL_GROUP,
        )
        captured = int(got.sum())
        self._count("pages", _counts(captured, captured))
        rejected = fates == "language"
        count = int(rejected.sum())
        table = pa.table(
            [_keys(keys[rejected]), _texts(["language"] * count),
             _texts(["de, wanted en"] * count), _texts(["de"] * count),
             pa.array(np.full(count, 400, np.int32))],
            schema=REJECTED,
        )  # fmt: skip
        self._write("documents", f"rejected/{part_name(partition)}", table, _SMALL_GROUP)
        passed = got & ~rejected
        texts = _documents(numbers[passed], keys[passed], all_urls[passed])
        self._write("documents", f"documents/{part_name(partition)}", texts, _SMALL_GROUP)
        documents = int(passed.sum())
        self._count("documents", _counts(captured, documents, language=count))
        self._signatures(partition, numbers[passed], keys[passed])
        self._corpus(partition, numbers[passed], keys[passed], texts, fates[passed])

    def _signatures(self, partition: int, numbers: np.ndarray, keys: np.ndarray) -> None:
        count = len(keys)
        columns = {
            "link_id": _keys(keys),
            "karma": pa.array((3 + numbers % 500).astype(np.int32)),
            "first_created_utc": pa.array(1_200_000_000 + numbers * 7),
            "text_digest": _keys(keys),
            "shingles": pa.array(np.full(count, 796, np.int32)),
            "signature": pa.array([b"0000"] * count, pa.binary(4)),
        }
        schema = signatures_schema(1)
        table = pa.table([columns[name] for name in schema.names], schema=schema)
        self._write("signatures", f"signatures/{part_name(partition)}", table, _GROUP)
        self._count("signatures", _counts(count, count))

    def _corpus(
        self,
        partition: int,
        numbers: np.ndarray,
        keys: np.ndarray,
        texts: pa.Table,
        fates: np.ndarray,
    ) -> None:
        removed = fates == "near_duplicate"
        survivors = np.array(
            [link_id(url_of(int(n) - 1, self.shape.links_a_domain)) for n in numbers[removed]],
            dtype="V16",
        )
        count = int(removed.sum())
        self._removed.append(
            pa.table(
                [_keys(keys[removed]), _keys(survivors), _texts(["near"] * count),
                 pa.array(np.full(count, 0.9, np.float32))],
                schema=DUPLICATES,
            )
        )  # fmt: skip
        spans: list[pa.Table] = []
        facts: dict[str, int] = {}
        for split in ("train", "validation"):
            here = fates == split
            path = f"{split}/{part_name(partition)}"
            self._write("corpus", path, texts.filter(pa.array(here)), _SMALL_GROUP)
            spans += self._shards(partition, split, keys[here])
            facts[f"{split}_tokens"] = int(here.sum()) * (TOKENS + 1)
        self._write("shards", f"spans/{part_name(partition)}", pa.concat_tables(spans), _GROUP)
        kept = len(keys) - count
        losses = {"exact_duplicate": 0, "near_duplicate": count}
        self._count("corpus", _counts(len(keys), kept, **losses))
        self._count("shards", {**_counts(kept, kept), "facts": facts})

    def _shards(self, partition: int, split: str, keys: np.ndarray) -> list[pa.Table]:
        count, length = len(keys), TOKENS + 1
        name = f"{split}/shard-{partition:05d}-000.npy"
        rows = -(-count * length // CONTEXT)
        if rows:
            path = self.artifacts["shards"].path / name
            _sparse_shard(path, rows)
            size = path.stat().st_size
            record = FileRecord(path=name, bytes=size, rows=rows, sha256="0" * 64)
            self.written["shards"].files.append(record)
        self.sequences += rows if split == "train" else 0
        return [
            pa.table(
                [_keys(keys), _texts([split] * count), _texts([name] * count),
                 pa.array(np.arange(count, dtype=np.int64) * length),
                 pa.array(np.full(count, length, np.int32)),
                 pa.array(np.zeros(count, np.int32))],
                schema=SPANS,
            )
        ]  # fmt: skip

    def _duplicates(self) -> None:
        table = pa.concat_tables(self._removed).combine_chunks()
        raw = np.frombuffer(table["link_id"].chunk(0).buffers()[1], ">u8").reshape(-1, 2)[:, 0]
        table = table.take(pa.array(np.argsort(raw, kind="stable")))
        self._write("duplicates", "duplicates/duplicates.parquet", table, _GROUP)
        documents = sum(part["rows_out"] for part in self.written["documents"].partitions)
        counts = _counts(documents, documents - table.num_rows, near_duplicate=table.num_rows)
        self.written["duplicates"].partitions = [counts]

    def _open_dump(self, number: int) -> tuple[pq.ParquetWriter, str]:
        name = f"submissions/dump-{number:05d}.parquet"
        path = self.artifacts["submissions"].path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return pq.ParquetWriter(path, SUBMISSIONS, compression="zstd"), name

    def _flush(self, number: int, *, everything: bool = False) -> None:
        held = self._held[number]
        if not everything and sum(table.num_rows for table in held) < _GROUP:
            return
        table = pa.concat_tables(held) if held else SUBMISSIONS.empty_table()
        self._dumps[number][0].write_table(table.combine_chunks(), row_group_size=_GROUP)
        self._held[number] = []

    def _write(self, stage: str, name: str, table: pa.Table, group: int) -> None:
        path = self.artifacts[stage].path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd", row_group_size=group)
        self._note(stage, name)

    def _note(self, stage: str, name: str) -> None:
        path = self.artifacts[stage].path / name
        rows = pq.read_metadata(path).num_rows
        record = FileRecord(path=name, bytes=path.stat().st_size, rows=rows, sha256="0" * 64)
        self.written[stage].files.append(record)

    def _count(self, stage: str, counts: dict) -> None:
        self.written[stage].partitions.append(counts)


def _pages(keys: np.ndarray, urls: np.ndarray, fates: np.ndarray) -> pa.Table:
    count = len(keys)
    german = fates == "language"
    columns = {
        "link_id": _keys(keys),
        "title": _texts(f"Page {url[-4:]}" for url in urls),
        "language": _texts(np.where(german, "de", "en").tolist()),
        "language_probability": pa.array(np.full(count, 1, np.float32)),
        "characters": pa.array(np.full(count, 5_000, np.int32)),
        "words": pa.array(np.full(count, 800, np.int32)),
        "tokens": pa.array(np.where(german, 400, TOKENS).astype(np.int32)),
        "text": pa.array([f"The text of {url}" for url in urls], pa.large_string()),
    }
    return pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in PAGES], schema=PAGES)


def _documents(numbers: np.ndarray, keys: np.ndarray, urls: np.ndarray) -> pa.Table:
    count = len(keys)
    columns = {
        "link_id": _keys(keys),
        "url": pa.array(list(urls), pa.string()),
        "domain": _texts(url[7 : url.index("/", 7)] for url in urls),
        "title": _texts(f"Page {url[-4:]}" for url in urls),
        "language": pa.array(["en"] * count, pa.string()),
        "karma": pa.array((3 + numbers % 500).astype(np.int32)),
        "first_created_utc": pa.array(1_200_000_000 + numbers * 7),
        "characters": pa.array(np.full(count, 5_000, np.int32)),
        "words": pa.array(np.full(count, 800, np.int32)),
        "tokens": pa.array(np.full(count, TOKENS, np.int32)),
        "text": pa.array([f"The text of {url}" for url in urls], pa.large_string()),
    }
    return pa.table(
        [columns.get(f.name, pa.nulls(count, f.type)) for f in DOCUMENTS], schema=DOCUMENTS
    )


def _write_model(
    store: Store, model: Artifact, shards: Artifact, sequences: int, shape: Shape
) -> None:
    record = {"shards": shards.fingerprint, "train_sequences": sequences}
    (model.path / "training.json").write_text(json.dumps(record))
    with (model.path / "losses.jsonl").open("w") as lines:
        for step in range(1, shape.steps + 1):
            lines.write(json.dumps({"step": step, "loss": 3 + 8 / step}) + "\n")
    written = _Written()
    for name in ("losses.jsonl", "training.json"):
        size = (model.path / name).stat().st_size
        written.files.append(FileRecord(path=name, bytes=size, sha256="0" * 64))
    written.partitions = [{"steps": shape.steps}]
    _finish(store, model, written)


def _write_scores(store: Store, scores: Artifact) -> None:
    line = {"column": "lambada_acc", "variant": "paper", "value": 46.0, "low": 44.0, "high": 48.0,
            "unit": "%", "items": 5_153}  # fmt: skip
    (scores.path / "scores.json").write_text(json.dumps([line]))
    items = {"variant": ["paper"] * 5_153, "item": pa.array(range(5_153), pa.int32())}
    pq.write_table(pa.table(items), scores.path / "items.parquet")
    written = _Written()
    for name in ("items.parquet", "scores.json"):
        size = (scores.path / name).stat().st_size
        written.files.append(FileRecord(path=name, bytes=size, sha256="0" * 64))
    written.partitions = [{"items": 5_153}]
    _finish(store, scores, written)


def _finish(store: Store, artifact: Artifact, written: _Written) -> None:
    parts = written.partitions
    counts = parts[0] if len(parts) == 1 else _sum(parts)
    store.finish(
        artifact,
        files=written.files,
        counts=counts,
        partitions=parts if len(parts) > 1 else [],
        measurements={},
        run_id="synthetic",
        prefect_flow_run_id=None,
        started_at=utc_now(),
    )


def _counts(rows_in: int, rows_out: int, **losses: int) -> dict:
    return {"rows_in": rows_in, "rows_out": rows_out, "losses": losses, "facts": {}}


def _sum(parts: list[dict]) -> dict:
    total = _counts(sum(p["rows_in"] for p in parts), sum(p["rows_out"] for p in parts))
    for group in ("losses", "facts"):
        for part in parts:
            for name, rows in part[group].items():
                total[group][name] = total[group].get(name, 0) + rows
    return total


def _texts(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _keys(keys: np.ndarray) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(keys))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, buffer])


def _sparse_shard(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<u2", "fortran_order": False, "shape": (rows, CONTEXT)}
        )
        file.truncate(file.tell() + 2 * rows * CONTEXT)
