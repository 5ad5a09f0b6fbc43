"""The benchmark files that are known by their SHA-256: what each is, and which split.

A file of another digest is scored all the same, but labelled as unknown; a known file in another's
place is called by its own name. Digests of line files were computed from the published files,
enwik8's is given by many who use it, and of text8 the beginning is known.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What a digest stands for."""

    benchmark: str
    kind: str
    label: str
    split: str


def _test(benchmark: str, kind: str, label: str) -> KnownFile:
    return KnownFile(benchmark, kind, label, "test")


ENWIK8_SHA256 = "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"

LAST_5_MB = "test: last 5 MB"
"""The usual test split of enwik8 and text8. The paper does not say."""

KNOWN: dict[str, KnownFile] = {
    "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226": _test(
        "lambada", "jsonl", "LAMBADA, OpenAI's"
    ),
    "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0": _test(
        "wikitext2", "tokens", "WikiText-2, tokens"
    ),
    "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08": _test(
        "wikitext2", "raw", "WikiText-2, raw"
    ),
    "56db52eb157b1ab5c89646eef70510c1eca6e12a3bfdb99f0d6b05b4eacb75b9": _test(
        "wikitext103", "tokens", "WikiText-103, tokens"
    ),
    "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0": _test(
        "ptb", "lines", "PTB, Mikolov's"
    ),
    "ad6a682f268be2c8c392303869d66616101b62ec9526d36c7f632a72b4b194ba": KnownFile(
        "1bw", "sentences", "1BW, 100 sentences of it", "heldout-00000"
    ),
    ENWIK8_SHA256: KnownFile("enwik8", "bytes", "enwik8", LAST_5_MB),
}
"""sha256 of a whole file → what it is."""

SAME_TEXT = {("wikitext103", "raw"): ("wikitext2", "raw")}
"""The raw test files of both WikiTexts hold the same articles, and are the same file."""

KNOWN_BEGINNINGS: dict[str, tuple[int, str, int]] = {
    "enwik8": (
        1_000_000,
        "369b688978f649681136198fb96db14c1616756260c55fb4b65e9bc049552cad",
        100_000_000,
    ),
    "text8": (
        1_000_000,
        "a29a713419313a2c4f0f38d3907938156a7c088a69c7c30542410124651ab5b2",
        100_000_000,
    ),
}
"""Benchmark → bytes at the beginning, their sha256, and the bytes of the whole file."""


def known_file(sha256: str, benchmark: str, kind: str) -> tuple[str | None, str | None]:
    """Label and split of a file found as `kind` of `benchmark`; None where it is not known.

    A file that is known as something else gets a label that says so, and no split.
    """
    known = KNOWN.get(sha256)
    if known is None:
        return None, None
    expected = (benchmark, kind)
    found = (known.benchmark, known.kind)
    if found == expected:
        return known.label, known.split
    if SAME_TEXT.get(expected) == found:
        return f"{known.label} (the same file)", known.split
    return f"another file: {known.label}", None
