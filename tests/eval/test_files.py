"""Finding, labelling and reading benchmark files."""

import hashlib
import json
from pathlib import Path

import pytest

from eval.errors import BenchmarkError, MissingBenchmark
from eval.files import (
    MOST_BYTES,
    NAMES,
    UNKNOWN,
    benchmark_paths,
    find_file,
    missing_reason,
    read_bytes_text,
    read_lines_text,
)
from eval.known_files import KNOWN_BEGINNINGS, LAST_5_MB
from eval.protocols import BENCHMARKS
from eval.text8 import derive_text8


def test_every_benchmark_has_names() -> None:
    assert set(NAMES) == set(BENCHMARKS)


def test_a_missing_file_says_what_was_looked_for(tmp_path: Path) -> None:
    reason = missing_reason("cbt_cn", tmp_path)
    assert reason is not None
    assert reason.startswith("no file: looked for cbtest_CN_valid_2000ex.txt")
    with pytest.raises(MissingBenchmark, match=r"cbtest_CN_valid_2000ex\.txt"):
        find_file("cbt_cn", ("cbt",), tmp_path)
    assert benchmark_paths("cbt_cn", tmp_path) == []


def test_original_names_in_folders_are_found(tmp_path: Path) -> None:
    (tmp_path / "wikitext-2-raw").mkdir()
    (tmp_path / "wikitext-2-raw" / "wiki.test.raw").write_text(" = A = \n", "utf-8")
    assert missing_reason("wikitext2", tmp_path) is None
    assert missing_reason("wikitext103", tmp_path) is not None
    path, data = find_file("wikitext2", ("tokens", "raw"), tmp_path)
    assert path.name == "wiki.test.raw"
    assert (data.kind, data.label, data.name) == ("raw", UNKNOWN, "wikitext-2-raw/wiki.test.raw")
    assert data.sha256 == hashlib.sha256(b" = A = \n").hexdigest()


@pytest.mark.parametrize(
    ("benchmark", "kind", "label", "split"),
    [
        ("lambada", "jsonl", "LAMBADA, OpenAI's", "test"),
        ("wikitext2", "tokens", "WikiText-2, tokens", "test"),
        ("wikitext2", "raw", "WikiText-2, raw", "test"),
        ("wikitext103", "tokens", "WikiText-103, tokens", "test"),
        ("ptb", "lines", "PTB, Mikolov's", "test"),
        ("enwik8", "bytes", "first 4,154,399 bytes of enwik8", "prefix, not the test split"),
        ("text8", "bytes", "first 3,010,294 bytes of text8", "prefix, not the test split"),
        ("1bw", "sentences", "1BW, 100 sentences of it", "heldout-00000"),
    ],
)
def test_real_files_are_known(
    real_data: Path, benchmark: str, kind: str, label: str, split: str
) -> None:
    _, data = find_file(benchmark, (kind,), real_data / "benchmarks")
    assert (data.label, data.split) == (label, split)
    assert data.is_known
    assert data.treatment == "none"


def test_a_changed_real_file_is_unknown(real_data: Path, tmp_path: Path) -> None:
    content = (real_data / "benchmarks" / "ptb.test.txt").read_bytes()
    (tmp_path / "ptb.test.txt").write_bytes(content.replace(b"\n", b"\r\n"))
    path, data = find_file("ptb", ("lines",), tmp_path)
    assert (data.label, data.is_known, data.split) == (UNKNOWN, False, "test, by its name")
    assert data.treatment == "3,761 CRLF read as LF"
    assert read_lines_text(path).encode() == content


def test_a_known_file_in_anothers_place_is_called_by_its_name(
    real_data: Path, tmp_path: Path
) -> None:
    tokens = (real_data / "benchmarks" / "wikitext2.test.tokens").read_bytes()
    raw = (real_data / "benchmarks" / "wikitext2.test.raw").read_bytes()
    (tmp_path / "wikitext103.test.tokens").write_bytes(tokens)
    (tmp_path / "wikitext103.test.raw").write_bytes(raw)
    _, data = find_file("wikitext103", ("tokens",), tmp_path)
    assert (data.label, data.is_known) == ("another file: WikiText-2, tokens", False)
    _, data = find_file("wikitext103", ("raw",), tmp_path)
    assert (data.label, data.is_known) == ("WikiText-2, raw (the same file)", True)


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "enwik8").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(BenchmarkError, match="no benchmark has more than"):
        find_file("enwik8", ("bytes",), tmp_path)


def test_text8_of_the_real_enwik8_is_the_real_text8(real_data: Path) -> None:
    folder = real_data / "benchmarks"
    enwik8 = (folder / "enwik8.prefix4154399").read_bytes().decode("utf-8", "ignore")
    assert derive_text8(enwik8) == (folder / "text8.prefix.txt").read_text("utf-8")


def test_a_whole_file_is_cut_to_its_last_5_mb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"<mediawiki>\n" * 10
    whole = head + "é".encode() * 3_000_000
    digest = hashlib.sha256(head).hexdigest()
    monkeypatch.setitem(KNOWN_BEGINNINGS, "enwik8", (len(head), digest, len(whole)))
    (tmp_path / "enwik8").write_bytes(whole)
    path, data = find_file("enwik8", ("bytes",), tmp_path)
    assert (data.label, data.split) == ("enwik8", LAST_5_MB)
    assert read_bytes_text(path, data) == "é" * 2_500_000
    (tmp_path / "enwik8").write_bytes(whole[:-1])
    path, data = find_file("enwik8", ("bytes",), tmp_path)
    assert data.label == f"first {len(whole) - 1:,} bytes of enwik8"
    assert read_bytes_text(path, data).encode() == whole[:-2]


def test_byte_files_keep_line_ends_and_marks(tmp_path: Path) -> None:
    content = "\ufeffa\r\n€\n"
    (tmp_path / "text8").write_bytes(content.encode())
    path, data = find_file("text8", ("bytes",), tmp_path)
    assert read_bytes_text(path, data) == content


def test_a_character_cut_at_the_front_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "enwik8").write_bytes("€uro €".encode()[1:-1])
    path, data = find_file("enwik8", ("bytes",), tmp_path)
    assert read_bytes_text(path, data) == "uro "


def test_line_files_lose_mark_and_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "ptb.test.txt"
    path.write_bytes(b"\xef\xbb\xbf a \r\n b \r\n")
    assert read_lines_text(path) == " a \n b \n"
    _, data = find_file("ptb", ("lines",), tmp_path)
    assert data.treatment == "byte-order mark dropped; 2 CRLF read as LF"


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ptb.test.txt"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match="empty"):
        read_lines_text(path)


def test_invalid_utf8_is_named_by_offset(tmp_path: Path) -> None:
    path = tmp_path / "ptb.test.txt"
    path.write_bytes(b"abc\xffdef\n")
    with pytest.raises(BenchmarkError, match="0xff at offset 3"):
        read_lines_text(path)


def test_demo_labels_hold_for_the_very_file_only(tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_bytes(b" a b \n")
    digest = hashlib.sha256(b" a b \n").hexdigest()
    labels = {"files": {"ptb.test.txt": {"label": "demo", "sha256": digest}}}
    (tmp_path / "demo.json").write_text(json.dumps(labels), "utf-8")
    assert find_file("ptb", ("lines",), tmp_path)[1].label == "demo"
    assert benchmark_paths("ptb", tmp_path) == [tmp_path / "ptb.test.txt", tmp_path / "demo.json"]
    (tmp_path / "ptb.test.txt").write_bytes(b" a c \n")
    assert find_file("ptb", ("lines",), tmp_path)[1].label == UNKNOWN


@pytest.mark.parametrize("content", ["[]", "{", '{"files": 1}', '{"files": {"ptb.test.txt": 1}}'])
def test_broken_demo_labels_are_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "ptb.test.txt").write_bytes(b" a b \n")
    (tmp_path / "demo.json").write_text(content, "utf-8")
    with pytest.raises(BenchmarkError, match=r"demo\.json is broken"):
        find_file("ptb", ("lines",), tmp_path)
