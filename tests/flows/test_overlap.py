"""What `webtext overlap` shows, from artifacts made of known texts."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from eval.overlap_report import read_report
from flows.overlap_show import overlap_json, overlap_markdown, print_overlap, show_percent
from tests.eval.overlap_corpus import link_id, make_overlap, write_corpus, write_lambada

SEEN = "the old man and the grey sea had met before that day"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one overlap artifact: one of two passages is in training, on a hostile URL."""
    work = tmp_path_factory.mktemp("overlap")
    passages = [SEEN, "nothing of this passage was ever read by the model"]
    benchmarks = write_lambada(work / "benchmarks", passages)
    corpus = write_corpus(work / "corpus", [["filler"], [f"“{SEEN.upper()}”, he said."]])
    shutil.move(make_overlap(corpus, benchmarks, work / "work", 2), work / "overlap")
    (work / "scores").mkdir()
    return work


def shown(store: Path, documents: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=160)
    print_overlap(console, store, {"overlap": "overlap"}, documents)
    return out.getvalue()


def test_the_table_tells_shares_clean_items_and_documents(store: Path) -> None:
    text = shown(store, 3)
    # 5 of the first passage's 5 and none of the second's 3.
    row = next(line for line in text.splitlines() if line.split()[:1] == ["lambada"])
    assert row.split() == ["lambada", "8", "5", "62.50", "–", "–", "–", "1", "of", "2", "1"]
    assert link_id(1000).hex() in text
    assert "http://p1.org/0" in text
    assert "the old man and the grey sea had" in text
    assert "wrong 0 times" in " ".join(text.split())
    assert link_id(1000).hex() not in shown(store, 0)


def test_markdown_has_the_same_rows(store: Path) -> None:
    table = overlap_markdown(read_report(store / "overlap")).splitlines()
    assert table[0].startswith("| benchmark | 8-grams | in training |")
    assert table[2] == "| lambada | 8 | 5 | 62.50 | – | – | – | 1 of 2 | 1 |"


def test_json_holds_everything(store: Path) -> None:
    value = json.loads(overlap_json(store, {"overlap": "overlap"}, 5))
    assert [row["variant"] for row in value["report"]["overlaps"]] == [
        "paper", "lm-eval", "raw-token",
    ]  # fmt: skip
    assert value["documents"][0]["link_id"] == link_id(1000).hex()
    assert value["documents"][0]["shared_ngrams"] == 5
    assert value["clean_scores"] == []


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "–"), (0.0, "0.00"), (0.00071, "0.0007"), (0.005, "0.01"), (9.087, "9.09")],
)
def test_small_shares_are_not_rounded_to_nothing(share: float | None, shown: str) -> None:
    assert show_percent(share) == shown
