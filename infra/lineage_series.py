"""Series: the shards of many months as one, each month's files under names of their own.

A `series` artifact holds the shards of its months one after the other, by links to their files:

    train/shard-00007-000.npy of month 2    ->    train/shard-00200007-000.npy

The month's number stands before the partition's, so that all shards of a month come after those of
the months before it, and a month that is added changes no name. A month stays a build of its own;
whatever asks for the document of a token goes from the series' shard to the month's.
"""

from __future__ import annotations

import re

STAGE = "series"
MOST_MONTHS = 999
"""Months that three digits count."""

_OF_MONTH = re.compile(r"(.*/)?(shard|part)-(\d{5})([-.].*)")
_OF_SERIES = re.compile(r"(.*/)?(shard|part)-(\d{3})(\d{5})([-.].*)")


def name_in_series(month: int, path: str) -> str:
    """What a month's file is called in the series.

    Raises:
        ValueError: it is no shard and no part of a table.
    """
    found = _OF_MONTH.fullmatch(path)
    if found is None:
        raise ValueError(f"{path} is no shard and no part of a table")
    return f"{found[1] or ''}{found[2]}-{month:03d}{found[3]}{found[4]}"


def is_name_in_series(path: str) -> bool:
    """Whether a series names a file so."""
    return _OF_SERIES.fullmatch(path) is not None


def name_in_month(path: str) -> tuple[int, str]:
    """The month's number and its file, of a file of the series; the inverse of `name_in_series`.

    Raises:
        ValueError: no series names a file so.
    """
    found = _OF_SERIES.fullmatch(path)
    if found is None:
        raise ValueError(f"{path} is no file of a series")
    return int(found[3]), f"{found[1] or ''}{found[2]}-{found[4]}{found[5]}"
