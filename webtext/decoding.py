"""Bytes of a page to text: which encoding it is in."""

import codecs
import re

from trafilatura.utils import decode_file

# An encoding is believed when at most one character in this many fails to decode.
CHARACTERS_A_FAULT = 1_000
# A declared encoding stands in the first 1,024 bytes by the HTML standard; real pages put scripts
# before it.
DECLARATION_BYTES = 4_096

_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,500}?(?:charset|encoding)\s*=\s*["']?([\w.:-]{2,40})""",
    re.IGNORECASE,
)

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
