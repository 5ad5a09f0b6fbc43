"""Gopher's repetition rules: Rae et al. 2021 (arXiv:2112.11446), appendix A.1.1, table A1.

Shares of a text that repeat what stood before: lines and paragraphs (by number and by characters),
the most frequent n-gram of 2 to 4 words, and all duplicate n-grams of 5 to 10 words. Characters of
overlapping duplicates are counted once: a scan from left to right skips what it has counted. All
shares of characters are of the whole text's. Paragraphs are parted by an empty line.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from webtext.quality import Measures, Rule, RuleSet, count_repeats, share

_TOP = (2, 3, 4)
_DUPLICATE = (5, 6, 7, 8, 9, 10)
_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")


class GopherRepetition(RuleSet):
    """Gopher's repetition rules (Rae et al. 2021, table A1); absent: not applied."""

    max_duplicate_lines: float = 0.30
    """Share of lines that stood before: `gopher_duplicate_lines`."""
    max_duplicate_paragraphs: float = 0.30
    """Share of paragraphs that stood before: `gopher_duplicate_paragraphs`."""
    max_duplicate_line_characters: float = 0.20
    """Characters in such lines: `gopher_duplicate_line_characters`."""
    max_duplicate_paragraph_characters: float = 0.20
    """Characters in such paragraphs: `gopher_duplicate_paragraph_characters`."""
    max_top_ngrams: tuple[float, float, float] = (0.20, 0.18, 0.16)
    """Characters in the most frequent 2-, 3- and 4-gram: `gopher_top_2gram` ..."""
    max_duplicate_ngrams: tuple[float, float, float, float, float, float] = (
        0.15,
        0.14,
        0.13,
        0.12,
        0.11,
        0.10,
    )
    """Characters in all 5- to 10-grams that stood before: `gopher_duplicate_5gram` ..."""

    measures: ClassVar[tuple[str, ...]] = (
        "gopher_duplicate_paragraphs",
        "gopher_duplicate_paragraph_characters",
        "gopher_duplicate_lines",
        "gopher_duplicate_line_characters",
        *(f"gopher_top_{n}gram" for n in _TOP),
        *(f"gopher_duplicate_{n}gram" for n in _DUPLICATE),
    )

    def measure(self, text: str) -> Measures:
        """Measure a text that is not empty."""
        paragraphs, lines = _PARAGRAPHS.split(text.strip()), _LINES.split(text)
        repeated_paragraphs, paragraph_characters = count_repeats(paragraphs)
        repeated_lines, line_characters = count_repeats(lines)
        words = text.split()
        return {
            "gopher_duplicate_paragraphs": share(repeated_paragraphs, len(paragraphs)),
            "gopher_duplicate_paragraph_characters": share(paragraph_characters, len(text)),
            "gopher_duplicate_lines": share(repeated_lines, len(lines)),
            "gopher_duplicate_line_characters": share(line_characters, len(text)),
            **{f"gopher_top_{n}gram": share(_top_characters(words, n), len(text)) for n in _TOP},
            **{
                f"gopher_duplicate_{n}gram": share(_duplicate_characters(words, n), len(text))
                for n in _DUPLICATE
            },
        }

    def rules(self) -> Iterator[Rule]:
        """The rules, in the order in which they are tried."""
        most = (
            self.max_duplicate_paragraphs,
            self.max_duplicate_paragraph_characters,
            self.max_duplicate_lines,
            self.max_duplicate_line_characters,
            *self.max_top_ngrams,
            *self.max_duplicate_ngrams,
        )
        for measure, high in zip(self.measures, most, strict=True):
            yield Rule(measure, measure, high=high)


def _top_characters(words: list[str], n: int) -> int:
    """Characters (with the spaces between words) of the most frequent n-gram, all its times."""
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    if not counts:
        return 0
    ngram, times = counts.most_common(1)[0]
    return len(" ".join(ngram)) * times


def _duplicate_characters(words: list[str], n: int) -> int:
    """Characters of the words in n-grams that stood before, each word counted once."""
    seen: set[tuple[str, ...]] = set()
    characters = place = 0
    while place <= len(words) - n:
        ngram = tuple(words[place : place + n])
        if ngram in seen:
            characters += sum(map(len, ngram))
            place += n
        else:
            seen.add(ngram)
            place += 1
    return characters
