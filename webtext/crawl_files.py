"""The finished files of a crawled partition, put together from its journal.

Gzip members are copied as they are, in the order of `link_id`, so nothing of the order in which
pages arrived is left. The captures table is put in place last, by a rename.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webtext.counts import Counts
from webtext.crawl_config import CrawlConfig
from webtext.crawl_frontier import Frontier
from webtext.crawl_journal import Journal
from webtext.crawl_visit import Entry
from webtext.tables import CAPTURES, part_name, write_table
from webtext.warc import warcinfo_member

_BATCH_ROWS = 10_000
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
    write_table(unfinished, _copy_records(warc, partition, frontier, journal, config))
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
) -> pa.Table:
    """Copy all records into `warc` in the order of the links; returns the captures table."""
    order = np.argsort(np.array(journal.rows, dtype=np.int64), kind="stable")
    batches: list[pa.RecordBatch] = []
    rows: list[dict[str, Any]] = []
    with warc.open("wb") as stream:
        stream.write(_warcinfo(warc.name, journal, config))
        for row, number in enumerate(order):
            entry = journal.entry(int(number))
            assert entry.row == row, "a link journalled twice"
            rows.append(_table_row(entry, frontier.link_id(row), partition, stream.tell()))
            stream.write(journal.read_records(entry))
            if len(rows) == _BATCH_ROWS:
                batches.append(pa.RecordBatch.from_pylist(rows, schema=CAPTURES))
                rows = []
        stream.flush()
        os.fsync(stream.fileno())
    batches.append(pa.RecordBatch.from_pylist(rows, schema=CAPTURES))
    return pa.Table.from_batches(batches, schema=CAPTURES).combine_chunks()


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


def _table_row(entry: Entry, link_id: bytes, partition: int, start: int) -> dict[str, Any]:
    recorded = entry.record_length > 0
    return {
        "link_id": link_id,
        "outcome": entry.outcome,
        "detail": entry.detail,
        "status": entry.status,
        "final_url": entry.url,
        "redirects": entry.redirects,
        "content_type": entry.content_type,
        "warc_file": warc_name(partition) if recorded else None,
        "warc_offset": start + entry.record_start if recorded else None,
        "warc_length": entry.record_length if recorded else None,
        "payload_digest": entry.digest,
        "payload_bytes": entry.payload_bytes,
        "captured_at": None if entry.captured_at is None else entry.captured_at * 1000,
    }
