"""Real months: those of 2005 as they are, and a month of 2017 parted in two."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.end_to_end.conftest import TINY, webtext
from tests.end_to_end.real_months import part_by_time

REAL = Path(os.environ.get("WEBTEXT_REAL_DATA", "")) / "real-web"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason="WEBTEXT_REAL_DATA names no folder of real pages"),
]


def test_months_of_2005_without_pages_and_of_2017_with_pages(
    tmp_path: Path, shared_api: str
) -> None:
    """The sums are those of one build of the whole month (test_real_web)."""
    halves = part_by_time(REAL / "RS_2017-09.zst", tmp_path)
    ended = webtext(
        "refresh", "--profile", TINY, "--store", tmp_path / "runs", "--json",
        "--submissions", *reversed(halves), REAL / "RS_v2_2005-06.xz",
        "--replay", REAL / "pages.warc.gz", api_url=shared_api,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    months = json.loads(ended.out)["months"]
    assert [month["month"] for month in months] == ["2005-06", "2017-08", "2017-09"]
    assert [month["links_new"] for month in months] == [83, 840, 563]
    assert [month["links_known"] for month in months] == [0, 0, 243]
    assert sum(month["captures"] for month in months) == 1_123
    assert months[0]["tokens"] == 0
    assert webtext("verify", "--store", tmp_path / "runs").code == 0
