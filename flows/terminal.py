"""Where commands tell people what goes on."""

from __future__ import annotations

from rich.console import Console

_LOG_WIDTH = 120
"""Columns of tables that go to a file or a pipe."""


def console() -> Console:
    """Standard error, so that results can be piped."""
    out = Console(stderr=True, soft_wrap=True)
    return out if out.is_terminal else Console(stderr=True, soft_wrap=True, width=_LOG_WIDTH)
