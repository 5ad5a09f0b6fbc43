"""Where commands tell people what goes on."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.tree import Tree

_LOG_WIDTH = 120
"""Columns of tables that go to a file or a pipe."""


def console() -> Console:
    """Standard error, so that results can be piped."""
    out = Console(stderr=True, soft_wrap=True)
    return out if out.is_terminal else Console(stderr=True, soft_wrap=True, width=_LOG_WIDTH)


def show_answer(view: RenderableType) -> None:
    """Print an answer whole: a tree's lines are wrapped, for rich would cut them."""
    console().print(view, soft_wrap=not isinstance(view, Tree))
