"""The demo's benchmark files: every column from reference pages, the same bytes each time."""

import inspect
import textwrap
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.cbt import BLANK, read_questions
from eval.demo_benchmarks import DemoBenchmarksConfig, cut_demo_benchmarks
from eval.demo_text import (
    one_billion_line,
    prose_sentences,
    ptb_tokens,
    text8_text,
    wikitext_tokens,
)
from eval.errors import BenchmarkError
from eval.files import missing_reason
from eval.lambada import read_passages
from eval.protocols import BENCHMARKS, COLUMNS
from eval.scores import EvalConfig, score_benchmark
from eval.streams import split_lines
from tests.eval.scorers import UniformScorer, byte_encoding, silent

MODULES = ["argparse", "logging", "statistics", "shutil", "textwrap", "fractions", "heapq"]
CONFIG = DemoBenchmarksConfig(lambada_passages=5, cbt_questions=3)


def reference_text(name: str) -> str:
    """The documentation strings of a module, as the demo's pages have them."""
    module = import_module(name)
    parts = [inspect.getdoc(module) or ""]
    for _, member in sorted(vars(module).items()):
        if inspect.isclass(member) or inspect.isfunction(member):
            parts.append(inspect.getdoc(member) or "")
            inner = sorted(vars(member).items()) if inspect.isclass(member) else []
            parts += [inspect.getdoc(found) or "" for _, found in inner if callable(found)]
    return "\n".join(part for part in parts if part)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "validation").mkdir()
    rows = [{"title": name, "text": reference_text(name)} for name in MODULES]
    rows.append({"title": None, "text": "x = 1\n" * 50})
    schema = pa.schema([("title", pa.string()), ("text", pa.large_string())])
    for part in range(2):
        table = pa.Table.from_pylist(rows[part::2], schema=schema)
        pq.write_table(table, folder / "validation" / f"part-0000{part}.parquet")
    return folder


def cut(corpus: Path, destination: Path, config: DemoBenchmarksConfig = CONFIG) -> dict[str, int]:
    destination.mkdir(parents=True)
    return cut_demo_benchmarks(
        documents=corpus, destination=destination, config=config, progress=silent
    )


def test_every_column_has_a_file(corpus: Path, tmp_path: Path) -> None:
    counts = cut(corpus, tmp_path / "cut")
    assert counts["rows_in"] == 8
    assert counts["rows_out"] == 7
    assert counts["losses"] == {"no_prose": 1}
    columns = set()
    for benchmark in BENCHMARKS:
        assert missing_reason(benchmark, tmp_path / "cut") is None
        scores = score_benchmark(
            scorer=UniformScorer(),
            encode=byte_encoding,
            benchmark=benchmark,
            folder=tmp_path / "cut",
            destination=tmp_path,
            config=EvalConfig(bootstrap_samples=10),
            progress=silent,
        )
        columns |= {score.column for score in scores}
        assert {score.data.label for score in scores} == {"demo"}
    assert columns == set(COLUMNS)


def test_the_same_bytes_each_time(corpus: Path, tmp_path: Path) -> None:
    for way in ("a", "b"):
        cut(corpus, tmp_path / way)
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 10
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    cut(corpus, tmp_path / "c", DemoBenchmarksConfig(seed=1))
    assert (tmp_path / "c" / "lambada_test.jsonl").read_bytes() != files[5].read_bytes()


def test_the_files_keep_their_formats(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    cut(corpus, folder)
    for passage in read_passages(folder / "lambada_test.jsonl"):
        *before, last = passage.split()
        assert last.isalpha()
        assert last.lower() in {word.strip(".,;:()\"'").lower() for word in before}
    for kind in ("CN", "NE"):
        questions = read_questions(folder / f"cbtest_{kind}_valid_2000ex.txt")
        assert len(questions) == 3
        for question in questions:
            assert (len(question.context), len(set(question.candidates))) == (20, 10)
            assert question.query.count(BLANK) == 1
            assert all(word[0].isupper() == (kind == "NE") for word in question.candidates)
    two = split_lines((folder / "wikitext-2" / "wiki.test.tokens").read_text("utf-8"))
    one_hundred = split_lines((folder / "wikitext-103" / "wiki.test.tokens").read_text("utf-8"))
    assert all(line[0] == line[-1] == " " for line in two)
    assert [len(line.split()) for line in two] == [len(line.split()) for line in one_hundred]
    assert any("<unk>" in line.split() for line in two)
    assert not any("<unk>" in line.split() for line in one_hundred)
    ptb = (folder / "ptb.test.txt").read_text("utf-8")
    assert not set(',.;:()"') & set(ptb)
    assert ptb.replace("N", "n").islower()
    assert set((folder / "text8").read_text("utf-8")) <= set("abcdefghijklmnopqrstuvwxyz ")
    assert "  " not in (folder / "text8").read_text("utf-8")
    assert (folder / "enwik8").read_text("utf-8").startswith("<mediawiki")


def test_too_little_prose_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="validation/part"):
        cut(tmp_path, tmp_path / "a")
    (tmp_path / "validation").mkdir()
    table = pa.table({"title": ["t"], "text": ["This is a sentence of eight words here. " * 3]})
    pq.write_table(table, tmp_path / "validation" / "part-00000.parquet")
    with pytest.raises(BenchmarkError, match="sentences of prose"):
        cut(tmp_path, tmp_path / "b")


def test_sentences_of_prose() -> None:
    text = textwrap.dedent("""\
        The first line
        goes on here, of course. See x = f(1) + g(2) * h[3] >= 4 and so on. Short one.
        It returns None if the "key" isn't in the mapping. f(x) = [1, 2, 3] + {4: 5} | 6 [7] 8.
        """)
    assert prose_sentences(text, min_words=5, max_words=20) == [
        "The first line goes on here, of course.",
        'It returns None if the "key" isn\'t in the mapping.',
    ]


def test_ways_of_writing_a_sentence() -> None:
    sentence = 'It isn\'t the well-known 1,024.5 of os.path, "is it"?'
    assert one_billion_line(sentence) == (
        'It isn \'t the well-known 1,024.5 of os.path , " is it " ?'
    )
    assert " ".join(wikitext_tokens(sentence)) == (
        'It isn \'t the well @-@ known 1 @,@ 024 @.@ 5 of os.path , " is it " ?'
    )
    assert " ".join(ptb_tokens(sentence)) == "it is n't the well-known N of os path is it"
    assert text8_text("In 1999, A-B") == "in one nine nine nine a b"
