"""The links still to be fetched, held in columns: about 150 bytes a link, whatever their number."""

from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from webtext.errors import SourceError
from webtext.warc import timestamp_of

Rows = npt.NDArray[np.int64]
"""Row numbers of links in their table, which is the order of `link_id`."""


class Frontier:
    """The links of one partition, by row number."""

    def __init__(self, part: Path) -> None:
        """Read a links table; `SourceError` where it is missing or no such table."""
        columns = ["link_id", "url", "host", "first_created_utc"]
        try:
            table = pq.read_table(part, columns=columns).combine_chunks()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise SourceError(f"{part}: cannot be read as a table of links ({error})") from error
        self._table = table
        self._done = np.zeros(table.num_rows, dtype=bool)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def link_id(self, row: int) -> bytes:
        """The key of a link."""
        return bytes(self._table["link_id"][row].as_py())

    def url(self, row: int) -> str:
        """The address of a link."""
        return str(self._table["url"][row].as_py())

    def host(self, row: int) -> str:
        """The host of a link."""
        return str(self._table["host"][row].as_py())

    def timestamp(self, row: int) -> int:
        """When a link was first submitted, as archives write it: YYYYMMDDhhmmss."""
        seconds = int(self._table["first_created_utc"][row].as_py())
        return timestamp_of(datetime.fromtimestamp(seconds, UTC))

    def mark_done(self, row: int) -> None:
        """Leave a link out from now on."""
        self._done[row] = True

    def open_rows(self) -> Rows:
        """The open links in the order of the table."""
        return np.flatnonzero(~self._done)

    def rows_by_host(self) -> tuple[Rows, Rows]:
        """The open links host by host, in the order of the table within a host.

        With them, for each host that has any, where its links start, and the end of the last.
        """
        codes = self._table["host"].combine_chunks().dictionary_encode().indices
        rows = self.open_rows()
        hosts = codes.to_numpy(zero_copy_only=False)[rows]
        order = np.argsort(hosts, kind="stable")
        starts = np.flatnonzero(np.diff(hosts[order], prepend=-1, append=-1))
        return rows[order], starts


class TableSchedule:
    """Hands out the open rows in the order of the table, for sources that are no hosts."""

    def __init__(self, frontier: Frontier) -> None:
        self._rows = frontier.open_rows()
        self._next = 0
        self._again: deque[int] = deque()

    async def take(self) -> int | None:
        """The next row; None when none is left."""
        if self._again:
            return self._again.popleft()
        if self._next == len(self._rows):
            return None
        self._next += 1
        return int(self._rows[self._next - 1])

    def finish(self, _row: int) -> None:
        """The link is done."""

    def postpone(self, row: int) -> None:
        """The link is to be taken again."""
        self._again.append(row)
