"""A site's `/.well-known/tdmrep.json`: which of its pages are reserved from text and data mining.

By the W3C community group's report "TDM Reservation Protocol" (2024), section 6: a JSON array of
objects with a `location` (a pattern on the path, with `*` and a closing `$` as in robots.txt) and a
`tdm-reservation` of 0 or 1; the first location that matches a path decides. A missing file is no
reservation; so is one that is no such array.
"""

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from webtext.content_coding import BodyError, decode_body
from webtext.crawl_urls import origin_of
from webtext.fetch import Fetched, FetchError
from webtext.robots import middle_of_month

TDMREP_PATH = "/.well-known/tdmrep.json"
MAX_FILE_BYTES = 256 * 1024
MAX_RULES = 1_000
_MAX_LOCATION_CHARACTERS = 500
_CACHED_SITES = 20_000
_CACHED_CHARACTERS = 8 * 1024 * 1024
"""Characters of rules that are remembered, each rule counted as `_RULE_CHARACTERS` more."""
_RULE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Reservations:
    """The rules of a site's file, in its order."""

    rules: tuple[tuple[str, bool], ...] = ()

    @property
    def size(self) -> int:
        """About how much room the rules take."""
        return sum(len(location) + _RULE_CHARACTERS for location, _ in self.rules)

    def reserves(self, url: str) -> bool:
        """Whether the page at `url` is reserved."""
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        for location, reserved in self.rules:
            if _matches(location, path):
                return reserved
        return False


FetchFile = Callable[[str, int], Awaitable[Fetched]]
"""Fetches one response for an address at a time; raises `FetchError`."""


class TdmrepCache:
    """The reservations of the sites last asked about."""

    def __init__(self, fetch: FetchFile) -> None:
        self._fetch = fetch
        self._sites: OrderedDict[tuple[str, int], Reservations] = OrderedDict()
        self._characters = 0

    async def reservations(self, url: str, timestamp: int) -> Reservations:
        """The rules of the site of `url`, with an archive those of the month of `timestamp`."""
        key = (origin_of(url), middle_of_month(timestamp))
        known = self._sites.get(key)
        if known is None:
            # Two may ask at once; both get one answer, and the second is a request too many.
            known = await self._load(*key)
            self._remember(key, known)
        return known

    def _remember(self, key: tuple[str, int], rules: Reservations) -> None:
        if key not in self._sites:
            self._sites[key] = rules
            self._characters += rules.size
        while len(self._sites) > _CACHED_SITES or self._characters > _CACHED_CHARACTERS:
            _, oldest = self._sites.popitem(last=False)
            self._characters -= oldest.size

    async def _load(self, origin: str, timestamp: int) -> Reservations:
        try:
            response = await self._fetch(origin + TDMREP_PATH, timestamp)
            if not 200 <= response.status < 300:
                return Reservations()
            coding = response.header("content-encoding")
            return parse_tdmrep(decode_body(response.body, coding, max_bytes=MAX_FILE_BYTES))
        except (FetchError, BodyError):
            return Reservations()


def parse_tdmrep(content: bytes) -> Reservations:
    """The rules in a file's content; none where it is not of the form."""
    try:
        given = json.loads(content[:MAX_FILE_BYTES].decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return Reservations()
    if not isinstance(given, list):
        return Reservations()
    rules = [_read_rule(rule) for rule in given[:MAX_RULES]]
    return Reservations(tuple(rule for rule in rules if rule is not None))


def _read_rule(rule: object) -> tuple[str, bool] | None:
    if not isinstance(rule, dict):
        return None
    location, reserved = rule.get("location"), rule.get("tdm-reservation")
    if not isinstance(location, str) or reserved not in (0, 1, "0", "1"):
        return None
    if len(location) > _MAX_LOCATION_CHARACTERS:
        return None
    return location, int(reserved) == 1


def _matches(location: str, path: str) -> bool:
    """Whether a pattern matches: each piece between stars at its first place, in linear time."""
    anchored = location.endswith("$")
    first, *pieces = location.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not pieces:
        return not anchored or path == first
    at, last = len(first), pieces.pop() if anchored else ""
    for piece in pieces:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return path.endswith(last) and len(path) - len(last) >= at
