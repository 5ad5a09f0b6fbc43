"""English reference pages out of the Python installation: what pydoc would show, as plain HTML.

Two sources: the topics of the language reference (`pydoc_data.topics`) and the documentation
strings of the standard library, module by module, a large class on its own page. Object addresses,
paths and anything whose order depends on hash seeds are left out, so one installation always gives
the same pages. Modules that act on import (open a browser, a terminal, a window) are skipped.
"""

import contextlib
import html
import importlib
import inspect
import io
import pkgutil
import pydoc
import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

SKIPPED_MODULES = frozenset(
    {
        "antigravity", "ctypes.macholib", "distutils", "encodings", "ensurepip", "idlelib",
        "lib2to3", "pydoc_data", "readline", "rlcompleter", "site", "test", "this", "tkinter.test",
        "turtledemo", "unittest.test", "venv",
    }
)  # fmt: skip
"""Modules (with all below them) that act on import, are tests, or hold next to no prose."""

MAX_PAGES_A_PACKAGE = 24
"""Keeps tkinter, a fifth of all text, and asyncio from drowning the rest."""

_OWN_PAGE_CHARACTERS = 2_500  # a class with more HTML than this leaves its module's page
_LEAST_CHARACTERS = 900  # module pages with less HTML say nothing but names
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_TAG = re.compile(r"<[^>]*>")


class ReferencePage(NamedTuple):
    """One page's worth of reference."""

    name: str
    """Dotted name or topic; unique."""
    title: str
    body: str
    """HTML of headings, paragraphs and preformatted text."""

    @property
    def characters(self) -> int:
        """Characters of text, tags not counted."""
        return len(_TAG.sub("", self.body))


def walk_reference() -> Iterator[ReferencePage]:
    """All pages, in an order that is fixed for an installation; modules are imported as needed."""
    modules = _walk_modules()
    # Topics and modules alternate, so that a small web holds both.
    for topic in _walk_topics():
        yield topic
        yield from next(modules, ())
    for pages in modules:
        yield from pages


def _walk_topics() -> Iterator[ReferencePage]:
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some systems package it apart
        return
    for name in sorted(topics):
        title, _, text = topics[name].strip().partition("\n")
        yield ReferencePage(f"topic.{name}", title.replace('"', ""), _mark_up(text.lstrip("*=-\n")))


def _walk_modules() -> Iterator[list[ReferencePage]]:
    """The pages of each module in turn."""
    pages_of: dict[str, int] = {}
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in SKIPPED_MODULES:
            continue
        for module in _import_tree(name):
            room = MAX_PAGES_A_PACKAGE - pages_of.get(name, 0)
            pages = _document_module(module)[: max(room, 0)]
            pages_of[name] = pages_of.get(name, 0) + len(pages)
            if pages:
                yield pages


def _import_tree(name: str) -> Iterator[ModuleType]:
    """A module and, for a package, its public submodules."""
    module = _import_quietly(name)
    if module is None:
        return
    yield module
    for child in sorted(found.name for found in pkgutil.iter_modules(_search_path(module))):
        below = f"{name}.{child}"
        if not child.startswith("_") and below not in SKIPPED_MODULES and name != "tkinter":
            yield from _import_tree(below)


def _search_path(module: ModuleType) -> list[str]:
    return list(getattr(module, "__path__", []))


def _import_quietly(name: str) -> ModuleType | None:
    """The module, or None where this installation or system lacks it."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, AttributeError, RuntimeError):
            return None


def _document_module(module: ModuleType) -> list[ReferencePage]:
    """The module's page, then those of its large classes."""
    name = module.__name__
    pages: list[ReferencePage] = []
    parts = [_mark_up(pydoc.getdoc(module))]
    for key, cls in _public_members(module, inspect.isclass):
        body = _document_class(cls, key)
        if len(body) > _OWN_PAGE_CHARACTERS:
            pages.append(ReferencePage(f"{name}.{key}", f"The {key} class of {name}", body))
        else:
            parts.append(f"<h2>class {html.escape(key)}</h2>\n{body}")
    for key, routine in _public_members(module, inspect.isroutine):
        parts.append(_document_routine(routine, key))
    body = "\n".join(parts)
    if len(body) < _LEAST_CHARACTERS:
        return pages
    return [ReferencePage(name, f"The {name} module", body), *pages]


def _public_members(module: ModuleType, kind: Any) -> list[tuple[str, Any]]:
    """Members that pydoc would show and that are defined in this very module."""
    exported = getattr(module, "__all__", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        members = inspect.getmembers(module, kind)
    return [
        (key, value)
        for key, value in members
        if pydoc.visiblename(key, exported, module)
        and getattr(value, "__module__", None) in (module.__name__, "_" + module.__name__)
    ]


def _document_class(cls: type, name: str) -> str:
    """The class's documentation and that of what it defines itself."""
    parts = [_mark_up(_own_doc(cls)), *_describe_signature(cls, name)]
    for key, kind, home, value in pydoc.classify_class_attrs(cls):
        if home is not cls or kind == "data" or not pydoc.visiblename(key, obj=cls):
            continue
        if _own_doc(value) in ("", _own_doc(getattr(object, key, None))):
            continue
        if kind.endswith("method"):
            parts.append(_document_routine(getattr(cls, key, value), key))
        else:
            parts.append(f"<h3>{html.escape(key)}</h3>\n{_mark_up(_own_doc(value))}")
    return "\n".join(parts)


def _own_doc(value: object) -> str:
    doc = getattr(value, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


def _document_routine(routine: Any, name: str) -> str:
    doc = _own_doc(routine)
    heading = "".join(_describe_signature(routine, name)) or html.escape(name)
    return f"<h3>{_scrub(name)}</h3>\n{heading}\n{_mark_up(doc)}" if doc else ""


def _describe_signature(value: Any, name: str) -> list[str]:
    try:
        signature = str(inspect.signature(value))
    except (ValueError, TypeError, AttributeError, NameError):
        return []
    # Sets and dictionaries among the defaults show in the order of their hashes.
    if "{" in signature or len(signature) > 400:
        return []
    return [f"<p><code>{html.escape(_scrub(name + signature))}</code></p>"]


def _mark_up(text: str) -> str:
    """Paragraphs as `<p>`, underlined lines as `<h2>`, indented blocks and sessions as `<pre>`."""
    parts = []
    for block in re.split(r"\n\s*\n", _scrub(text.expandtabs()).strip("\n")):
        lines = [line for line in block.splitlines() if line.strip()]
        if not lines:
            continue
        if len(lines) == 2 and re.fullmatch(r"([*=~^\"-])\1+", lines[1].strip()):
            parts.append(f"<h2>{html.escape(lines[0].strip())}</h2>")
        elif all(line.startswith("   ") for line in lines) or lines[0].lstrip().startswith(">>>"):
            parts.append(f"<pre>{html.escape(block)}</pre>")
        else:
            parts.append(f"<p>{html.escape(' '.join(block.split()))}</p>")
    return "\n".join(parts)


def _scrub(text: str) -> str:
    """Remove what tells this machine or this process from others."""
    text = _ADDRESS.sub("", text)
    if sys.executable:  # `python` or `python3`, in this folder or that: a default of `platform`
        text = text.replace(sys.executable, "/usr/bin/python3")
    for place in sorted({sys.prefix, sys.base_prefix, sys.exec_prefix}, key=len, reverse=True):
        if len(place) > len("/usr"):
            text = text.replace(place, "/usr")
    return text
