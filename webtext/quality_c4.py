"""C4's rules: Raffel et al. 2020 (JMLR 21, 140), section 2.2, "The Colossal Clean Crawled Corpus".

Lines are dropped that do not end in a terminal punctuation mark, have fewer than five words, name
Javascript or hold a policy notice; citation markers are cut out. Pages are dropped that say "lorem
ipsum", hold a curly bracket, or have fewer than three sentences in the lines that are left.

Not applied: the list of bad words (a list of others' under a licence that asks for attribution, not
shipped here) and the removal of three-sentence spans that occur elsewhere (dedupe is a stage of its
own). Sentences are counted by their closing marks, without a language model.
"""

import re
from collections.abc import Iterator
from typing import ClassVar

from webtext.quality import Measures, Rule, RuleSet

_TERMINAL = (".", "!", "?", '"', "”")
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\]")
_SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]*(?=\s|$)""")
_POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


class C4Quality(RuleSet):
    """C4's rules (Raffel et al. 2020, section 2.2), which drop lines too; absent: not applied."""

    min_line_words: int = 5
    """Shorter lines are dropped."""
    min_sentences: int = 3
    """Fewest sentences of a page in the lines that are left: `c4_sentences`."""
    terminal_punctuation: bool = True
    """Drop lines that end in no terminal mark. FineWeb applies C4's rules without this one."""

    measures: ClassVar[tuple[str, ...]] = ("c4_lorem_ipsum", "c4_curly_bracket", "c4_sentences")

    def measure(self, text: str) -> Measures:
        """Measure a text that is not empty."""
        kept = self.keep_lines(text).splitlines()
        return {
            "c4_lorem_ipsum": float("lorem ipsum" in text.lower()),
            "c4_curly_bracket": float("{" in text or "}" in text),
            "c4_sentences": sum(max(1, len(_SENTENCE_END.findall(line))) for line in kept),
        }

    def rules(self) -> Iterator[Rule]:
        """The rules, in the order in which they are tried."""
        yield Rule("c4_lorem_ipsum", "c4_lorem_ipsum", high=0)
        yield Rule("c4_curly_bracket", "c4_curly_bracket", high=0)
        yield Rule("c4_sentences", "c4_sentences", low=self.min_sentences)

    def keep_lines(self, text: str) -> str:
        """The text without the lines and citation markers that C4 drops."""
        lines = (_CITATION.sub("", line).strip() for line in text.splitlines())
        return "\n".join(filter(self._keeps, lines))

    def _keeps(self, line: str) -> bool:
        if self.terminal_punctuation and (not line.endswith(_TERMINAL) or line.endswith("...")):
            return False
        lower = line.lower()
        return (
            len(line.split()) >= self.min_line_words
            and "javascript" not in lower
            and not any(notice in lower for notice in _POLICY)
        )
