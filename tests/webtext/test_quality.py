"""The published rule sets: by hand, and beside datatrove where it is installed."""

import json
import random
import warnings
from pathlib import Path

import pytest

from webtext.quality import RuleSet
from webtext.quality_c4 import C4Quality
from webtext.quality_fineweb import FineWebQuality
from webtext.quality_gopher import GopherQuality
from webtext.quality_repetition import GopherRepetition

SENTENCE = "The old house with the green door had to be painted again that year. "
GOOD = "\n".join(SENTENCE * 2 + f"It was number {n} of them." for n in range(6))


def reason(rules: RuleSet, text: str) -> str | None:
    measured = rules.measure(text)
    assert tuple(measured) == rules.measures
    return rules.judge(measured)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, None),
        ("the and " * 24, "gopher_word_count"),
        ("the and of " + "w" * 5 + " word" * 47, None),
        ("the and " + "me " * 60, "gopher_mean_word_length"),
        ("the and " + "incomprehensibly " * 60, "gopher_mean_word_length"),
        (GOOD + " #tag" * 40, "gopher_hash_ratio"),
        (GOOD + " word..." * 40, "gopher_ellipsis_ratio"),
        ("\n".join("- the words and others here" for _ in range(20)), "gopher_bullet_lines"),
        (
            "\n".join("the long line of words that have been cut…" for _ in range(20)),
            "gopher_ellipsis_ratio",
        ),
        (
            "\n".join(
                "the long line of many more words that have been cut off here…" for _ in "ab" * 9
            ),
            "gopher_ellipsis_lines",
        ),
        (GOOD + " 1234" * 60, "gopher_alphabetic_words"),
        ("words " * 60, "gopher_stop_words"),
        ("The, words " * 60, "gopher_stop_words"),
        ("The, (and) words " * 60, None),
    ],
)
def test_gopher_quality(text: str, expected: str | None) -> None:
    assert reason(GopherQuality(), text) == expected


def test_gopher_repetition_by_hand() -> None:
    rules = GopherRepetition()
    measured = rules.measure("ab cd\nab cd\n\nef gh")
    assert measured["gopher_duplicate_lines"] == pytest.approx(1 / 3)
    assert measured["gopher_duplicate_line_characters"] == pytest.approx(5 / 18)
    assert measured["gopher_duplicate_paragraphs"] == 0
    assert measured["gopher_top_2gram"] == pytest.approx(2 * 5 / 18)
    once = "one two three four five six seven"
    assert rules.measure(f"{once} x {once}")["gopher_duplicate_5gram"] == pytest.approx(
        len("onetwothreefourfive") / len(f"{once} x {once}")
    )
    assert reason(rules, "\n".join(["same line"] * 5 + ["other line"])) == "gopher_duplicate_lines"
    assert reason(rules, "on and on and on and on and on and on") == "gopher_top_2gram"


def test_c4_by_hand() -> None:
    rules = C4Quality()
    text = (
        "This line of text is kept.[1]\nToo few words.\nNo mark at the end of this one\n"
        "Please enable Javascript to see all this.\nOur privacy policy is a line to drop.\n"
        "A line that trails off into nothing...\n“Was this a question?” they all asked!"
    )
    assert rules.keep_lines(text) == (
        "This line of text is kept.\n“Was this a question?” they all asked!"
    )
    assert rules.measure(text)["c4_sentences"] == 3
    assert reason(rules, text) is None
    assert reason(rules, "One sentence that is kept here.") == "c4_sentences"
    assert reason(rules, text + "\nint main() {") == "c4_curly_bracket"
    assert reason(rules, text + "\nLorem ipsum dolor sit amet is here.") == "c4_lorem_ipsum"


def test_fineweb_by_hand() -> None:
    rules = FineWebQuality()
    assert reason(rules, GOOD) is None
    assert reason(rules, "\n".join(f"line {n} without an end of any kind" for n in range(9))) == (
        "fineweb_punctuated_lines"
    )
    assert reason(rules, "\n".join(f"short {n}." for n in range(9))) == "fineweb_short_lines"
    twice = "A line that is long enough to be none of the short ones."
    assert reason(rules, f"{twice}\n{twice}") == "fineweb_duplicate_line_characters"
    assert reason(rules, "\n\n\n\n\n\n".join(f"{twice} {n}." for n in range(9))) == (
        "fineweb_lines_a_word"
    )


def test_thresholds_are_the_configs() -> None:
    assert reason(GopherQuality(min_words=500), GOOD) == "gopher_word_count"
    measured = GopherQuality().measure(GOOD)
    assert GopherQuality(max_words=10).judge(measured) == (
        "gopher_word_count",
        f"gopher_word_count is {measured['gopher_word_count']}, at most 10 wanted",
    )


@pytest.fixture(scope="module")
def texts(real_data: Path) -> list[str]:
    """Real texts, some of them made repetitive or list-like."""
    rows = (real_data / "real-web" / "pages.jsonl").read_text().splitlines()
    gold = [text for row in rows if (text := json.loads(row)["gold_text"])]
    chosen = random.Random(5).sample(gold, 60)
    lists = ["\n".join(text.split()[:80]) for text in chosen[:10]]
    doubled = [f"{text[:600]}\n{text[:600]}" for text in chosen[10:25]]
    cut = [text[: 40 * n] for n, text in enumerate(chosen[25:45], 1)]
    return [*chosen, *lists, *doubled, *cut]


@pytest.mark.parametrize("name", ["quality", "repetition", "fineweb"])
def test_the_verdicts_are_datatroves(
    name: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given equal words (ours: between white space), the two agree on nearly every real text."""
    pytest.importorskip("datatrove")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datatrove.data import Document
        from datatrove.pipeline.filters import (
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
            fineweb_quality_filter,
            gopher_quality_filter,
            gopher_repetition_filter,
        )

        for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
            monkeypatch.setattr(module, "split_into_words", lambda text, _language: text.split())
        ours, theirs = {
            "quality": (GopherQuality(), GopherQualityFilter()),
            "repetition": (GopherRepetition(), GopherRepetitionFilter()),
            "fineweb": (FineWebQuality(), FineWebQualityFilter()),
        }[name]
        kept = [theirs.filter(Document(text=text, id="")) is True for text in texts]
    assert [reason(ours, text) is None for text in texts] == kept
    assert 5 < sum(kept) < len(texts) - 5
