"""The links still to be fetched, held in plain columns: about 180 bytes a link, however many.

Arrow's own buffers would take three times that while a table is read and would cost ten times as
much for each look-up of one row, so the columns are unpacked into bytes and arrays, batch by batch.
"""

from array import array
from collections import deque
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from webtext.errors import SourceError
from webtext.warc import timestamp_of

Rows = npt.NDArray[np.int64]
"""Row numbers of links in their table, which is the order of `link_id`."""

_ID_BYTES = 16
_BATCH_ROWS = 20_000


class Frontier:
    """The links of one partition, by row number."""

    def __init__(self, part: Path) -> None:
        """Read a links table; `SourceError` where it is missing or no such table."""
        self._ids, self._urls = bytearray(), bytearray()
        self._url_ends = array("Q", [0])
        self._created = array("q")
        self._hosts: list[str] = []
        self._host_of = array("i")
        """The place of each link's host among `_hosts`."""
        try:
            self._read(part)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise SourceError(f"{part}: cannot be read as a table of links ({error})") from error
        self._done = np.zeros(len(self), dtype=bool)

    def _read(self, part: Path) -> None:
        places: dict[str, int] = {}
        columns = ["link_id", "url", "host", "first_created_utc"]
        with pq.ParquetFile(part, memory_map=True) as table:
            for batch in table.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
                ids, urls, hosts, created = (batch.column(name).to_pylist() for name in columns)
                self._ids += b"".join(ids)
                encoded = [url.encode() for url in urls]
                self._urls += b"".join(encoded)
                ends = accumulate(map(len, encoded), initial=self._url_ends.pop())
                self._url_ends.extend(ends)
                self._host_of.extend(places.setdefault(host, len(places)) for host in hosts)
                self._created.extend(created)
        self._hosts = list(places)

    def __len__(self) -> int:
        return len(self._created)

    def link_id(self, row: int) -> bytes:
        """The key of a link."""
        return bytes(self._ids[_ID_BYTES * row : _ID_BYTES * (row + 1)])

    def url(self, row: int) -> str:
        """The address of a link."""
        return self._urls[self._url_ends[row] : self._url_ends[row + 1]].decode()

    def host(self, row: int) -> str:
        """The host of a link."""
        return self._hosts[self._host_of[row]]

    def timestamp(self, row: int) -> int:
        """When a link was first submitted, as archives write it: YYYYMMDDhhmmss."""
        return timestamp_of(datetime.fromtimestamp(self._created[row], UTC))

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
        rows = self.open_rows()
        hosts = np.array(self._host_of, dtype=np.int32)[rows]
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

    def queue(self) -> tuple[int, float]:
        """An archive is one host, and it is never waited for."""
        return int(self._next < len(self._rows) or bool(self._again)), 0.0

    def postpone(self, row: int) -> None:
        """The link is to be taken again."""
        self._again.append(row)
