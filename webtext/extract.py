"""A page's bytes to its text: decoding, parsing, what its head says, and the main text.

The page is parsed once; the tree serves the head (title, date, canonical link) and trafilatura.
Nothing here depends on the clock, the environment or on pages seen before: trafilatura's own
deduplication, which remembers pages, stays off, and dates are those that the page declares
(trafilatura's search for dates compares with today's and costs more than the text).

Pages are hostile. This module is called in a worker with limits (`webtext.extract_worker`), never
in the process that writes the tables.
"""

import codecs
import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812
from typing import Literal
from urllib.parse import urljoin, urlsplit

import trafilatura
from lxml.html import HtmlElement  # type: ignore[import-untyped]
from trafilatura.utils import decode_file, load_html

from webtext.config import StageConfig
from webtext.content_coding import decode_body

MAX_TITLE_CHARACTERS = 500
# An encoding is believed when at most one character in this many fails to decode.
CHARACTERS_A_FAULT = 1_000
# A declared encoding stands in the first 1,024 bytes by the HTML standard; real pages put scripts
# before it.
DECLARATION_BYTES = 4_096

_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,500}?(?:charset|encoding)\s*=\s*["']?([\w.:-]{2,40})""",
    re.IGNORECASE,
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_ISO_DATE = re.compile(r"((?:19|20)\d\d)-?(\d\d)-?(\d\d)(?!\d)")

# What browsers read for a label (WHATWG encoding standard): a superset of what it names.
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
_OTHERS = frozenset(
    ["utf-8", "koi8-r", "koi8-u", "euc_jp", "iso2022_jp", "mac-roman", "gb18030", "big5hkscs"]
    + ["cp866", "cp874", "cp932", "cp949"]
    + [f"cp125{digit}" for digit in range(9)]
    + [f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)]
)


class ExtractionConfig(StageConfig):
    """How the main text of a page is found."""

    favor: Literal["balanced", "precision", "recall"] = "balanced"
    """`balanced`, `precision` (less, cleaner text) or `recall` (more, with more around it)."""
    fast: bool = False
    """Leave out trafilatura's second opinion (readability, jusText) on its first extraction."""
    tables: bool = True
    """Keep the text of tables; pages of the old web are laid out with them."""
    max_text_bytes: int = 8_000_000
    """A longer text (as UTF-8) is over the limit: `extraction_limit`."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page gave. `text` is None where there was no tree or no text."""

    parsed: bool
    """Whether there was any HTML (or plain text) in it."""
    text: str | None = None
    title: str | None = None
    date: str | None = None
    canonical_host: str | None = None
    """Host of the page's canonical link, lower case."""


class PageLimitError(Exception):
    """The page is over a limit; its text says which. It costs this page alone."""


def extract_page(
    payload: bytes,
    *,
    url: str,
    media_type: str | None,
    charset: str | None,
    content_encoding: str | None,
    max_page_bytes: int,
    config: ExtractionConfig,
) -> Page:
    """Extract one page from the body of its HTTP response.

    `url` is its address after redirects; `media_type`, `charset` and `content_encoding` are what
    the response's headers said. Raises BodyError where the body is damaged or unpacks to too
    much, PageLimitError where its text is too long.
    """
    html = decode_page(decode_body(payload, content_encoding, max_bytes=max_page_bytes), charset)
    if media_type == "text/plain":
        return Page(parsed=True, text=clean_text(html) or None)
    tree = load_html(html)
    if tree is None:
        return Page(parsed=False)
    page_head = Page(
        parsed=True,
        title=find_title(tree),
        date=find_date(tree),
        canonical_host=find_canonical_host(tree, url),
    )
    text = clean_text(_extract_text(tree, url, config) or "")
    if len(text) * 4 > config.max_text_bytes and len(text.encode()) > config.max_text_bytes:
        raise PageLimitError(f"text of {len(text.encode())} bytes, limit {config.max_text_bytes}")
    return Page(**{**page_head.__dict__, "text": text or None})


def _extract_text(tree: HtmlElement, url: str, config: ExtractionConfig) -> str | None:
    text: str | None = trafilatura.extract(
        tree,
        url=url,
        fast=config.fast,
        favor_precision=config.favor == "precision",
        favor_recall=config.favor == "recall",
        include_comments=False,
        include_tables=config.tables,
        deduplicate=False,
        with_metadata=False,
    )
    return text


def clean_text(text: str) -> str:
    r"""The text in one form: Unicode NFC, `\n` line ends, no NUL and no half of a surrogate pair.

    NFC and not NFKC: superscripts, ligatures and full-width letters are part of what was written.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return unicodedata.normalize("NFC", _SURROGATES.sub("", text)).strip()


def decode_page(payload: bytes, charset: str | None) -> str:
    """Bytes to text: UTF-8 where valid, else as declared (mark, header, page), else guessed.

    Valid UTF-8 is hardly ever anything else, whatever is declared. A declared encoding is believed
    unless it fails on more than one character in a thousand.
    """
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if payload.startswith(mark):
            return payload[2:].decode(encoding, "replace")
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    declared = _DECLARED.search(payload[:DECLARATION_BYTES])
    labels = [charset or "", declared[1].decode("ascii", "replace") if declared else "", "utf-8"]
    for encoding in filter(None, map(_encoding_of, labels)):
        text = payload.decode(encoding, "replace")
        if text.count("\ufffd") * CHARACTERS_A_FAULT <= len(text):
            return text
    return str(decode_file(payload))


def _encoding_of(label: str) -> str | None:
    """Python's codec for a declared label; None for what no page may name (`unicode_escape`)."""
    try:
        name = codecs.lookup(label.strip()).name
    except (LookupError, ValueError):
        return None
    name = _SUPERSETS.get(name, name)
    return name if name in _OTHERS else None


def find_title(tree: HtmlElement) -> str | None:
    """The title as shared (`og:title`), else that of the window."""
    for title in (_meta_content(tree, "property", "og:title"), tree.findtext(".//title")):
        cleaned = " ".join(clean_text(title or "").split())
        if cleaned:
            return cleaned[:MAX_TITLE_CHARACTERS]
    return None


def find_date(tree: HtmlElement) -> str | None:
    """The day of publication that the page declares: meta elements, JSON-LD, `<time pubdate>`."""
    for attribute, name in (
        ("property", "article:published_time"),
        ("itemprop", "datePublished"),
        ("name", "date"),
        ("name", "pubdate"),
        ("name", "DC.date.issued"),
        ("name", "dcterms.created"),
    ):
        if day := _iso_day(_meta_content(tree, attribute, name)):
            return day
    for script in tree.iterfind('.//script[@type="application/ld+json"]'):
        if day := _iso_day(_json_ld_date(script.text or "")):
            return day
    for element in tree.iter("time"):
        if ("pubdate" in element.attrib or element.get("itemprop") == "datePublished") and (
            day := _iso_day(element.get("datetime"))
        ):
            return day
    return None


def _json_ld_date(script: str) -> str | None:
    """The first `datePublished` of a JSON-LD block, whatever surrounds it."""
    try:
        blocks = json.loads(script)
    except (ValueError, RecursionError):
        return None
    if isinstance(blocks, dict):
        blocks = blocks.get("@graph", [blocks])
    for block in blocks if isinstance(blocks, list) else []:
        published = block.get("datePublished") if isinstance(block, dict) else None
        if isinstance(published, str):
            return published
    return None


def _iso_day(declared: str | None) -> str | None:
    """`YYYY-MM-DD` where `declared` starts with such a day and the day exists."""
    match = _ISO_DATE.match((declared or "").strip())
    if match is None:
        return None
    try:
        return Date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    except ValueError:
        return None


def _meta_content(tree: HtmlElement, attribute: str, name: str) -> str | None:
    element = tree.find(f'.//meta[@{attribute}="{name}"]')
    content: str | None = None if element is None else element.get("content")
    return content


def find_canonical_host(tree: HtmlElement, url: str) -> str | None:
    """The host of the page's canonical link, resolved against `url`; lower case."""
    for element in tree.iterfind(".//link[@rel]"):
        href = element.get("href")
        if href and "canonical" in element.get("rel", "").lower().split():
            try:
                host: str | None = urlsplit(urljoin(url, href.strip())).hostname
                return host
            except ValueError:
                return None
    return None
