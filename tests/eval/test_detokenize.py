"""De-tokenizers: they read well, and nothing is lost on the real files or on any line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.detokenize import (
    CBT,
    ONE_BILLION,
    PTB,
    WIKITEXT,
    Detokenizer,
    lm_eval_page,
    normalise_quotes,
)
from eval.streams import split_lines

ALL = [WIKITEXT, PTB, CBT, ONE_BILLION]

# Pieces that the rules are about, in every order.
PIECES = [*" ,.;:!?%)(][\"'`-–/=$#", "@-@", "@,@", "@.@", "n't", "'t", "'s", " ", "  ", "a", "Mr"]
PIECES += ["U.S.", "1", "20", "N", "<unk>", "-LRB-", "\\/", "players", "é", "…"]
LINES = st.lists(st.sampled_from(PIECES), max_size=14).flatmap(
    lambda words: st.sampled_from([" ".join(words), f" {' '.join(words)} ", "".join(words)])
)


@pytest.mark.parametrize("detokenizer", ALL, ids=lambda found: found.name)
@settings(deadline=None, max_examples=300)
@given(line=LINES)
def test_every_line_comes_back(detokenizer: Detokenizer, line: str) -> None:
    assert detokenizer.restore(detokenizer.detokenize(line)) == line


@pytest.mark.parametrize("detokenizer", ALL, ids=lambda found: found.name)
@settings(deadline=None, max_examples=100)
@given(line=st.text().map(lambda text: text.replace("\n", "")))
def test_hostile_lines_come_back(detokenizer: Detokenizer, line: str) -> None:
    assert detokenizer.restore(detokenizer.detokenize(line)) == line


@pytest.mark.parametrize(
    ("name", "detokenizer", "most_left_alone"),
    [
        ("wikitext2.test.tokens", WIKITEXT, 0),
        ("wikitext2.test.raw", WIKITEXT, 7),
        ("wikitext103.test.tokens", WIKITEXT, 6),
        ("ptb.test.txt", PTB, 0),
        ("1bw.heldout-00000-of-00050.sample100.txt", ONE_BILLION, 0),
    ],
)
def test_real_files_come_back(
    real_data: Path, name: str, detokenizer: Detokenizer, most_left_alone: int
) -> None:
    lines = split_lines((real_data / "benchmarks" / name).read_text("utf-8"))
    joined = [detokenizer.detokenize(line) for line in lines]
    assert [detokenizer.restore(line) for line in joined] == lines
    assert len(set(joined)) == len(set(lines))
    assert sum(line.startswith(" ") for line in joined) <= most_left_alone


@pytest.mark.parametrize(
    ("detokenizer", "line", "expected"),
    [
        (WIKITEXT, " = = Early life = = ", "== Early life =="),
        (WIKITEXT, " ", ""),
        (
            WIKITEXT,
            ' He said , " it \'s a 10 @,@ 000 @-@ ton ship ( 9 @.@ 5 % ) . " ',
            'He said, "it\'s a 10,000-ton ship (9.5%)."',
        ),
        (WIKITEXT, " The players ' 2000 – 01 season . ", "The players' 2000–01 season."),
        (WIKITEXT, " Mr. Smith moved to the U.S. in May . ", "Mr. Smith moved to the U.S. in May."),
        (PTB, " it was n't worth $ N he 's said ", "it wasn't worth $N he's said"),
        (PTB, " capital cities\\/abc & <unk> ", "capital cities/abc & <unk>"),
        (ONE_BILLION, '" They can \'t , " he said .', '"They can\'t," he said.'),
        (CBT, "` Oh , do n't ! ' said the king .", '"Oh, don\'t!" said the king.'),
        (CBT, "The king -LRB- XXXXX 's son -RRB- left .", "The king (XXXXX's son) left."),
    ],
)
def test_reads_as_people_write(detokenizer: Detokenizer, line: str, expected: str) -> None:
    assert detokenizer.detokenize(line) == expected


def test_quotes_of_lambada_become_plain() -> None:
    assert normalise_quotes("“Well,” she’d ``said'' ‘so’") == '"Well," she\'d "said" \'so\''


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (" = Title = \n \n Text ( a ) . \n ", " = Title =\n\nText (a).\n"),
        (' 1 @,@ 000 @-@ " x y " , z ', ' 1,000-"x y", z '),
        (" = = = Deep = = = \n", " === Deep ===\n"),
        (" dogs ' N 's ", " dogs'N's "),
    ],
)
def test_the_harness_is_reproduced(page: str, expected: str) -> None:
    assert lm_eval_page(page) == expected
