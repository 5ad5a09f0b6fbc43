"""FineWeb's own rules: Penedo et al. 2024 (arXiv:2406.17557), section 3.6 and its released code.

A page is dropped where hardly a line ends with punctuation, lines repeat, most lines are short,
or there are many lines for its words. The thresholds are those of the code that made the released
corpus (datatrove's FineWebQualityFilter); the paper's text gives 0.1 for repeated lines.
"""

from collections.abc import Iterator
from typing import ClassVar

from webtext.quality import Measures, Rule, RuleSet, count_repeats, share

_TERMINAL = (".", "!", "?", "…", '"', "'", "”", "’", "。", "！", "？")
_SHORT = 30


class FineWebQuality(RuleSet):
    """FineWeb's own rules (Penedo et al. 2024); absent: not applied."""

    min_punctuated_lines: float = 0.12
    """Share of lines that end with punctuation, at least: `fineweb_punctuated_lines`."""
    max_short_lines: float = 0.67
    """Share of lines of at most 30 characters: `fineweb_short_lines`."""
    max_duplicate_line_characters: float = 0.01
    """Share of characters in lines that stood before: `fineweb_duplicate_line_characters`."""
    max_lines_a_word: float = 0.3
    """Line ends for each word, at most: `fineweb_lines_a_word`."""

    measures: ClassVar[tuple[str, ...]] = (
        "fineweb_punctuated_lines",
        "fineweb_short_lines",
        "fineweb_duplicate_line_characters",
        "fineweb_lines_a_word",
    )

    def measure(self, text: str) -> Measures:
        """Measure a text that is not empty."""
        lines = [line for line in text.split("\n") if line.strip()]
        _, repeated = count_repeats(lines)
        characters = len(text) - text.count("\n")
        return {
            "fineweb_punctuated_lines": share(
                sum(line.endswith(_TERMINAL) for line in lines), len(lines)
            ),
            "fineweb_short_lines": share(sum(len(line) <= _SHORT for line in lines), len(lines)),
            "fineweb_duplicate_line_characters": share(repeated, characters),
            "fineweb_lines_a_word": share(text.count("\n"), len(text.split())),
        }

    def rules(self) -> Iterator[Rule]:
        """The rules, in the order in which they are tried."""
        yield Rule(
            "fineweb_punctuated_lines", "fineweb_punctuated_lines", low=self.min_punctuated_lines
        )
        for measure, most in (
            ("fineweb_short_lines", self.max_short_lines),
            ("fineweb_duplicate_line_characters", self.max_duplicate_line_characters),
            ("fineweb_lines_a_word", self.max_lines_a_word),
        ):
            yield Rule(measure, measure, high=most)
