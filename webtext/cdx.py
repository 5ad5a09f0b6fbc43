"""Lines of CDX and CDXJ indexes: which capture of an address lies where in which WARC file.

CDXJ (pywb, Common Crawl) is `urlkey timestamp {json}`; an index server sends the JSON alone, with
`urlkey` and `timestamp` in it. The older CDX is columns named by letters in a first line
(` CDX N b a m s k r M S V g`). Both are sorted by urlkey, the address turned round so that a
site's pages stand together (SURT).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from webtext.crawl_urls import archive_form
from webtext.warc_index import seconds_of

_TIMESTAMP = re.compile(r"[0-9]{14}")
_FILENAME = re.compile(r"[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*(?:/[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*)*")
_NUMBER = re.compile(r"[0-9]{1,15}")
_PORTS = {"http": 80, "https": 443}
_KEPT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "%#")
_PATH_SESSION = re.compile(r"\((?:[a-z]\([0-9a-z]{24}\))+\)|\([0-9a-z]{24}\)")
_QUERY_SESSIONS = tuple(
    re.compile(rf"(.*){name}(?:&(.*))?", re.IGNORECASE | re.DOTALL)
    for name in (
        "jsessionid=[0-9a-z]{32}", "phpsessid=[0-9a-z]{32}", "sid=[0-9a-z]{32}",
        "aspsessionid[a-z]{8}=[a-z]{24}", "cfid=[^&]+&cftoken=[^&]+",
    )
)  # fmt: skip
_WWW = re.compile(r"www[0-9]*\.")
_LETTERS = {"N": "urlkey", "b": "timestamp", "a": "url", "m": "mime", "s": "status",
            "S": "length", "V": "offset", "g": "filename"}  # fmt: skip
DEFAULT_COLUMNS = ("urlkey", "timestamp", "url", "mime", "status", "", "", "", "length",
                   "offset", "filename")  # fmt: skip
"""The columns of ` CDX N b a m s k r M S V g`, in common use where no first line tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CdxEntry:
    """One capture."""

    url: str
    timestamp: int
    """YYYYMMDDhhmmss."""
    status: int | None
    """HTTP status; None where the index does not say, as for revisits."""
    filename: str
    """Path of the WARC file below the archive's root; of plain names only."""
    offset: int
    length: int


def is_address(text: str) -> bool:
    """Whether a place is on the web and not a path."""
    return text.startswith(("http://", "https://"))


def parse_line(line: str, columns: tuple[str, ...] = DEFAULT_COLUMNS) -> CdxEntry | None:
    """The capture on a line of any of the forms; None where there is none to be read from it."""
    words = line.split(maxsplit=2)
    # A key may hold a brace itself: what counts is where the fields would begin.
    keyed = len(words) == 3 and words[2].startswith("{")
    if not keyed and not line.lstrip().startswith("{"):
        return _entry_of(dict(zip(columns, line.split(), strict=False)))
    try:
        fields = json.loads(words[2] if keyed else line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    return _entry_of({"timestamp": words[1], **fields} if keyed else fields)


def read_columns(line: str) -> tuple[str, ...] | None:
    """The columns that a first line declares; None where it is an ordinary line."""
    words = line.split()
    if not words or words[0] != "CDX":
        return None
    return tuple(_LETTERS.get(word, "") for word in words[1:])


def choose_entry(entries: Iterable[CdxEntry], url: str, timestamp: int) -> CdxEntry | None:
    """The capture of exactly `url` nearest to `timestamp`.

    Pages and redirects go before errors: a site that was down when the archive came by is no
    reason to go without the capture of the week after.
    """
    form, wanted = archive_form(url), seconds_of(timestamp)
    return min(
        (entry for entry in entries if archive_form(entry.url) == form),
        key=lambda entry: (
            entry.status is not None and entry.status >= 400,
            abs(seconds_of(entry.timestamp) - wanted),
            entry.timestamp,
            entry.filename,
            entry.offset,
        ),
        default=None,
    )


def surt_key(url: str) -> str:
    """The urlkey of an address as Common Crawl and pywb sort by it: `org,example)/path?a=1`.

    By the rules of the Internet Archive's canonical form (its `surt` package is the reference): all
    in lower case, `www.` and the default port left out, labels reversed; escapes undone, dot and
    empty segments resolved and what is not printable escaped again; no slash at the end of a path,
    no session ids, parameters sorted.
    """
    parts = urlsplit(url)
    host = _WWW.sub("", (parts.hostname or "").strip("."), count=1)
    port = parts.port if parts.port not in (None, _PORTS.get(parts.scheme)) else None
    key = ",".join(reversed(host.split("."))) + (f":{port}" if port else "") + ")"
    query = _canonical_query(parts.query)
    return key + _canonical_path(parts.path) + (f"?{query}" if query else "")


def _canonical_path(path: str) -> str:
    segments: list[bytes] = []
    for segment in _unescape(path).split(b"/")[1:]:
        if segment == b".." and segments:
            segments.pop()  # an empty one too, and at the root `..` stays: so the reference has it
        elif segment != b".":
            segments.append(segment)
    escaped = [_escape(segment).lower() for segment in segments if segment]
    kept = [
        segment
        for place, segment in enumerate(escaped)
        if not (_PATH_SESSION.fullmatch(segment) and ".aspx" in "/".join(escaped[place + 1 :]))
    ]
    return "/" + "/".join(kept)


def _canonical_query(query: str) -> str:
    text = _escape(_unescape(query))
    for session in _QUERY_SESSIONS:
        found = session.fullmatch(text)
        if found:
            text = found[1] + (found[2] or "")
    fields = text.lower().split("&")
    return "&".join(sorted(fields, key=lambda field: field.partition("=")))


def _unescape(text: str) -> bytes:
    """Undo escapes until none is left; each turn makes the text shorter."""
    plain = text.encode()
    while (less := unquote_to_bytes(plain)) != plain:
        plain = less
    return plain


def _escape(plain: bytes) -> str:
    return quote_from_bytes(plain, safe=_KEPT)


def _entry_of(fields: Mapping[str, Any]) -> CdxEntry | None:
    url, filename = fields.get("url"), fields.get("filename")
    timestamp, offset, length = (
        str(fields.get(name, "")) for name in ("timestamp", "offset", "length")
    )
    if not isinstance(url, str) or not isinstance(filename, str):
        return None
    if not _FILENAME.fullmatch(filename) or not _TIMESTAMP.fullmatch(timestamp):
        return None
    if not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(length) or int(length) == 0:
        return None
    status = str(fields.get("status", ""))
    return CdxEntry(
        url=url,
        timestamp=int(timestamp),
        status=int(status) if re.fullmatch("[0-9]{3}", status) else None,
        filename=filename,
        offset=int(offset),
        length=int(length),
    )
