"""text8 from enwik8: the text of Wikipedia's pages in the letters a to z and single spaces.

text8 was made with `wikifil.pl` (Matt Mahoney, 2006, in the public domain; described on his page
"About the Test Data"): of each page's text, redirects left out, what a reader sees is kept, digits
are spelled out, and everything else becomes a space. The rules below are those of that program, in
its order. It reads records that end in ">", so a rule never sees beyond one; that is kept, for it
decides what happens to tags that are not closed.

Only the first 100 MB of what the whole enwik9 gives is text8, so of its usual test split (the last
5 MB) nothing is in enwik8: what is derived here is another text of the same kind.
"""

import re
from collections.abc import Iterator

_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.ASCII | flags), written)
    for pattern, written, flags in (
        (r"<.*>", "", 0),  # tags of XML; "." stops at an end of line
        ("&amp;", "&", 0),
        ("&lt;", "<", 0),
        ("&gt;", ">", 0),
        (r"<ref[^<]*</ref>", "", 0),
        (r"<[^>]*>", "", 0),
        (r"\[http:[^] ]*", "[", 0),  # the text of a link stays
        (r"\|thumb", "", re.IGNORECASE),
        (r"\|left", "", re.IGNORECASE),
        (r"\|right", "", re.IGNORECASE),
        (r"\|\d+px", "", re.IGNORECASE),
        (r"\[\[image:[^\[\]]*\|", "", re.IGNORECASE),
        (r"\[\[category:([^|\]]*)[^]]*\]\]", r"[[\1]]", re.IGNORECASE),
        (r"\[\[[a-z\-]*:[^\]]*\]\]", "", 0),  # the same page in other languages
        (r"\[\[[^|\]]*\|", "[[", 0),
        (r"\{\{[^}]*\}\}", "", 0),
        (r"\{[^}]*\}", "", 0),
        (r"[\[\]]", "", 0),
        (r"&[^;]*;", " ", 0),
    )
)
_ONCE = 1
"""Rules at the beginning that change the first place only."""
_LOWER = str.maketrans(
    {chr(65 + i): chr(97 + i) for i in range(26)}
    | {str(i): f" {word} " for i, word in enumerate(_DIGITS)}
)
_REST = re.compile(r"[^a-z]+")


def derive_text8(enwik: str) -> str:
    """The text8 form of a piece of Wikipedia's XML dump."""
    # A record loses its last space and begins with one, so that none are two in a row.
    return "".join(_visible_records(enwik))


def _visible_records(enwik: str) -> Iterator[str]:
    is_text = False
    for record in re.findall(r"[^>]*>|[^>]+$", enwik):
        if "<text " in record:
            is_text = True
        if "#redirect" in record.lower():
            is_text = False
        if is_text:
            if "</text>" in record:
                is_text = False
            yield _filter(record)


def _filter(record: str) -> str:
    for number, (pattern, written) in enumerate(_RULES):
        record = pattern.sub(written, record, count=1 if number < _ONCE else 0)
    lowered = f" {record} ".translate(_LOWER)
    return _REST.sub(" ", lowered)[:-1]
