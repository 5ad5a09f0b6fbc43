"""The reference of all settings, written from the configs themselves.

`python -m flows.reference > docs/reference/configuration.md`; a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.profile import Profile

_HEAD = """# Configuration

A profile is a TOML file: the keys of this first table at its top, then a section for each heading.
Every setting has a default, so a profile names what it changes. On the command line,
`--set section.key=value` changes one for a run. `gates` has a section for each expectation,
`[gates.NAME]`.

What the sections say is part of an artifact's identity: a change makes new artifacts from that
stage on. `inputs` counts by the files' content, and `runtime`, `checkpoints`, `monitors` and
`gates` not at all.
"""


def configuration_markdown() -> str:
    """The whole page."""
    sections = list(_sections())
    top = [name for name in Profile.model_fields if name not in dict(sections)]
    pieces = [_HEAD, _table(Profile, top)]
    pieces += [
        f"\n## {name}\n\n{_first_line(model)}\n\n{_table(model)}" for name, model in sections
    ]
    return "\n".join(pieces)


def _sections(
    model: type[BaseModel] = Profile, prefix: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section with its dotted name, and those inside it."""
    for name, field in model.model_fields.items():
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield f"{prefix}{name}", candidate
                yield from _sections(candidate, f"{prefix}{name}.")


def _table(model: type[BaseModel], names: list[str] | None = None) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if names is not None and name not in names:
            continue
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is Union or type(annotation).__name__ == "UnionType":
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    if arguments and origin is not None and not isinstance(origin, type):
        return " or ".join(f"`{one}`" for one in arguments)
    return str(getattr(annotation, "__name__", annotation))


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "the machine's cores" if field.annotation is int else "computed"
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "–"
    if isinstance(field.default, tuple):
        shown = ", ".join(map(str, field.default[:4]))
        return f"{shown}, … ({len(field.default)})" if len(field.default) > 4 else shown or "none"
    return f"`{field.default}`" if str(field.default) else "–"


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.stdout.write(configuration_markdown())
