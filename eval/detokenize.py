"""Turns the benchmarks' tokenised text back into text as people write it, and back again.

WikiText, PTB, CBT and 1BW come with spaces round punctuation, split contractions and marks such
as `@-@`; GPT-2 has seen text without them, and loses 2.5 to 5 points of perplexity on them
(Radford et al. 2019, section 3.1). The likelihood of the joined text counts for the original only
where the join can be undone. So each detokenizer here is a chain of small rules that join, each
with the rule that splits again, and a rule is applied to a line only if splitting restores that
very line; `restore` finds out which were. The few lines that would still come back differently
(9 of 4,358 in WikiText-2) are left as they are, marked by a space in front.

`lm_eval_page` is apart: what lm-evaluation-harness does to a page of WikiText, reproduced by its
behaviour for the `lm-eval` variant, with its two rules that never match; it cannot be undone.
LAMBADA's contexts are only conditioned on, so `normalise_quotes` needs no way back.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

Rewrite = Callable[[str], str]

_ABBREVIATIONS = """
    al bros ca capt cf co col corp dr ed etc gen gov inc jan feb mar apr jun jul aug sep sept oct
    nov dec jr lt ltd maj mm mr mrs ms no nos rep rev sen sgt sr st vol vs
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""Words whose full stop belongs to them; after them a full stop is neither joined nor split."""

CLOSING_MARKS = frozenset(",.;:!?%)]")
RAW_LINE = " "
"""In front of a line that was left as it is; no other detokenized line begins with it."""

OPENING_MARKS = frozenset("([")
CURRENCY_MARKS = frozenset("$£¥₱#")
ALL_OPENING_MARKS = OPENING_MARKS | CURRENCY_MARKS
SUFFIXES = ("'s", "'re", "'ve", "'m", "'d", "'ll")


@dataclass(frozen=True)
class Rule:
    """One kind of joint: `join` closes it up, `split` opens it."""

    join: Rewrite
    split: Rewrite

    def apply(self, line: str) -> str:
        """`line` joined where that can be undone, else as it is."""
        joined = self.join(line)
        return joined if joined != line and self.split(joined) == line else line

    def undo(self, line: str) -> str:
        """What `apply` made `line` of."""
        opened = self.split(line)
        return opened if opened != line and self.apply(opened) == line else line


@dataclass(frozen=True)
class Detokenizer:
    """A named chain of rules for the lines of one corpus (a line: without its end-of-line)."""

    name: str
    rules: tuple[Rule, ...]

    def detokenize(self, line: str) -> str:
        """The line as people would write it; led by a space and else as it is where none fits."""
        joined = self._join(line)
        if joined.startswith(RAW_LINE) or self._split(joined) != line:
            return RAW_LINE + line
        return joined

    def restore(self, line: str) -> str:
        """The line that `detokenize` was given, whatever it was."""
        return line[1:] if line.startswith(RAW_LINE) else self._split(line)

    def _join(self, line: str) -> str:
        for rule in self.rules:
            line = rule.apply(line)
        return line

    def _split(self, line: str) -> str:
        for rule in reversed(self.rules):
            line = rule.undo(line)
        return line


def _substitution(find: str, joined: str, find_joined: str, separated: str) -> Rule:
    """A rule of two regular expressions, one for each way."""
    return Rule(
        partial(re.compile(find).sub, joined),
        partial(re.compile(find_joined).sub, separated),
    )


def _is_abbreviation(word: str) -> bool:
    """Whether a full stop after `word` may be part of it."""
    core = re.search(r"[\w.']*$", word)
    last = core.group() if core else ""
    if not last or re.fullmatch(r"[\d.]*\d", last):
        return word.endswith(".")
    return len(last) == 1 or "." in last or last.lower() in ABBREVIATIONS


def _attaches(mark: str, word: str) -> bool:
    """Whether `mark` belongs to the end of `word`."""
    return mark in CLOSING_MARKS and not (mark == "." and _is_abbreviation(word))


def _join_marks(line: str) -> str:
    """Put closing punctuation at the end of the word before it."""
    words: list[str] = []
    for word in line.split(" "):
        if word in CLOSING_MARKS and words and words[-1] and _attaches(word, words[-1]):
            words[-1] += word
        else:
            words.append(word)
    return " ".join(words)


def _split_marks(line: str) -> str:
    words: list[str] = []
    for word in line.split(" "):
        if word[-1:] not in CLOSING_MARKS:
            words.append(word)
            continue
        end = len(word)
        while end > 1 and _attaches(word[end - 1], word[: end - 1]):
            end -= 1
        words += [word[:end], *word[end:]]
    return " ".join(words)


def _opens(mark: str, word: str) -> bool:
    """Whether `mark` belongs to the beginning of `word`."""
    if mark in CURRENCY_MARKS:
        return word[:1].isdigit() or word[:1] in {"N", "."}
    return mark in OPENING_MARKS and bool(word)


def _join_openings(line: str) -> str:
    """Put opening brackets and signs of currency in front of the word after them."""
    words: list[str] = []
    for word in reversed(line.split(" ")):
        if word in ALL_OPENING_MARKS and words and _opens(word, words[-1]):
            words[-1] = word + words[-1]
        else:
            words.append(word)
    return " ".join(reversed(words))


def _split_openings(line: str) -> str:
    words: list[str] = []
    for word in line.split(" "):
        if word[:1] not in ALL_OPENING_MARKS:
            words.append(word)
            continue
        start = 0
        while start < len(word) - 1 and _opens(word[start], word[start + 1 :]):
            start += 1
        words += [*word[:start], word[start:]]
    return " ".join(words)


def _join_quotes(line: str) -> str:
    """Close up the inside of each pair of straight double quotes."""
    parts = line.split('"')
    for i in range(1, len(parts), 2):
        parts[i] = parts[i].removeprefix(" ")
        if i + 1 < len(parts):
            parts[i] = parts[i].removesuffix(" ")
    return '"'.join(parts)


def _split_quotes(line: str) -> str:
    parts = line.split('"')
    for i in range(1, len(parts), 2):
        parts[i] = f" {parts[i]} " if i + 1 < len(parts) else f" {parts[i]}"
    return '"'.join(parts)


def _join_contractions(line: str, negation: str) -> str:
    """Put `'s`, `'re` and the negation at the end of the word before them."""
    return re.sub(rf"(?<=\w) ((?:{'|'.join((*SUFFIXES, negation))})(?= |$))", r"\1", line)


def _split_contractions(line: str, negation: str) -> str:
    return re.sub(rf"(?<=\w)((?:{'|'.join((*SUFFIXES, negation))})(?= |$))", r" \1", line)


def _contractions(negation: str) -> Rule:
    return Rule(
        partial(_join_contractions, negation=negation),
        partial(_split_contractions, negation=negation),
    )


OUTER_SPACES = Rule(
    lambda line: line[1:-1] if len(line) > 1 and line[0] == line[-1] == " " else line.strip(" "),
    lambda line: f" {line} " if line else " ",
)
HEADINGS = Rule(
    lambda line: re.sub(r"= (?==)", "=", line) if line.startswith("=") else line,
    lambda line: re.sub(r"=(?==)", "= ", line) if line.startswith("=") else line,
)
HYPHENS = _substitution(r"(?<=\S) @-@ (?=\S)", "-", r"(?<=[^\s-])-(?=[^\s-])", " @-@ ")
COMMAS = _substitution(r"(?<=\d) @,@ (?=\d)", ",", r"(?<=\d),(?=\d)", " @,@ ")
POINTS = _substitution(r"(?<=\d) @\.@ (?=\d)", ".", r"(?<=\d)\.(?=\d)", " @.@ ")
RANGES = _substitution(r"(?<=\d) – (?=\d)", "–", r"(?<=\d)–(?=\d)", " – ")
SLASHES = _substitution(r"(?<=\w) / (?=\w)", "/", r"(?<=\w)/(?=\w)", " / ")
ESCAPED_SLASHES = Rule(lambda line: line.replace("\\/", "/"), lambda line: line.replace("/", "\\/"))
POSSESSIVES = _substitution(r"(?<=s) '(?= |$)", "'", r"(?<=s)'(?= |$)", " '")
MARKS = Rule(_join_marks, _split_marks)
OPENINGS = Rule(_join_openings, _split_openings)
QUOTES = Rule(_join_quotes, _split_quotes)
BRACKETS = Rule(
    lambda line: line.replace("-LRB-", "(").replace("-RRB-", ")"),
    lambda line: line.replace("(", "-LRB-").replace(")", "-RRB-"),
)
BACK_QUOTES = Rule(
    lambda line: re.sub(r" '(?= |$)", '"', re.sub(r"(?<!\S)` ", '"', line)),
    lambda line: re.sub(r'(?<=\S)"', " '", re.sub(r'(?<!\S)"', "` ", line)),
)

WIKITEXT = Detokenizer(
    "wikitext/1",
    (
        OUTER_SPACES,
        HEADINGS,
        COMMAS,
        POINTS,
        HYPHENS,
        RANGES,
        SLASHES,
        _contractions("'t"),
        POSSESSIVES,
        MARKS,
        OPENINGS,
        QUOTES,
    ),
)
PTB = Detokenizer(
    "ptb/1", (OUTER_SPACES, ESCAPED_SLASHES, _contractions("n't"), POSSESSIVES, OPENINGS)
)
CBT = Detokenizer("cbt/1", (_contractions("n't"), BRACKETS, MARKS, OPENINGS, BACK_QUOTES))
ONE_BILLION = Detokenizer("1bw/1", (_contractions("'t"), POSSESSIVES, MARKS, OPENINGS, QUOTES))

LAMBADA_QUOTES = "lambada-quotes/1"
"""Name of `normalise_quotes` in protocols."""


def normalise_quotes(text: str) -> str:
    """Every way of writing double quotes in LAMBADA as `"`, single ones as `'`."""
    for written, plain in (("“", '"'), ("”", '"'), ("``", '"'), ("''", '"')):
        text = text.replace(written, plain)
    return text.replace("‘", "'").replace("’", "'")


LM_EVAL_WIKITEXT = "lm-eval-wikitext/1"
"""Name of `lm_eval_page` in protocols."""

_BEFORE_BRACKETS: tuple[tuple[str, str], ...] = (
    ("s '", "s'"),
    # The harness looks for `/' 5/` here, with the slashes: no text has that.
    *((f" @{mark}@ ", mark) for mark in "-,."),
    *((f" {mark} ", f"{mark} ") for mark in ":;.!?,"),
)
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ('"', '"'), ("'", "'"))
_AFTER_BRACKETS: tuple[tuple[str, str], ...] = (
    *(("= " * count + "=", "=" * (count + 1)) for count in (3, 2, 1)),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
)


def lm_eval_page(page: str) -> str:
    """A page of WikiText as lm-evaluation-harness (0.4) scores it; equal to it on every string."""
    for found, written in _BEFORE_BRACKETS:
        page = page.replace(found, written)
    for opening, closing in _PAIRS:
        inside = rf"{re.escape(opening)}\s*([^{re.escape(closing)}]*?)\s*{re.escape(closing)}"
        page = re.sub(inside, rf"{opening}\1{closing}", page)
    for found, written in _AFTER_BRACKETS:
        page = page.replace(found, written)
    return page
