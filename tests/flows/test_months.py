"""Which month a dump is of."""

from pathlib import Path

import pytest

from flows.months import months_of_dumps
from infra.errors import StoreError


def test_dumps_are_dealt_to_months_oldest_first() -> None:
    given = ["b/RS_2017-09.zst", "RS_v2_2005-07.xz", "RS_2017-09.part2.zst", "posts_201108.jsonl"]
    found = months_of_dumps([Path(name) for name in given])
    assert [(month.name, [str(dump) for dump in month.dumps]) for month in found] == [
        ("2005-07", ["RS_v2_2005-07.xz"]),
        ("2011-08", ["posts_201108.jsonl"]),
        ("2017-09", ["b/RS_2017-09.zst", "RS_2017-09.part2.zst"]),
    ]


@pytest.mark.parametrize("name", ["dump.zst", "RS_2017-13.zst", "RS_2017-09_2017-10.zst"])
def test_a_dump_that_tells_no_one_month_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="RS_2017-09"):
        months_of_dumps([Path(name)])
