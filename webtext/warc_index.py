"""Where the captures of WARC files lie, by address and time: 36 bytes a record."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.crawl_urls import archive_form, archive_key
from webtext.errors import SourceError
from webtext.warc import Response, date_of, index_warc, read_response

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Largest record read, before and after decompression."""

Place = tuple[Path, int, int]
"""File, offset and length of a record."""

Columns = tuple[npt.NDArray[Any], ...]
"""Keys (uint64), times (uint64), files (uint32), offsets and lengths (uint64)."""

_COLUMNS = ("keys", "times", "files", "offsets", "lengths")


class WarcIndexConfig(StageConfig):
    """An index has no settings."""


def index_archives(
    *,
    archives: Sequence[Path],
    destination: Path,
    config: WarcIndexConfig,  # noqa: ARG001  every stage has one
    progress: Progress = silent,
) -> Counts:
    """Write the index of WARC files into `destination`/index, for crawls that read them.

    Raises SourceError where a file is missing, damaged or no WARC file.
    """
    index = WarcIndex.build(archives, progress)
    index.write(destination / "index")
    return Counts(rows_in=len(index), rows_out=len(index))


class WarcIndex:
    """The HTTP responses of some WARC files, sorted by address and time."""

    def __init__(self, warcs: Sequence[Path], columns: Columns) -> None:
        self.warcs = tuple(warcs)
        self._columns = columns
        self._keys, self._times, self._files, self._offsets, self._lengths = columns

    @classmethod
    def build(cls, warcs: Sequence[Path], progress: Progress = silent) -> Self:
        """Read every file once; `SourceError` for one that is missing or no WARC file."""
        keys, times, files, offsets, lengths = (array(code) for code in "QQIQQ")
        for number, path in enumerate(warcs):
            for entry in index_warc(path):
                keys.append(archive_key(entry.url))
                times.append(entry.timestamp)
                files.append(number)
                offsets.append(entry.offset)
                lengths.append(entry.length)
            progress(number + 1, len(warcs), records=len(keys))
        order = np.lexsort((np.array(times), np.array(keys)))
        columns = [np.array(column)[order] for column in (keys, times, files, offsets, lengths)]
        return cls(warcs, tuple(columns))

    @classmethod
    def open(cls, folder: Path, warcs: Sequence[Path]) -> Self:
        """The index in `folder`, mapped into memory; `warcs` as when it was built."""
        try:
            columns = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in _COLUMNS]
        except (OSError, ValueError) as error:
            raise SourceError(f"{folder}: no index of WARC files ({error})") from error
        return cls(warcs, tuple(columns))

    def write(self, folder: Path) -> None:
        """Write the index; the files it is of are named by number alone."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, column in zip(_COLUMNS, self._columns, strict=True):
            np.save(folder / f"{name}.npy", column, allow_pickle=False)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, url: str, timestamp: int) -> Place | None:
        """The record of `url` nearest to `timestamp` (YYYYMMDDhhmmss)."""
        key = np.uint64(archive_key(url))
        low = int(np.searchsorted(self._keys, key, side="left"))
        high = int(np.searchsorted(self._keys, key, side="right"))
        if low == high:
            return None
        wanted = seconds_of(timestamp)
        row = min(range(low, high), key=lambda row: abs(seconds_of(int(self._times[row])) - wanted))
        return self._place(row)

    def find_all(self, url: str, timestamp: int) -> Iterator[Place]:
        """The records of `url` at exactly `timestamp`; more than one where a second saw several."""
        key = np.uint64(archive_key(url))
        low = int(np.searchsorted(self._keys, key, side="left"))
        high = int(np.searchsorted(self._keys, key, side="right"))
        times = self._times[low:high]
        first = np.searchsorted(times, np.uint64(timestamp), side="left")
        end = np.searchsorted(times, np.uint64(timestamp), side="right")
        return (self._place(low + row) for row in range(int(first), int(end)))

    def _place(self, row: int) -> Place:
        path = self.warcs[int(self._files[row])]
        return path, int(self._offsets[row]), int(self._lengths[row])


def read_place(index: WarcIndex, place: Place, url: str) -> Response | None:
    """The response at `place`, the body of a revisit taken from the capture it refers to.

    None where the record is of another address after all (two addresses of one 64-bit key). Raises
    `SourceError` where a record is damaged, or what a revisit refers to is not there.
    """
    response = _read(place)
    if archive_form(response.url) != archive_form(url):
        return None
    if response.refers_to is None:
        return response
    earlier = _find_original(index, response)
    if earlier is None:
        raise SourceError(f"{place[0]}: what the revisit of {url[:200]} refers to is missing")
    return replace(response, payload=earlier.payload)


def _find_original(index: WarcIndex, revisit: Response) -> Response | None:
    """The capture with a revisit's body; the digests tell it from others of that second."""
    assert revisit.refers_to is not None
    url, timestamp = revisit.refers_to
    for place in index.find_all(url, timestamp):
        earlier = _read(place)
        if has_body_of(revisit, earlier) and archive_form(earlier.url) == archive_form(url):
            return earlier
    return None


def has_body_of(revisit: Response, earlier: Response) -> bool:
    """Whether `earlier` has a body and, where both tell their digest, the revisit's."""
    same_body = not (revisit.digest and earlier.digest) or revisit.digest == earlier.digest
    return earlier.refers_to is None and same_body


def _read(place: Place) -> Response:
    path, offset, length = place
    return read_response(path, offset, length, max_bytes=MAX_RECORD_BYTES)


def seconds_of(timestamp: int) -> float:
    """A timestamp on a scale of seconds; one that is no date counts by its number."""
    try:
        return date_of(timestamp).timestamp()
    except ValueError:
        return float(timestamp)
