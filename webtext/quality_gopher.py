"""Gopher's quality rules: Rae et al. 2021 (arXiv:2112.11446), appendix A.1.1, "Quality Filtering".

A page is kept that has 50 to 100,000 words of 3 to 10 characters on average; at most one `#` or one
ellipsis in ten words; at most 90 % of its lines starting with a bullet and 30 % ending with an
ellipsis; a letter in at least 80 % of its words; and two of eight common English words.

The paper leaves open what a word is: here what stands between white space, where words of nothing
but punctuation count neither as words nor for the mean length.
"""

from collections.abc import Iterator
from typing import ClassVar

from webtext.quality import Measures, Rule, RuleSet, has_letter_or_digit, share

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_BULLETS = ("•", "-", "‣", "*", "●", "▪", "◦")
_ELLIPSES = ("...", "…")
_EDGES = "".join(map(chr, range(33, 48))) + ":;<=>?@[\\]^_`{|}~“”‘’«»„…—–"


class GopherQuality(RuleSet):
    """Gopher's quality rules (Rae et al. 2021, appendix A.1.1); absent: not applied."""

    min_words: int = 50
    """Fewest words: `gopher_word_count`."""
    max_words: int = 100_000
    """Most words: `gopher_word_count`."""
    min_mean_word_length: float = 3.0
    """Characters a word, at least: `gopher_mean_word_length`."""
    max_mean_word_length: float = 10.0
    """Characters a word, at most: `gopher_mean_word_length`."""
    max_symbol_ratio: float = 0.1
    """Hash signs for each word at most (`gopher_hash_ratio`), ellipses likewise
    (`gopher_ellipsis_ratio`)."""
    max_bullet_lines: float = 0.9
    """Share of lines that start with a bullet, at most: `gopher_bullet_lines`."""
    max_ellipsis_lines: float = 0.3
    """Share of lines that end with an ellipsis, at most: `gopher_ellipsis_lines`."""
    min_alphabetic_words: float = 0.8
    """Share of words with a letter in them, at least: `gopher_alphabetic_words`."""
    min_stop_words: int = 2
    """Distinct words of the, be, to, of, and, that, have, with, at least: `gopher_stop_words`."""

    measures: ClassVar[tuple[str, ...]] = (
        "gopher_word_count",
        "gopher_mean_word_length",
        "gopher_hash_ratio",
        "gopher_ellipsis_ratio",
        "gopher_bullet_lines",
        "gopher_ellipsis_lines",
        "gopher_alphabetic_words",
        "gopher_stop_words",
    )

    def measure(self, text: str) -> Measures:
        """Measure a text that is not empty."""
        pieces = text.split()
        words = [piece for piece in pieces if has_letter_or_digit(piece)]
        lines = [line.strip() for line in text.splitlines()]
        ellipses = sum(text.count(ellipsis) for ellipsis in _ELLIPSES)
        return {
            "gopher_word_count": len(words),
            "gopher_mean_word_length": share(sum(map(len, words)), len(words)),
            "gopher_hash_ratio": share(text.count("#"), len(pieces)),
            "gopher_ellipsis_ratio": share(ellipses, len(pieces)),
            "gopher_bullet_lines": share(sum(map(_is_bullet, lines)), len(lines)),
            "gopher_ellipsis_lines": share(
                sum(line.endswith(_ELLIPSES) for line in lines), len(lines)
            ),
            "gopher_alphabetic_words": share(sum(map(_has_letter, pieces)), len(pieces)),
            "gopher_stop_words": len(STOP_WORDS & {word.lower().strip(_EDGES) for word in words}),
        }

    def rules(self) -> Iterator[Rule]:
        """The rules, in the order in which they are tried."""
        shortest, longest = self.min_mean_word_length, self.max_mean_word_length
        yield Rule("gopher_word_count", "gopher_word_count", self.min_words, self.max_words)
        yield Rule("gopher_mean_word_length", "gopher_mean_word_length", shortest, longest)
        for measure, most in (
            ("gopher_hash_ratio", self.max_symbol_ratio),
            ("gopher_ellipsis_ratio", self.max_symbol_ratio),
            ("gopher_bullet_lines", self.max_bullet_lines),
            ("gopher_ellipsis_lines", self.max_ellipsis_lines),
        ):
            yield Rule(measure, measure, high=most)
        for measure, least in (
            ("gopher_alphabetic_words", self.min_alphabetic_words),
            ("gopher_stop_words", self.min_stop_words),
        ):
            yield Rule(measure, measure, low=least)


def _is_bullet(line: str) -> bool:
    return line.startswith(_BULLETS)


def _has_letter(word: str) -> bool:
    return any(map(str.isalpha, word))
