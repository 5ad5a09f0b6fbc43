"""Names of files in a series: unique, reversible, and in the order of the months."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.lineage_series import is_name_in_series, name_in_month, name_in_series

SHARDS = st.builds(
    "train/shard-{:05d}-{:03d}.npy".format, st.integers(0, 99_999), st.integers(0, 999)
)
MONTHS = st.integers(0, 999)


@given(MONTHS, SHARDS)
def test_a_name_goes_there_and_back(month: int, shard: str) -> None:
    named = name_in_series(month, shard)
    assert name_in_month(named) == (month, shard)
    assert is_name_in_series(named)
    assert not is_name_in_series(shard)


@given(MONTHS, SHARDS, MONTHS, SHARDS)
def test_shards_sort_by_month_and_then_as_in_it(
    month: int, shard: str, other: int, another: str
) -> None:
    named = name_in_series(month, shard) < name_in_series(other, another)
    assert named == ((month, shard) < (other, another))


@pytest.mark.parametrize("name", ["train/shard-1-000.npy", "README.md"])
def test_other_files_have_no_name_in_a_series(name: str) -> None:
    with pytest.raises(ValueError, match="no shard"):
        name_in_series(0, name)
    with pytest.raises(ValueError, match="no file of a series"):
        name_in_month(name)
