"""The finished files of a crawled partition, put together from its journal.

Gzip members are copied as they are, in the order of `link_id`, so nothing of the order in which
pages arrived is left. A body that an earlier link has too is stored once: the later response
becomes a revisit record, which keeps its own fields. The captures table is put in place last, by a
rename.
"""

import base64
import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webtext.counts import Counts
from webtext.crawl_config import CrawlConfig
from webtext.crawl_frontier import Frontier, Rows
from webtext.crawl_journal import Journal
from webtext.crawl_visit import Entry
from webtext.tables import CAPTURES, part_name
from webtext.warc import revisit_member, warcinfo_member

_GROUP_ROWS = 10_000
_NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)


def warc_name(partition: int) -> str:
    """The path of a partition's WARC file inside the artifact."""
    return f"warc/part-{partition:05d}.warc.gz"


def assemble_files(
    destination: Path, partition: int, frontier: Frontier, journal: Journal, config: CrawlConfig
) -> None:
    """Write the WARC file and the captures table of a partition whose links are all journalled."""
    assert len(journal.rows) == len(frontier), "a link without an outcome, or with two"
    warc = destination / warc_name(partition)
    warc.parent.mkdir(parents=True, exist_ok=True)
    captures = destination / "captures" / part_name(partition)
    unfinished = journal.records_path.with_name("captures.parquet")
    with pq.ParquetWriter(unfinished, CAPTURES, compression="zstd") as table:
        rows = _copy_records(warc, partition, frontier, journal, config)
        while batch := list(itertools.islice(rows, _GROUP_ROWS)):
            table.write_table(pa.Table.from_pylist(batch, schema=CAPTURES))
    captures.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(captures)


def count_captures(destination: Path, partition: int) -> Counts:
    """The counts of a finished partition, read from its table."""
    table = pq.read_table(
        destination / "captures" / part_name(partition),
        columns=["outcome", "redirects", "payload_bytes"],
    )
    tally = table["outcome"].value_counts().to_pylist()
    by_outcome = {row["values"]: int(row["counts"]) for row in tally}
    captured = by_outcome.pop("ok", 0)
    return Counts(
        rows_in=table.num_rows,
        rows_out=captured,
        losses=dict(sorted(by_outcome.items())),
        facts={
            "payload_bytes": int(pc.sum(table["payload_bytes"]).as_py() or 0),
            "redirects": int(pc.sum(table["redirects"]).as_py() or 0),
            "warc_bytes": (destination / warc_name(partition)).stat().st_size,
        },
    )


def _copy_records(
    warc: Path, partition: int, frontier: Frontier, journal: Journal, config: CrawlConfig
) -> Iterator[dict[str, Any]]:
    """Copy all records into `warc` in the order of the links; yields the captures' rows."""
    order = np.argsort(np.array(journal.rows, dtype=np.int64), kind="stable")
    bodies = _Bodies(order, journal, config)
    with warc.open("wb") as stream:
        stream.write(_warcinfo(warc.name, journal, config))
        for row, number in enumerate(order):
            entry = journal.entry(int(number))
            assert entry.row == row, "a link journalled twice"
            start = stream.tell()
            records = bodies.without_repeats(row, start, entry, journal.read_records(entry))
            stream.write(records)
            yield _table_row(entry, frontier.link_id(row), partition, start, bodies.places[row])
        stream.flush()
        os.fsync(stream.fileno())


class _Bodies:
    """Which links have a body that an earlier one has too; 40 bytes a link."""

    def __init__(self, order: Rows, journal: Journal, config: CrawlConfig) -> None:
        self._order, self._journal, self._config = order, journal, config
        hashes = np.zeros(len(order), dtype=np.uint64)
        for row, number in enumerate(order):
            entry = journal.entry(int(number))
            if entry.record_length and (entry.payload_bytes or 0) >= config.min_revisit_bytes:
                hashes[row] = _hash_digest(entry.digest or "")
        self._original = _first_of_equals(hashes)
        """For each link the first of the same hash; whether the digest is the same is seen then."""
        self.places = np.zeros((len(order), 2), dtype=np.int64)
        """Offset and length of the record with each link's body, as far as records are written."""

    def without_repeats(self, row: int, start: int, entry: Entry, records: bytes) -> bytes:
        """The records of a link, its response as a revisit where an earlier one has the body.

        Brings `entry`'s record length up to date, and `places`.
        """
        original = int(self._original[row])
        first = entry if original == row else self._journal.entry(int(self._order[original]))
        if original == row or first.digest != entry.digest:
            self.places[row] = start + entry.record_start, entry.record_length
            return records
        end = entry.record_start + entry.record_length
        revisit = revisit_member(
            member=records[entry.record_start : end],
            payload_digest=entry.digest or "",
            refers_to=(first.url, datetime.fromtimestamp(first.captured_at or 0, UTC)),
            gzip_level=self._config.gzip_level,
        )
        self.places[row] = self.places[original]
        entry.record_length = len(revisit)
        return b"".join((records[: entry.record_start], revisit, records[end:]))


def _hash_digest(digest: str) -> int:
    """64 bits of a body's digest, never 0, which stands for a body that is stored each time."""
    return int.from_bytes(base64.b32decode(digest.removeprefix("sha1:"))[:8]) or 1


def _first_of_equals(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """For each row the first row of equal hash; rows of hash 0 are their own."""
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    ordered = hashes[order]
    is_first = np.ones(order.size, dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]) | (ordered[1:] == 0)
    firsts = np.empty_like(order)
    firsts[order] = order[np.maximum.accumulate(np.where(is_first, np.arange(order.size), 0))]
    return firsts


def _warcinfo(filename: str, journal: Journal, config: CrawlConfig) -> bytes:
    """The file's first record. Its date is that of the latest capture: a clock would differ."""
    dates = (entry.captured_at or 0 for entry in journal.entries())
    date = datetime.fromtimestamp(max(dates, default=0), UTC) if journal.rows else _NO_DATE
    fields = [
        ("software", "webtext-pipeline"),
        ("format", "WARC File Format 1.1"),
        ("conformsTo", "https://iipc.github.io/warc-specifications/"),
        ("robots", "obey" if config.obey_robots else "ignore"),
        ("http-header-user-agent", config.user_agent),
    ]
    return warcinfo_member(filename=filename, date=date, fields=fields).compressed


def _table_row(
    entry: Entry, link_id: bytes, partition: int, start: int, body: Rows
) -> dict[str, Any]:
    recorded = entry.record_length > 0
    return {
        "link_id": link_id,
        "outcome": entry.outcome,
        "detail": entry.detail,
        "source": entry.source,
        "status": entry.status,
        "final_url": entry.url,
        "redirects": entry.redirects,
        "content_type": entry.content_type,
        "warc_file": warc_name(partition) if recorded else None,
        "warc_offset": start + entry.record_start if recorded else None,
        "warc_length": entry.record_length if recorded else None,
        "payload_offset": int(body[0]) if recorded else None,
        "payload_length": int(body[1]) if recorded else None,
        "payload_digest": entry.digest,
        "payload_bytes": entry.payload_bytes,
        "captured_at": None if entry.captured_at is None else entry.captured_at * 1000,
    }
