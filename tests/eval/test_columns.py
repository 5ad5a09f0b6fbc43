"""The tasks of each column: canonical counts on the real files, formats, and clear errors."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext.openai_public import r50k_pat_str

from eval.cbt import BLANK, Question, cbt_tasks, make_item, read_questions
from eval.errors import BenchmarkError
from eval.items import Item, Limits, Source, Task, cut_text
from eval.lambada import lambada_tasks, read_passages
from eval.scorer import END_OF_TEXT
from eval.streams import (
    bytes_tasks,
    count_units,
    ptb_tasks,
    sentence_tasks,
    split_lines,
    split_pages,
    wikitext_tasks,
)
from tests.eval.scorers import byte_encoding, gpt2_encoding

GPT2_PATTERN = regex.compile(r50k_pat_str)


def source_of(real_data: Path, **limits: int | None) -> Source:
    chosen: dict[str, int | None] = {"max_items": None, "max_tokens": None} | limits
    encode = gpt2_encoding(real_data / "vocab")
    return Source(real_data / "benchmarks", encode, Limits(seed=0, **chosen), 1024, "float32")


def small_source(folder: Path, window: int = 1024, **limits: int | None) -> Source:
    chosen: dict[str, int | None] = {"max_items": None, "max_tokens": None} | limits
    return Source(folder, byte_encoding, Limits(seed=0, **chosen), window, "float32")


def scored(item: Item) -> list[int]:
    return [int(token) for part in item.requests for token in part.tokens[part.scored_from :]]


def totals(task: Task) -> tuple[int, int]:
    items = list(task.items)
    units = sum(item.units for item in items)
    return units, sum(len(scored(item)) for item in items)


def test_lambada_counts(real_data: Path) -> None:
    paper, lm_eval, last = lambada_tasks(source_of(real_data))
    lengths = Counter(len(scored(item)) for item in lm_eval.items)
    assert sum(lengths.values()) == 5153
    assert (lengths[1], lengths[2], lengths[3]) == (4010, 913, 205)
    assert lm_eval.same_requests == last.same_requests != paper.same_requests
    assert len(paper.masked_ids) > 200
    assert all(item.requests[0].tokens[0] == 198 for item in paper.items)


def test_wikitext_counts(real_data: Path) -> None:
    paper, lm_eval, raw = wikitext_tasks(source_of(real_data), "wikitext2", "wikitext2")
    assert totals(paper) == (245_569, 278_373)
    assert paper.data.kind == "tokens"
    pages = list(lm_eval.items)
    assert (len(pages), sum(page.units for page in pages)) == (62, 241_335)
    windows = [part for item in raw.items for part in item.requests]
    assert sum(len(part.tokens) for part in windows) == 287_644
    assert raw.data.kind == lm_eval.data.kind == "raw"


def test_wikitext103_has_the_same_words(real_data: Path) -> None:
    folder = real_data / "benchmarks"
    lines = split_lines((folder / "wikitext103.test.tokens").read_text("utf-8"))
    assert count_units(lines) == 245_569
    assert sum(line.split().count("<unk>") for line in lines) == 2_492


def test_ptb_counts(real_data: Path) -> None:
    paper, raw = ptb_tasks(source_of(real_data), "ptb", "ptb")
    assert totals(paper)[0] == 82_430
    windows = [part for item in raw.items for part in item.requests]
    assert sum(len(part.tokens) for part in windows) == 105_243


def test_prefixes_are_measured_by_byte_and_character(real_data: Path) -> None:
    enwik8, raw = bytes_tasks(source_of(real_data, max_tokens=20_000), "enwik8", "enwik8")
    units, tokens = totals(enwik8)
    assert 0.25 < tokens / units < 0.33
    assert tokens == 20 * 1024
    assert enwik8.protocols[0].sample == "until 20,000 tokens are scored"
    assert (raw.variant, raw.protocols[0].unit) == ("raw-token", "BPE token")
    text8, _ = bytes_tasks(source_of(real_data), "text8", "text8")
    assert totals(text8)[0] == 3_010_294
    assert text8.protocols[0].sample is None


def test_one_billion_is_scored_by_sentence(real_data: Path) -> None:
    paper, raw = sentence_tasks(source_of(real_data), "1bw", "1bw")
    items = list(paper.items)
    text = (real_data / "benchmarks" / "1bw.heldout-00000-of-00050.sample100.txt").read_text()
    assert len(items) == 100
    assert sum(item.units for item in items) == len(text.split()) + 100
    assert all(item.requests[0].tokens[0] == END_OF_TEXT for item in items)
    assert all(scored(item)[-1] == 198 for item in items)
    assert totals(raw)[1] > sum(len(scored(item)) for item in items)


def test_lambada_requests(tmp_path: Path) -> None:
    passages = ["He said “so” to\n\nSam", "a b"]
    lines = [json.dumps({"text": passage}, ensure_ascii=False) for passage in passages]
    (tmp_path / "lambada_test.jsonl").write_bytes("\r\n".join([*lines, "", ""]).encode())
    paper, lm_eval, _ = lambada_tasks(small_source(tmp_path))
    found = [bytes(scored(item)).decode() for item in paper.items]
    assert found == ["Sam", " b"]
    plain = list(lm_eval.items)
    assert [bytes(scored(item)).decode() for item in plain] == [" to\n\nSam", " b"]
    whole = bytes(plain[0].requests[0].tokens.tolist()).decode()
    assert whole == passages[0]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": 1}', '{"text": "word"}', '{"passage": "a b"}', "[" * 9000]
)
def test_a_broken_passage_is_named_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lambada_test.jsonl"
    path.write_text(f'{{"text": "a b"}}\n{line}\n', "utf-8")
    with pytest.raises(BenchmarkError, match="line 2"):
        read_passages(path)


def cbt_text(context: int = 20, query: str = f"21 He saw {BLANK} .\tcats\t\tcats|dogs") -> str:
    lines = [f"{n} Line {n} 's words ." for n in range(1, context + 1)]
    return "\n".join([*lines, query]) + "\n\n"


def test_cbt_questions(tmp_path: Path) -> None:
    path = tmp_path / "cbtest_CN_valid_2000ex.txt"
    path.write_text(cbt_text() * 2, "utf-8")
    first, second = read_questions(path)
    assert first == second
    assert (first.query, first.answer) == (f"He saw {BLANK} .", 0)
    assert first.candidates == ("cats", "dogs")
    assert first.context[19] == "Line 20 's words ."
    task, raw = cbt_tasks(small_source(tmp_path), "cbt_cn", "cbt_cn")
    whole = bytes(next(iter(raw.items)).requests[1].tokens[1:].tolist()).decode()
    assert whole.endswith("Line 20 's words . He saw dogs .")
    item = next(iter(task.items))
    texts = [bytes(part.tokens[1:].tolist()).decode() for part in item.requests]
    assert texts[1].endswith("Line 20's words. He saw dogs.")
    assert [bytes(part.tokens[part.scored_from :].tolist()) for part in item.requests] == [
        b" cats.",
        b" dogs.",
    ]


def test_long_contexts_are_cut_alike_for_all_candidates(tmp_path: Path) -> None:
    question = Question(("word " * 50,), f"It is {BLANK} .", 0, ("so", "a much longer one"))
    item = make_item(small_source(tmp_path, window=40), 0, question, str)
    before = [part.tokens[: part.scored_from].tolist() for part in item.requests]
    assert before[0] == before[1]
    assert max(len(part.tokens) for part in item.requests) == 41


@pytest.mark.parametrize(
    "text",
    [
        cbt_text(query="21 no blank\tcats\t\tcats|dogs"),
        cbt_text(query=f"21 {BLANK}\tcows\t\tcats|dogs"),
        cbt_text(query=f"21 {BLANK}\tcats"),
        cbt_text(query=f"21 {BLANK}"),
        cbt_text(context=0),
        cbt_text() + "1 dangling\n",
    ],
)
def test_a_broken_question_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cbtest_CN_valid_2000ex.txt"
    path.write_text(text, "utf-8")
    with pytest.raises(BenchmarkError, match="line"):
        read_questions(path)


def test_pages_begin_at_top_headings() -> None:
    text = " \n = A = \n \n = = B = = \n text \n = C = \n end \n"
    assert split_pages(text) == [" = A = \n \n = = B = = \n text ", " = C = \n end \n"]


def test_empty_lines_are_units(tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_text(" a b \n\n c \n", "utf-8")
    paper, raw = ptb_tasks(small_source(tmp_path), "ptb", "ptb")
    (item,) = paper.items
    assert item.units == 3 + 3
    assert bytes(scored(item)) == b"a b\n \nc\n"
    (item,) = raw.items
    assert bytes(scored(item)) == b"a b \n\n c \n"


def test_a_stream_is_sampled_by_windows(tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_text(" a b \n" * 100, "utf-8")
    whole, _ = ptb_tasks(small_source(tmp_path, window=40), "ptb", "ptb")
    drawn, raw = ptb_tasks(small_source(tmp_path, window=40, max_items=4), "ptb", "ptb")
    assert drawn.protocols[0].sample == "4 of 10 windows drawn by seed 0"
    assert raw.protocols[0].sample == "4 of 15 windows drawn by seed 0"
    items = {item.index: item for item in whole.items}
    chosen = list(drawn.items)
    assert [item.index for item in chosen] != [0, 1, 2, 3]
    for item in chosen:
        assert scored(item) == scored(items[item.index])
        assert item.units == items[item.index].units == 30
    few, _ = ptb_tasks(small_source(tmp_path, window=40, max_tokens=50), "ptb", "ptb")
    assert [item.index for item in few.items] == [0, 1]


def test_a_quick_sample_is_labelled(tmp_path: Path) -> None:
    (tmp_path / "text8").write_text(" word" * 1000, "utf-8")
    limits = Limits(max_items=None, max_tokens=None, seed=3, quick=True)
    source = Source(tmp_path, byte_encoding, limits, 64, "float32")
    task, _ = bytes_tasks(source, "text8", "text8")
    assert task.protocols[0].sample == "20 of 79 windows drawn by seed 3"
    assert (task.total, len(list(task.items))) == (20, 20)


def test_long_streams_keep_to_the_window(tmp_path: Path) -> None:
    (tmp_path / "text8").write_text(" word" * 100, "utf-8")
    task, _ = bytes_tasks(small_source(tmp_path, window=64), "text8", "text8")
    items = list(task.items)
    assert bytes(np.concatenate([scored(item) for item in items]).tolist()) == b" word" * 100
    assert max(len(item.requests[0].tokens) for item in items) == 65
    assert sum(item.units for item in items) == 500


@pytest.mark.parametrize("name", ["wikitext2.test.tokens", "enwik8.prefix4154399"])
def test_pieces_encode_as_the_whole(real_data: Path, name: str) -> None:
    encode = gpt2_encoding(real_data / "vocab")
    text = (real_data / "benchmarks" / name).read_bytes()[:400_000].decode("utf-8", "ignore")
    pieces = cut_text(text, 1000)
    assert len(pieces) > 300
    assert [token for piece in pieces for token in encode(piece)] == encode(text)


@settings(deadline=None, max_examples=200)
@given(text=st.text(st.sampled_from(list("ab1é \n\t'.,中 \u3000")), max_size=60))
def test_any_pieces_encode_as_the_whole(text: str) -> None:
    pieces = cut_text(text, 3)
    assert "".join(pieces) == text
    matches = [match for piece in pieces for match in GPT2_PATTERN.findall(piece)]
    assert matches == GPT2_PATTERN.findall(text)


def test_text8_is_derived_from_enwik8(tmp_path: Path) -> None:
    text = "<text xml:space='preserve'>[[dog|dogs]], ''Five'' in 1\n</text>"
    page = f"<page><title>X</title>{text}</page>"
    (tmp_path / "enwik8").write_text(page * 30, "utf-8")
    task, _ = bytes_tasks(small_source(tmp_path), "text8", "text8")
    (item,) = task.items
    assert bytes(scored(item)).decode().startswith(" dogs five in one dogs five in one dogs")
    assert task.protocols[0].detokenizer == "text8/1"
    assert task.data.label == "text8 derived from unknown file"
    assert task.data.split == "derived from enwik8's test, by its name"
    (tmp_path / "text8").write_text(" its own", "utf-8")
    task, _ = bytes_tasks(small_source(tmp_path), "text8", "text8")
    assert task.data.kind == "bytes"


def test_an_enwik8_without_pages_gives_no_text8(tmp_path: Path) -> None:
    (tmp_path / "enwik8").write_text("no pages", "utf-8")
    with pytest.raises(BenchmarkError, match="derived from .*enwik8 is empty"):
        bytes_tasks(small_source(tmp_path), "text8", "text8")
