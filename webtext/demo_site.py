"""The making of a small web: hosts, page layout, archived responses and the posts that link there.

Everything is drawn from one seeded generator in a fixed order, so a seed gives the same bytes.
"""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from http import HTTPStatus
from random import Random
from typing import Any, NamedTuple

from webtext.demo_reference import ReferencePage

DOMAINS = (
    "bookend.example", "bytesmith.example", "codegarden.example", "datacabin.example",
    "inkandlogic.example", "lanternpress.example", "manualpages.example", "marginalia.example",
    "netpages.example", "nightlybuild.example", "oddmodules.example", "parsecorner.example",
    "python-notes.example", "quietcompiler.example", "readthesource.example",
    "softlanding.example", "sourcegarden.example", "stdlib-daily.example", "threadloom.example",
    "tinytools.example", "workbench.example",
)  # fmt: skip
"""Made-up sites under the top-level domain that RFC 2606 keeps for examples; chosen so that their
hashes deal them evenly to four or eight partitions."""

_PLACES = (
    ("www", "/articles/{name}"),
    ("docs", "/en/{name}.html"),
    ("blog", "/2017/{month:02d}/{name}/"),
)
_SUBREDDITS = (
    "Python", "learnpython", "programming", "coding", "compsci", "linux", "opensource",
    "softwaredevelopment", "todayilearned", "webdev",
)  # fmt: skip
_FIRST_SECOND = int(datetime(2017, 10, 1, tzinfo=UTC).timestamp())
_LAST_SECOND = int(datetime(2017, 10, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_FIRST_ID = int("73g000", 36)  # Reddit's ids of October 2017 began about here
_STRANGE_WORDS = ("indeed", "however", "moreover", "perhaps", "today", "elsewhere", "rather")
_TEXT = re.compile(r"(?<=>)[^<>]+(?=<)")


class ArchivedResponse(NamedTuple):
    """What a site once answered."""

    url: str
    date: datetime
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class PlantedCase(NamedTuple):
    """Something put there on purpose, and what is to become of it."""

    case: str
    """What it is, in a word or two."""
    url: str
    """As posted; empty where the row has none."""
    stage: str
    """The stage that decides about it."""
    outcome: str
    """The loss, outcome, reason or kind under which that stage counts it; `ok` if it stays."""


class DemoSite:
    """Collects responses, posts and planted cases."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - nothing secret is drawn
        self.responses: list[ArchivedResponse] = []
        self.planted: list[PlantedCase] = []
        self._posts: list[dict[str, Any]] = []
        self._odd_lines: list[bytes] = []

    def respond(
        self,
        url: str,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = "text/html; charset=utf-8",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Archive what `url` answers."""
        second = self.random.randint(_FIRST_SECOND, _LAST_SECOND)
        date = datetime.fromtimestamp(second, UTC) + timedelta(days=2)
        named = (("Content-Type", content_type), ("Server", "demo"), *headers)
        reason = HTTPStatus(status).phrase
        self.responses.append(ArchivedResponse(url, date, status, reason, named, body))

    def redirect(self, url: str, location: str, *, status: int = 302) -> None:
        """Archive a redirect from `url`."""
        self.respond(url, status=status, headers=(("Location", location),))

    def post(self, url: str | None, *, karma: int | None = None, **fields: Any) -> None:
        """Submit `url` at some time of the month; `fields` override those of the row."""
        drawn = 3 + int(self.random.expovariate(1 / 40))
        row: dict[str, Any] = {
            "archived": False,
            "author": "[deleted]",
            "brand_safe": True,
            "contest_mode": False,
            "created_utc": self.random.randint(_FIRST_SECOND, _LAST_SECOND),
            "distinguished": None,
            "domain": _host_of(url or ""),
            "edited": False,
            "gilded": 0,
            "hidden": False,
            "is_self": False,
            "link_flair_text": None,
            "locked": False,
            "media": None,
            "media_embed": {},
            "num_comments": self.random.randint(0, 90),
            "over_18": False,
            "post_hint": "link",
            "retrieved_on": 1_509_800_000,
            "score": drawn if karma is None else karma,
            "selftext": "",
            "stickied": False,
            "subreddit": self.random.choice(_SUBREDDITS),
            "thumbnail": "default",
            "title": f"Worth reading: {_host_of(url or '')}",
            "url": url,
        }
        self._posts.append(row | fields)

    def add_line(self, line: bytes) -> None:
        """A line of the dump that is no proper row."""
        self._odd_lines.append(line)

    def plant(self, case: str, url: str, stage: str, outcome: str) -> None:
        """Note a planted case."""
        self.planted.append(PlantedCase(case, url, stage, outcome))

    def finish_posts(self) -> Iterator[dict[str, Any] | bytes]:
        """The rows by time, numbered as Reddit does, odd lines scattered among them."""
        rows = sorted(self._posts, key=lambda row: int(row["created_utc"]))
        gap = max(1, len(rows) // (len(self._odd_lines) + 1))
        odd = iter(self._odd_lines)
        for number, row in enumerate(rows):
            reddit_id = _base36(_FIRST_ID + 37 * number)
            permalink = f"/r/{row['subreddit']}/comments/{reddit_id}/worth_reading/"
            yield {"id": reddit_id, "permalink": permalink} | row
            if number % gap == gap - 1:
                yield from (line for _, line in zip(range(1), odd, strict=False))
        yield from odd


def place_page(page: ReferencePage) -> str:
    """The page's own address, by its name alone."""
    number = int.from_bytes(blake2b(page.name.encode(), digest_size=4).digest(), "big")
    label, path = _PLACES[number % len(_PLACES)]
    domain = DOMAINS[number // len(_PLACES) % len(DOMAINS)]
    return f"https://{label}.{domain}" + path.format(name=page.name, month=1 + number % 10)


def lay_out(title: str, body: str, url: str, *, language: str = "en", head: str = "") -> bytes:
    """A page as sites have them: navigation, the article, a side bar, a footer."""
    host = _host_of(url)
    links = "".join(f'<li><a href="https://www.{name}/">{name}</a></li>' for name in DOMAINS[:5])
    return f"""<!DOCTYPE html>
<html lang="{language}"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta property="article:published_time" content="2017-10-01T09:00:00Z">{head}
<style>nav li {{ display: inline }}</style><script>var visits = 1;</script></head>
<body><header><a href="/">{host}</a><nav><ul><li><a href="/">Home</a></li>
<li><a href="/archive">Archive</a></li><li><a href="/about">About</a></li></ul></nav></header>
<main><article><h1>{html.escape(title)}</h1>
{body}
</article></main>
<aside><h4>Elsewhere</h4><ul>{links}</ul></aside>
<footer><p>&copy; 2017 {host}.
<a href="/privacy">Privacy</a> <a href="/terms">Terms</a></p></footer>
</body></html>
""".encode()


def change_words(body: str, every: int) -> str:
    """`body` with each `every`-th word of its text replaced by another."""
    seen = 0

    def change(found: re.Match[str]) -> str:
        nonlocal seen
        words = re.split(r"(\s+)", found[0])
        for place in range(0, len(words), 2):
            if not words[place] or words[place].startswith("&"):
                continue
            seen += 1
            if seen % every == 0:
                words[place] = _STRANGE_WORDS[seen // every % len(_STRANGE_WORDS)]
        return "".join(words)

    return _TEXT.sub(change, body)


def _host_of(url: str) -> str:
    return re.sub(r"^[a-zA-Z]*:?//", "", url).partition("/")[0]


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
