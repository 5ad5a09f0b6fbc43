"""Grouping submissions into links from two sorts that spill, a batch of rows in memory at a time.

DuckDB's own grouping holds every list of submissions in memory, so that a partition larger than its
limit would fail; its sorts do not. Rows sorted by id give the one row that is kept of each
submission; the kept rows sorted by link_id give the links one after the other.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from webtext.tables import LINKS, SUBMISSION, SUBMISSIONS

BATCH_ROWS = 10_000
ROWS = pa.schema([field for field in SUBMISSIONS if field.name != "partition"])
"""A submission inside a partition."""

_KARMA_MAX = 2**31 - 1
_NEVER = np.iinfo(np.int64).max

Index = NDArray[np.int64]


def drop_repeats(
    sorter: duckdb.DuckDBPyConnection, dumps: list[Path], partition: int, kept: Path
) -> tuple[int, int]:
    """Write one row of each submission of a partition to `kept`; rows read and rows written.

    Of the rows with one id that with the highest karma stays, then the latest, then by subreddit
    and URL.
    """
    read = written = 0
    last: pa.Scalar | None = None
    reader = sorter.sql(
        "SELECT * EXCLUDE (partition) FROM read_parquet(?) WHERE partition = ? "
        "ORDER BY id, karma DESC, created_utc DESC, subreddit, url",
        params=[[str(dump) for dump in dumps], partition],
    ).to_arrow_reader(BATCH_ROWS)
    with pq.ParquetWriter(kept, ROWS, compression="lz4") as writer:
        for batch in reader:
            if not batch.num_rows:
                continue
            rows = pa.Table.from_batches([batch]).cast(ROWS)
            ids = rows["id"].combine_chunks()
            first = _starts(ids)
            if ids[0] == last:
                first = first[1:]
            last = ids[-1]
            writer.write_table(rows.take(first))
            read += rows.num_rows
            written += first.size
    return read, written


class LinkGroups:
    """The links of a partition, in order, and the submissions that they hold."""

    def __init__(self, min_karma: int, rule: Literal["any", "sum"]) -> None:
        self.submissions = 0
        """Submissions of the links read so far."""
        self._min_karma = min_karma
        self._rule = rule

    def read(self, sorter: duckdb.DuckDBPyConnection, kept: Path) -> Iterator[pa.Table]:
        """Tables of links from the rows that `drop_repeats` kept."""
        reader = sorter.sql(
            "SELECT * FROM read_parquet(?) ORDER BY link_id, created_utc, id", params=[str(kept)]
        ).to_arrow_reader(BATCH_ROWS)
        held = ROWS.empty_table()
        for batch in reader:
            rows = pa.concat_tables([held, pa.Table.from_batches([batch]).cast(ROWS)])
            rows = rows.combine_chunks()
            starts = (
                _starts(rows["link_id"].combine_chunks()) if rows.num_rows else np.zeros(1, int)
            )
            # The last link may go on in the next batch.
            yield self._group(rows.slice(0, starts[-1]), starts[:-1])
            held = rows.slice(starts[-1])
        if held.num_rows:
            yield self._group(held.combine_chunks(), np.zeros(1, np.int64))

    def _group(self, rows: pa.Table, starts: Index) -> pa.Table:
        """The links of whole groups of rows that begin at `starts`."""
        if not starts.size:
            return LINKS.empty_table()
        sizes = np.diff(np.append(starts, rows.num_rows))
        karma = self._judge(rows["karma"].to_numpy().astype(np.int64), starts)
        good = karma >= self._min_karma
        self.submissions += int(sizes[good].sum())
        first = rows.take(starts)
        grouped = pa.table(
            [
                first["link_id"],
                _choose_scheme(rows["url"], first["url"], starts),
                first["host"],
                first["domain"],
                pa.array(karma, pa.int32()),
                pa.array(_earliest(rows["created_utc"].to_numpy(), starts)),
                _lists(rows, starts),
            ],
            schema=LINKS,
        )
        return grouped.filter(pa.array(good))

    def _judge(self, karma: Index, starts: Index) -> Index:
        if self._rule == "any":
            return np.maximum.reduceat(karma, starts)
        return np.clip(np.add.reduceat(karma, starts), -_KARMA_MAX, _KARMA_MAX)


def _starts(keys: pa.Array) -> Index:
    """Where runs of equal keys begin; at least one key is expected."""
    changed = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changed) + 1])


def _choose_scheme(urls: pa.ChunkedArray, first: pa.ChunkedArray, starts: Index) -> pa.Array:
    """`https` if anybody posted it; the rest of a link's URLs is equal."""
    secure = pc.starts_with(urls, "https:").to_numpy().astype(bool)
    chosen = pa.array(np.logical_or.reduceat(secure, starts))
    upgraded = pc.replace_substring_regex(first, "^http:", "https:")
    return pc.if_else(chosen, upgraded, first)


def _earliest(created: Index, starts: Index) -> Index:
    """The earliest known time (0 is unknown) of each link."""
    found = np.minimum.reduceat(np.where(created == 0, _NEVER, created), starts)
    return np.where(found == _NEVER, 0, found)


def _lists(rows: pa.Table, starts: Index) -> pa.Array:
    fields = [rows[field.name].combine_chunks() for field in SUBMISSION]
    values = pa.StructArray.from_arrays(fields, fields=list(SUBMISSION))
    offsets = pa.array(np.append(starts, rows.num_rows), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, type=LINKS.field("submissions").type)
