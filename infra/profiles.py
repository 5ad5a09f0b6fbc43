"""Profiles: TOML files that gather every stage's config under its own heading."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
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
