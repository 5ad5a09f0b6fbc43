"""What comes from outside: patterns, checks, and the source that it implies."""

from pathlib import Path

import pytest

from flows.inputs import Inputs, choose_source
from infra.errors import StoreError


def test_patterns_are_read_by_name_and_no_file_twice(tmp_path: Path) -> None:
    for name in ("RS_2017-02.zst", "RS_2017-01.zst", "RC_2017-01.zst"):
        (tmp_path / name).touch()
    first = tmp_path / "RS_2017-02.zst"
    inputs = Inputs(submissions=(first, tmp_path / "RS_*.zst", tmp_path / "." / "RS_2017-01.zst"))
    assert inputs.dumps() == [first, tmp_path / "RS_2017-01.zst"]


def test_a_pattern_without_a_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no dump file matches the pattern"):
        Inputs(submissions=(tmp_path / "RS_*.zst",)).check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"submissions": ("none.zst",)}, "no dump file none.zst"),
        ({"blocked_domains": ("none.txt",)}, "no blocked_domains file none.txt"),
        ({"cdx": ("none.cdxj",), "cdx_records": "x"}, "no index file none.cdxj"),
        ({"cdx": ("https://index.example/",)}, "give both --cdx and --cdx-records"),
        ({"benchmarks": "nowhere"}, "no folder of benchmarks nowhere"),
    ],
)
def test_what_is_not_there_is_named_before_the_start(given: dict, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Inputs.model_validate(given).check()


@pytest.mark.parametrize(
    ("configured", "given", "source"),
    [
        ("gateway", {}, "gateway"),
        ("live", {}, "live"),
        ("live", {"gateway": "http://g"}, "live-then-gateway"),
        ("warc", {"gateway": "http://g"}, "gateway"),
        ("gateway", {"replay": ("a.warc.gz",)}, "warc"),
        ("live", {"cdx": ("cluster.idx",), "cdx_records": "x"}, "cdx"),
    ],
)
def test_what_is_given_is_what_is_read(configured: str, given: dict, source: str) -> None:
    assert choose_source(configured, Inputs.model_validate(given)) == source
