"""Texts of files: every row one text, or an error that names the row."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model import texts_file
from model.errors import TextsError
from model.texts_file import read_texts

TEXTS = ["one", "", "zwei — drei", "  four\tfive "]


def test_the_same_texts_from_each_kind_of_file(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_bytes("\r\n".join(TEXTS).encode() + b"\n")
    assert list(read_texts(plain)) == TEXTS
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n".join(json.dumps({"body": text, "n": 1}) for text in TEXTS))
    assert list(read_texts(lines, "body")) == TEXTS
    for kind in (pa.string(), pa.large_string()):
        table = pa.table({"n": [1, 2, 3, 4], "body": pa.array(TEXTS, kind)})
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
        assert list(read_texts(tmp_path / "a.parquet", "body")) == TEXTS
    (tmp_path / "empty.txt").write_bytes(b"")
    assert list(read_texts(tmp_path / "empty.txt")) == []


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", b"good\n\xff\n", "line 2 is not UTF-8"),
        ("a.txt", b"0123456789\n", "line 1 is longer than 8 bytes"),
        ("a.jsonl", b'{"text": ""}\n{', "line 2 is not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is (not JSON|longer)"),
        ("a.jsonl", b"[1]", r"line 1 has no text in 'text'.*--column"),
        ("a.jsonl", b'{"text":1}', "line 1 has no text in 'text'"),
        ("a.jsonl", b'{"text":"\\ud800"}', "line 1 is not Unicode"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.csv", b"text", "expected a file that ends in .txt"),
    ],
)
def test_what_is_no_text_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, match: str
) -> None:
    (tmp_path / name).write_bytes(content)
    if "longer than 8" in match:
        monkeypatch.setattr(texts_file, "MAX_LINE_BYTES", 8)
    with pytest.raises(TextsError, match=match):
        list(read_texts(tmp_path / name))
    with pytest.raises(TextsError, match="there is no file"):
        read_texts(tmp_path / "none.txt")


def test_parquet_rows_without_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None], "n": [1, 2]}), path)
    with pytest.raises(TextsError, match="row 1 has no text"):
        list(read_texts(path))
    for column in ("n", "gone"):
        with pytest.raises(TextsError, match=f"no column of text '{column}'.*: text"):
            list(read_texts(path, column))
