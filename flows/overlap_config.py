"""The profile's section on overlap between benchmarks and training text."""

from __future__ import annotations

from pydantic import Field

from eval.overlap_filter import FilterConfig


class OverlapConfig(FilterConfig):
    """The n-gram filter, and which items count as clean."""

    clean_limits: tuple[float, ...] = Field(default=(0.0, 0.1), min_length=1)
    """Most share of an item's n-grams that the training text may hold: scores are given on the
    items within each limit."""
