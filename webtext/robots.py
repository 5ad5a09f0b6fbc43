"""What robots.txt allows, by RFC 9309.

Missing (4xx) means everything is allowed; a server error or no answer means nothing is. Five
redirects are followed, half a megabyte is read. What a live site says is asked again after a day
(2.4). With an archive the robots.txt of the link's month is asked for, so that the answer does not
depend on which of a site's links comes first; one that was never archived allows everything.

Protego reads the rules. Before it does, the groups of other robots are put under one name: it would
keep a copy of a group's rules for each of its robots, so that 4,000 names over 4,000 rules took it
42 s; and it takes `User-agent: web` for a name of `webtext`, where RFC 9309, 2.2.1 wants all of it.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego

from webtext.content_coding import BodyError, decode_body
from webtext.crawl_urls import join_url, origin_of
from webtext.fetch import REDIRECTS, Fetched, FetchError

MAX_ROBOTS_BYTES = 500 * 1024
"""What RFC 9309, 2.5 asks to be parsed at least; the rest is left."""
MAX_ROBOTS_REDIRECTS = 5
"""RFC 9309, 2.3.1.2."""
MAX_AGE_S = 24 * 3600.0
"""How long an answer is believed: RFC 9309, 2.4."""

_CACHED_SITES = 20_000
_CACHED_BYTES = 16 * 1024 * 1024
"""Bytes of robots.txt that are remembered; parsed they take about five times as much."""
_MAX_DECODED_BYTES = 8 * 1024 * 1024

_INLINE_BYTES = 8 * 1024
"""Larger files are read off the event loop: half a megabyte of rules takes 0.4 s."""

_OTHERS = "~"
"""Stands for every robot that is not us; no product name holds it."""
_AGENT_LINE = re.compile(r"(?im)^[^\S\n]*user[- ]?agent\b[^\S\n]*:?([^\n#]*)")
_PRODUCT = re.compile(r"[A-Za-z_-]+|\*")

FetchRobots = Callable[[str, int], Awaitable[Fetched]]
"""Fetches one response for an address at a time; raises `FetchError`."""


@dataclass(frozen=True, slots=True)
class RobotsRules:
    """What a site's robots.txt says to us."""

    parsed: Protego | None
    """None: no rules."""
    refusal: tuple[str, str] | None = None
    """Outcome and detail for all of the site's pages where robots.txt could not be had."""
    size: int = 0
    """Bytes of the file."""

    def refuses(self, url: str, name: str) -> tuple[str, str] | None:
        """Outcome and detail where `url` may not be fetched under `name`; None where it may."""
        if self.refusal is not None:
            return self.refusal
        if self.parsed is None or self.parsed.can_fetch(url, name):
            return None
        return "robots_disallowed", "robots.txt disallows it"

    def crawl_delay_s(self, name: str) -> float:
        """Seconds between requests that the site asks for."""
        delay = self.parsed.crawl_delay(name) if self.parsed is not None else None
        return max(0.0, float(delay or 0.0))


@dataclass(slots=True)
class _Known:
    """What was asked of a site, and when (by the loop's clock)."""

    rules: asyncio.Future[RobotsRules]
    asked_at: float
    size: int = 0


class RobotsCache:
    """The rules of the sites last asked about; each robots.txt is fetched once at a time."""

    def __init__(self, fetch: FetchRobots, name: str, max_age_s: float = MAX_AGE_S) -> None:
        """`name` is our product name, the one that rules are kept for."""
        self._fetch = fetch
        self._name = name
        self._max_age_s = max_age_s
        self._sites: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._bytes = 0

    async def rules(self, url: str, timestamp: int) -> RobotsRules:
        """The rules for the site of `url` at the month of `timestamp`."""
        key = (origin_of(url), middle_of_month(timestamp))
        now = asyncio.get_running_loop().time()
        known = self._sites.get(key)
        if known is not None and now - known.asked_at < self._max_age_s:
            self._sites.move_to_end(key)
            if known.rules.done():
                return known.rules.result()
            return await asyncio.shield(known.rules)
        self._forget(key)
        known = self._sites[key] = _Known(asyncio.get_running_loop().create_future(), now)
        try:
            rules = await self._load(*key)
        except BaseException as error:
            self._forget(key)
            known.rules.set_exception(error if isinstance(error, Exception) else FetchError("", ""))
            known.rules.exception()  # nobody may be waiting: not a forgotten error
            raise
        known.rules.set_result(rules)
        if self._sites.get(key) is known:  # it may have been forgotten meanwhile
            self._bytes += rules.size
            known.size = rules.size
        while len(self._sites) > _CACHED_SITES or self._bytes > _CACHED_BYTES:
            self._forget(next(iter(self._sites)))
        return rules

    def _forget(self, key: tuple[str, int]) -> None:
        known = self._sites.pop(key, None)
        if known is not None:
            self._bytes -= known.size

    async def _load(self, origin: str, timestamp: int) -> RobotsRules:
        url = f"{origin}/robots.txt"
        try:
            for _ in range(MAX_ROBOTS_REDIRECTS + 1):
                response = await self._fetch(url, timestamp)
                if response.status not in REDIRECTS:
                    if len(response.body) <= _INLINE_BYTES:
                        return judge_robots(response, self._name)
                    return await asyncio.to_thread(judge_robots, response, self._name)
                url = join_url(url, response.header("location") or "")
        except FetchError as error:
            if error.outcome in {"not_archived", "wikipedia_redirect"}:
                return RobotsRules(None)
            return RobotsRules(None, (error.outcome, f"robots.txt: {error.detail}"))
        except ValueError:
            return RobotsRules(None)
        return RobotsRules(None)  # RFC 9309, 2.3.1.2: too many redirects count as unavailable


def judge_robots(response: Fetched, name: str) -> RobotsRules:
    """The rules for us, called `name`, in a robots.txt response."""
    status = response.status
    # 429 is no statement about the file: like Google, we treat it as a server error.
    if status == 429 or status >= 500:
        return RobotsRules(None, ("robots_disallowed", f"robots.txt answered {status}"))
    if not 200 <= status < 300:
        return RobotsRules(None)
    try:
        body = decode_body(
            response.body, response.header("content-encoding"), max_bytes=_MAX_DECODED_BYTES
        )
    except BodyError as error:
        return RobotsRules(None, ("robots_disallowed", f"robots.txt: {error}"))
    text = merge_other_robots(cut_robots(body), name)
    return RobotsRules(Protego.parse(text), size=len(text))


def cut_robots(body: bytes) -> str:
    """The text of a robots.txt up to the last whole line within the limit."""
    if len(body) > MAX_ROBOTS_BYTES:
        body = body[:MAX_ROBOTS_BYTES].rpartition(b"\n")[0]
    return body.decode("utf-8", "replace").removeprefix("\ufeff")


def merge_other_robots(text: str, name: str) -> str:
    """A robots.txt in which every robot but `name` and `*` has the same name."""

    def rename(line: re.Match[str]) -> str:
        product = _PRODUCT.match(line[1].strip())
        found = product[0].lower() if product else ""
        return f"User-agent: {found if found in {name.lower(), '*'} else _OTHERS}"

    return _AGENT_LINE.sub(rename, "\n".join(text.splitlines()))


def middle_of_month(timestamp: int) -> int:
    """The 15th of the month of a timestamp."""
    return timestamp // 100_000_000 * 100_000_000 + 15_000_000
