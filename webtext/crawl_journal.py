"""The crawl's memory over kills: what was fetched, as it was fetched.

Records are appended to a scratch WARC file and, after them, a line to a JSONL file. Both are
append-only, so after any death the good part is a prefix: whole lines whose records are whole,
contiguous and of the right checksum. The rest is cut off and only its links are fetched again.
Lines reach the system at once (a killed process loses none) and the disk in batches.
"""

import fcntl
import json
import os
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from webtext.crawl_visit import Entry
from webtext.errors import SourceError

_SYNC_BYTES = 64 * 1024 * 1024
"""Records that a loss of power may cost at most."""


class Journal:
    """The journal of one partition, open for appending. Use as a context manager."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Take up the journal in `folder`, or begin one.

        A journal of another `identity` (other links, another config) is of no use and removed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.records_path = folder / "records.warc.gz"
        self._lines_path = folder / "links.jsonl"
        self.rows = array("q")
        """The rows of the links that are done, in the order in which they were."""
        self._line_starts = array("q")
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Entry)
        self._lines = self._lines_path.open("a+b", buffering=0)
        self._records = self.records_path.open("a+b", buffering=0)
        self._lock()
        self._recover(json.dumps({"journal": identity}).encode() + b"\n")
        self._unsynced = 0

    def append(self, entry: Entry, records: bytes) -> None:
        """Add a link's records and its line; once it returns, a kill does not lose them."""
        entry.offset = self._records_end
        _write_all(self._records, records)
        line = self._encoder.encode(entry) + b"\n"
        _write_all(self._lines, line)
        self._take(entry, len(line))
        self._unsynced += len(records) + len(line)
        if self._unsynced > _SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Bring everything to the disk, records before the lines that speak of them."""
        os.fsync(self._records.fileno())
        os.fsync(self._lines.fileno())
        self._unsynced = 0

    def entry(self, number: int) -> Entry:
        """The entry of `rows[number]`."""
        start = self._line_starts[number]
        following = number + 1
        end = (
            self._line_starts[following] if following < len(self._line_starts) else self._lines_end
        )
        return self._decoder.decode(os.pread(self._lines.fileno(), end - start, start))

    def entries(self) -> Iterator[Entry]:
        """All entries in the order in which they were added."""
        return (self.entry(number) for number in range(len(self.rows)))

    def read_records(self, entry: Entry) -> bytes:
        """The records of an entry."""
        return os.pread(self._records.fileno(), entry.length, entry.offset)

    def close(self) -> None:
        """Close the files; the journal stays."""
        self._lines.close()
        self._records.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _lock(self) -> None:
        """Keep a second process out; the lock goes with the process, however it ends."""
        try:
            fcntl.flock(self._lines.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise SourceError(
                f"{self._lines_path}: another process is crawling this partition; wait for it"
            ) from error

    def _recover(self, header: bytes) -> None:
        """Find the good prefix of both files and cut off the rest."""
        self._lines_end = self._records_end = 0
        with self._lines_path.open("rb") as lines, self.records_path.open("rb") as records:
            if lines.readline() == header:
                self._lines_end = len(header)
                for line in lines:
                    entry = self._check(line, records)
                    if entry is None:
                        break
                    self._take(entry, len(line))
        os.ftruncate(self._lines.fileno(), self._lines_end)
        os.ftruncate(self._records.fileno(), self._records_end)
        if self._lines_end == 0:
            _write_all(self._lines, header)
            self._lines_end = len(header)

    def _check(self, line: bytes, records: BinaryIO) -> Entry | None:
        """The entry in a line if the line and its records are whole."""
        if not line.endswith(b"\n"):
            return None
        try:
            entry = self._decoder.decode(line)
        except msgspec.DecodeError:
            return None
        if entry.offset != self._records_end:
            return None
        content = records.read(entry.length)
        whole = len(content) == entry.length and zlib.crc32(content) == entry.crc
        return entry if whole else None

    def _take(self, entry: Entry, line_bytes: int) -> None:
        self.rows.append(entry.row)
        self._line_starts.append(self._lines_end)
        self._lines_end += line_bytes
        self._records_end += entry.length


def _write_all(stream: object, content: bytes) -> None:
    """Write everything: an unbuffered file may take less than it is given."""
    view = memoryview(content)
    while view:
        view = view[stream.write(view) :]  # type: ignore[attr-defined]
