"""What a part reads of the store, found from its arguments, and the same paths on another machine.

A stage's function gets folders and files of the store as plain arguments. Where the store is in
object storage, these are brought to the machine that runs the part, and no more than it reads:

    .../STAGE/NAME-FINGERPRINT         the artifact's files; of a stage whose parts read their own
                                       partition alone, those and what has no partition
    .../STAGE/NAME-FINGERPRINT/a/b     that file, or the files below
    the store's folder itself          the manifests of all that the artifacts were made from

Of artifacts in roles that the stage reads no table of (a card's captures), the manifest alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.part_keys import partition_of, partition_of_part

SOURCES = "sources"
"""The folder of a store in object storage that outside files are put in, for other machines."""
LISTS = ("removals.jsonl",)
"""Files of the store itself that every machine has to know."""
_SOURCE = re.compile(SOURCES + r"/[0-9a-f]{64}/.+")
_LABEL = re.compile(r"([a-z0-9-]+/[a-z0-9_-]+-[0-9a-f]{12})(?:/(.+))?")


class Need(BaseModel):
    """Files of an artifact that a part reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    path: str | None = None
    """The one file or folder inside; None for all."""
    partition: int | None = None
    """The partition whose files are read, with those that have none; None for all."""
    manifest_alone: bool = False

    def wants(self, path: str) -> bool:
        """Whether it is one of the files."""
        if self.manifest_alone:
            return False
        if self.path is not None and path != self.path and not path.startswith(f"{self.path}/"):
            return False
        return self.partition is None or partition_of(path) in (None, self.partition)


class Needs(BaseModel):
    """All that a part reads of the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[Need, ...] = ()
    sources: tuple[str, ...] = ()
    """Outside files, by their names in the store."""
    lists: tuple[str, ...] = ()
    """Files of the store itself."""
    with_lineage: bool = False
    """Whether it reads the manifests of what the artifacts were made from."""


def needs_of(
    root: Path,
    arguments: Mapping[str, Any],
    part: str,
    *,
    local: bool,
    reads: Collection[str] | None = None,
) -> Needs:
    """What a part with these arguments reads of the store in `root`.

    Args:
        root: the store's folder, with which such arguments begin.
        arguments: of the stage's function; a path's role is the name that it stands under.
        part: its name.
        local: whether it reads, of what is partitioned, its own partition alone.
        reads: patterns of the roles that it reads files of; None for all.
    """
    partition = partition_of_part(part) if local else None
    found: dict[Need, None] = {}
    inside_all: list[str] = []
    with_lineage = False
    for role, text in _texts("", arguments):
        if text == str(root):
            with_lineage = True
        inside = _inside(root, text)
        inside_all += [inside] if inside is not None else []
        if inside is not None and (label := _LABEL.fullmatch(inside)):
            alone = reads is not None and not any(fnmatchcase(role, each) for each in reads)
            need = Need(label=label[1], path=label[2], partition=partition, manifest_alone=alone)
            found[need] = None
    return Needs(
        files=tuple(found),
        sources=tuple(name for name in inside_all if _SOURCE.fullmatch(name)),
        lists=tuple(name for name in inside_all if name in LISTS),
        with_lineage=with_lineage,
    )


def moved(arguments: Mapping[str, Any], root: Path, to: Path) -> dict[str, Any]:
    """The arguments with paths below one folder put below another."""

    def move(text: str) -> str:
        inside = _inside(root, text)
        if text == str(root):
            return str(to)
        return text if inside is None else str(to / inside)

    return mapped(arguments, move)


def mapped(arguments: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The arguments with every text in them changed."""
    return {name: _mapped(value, change) for name, value in arguments.items()}


def _inside(root: Path, text: str) -> str | None:
    prefix = f"{root}/"
    return text.removeprefix(prefix) if text.startswith(prefix) else None


def _texts(role: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield role, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(str(name), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(role, inner)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _mapped(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(inner, change) for inner in value]
    return value
