"""Links that earlier months captured are left out of a month, and told with their captures."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from tests.webtext.test_links import _row, _write_dump
from webtext.links import LinksConfig, group_links_partition
from webtext.tables import CAPTURES, KNOWN, read_table, write_table

WHEN = datetime(2017, 9, 3, tzinfo=UTC)


def _captures(folder: Path, **outcomes: str) -> Path:
    rows = [
        {"link_id": key.encode().ljust(16), "outcome": outcome, "source": "warc",
         "captured_at": WHEN if outcome == "ok" else None}
        for key, outcome in sorted(outcomes.items())
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=CAPTURES)
    write_table(folder / "captures" / "part-00000.parquet", table)
    return folder


def _month(folder: Path, rows: list[dict], *earlier: Path) -> tuple[Path, dict]:
    _write_dump(folder / "in", rows)
    counts = group_links_partition(
        submissions=folder / "in",
        partition=0,
        destination=folder / "out",
        config=LinksConfig(),
        earlier_captures=earlier,
    )
    return folder / "out", counts.model_dump()


def _link(key: str, number: str, karma: int = 5) -> dict:
    return _row(number, karma=karma, link_id=key.encode().ljust(16), url=f"http://{key}.example/")


def test_known_links_are_told_with_month_outcome_and_time(tmp_path: Path) -> None:
    earlier = [
        _captures(tmp_path / "one", a="ok", x="ok"),
        _captures(tmp_path / "two", b="timeout"),
    ]
    rows = [_link("a", "1"), _link("a", "2"), _link("b", "3"), _link("c", "4"), _link("d", "5", 1)]
    out, counts = _month(tmp_path / "three", rows, *earlier)
    links = read_table(out / "links" / "part-00000.parquet").to_pylist()
    known = read_table(out / "known" / "part-00000.parquet")
    assert [row["link_id"].strip() for row in links] == [b"c"]
    assert known.schema.equals(KNOWN)
    told = [
        (row["link_id"].strip(), row["month"], row["outcome"], row["captured_at"],
         [post["id"] for post in row["submissions"]])
        for row in known.to_pylist()
    ]  # fmt: skip
    assert told == [(b"a", 0, "ok", WHEN, ["1", "2"]), (b"b", 1, "timeout", None, ["3"])]
    assert counts["losses"]["known_link"] == 3
    assert counts["losses"]["same_link"] == 0
    assert counts["facts"] == {"known_links": 2}


def test_without_known_ones_the_links_are_those_of_a_month_alone(tmp_path: Path) -> None:
    rows = [_link("a", "1"), _link("b", "2")]
    alone, counts = _month(tmp_path / "alone", rows)
    beside, _ = _month(tmp_path / "beside", rows, _captures(tmp_path / "other", x="ok"))
    part = "links/part-00000.parquet"
    assert (alone / part).read_bytes() == (beside / part).read_bytes()
    assert not (alone / "known").exists()
    assert "known_link" not in counts["losses"]
    assert read_table(beside / "known" / "part-00000.parquet").num_rows == 0
