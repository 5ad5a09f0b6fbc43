"""Signals by which a site asks that a page be left out, read from its response and its head.

- `X-Robots-Tag` fields and `<meta name="robots">`: `noai`, `noml` and `noindex` (with `none`, which
  is `noindex, nofollow`). A field or tag may be for one robot alone (`ourname: noai`,
  `<meta name="ourname">`); those for others are passed over.
- TDMRep (W3C community group report "TDM Reservation Protocol", 2024): `tdm-reservation: 1` as a
  field or a meta tag. The site's file is read by `webtext.tdmrep`.

The head is scanned and not parsed: tags up to the end of the head, comments and scripts left out,
within the first `SCANNED_BYTES`. Work is linear in them, whatever the page.
"""

import re
from collections.abc import Collection, Iterator

from webtext.warc import HeaderPairs

SCANNED_BYTES = 256 * 1024
"""A page's first bytes, in which its meta tags are looked for."""

_FIELD = "x-robots-tag"
_TDM = "tdm-reservation"
MAX_META_TAGS = 500
MAX_TAG_BYTES = 4_096

_MARK = re.compile(
    rb"<(?:(?P<comment>!--)|(?P<end>/head\b|body\b)|(?P<meta>meta(?=[\s/]))"
    rb"|(?P<hiding>script|style|noscript|template|textarea|title)\b)",
    re.IGNORECASE,
)
"""What the scan stops at; `hiding` are elements whose content is no markup of the head."""
# Possessive: a tag that does not end is given up at once.
_META = re.compile(rb"""<meta(?=[\s/])((?:[^>"']++|"[^"]*+"|'[^']*+')*+)>""", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    # A name is tried at its first letter alone: else a long one costs the square of its length.
    rb"""(?<![^\s=>"'/])([^\s=>"'/]++)\s*+=\s*+(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))"""
)
_ROBOT = re.compile(r"\s*([A-Za-z0-9_-]+)\s*:(.*)", re.DOTALL)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_WORDS_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview",
                               "max-video-preview"})  # fmt: skip
_SAID = {"none": ("noindex", "nofollow")}


def header_opt_out(
    headers: HeaderPairs, robot: str, tags: Collection[str], *, tdm: bool
) -> str | None:
    """The signal among a response's fields; None where there is none.

    `robot` is our product name, `tags` the words that count, `tdm` whether TDMRep does.
    """
    for name, value in headers:
        low = name.lower()
        if low == _FIELD:
            for word in _words_for(value, robot):
                if word in tags:
                    return f"X-Robots-Tag: {word}"
        elif low == _TDM and tdm and value.strip() == "1":
            return "TDM-Reservation: 1"
    return None


def meta_opt_out(page: bytes, robot: str, tags: Collection[str], *, tdm: bool) -> str | None:
    """The signal among the meta tags of a page's head; None where there is none."""
    head = page[:SCANNED_BYTES]
    if head.startswith(_UTF16_MARKS):  # without its zeros, ASCII in UTF-16 is ASCII
        head = head.replace(b"\0", b"")
    for name, content in _meta_tags(head):
        if name in {"robots", robot.lower()}:
            found = [word for word in _directives(content) if word in tags]
            if found:
                return f"meta {name}: {found[0]}"
        elif name == _TDM and tdm and content.strip() == "1":
            return "meta tdm-reservation: 1"
    return None


def _words_for(value: str, robot: str) -> Iterator[str]:
    """The directives of a field that are for us.

    A name holds for the directives up to the next one: proxies join fields by commas (RFC 9110,
    5.3).
    """
    for_us = True
    for part in re.split("[,;]", value):
        named = _ROBOT.fullmatch(part)
        names_robot = named is not None and named[1].lower() not in _WORDS_WITH_VALUE
        if named and names_robot:
            for_us = named[1].lower() == robot.lower()
        if for_us:
            yield from _directives(named[2] if named and names_robot else part)


def _directives(text: str) -> list[str]:
    # The slash is that of an unquoted `content=noai/>`.
    words = (word.strip(" \t\r\n/").lower() for word in re.split("[,;]", text))
    return [said for word in words for said in _SAID.get(word, (word,))]


def _meta_tags(head: bytes) -> Iterator[tuple[str, str]]:
    """Name (lower case) and content of the meta tags, up to the end of the head."""
    for tag in _find_metas(head):
        attributes: dict[bytes, bytes] = {}
        for attribute in _ATTRIBUTE.finditer(tag):
            value = attribute[2] or attribute[3] or attribute[4] or b""
            attributes.setdefault(attribute[1].lower(), value)
        name = attributes.get(b"name", b"").decode("latin-1").strip().lower()
        yield name, attributes.get(b"content", b"").decode("latin-1")


def _find_metas(head: bytes) -> Iterator[bytes]:
    """The attributes of each meta tag, as written."""
    low, at, found = head.lower(), 0, 0
    while found < MAX_META_TAGS and (mark := _MARK.search(head, at)):
        at = mark.end()
        if mark["end"]:
            return
        if mark["meta"]:
            found += 1
            tag = _META.match(head, mark.start(), mark.start() + MAX_TAG_BYTES)
            if tag:
                yield tag[1]
                at = tag.end()
            continue
        # `<!-->` is a comment, too: its dashes may be those of its end.
        closing = b"-->" if mark["comment"] else b"</" + mark["hiding"].lower()
        at = low.find(closing, mark.start() + 2)
        if at < 0:
            return
        at += 1
