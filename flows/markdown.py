"""The templates of what is written as Markdown: the cards of models and of data sets."""

from __future__ import annotations

from pathlib import Path

import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> jinja2.Template:
    """A template by its file's name, with the filters `number`, `inline` and `score`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  Markdown; what crawled text goes in is made safe by `inline`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["inline"] = _inline
    environment.filters["score"] = _score
    return environment.get_template(name)


def _inline(text: str) -> str:
    """A foreign string as plain text inside a Markdown table."""
    return "".join(
        letter if letter.isalnum() or letter in " .,:;()%/_-" else "?" for letter in str(text)
    )


def _score(value: float) -> str:
    from eval.table import format_score

    return format_score(value)
