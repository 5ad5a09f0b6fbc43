"""Text in one form, whatever page it came from."""

import re
import unicodedata

_SURROGATES = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    r"""The text in one form: Unicode NFC, `\n` line ends, no NUL and no half of a surrogate pair.

    NFC and not NFKC: superscripts, ligatures and full-width letters are part of what was written.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return unicodedata.normalize("NFC", _SURROGATES.sub("", text)).strip()
