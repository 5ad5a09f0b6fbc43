"""Sentences of reference pages, and the ways in which the benchmarks write sentences down."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

SENTENCE_BREAK = re.compile(r"(?<=[a-z0-9)'\"][.!?])\s+(?:[-*] )?(?=[A-Z]|\w+[_(])")
PROSE_WORD = re.compile(r"[(\"'`]?[A-Za-z][A-Za-z'’-]*[)\"'`]?[,;:.!?]?")
TOKEN = re.compile(
    r"(?<= )'(?:s|t|re|ve|m|d|ll)\b|[A-Za-z_]\w*(?:[-.][A-Za-z_]\w*)*|\d+(?:[.,]\d+)*|\S"
)
CONTRACTION = re.compile(r"(?<=\w)('(?:s|t|re|ve|m|d|ll))\b")
DIGIT_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

MIN_PROSE_SHARE = 0.8
"""Of a sentence's words, those that look like words of prose; code and tables have fewer."""


def prose_sentences(text: str, *, min_words: int, max_words: int) -> list[str]:
    """The sentences of prose in `text`, in order, white space made single spaces."""
    sentences = []
    for piece in SENTENCE_BREAK.split(" ".join(text.split())):
        words = piece.split()
        prose = sum(PROSE_WORD.fullmatch(word) is not None for word in words)
        if (
            min_words <= len(words) <= max_words
            and prose >= MIN_PROSE_SHARE * len(words)
            and re.match(r"[A-Z]", piece)
            and piece.endswith(".")
            and not re.search(r"[|>`]", piece)
        ):
            sentences.append(piece)
    return sentences


def one_billion_line(sentence: str) -> str:
    """The sentence as 1BW has it: tokens and single spaces."""
    return " ".join(_tokens(sentence))


def wikitext_tokens(sentence: str) -> list[str]:
    """The sentence's tokens as WikiText has them: `@-@`, `@,@` and `@.@` within words."""
    joined = " ".join(_tokens(sentence))
    joined = re.sub(r"(?<=\d)([,.])(?=\d)", r" @\1@ ", joined)
    return re.sub(r"(?<=\w)-(?=\w)", " @-@ ", joined).split()


def ptb_tokens(sentence: str) -> list[str]:
    """The sentence's tokens as PTB has them: lower case, `N` for numbers, no punctuation."""
    text = re.sub(r"(?<=\w)n't\b", " n't", sentence.replace("’", "'"))
    text = re.sub(r"(?<=\w)('(?:s|re|ve|m|d|ll))\b", r" \1", text).lower()
    tokens = re.findall(r"'\w+|n't|[a-z]+(?:-[a-z]+)*|\d+(?:[.,]\d+)*", text)
    return ["N" if token[0].isdigit() else token for token in tokens]


def text8_text(text: str) -> str:
    """`text` as in text8: a to z and single spaces, digits spelled out."""
    spelled = re.sub(r"\d", lambda match: f" {DIGIT_NAMES[int(match[0])]} ", text.lower())
    return re.sub(r"[^a-z]+", " ", spelled)


def mark_rare(lines: Sequence[list[str]], vocabulary: Counter[str], least: int) -> list[list[str]]:
    """The lines with `<unk>` for words that `vocabulary` counts less often than `least`."""
    return [
        [word if vocabulary[word] >= least or not word[:1].isalpha() else "<unk>" for word in line]
        for line in lines
    ]


def count_words(lines: Iterable[list[str]]) -> Counter[str]:
    """How often each word occurs."""
    return Counter(word for line in lines for word in line)


def _tokens(sentence: str) -> list[str]:
    """Words and marks apart, `'s` and `'t` as tokens of their own."""
    return TOKEN.findall(CONTRACTION.sub(r" \1", sentence.replace("’", "'")))
