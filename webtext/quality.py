r"""What the published rule sets for the quality of web text have in common.

A rule set is a config whose fields are its thresholds. It measures a text (numbers by name, all
of them kept in the attributes table) and judges by the measures alone, so that other thresholds
need no text. Rules are tried in order, and the first that is broken is the reason.

A word is what stands between white space, a line what stands between `\n`.
"""

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, NamedTuple

from webtext.config import StageConfig

Measures = dict[str, float]

_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


class Rule(NamedTuple):
    """A measure must lie between two numbers, both included."""

    reason: str
    measure: str
    low: float = float("-inf")
    high: float = float("inf")


class RuleSet(StageConfig):
    """Base of the rule sets."""

    measures: ClassVar[tuple[str, ...]]
    """Names of what is measured, in the order of the attributes table."""

    @abstractmethod
    def measure(self, text: str) -> Measures:
        """Measure a text that is not empty."""

    @abstractmethod
    def rules(self) -> Iterator[Rule]:
        """The rules, in the order in which they are tried."""

    def judge(self, measured: Mapping[str, float]) -> tuple[str | None, str | None]:
        """The first broken rule's reason with what was found; None twice if all are kept."""
        for rule in self.rules():
            found = measured[rule.measure]
            if not rule.low <= found <= rule.high:
                bound = f"at least {rule.low:g}" if found < rule.low else f"at most {rule.high:g}"
                return rule.reason, f"{rule.measure} is {found:.4g}, {bound} wanted"
        return None, None


def has_letter_or_digit(word: str) -> bool:
    """Whether a word is more than punctuation and symbols."""
    return _LETTER_OR_DIGIT.search(word) is not None


def share(part: float, whole: float) -> float:
    """`part / whole`, 0 of nothing."""
    return part / whole if whole else 0.0


def count_repeats(pieces: Iterable[str]) -> tuple[int, int]:
    """How many pieces stood before already, and their characters."""
    seen: set[str] = set()
    repeats = characters = 0
    for piece in pieces:
        if piece in seen:
            repeats += 1
            characters += len(piece)
        seen.add(piece)
    return repeats, characters
