"""The pages that are written or served: templates, their filters, and what a page may load.

A page holds its style and its script in itself and is allowed nothing else: its policy names both
by their hashes, so that no text of a crawled page can run or load anything even where escaping
failed. All values are escaped by the templates.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from flows.report_graph import anchor
from flows.report_svg import share_bar

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN_CHARACTERS = 110
_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": lambda value: f"{value:,}",
        "percent": _percent,
        "bytes": _bytes,
        "duration": _duration,
        "anchor": anchor,
        "short": _short,
        "score": _score,
        "words": lambda text: str(text).replace("_", " "),
    }
    environment.globals |= {"bar": share_bar}
    return environment


def render(name: str, *, served: bool, **values: Any) -> str:
    """A page from its template, for a file or `served`; style, script and policy are put in."""
    return (
        _environment()
        .get_template(name)
        .render(
            style=Markup(_asset("report.css")),  # noqa: S704  a file of this package
            script=Markup(_asset("report.js")),  # noqa: S704  a file of this package
            policy=page_policy(served=served),
            served=served,
            **values,
        )
    )


@cache
def page_policy(*, served: bool) -> str:
    """The Content-Security-Policy of a page: its own style and script by hash, nothing else."""
    rules = [
        "default-src 'none'",
        f"style-src '{_hash('report.css')}'",
        f"script-src '{_hash('report.js')}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'self'" if served else "form-action 'none'",
    ]
    return "; ".join(rules)


@cache
def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _hash(name: str) -> str:
    digest = hashlib.sha256(_asset(name).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.0%}" if value in (0, 1) else f"{value:.1%}" if value >= 0.001 else f"{value:.1e}"
    )


def _bytes(value: float) -> str:
    for unit, size in _UNITS:
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} B"


def _duration(seconds: float) -> str:
    """For example `1.4 s`, `3 min 20 s`, `5 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _short(text: str, most: int = _SHOWN_CHARACTERS) -> str:
    """A long text with its middle left out."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _score(value: float) -> str:
    from eval.table import format_score

    return format_score(value)
