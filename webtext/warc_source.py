"""Takes responses straight from WARC files: nothing is sent, not even to this machine."""

import asyncio

from webtext.errors import SourceError
from webtext.fetch import Fetched, FetchError, Wants
from webtext.warc import Response
from webtext.warc_index import Place, WarcIndex, read_place

_INLINE_BYTES = 256 * 1024
"""Records up to this size in the file are read at once; a thread costs more than it saves."""


class WarcSource:
    """Answers with the captures of an index, each nearest to the time asked for."""

    name = "warc"
    retried_statuses: frozenset[int] = frozenset()

    def __init__(self, index: WarcIndex) -> None:
        self._index = index

    async def fetch(
        self, url: str, timestamp: int, wants: Wants, cut_at: int | None = None
    ) -> Fetched:
        """The archived response nearest to `timestamp`; `not_archived` where there is none."""
        place = self._index.find(url, timestamp)
        response = None if place is None else await self._read(place, url)
        if response is None:
            raise FetchError("not_archived", "no capture in the archive")
        return fetched_of(response, url, wants, cut_at)

    def hold(self, _url: str, _seconds: float) -> None:
        """Files need no rest."""

    def slow_down(self, _url: str, _seconds: float) -> None:
        """An archived site's wish for a delay does not concern its archive."""

    async def close(self) -> None:
        """Nothing is open."""

    async def _read(self, place: Place, url: str) -> Response | None:
        try:
            if place[2] <= _INLINE_BYTES:
                return read_place(self._index, place, url)
            return await asyncio.to_thread(read_place, self._index, place, url)
        except SourceError as error:
            raise FetchError("bad_response", f"archive: {_without_folder(error, place)}") from error


def fetched_of(response: Response, url: str, wants: Wants, cut_at: int | None) -> Fetched:
    """An archived response as if it had been fetched from `url`."""
    wanted = wants(response.status, response.headers)
    return Fetched(
        url=url,
        status=response.status,
        reason=response.reason,
        headers=response.headers,
        body=response.payload[:cut_at] if wanted else b"",
        truncated=not wanted,
        captured_at=response.date,
    )


def _without_folder(error: SourceError, place: Place) -> str:
    """What is wrong, without where the archive lies: tables must not depend on that."""
    return str(error).replace(str(place[0]), place[0].name)
