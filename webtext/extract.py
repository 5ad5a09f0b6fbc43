"""A page's bytes to its text: decoding, parsing, what its head says, and the main text.

The page is parsed once; the tree serves the head (title, date, canonical link) and then the main
text (`webtext.main_text`). Nothing here depends on the clock, the environment or on pages seen
before: trafilatura's own deduplication, which remembers pages, stays off.

Pages are hostile. This module is called in a worker with limits (`webtext.extract_worker`), never
in the process that writes the tables.
"""

from dataclasses import dataclass, replace

from lxml import etree  # type: ignore[import-untyped]
from lxml.html import HtmlElement  # type: ignore[import-untyped]
from pydantic import Field

from webtext.cleaning import clean_text
from webtext.content_coding import decode_body
from webtext.decoding import decode_page
from webtext.main_text import MainTextConfig, find_main_text, parse_page
from webtext.page_head import find_author, find_canonical_host, find_date, find_title


class ExtractionConfig(MainTextConfig):
    """What is taken from a page."""

    author: bool = False
    """Keep the name of the author that the page declares. A name is personal data: off."""
    max_text_bytes: int = Field(default=8_000_000, gt=0)
    """A longer text (as UTF-8) is over the limit: `extraction_limit`."""
    max_tree_depth: int = Field(default=200, ge=10, le=250)
    """Elements within elements of a page; a deeper one is over the limit: `extraction_limit`. Of
    1,335 real pages none had more than 60. The parser itself stops at 256."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page gave. `text` is None where there was no tree or no text."""

    parsed: bool
    """Whether there was any HTML (or plain text) in it."""
    text: str | None = None
    title: str | None = None
    date: str | None = None
    author: str | None = None
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
    much, PageLimitError where its tree is too deep or its text too long.
    """
    html = decode_page(decode_body(payload, content_encoding, max_bytes=max_page_bytes), charset)
    if media_type == "text/plain":
        return Page(parsed=True, text=_limited(clean_text(html), config))
    tree = parse_page(html)
    if tree is None:
        return Page(parsed=False)
    if _is_deeper(tree, config.max_tree_depth):
        raise PageLimitError(f"a tree deeper than {config.max_tree_depth} elements")
    page = Page(
        parsed=True,
        title=find_title(tree),
        date=find_date(tree),
        author=find_author(tree) if config.author else None,
        canonical_host=find_canonical_host(tree, url),
    )
    text = clean_text(find_main_text(tree, url, config) or "")
    return replace(page, text=_limited(text, config))


def _is_deeper(tree: HtmlElement, depth: int) -> bool:
    """Whether there is an element `depth + 1` levels down; a walk in C, without recursion."""
    return bool(etree.XPath("boolean(" + "/*" * (depth + 1) + ")")(tree))


def _limited(text: str, config: ExtractionConfig) -> str | None:
    if len(text) * 4 > config.max_text_bytes and len(text.encode()) > config.max_text_bytes:
        raise PageLimitError(f"text of {len(text.encode())} bytes, limit {config.max_text_bytes}")
    return text or None
