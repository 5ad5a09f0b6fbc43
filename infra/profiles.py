"""Profiles: TOML files that gather every stage's config under its own heading."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.errors import ProfileError

FOLDER = Path(__file__).parent / "profiles"


def read_profile(reference: str | Path) -> dict[str, Any]:
    """Read a profile by its path, or by the name of one that comes with the project.

    Raises:
        ProfileError: there is none, or it is not TOML.
    """
    path = Path(reference)
    if not path.is_file():
        path = FOLDER / f"{reference}.toml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise ProfileError(f"there is no profile {reference}; give a TOML file, or one of: {names}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not valid TOML: {error}") from error


def override(settings: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply assignments such as `train.steps=20` to a profile's settings.

    Values are read as TOML, and as plain text where they are not TOML.

    Raises:
        ProfileError: an assignment is not of the form `section.key=value`.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise ProfileError(f"{assignment!r} is not of the form section.key=value")
        settings = _assigned(settings, keys, _toml_value(text.strip()))
    return settings


def _assigned(settings: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    if len(keys) == 1:
        return {**settings, keys[0]: value}
    inner = settings.get(keys[0], {})
    if not isinstance(inner, dict):
        raise ProfileError(f"{keys[0]} is not a section of the profile")
    return {**settings, keys[0]: _assigned(inner, keys[1:], value)}


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def as_toml(settings: Mapping[str, Any]) -> str:
    """Settings as a profile's TOML: plain values, lists of them, and sections inside sections.

    What is None is left out, for TOML has no word for it.
    """
    return "\n".join(_toml_lines(settings, ())).strip() + "\n"


def _toml_lines(settings: Mapping[str, Any], section: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    if section and (plain or not settings):
        yield f"\n[{'.'.join(map(_toml_key, section))}]"
    for key, value in plain.items():
        if value is not None:
            yield f"{_toml_key(key)} = {_toml_text(value)}"
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _toml_lines(value, (*section, key))


def _toml_key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isascii() and bare.isalnum() else _toml_text(key)


def _toml_text(value: Any) -> str:
    """JSON's strings, numbers and lists are TOML's, but for the delete character."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_toml_key(key)} = {_toml_text(one)}" for key, one in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_text, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
