"""What a page says of itself: title, day of publication, author and canonical link.

Only declarations are read (meta elements, JSON-LD, `<time pubdate>`). Dates in the text are not
looked for: that costs more than finding the text, and it compares with today's date.
"""

import json
import re
from collections.abc import Iterator
from datetime import date as Date  # noqa: N812
from typing import Any
from urllib.parse import urljoin, urlsplit

from lxml.html import HtmlElement  # type: ignore[import-untyped]

from webtext.cleaning import clean_text

MAX_TITLE_CHARACTERS = 500
MAX_AUTHOR_CHARACTERS = 200

_ISO_DATE = re.compile(r"((?:19|20)\d\d)-?(\d\d)-?(\d\d)(?!\d)")


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
    for block in _json_ld_blocks(tree):
        published = block.get("datePublished")
        if isinstance(published, str) and (day := _iso_day(published)):
            return day
    for element in tree.iter("time"):
        if ("pubdate" in element.attrib or element.get("itemprop") == "datePublished") and (
            day := _iso_day(element.get("datetime"))
        ):
            return day
    return None


def find_author(tree: HtmlElement) -> str | None:
    """The author's name that the page declares: meta elements, then JSON-LD."""
    named = [
        _meta_content(tree, attribute, name)
        for attribute, name in (("name", "author"), ("name", "DC.creator"), ("itemprop", "author"))
    ]
    for name in [*named, *(_json_ld_author(block) for block in _json_ld_blocks(tree))]:
        cleaned = " ".join(clean_text(name or "").split())
        if cleaned and "://" not in cleaned:
            return cleaned[:MAX_AUTHOR_CHARACTERS]
    return None


def _json_ld_author(block: dict[str, Any]) -> str | None:
    author = block.get("author")
    if isinstance(author, list):
        author = author[0] if author else None
    name = author.get("name") if isinstance(author, dict) else author
    return name if isinstance(name, str) else None


def _json_ld_blocks(tree: HtmlElement) -> Iterator[dict[str, Any]]:
    """The objects of the page's JSON-LD, whatever is around them; damaged blocks are skipped."""
    for script in tree.iterfind('.//script[@type="application/ld+json"]'):
        try:
            blocks = json.loads(script.text or "")
        except (ValueError, RecursionError):
            continue
        if isinstance(blocks, dict):
            blocks = blocks.get("@graph", [blocks])
        if isinstance(blocks, list):
            yield from (block for block in blocks if isinstance(block, dict))


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
