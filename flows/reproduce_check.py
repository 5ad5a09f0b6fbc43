"""`webtext reproduce --check`: the command run into a new store, and every byte compared."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.reproduce import Recipe
from infra.errors import StageFailed, StoreError
from infra.lineage_answers import Answer
from infra.lineage_build import Known, Library
from infra.lineage_diff import diff_stages
from infra.store import Store

_BLOCK_BYTES = 1 << 20


class Compared(Answer):
    """One artifact of then, beside what was made now."""

    artifact: str
    now: str | None
    """Label of what was made now; None where nothing was."""
    how: str
    """`made again` or `taken over`."""
    files: int
    """Files that are equal, of those before the first that differs."""
    bytes: int
    """Their bytes."""
    different: str | None
    """The first file that differs, and how; or what else is different."""


class Checked(Answer):
    """Whether a score was had again to the byte."""

    score: str
    store: str
    equal: bool
    artifacts: tuple[Compared, ...]
    """In the order of making."""

    @property
    def first_different(self) -> Compared | None:
        """Where the two part."""
        return next((one for one in self.artifacts if one.different is not None), None)


def check_aside(library: Library, recipe: Recipe, keep: Path | None) -> Checked:
    """As `check`, into a folder that is removed afterwards unless it is to be kept."""
    if keep is not None:
        return check(library, recipe, keep)
    with tempfile.TemporaryDirectory(prefix="webtext-reproduce-") as folder:
        return check(library, recipe, Path(folder) / "store")


def check(library: Library, recipe: Recipe, scratch: Path) -> Checked:
    """Run a recipe's command into a folder that is not there yet, and compare.

    Raises:
        StoreError: something stands in the command's way, or the folder is there.
        StageFailed: the command failed.
    """
    obstacles = recipe.obstacles()
    if obstacles:
        raise StoreError("it cannot be run again yet:\n" + "\n".join(f"  {o}" for o in obstacles))
    if scratch.exists():
        raise StoreError(f"{scratch} is there already; give a folder that is not")
    _run(recipe.command_for(scratch), scratch)
    return compare(library, recipe, Library(Store(scratch)))


def compare(library: Library, recipe: Recipe, now: Library) -> Checked:
    """Compare all that a score was made from, and itself, with what another store has of it."""
    taken = {one.artifact for one in recipe.taken}
    order = [*recipe.made_again]
    for label in taken:
        # Before what was made of it.
        users = {user.label for user in library.users[label]}
        order.insert(next(i for i, one in enumerate(order) if one in users), label)
    found = tuple(_compare(library.known[label], now, taken=label in taken) for label in order)
    return Checked(
        score=recipe.score,
        store=str(now.store.root),
        equal=all(one.different is None for one in found),
        artifacts=found,
    )


def _run(command: list[str], scratch: Path) -> None:
    """Run the command as its own process; what it prints goes to the terminal, not to a pipe."""
    guard = [sys.executable, "-m", "infra.orphans", str(os.getpid()), "--"]
    own = [sys.executable, "-m", "flows.cli", *command[1:]]
    done = subprocess.run([*guard, *own], stdout=sys.stderr.fileno(), check=False)
    if done.returncode:
        raise StageFailed(
            f"the command ended with code {done.returncode} (its store was {scratch})"
        )


def _compare(known: Known, now: Library, *, taken: bool) -> Compared:
    other = _counterpart(known, now)
    files = size = 0
    different = _identity_difference(known, other)
    for path, problem in _files(known, other) if other is not None and different is None else ():
        if problem is not None:
            different = f"{path} {problem}"
            break
        files += 1
        size += (known.folder / path).stat().st_size
    return Compared(
        artifact=known.label,
        now=other.label if other else None,
        how="taken over" if taken else "made again",
        files=files,
        bytes=size,
        different=different,
    )


def _counterpart(known: Known, now: Library) -> Known | None:
    """What was made now in the place of an artifact: the equal one, or that of its stage."""
    wanted = known.manifest.fingerprint
    same = [one for one in now.known.values() if one.manifest.fingerprint == wanted]
    benchmark = known.manifest.identity.config.get("benchmark")
    stage = [
        one
        for one in now.known.values()
        if one.stage == known.stage and one.manifest.identity.config.get("benchmark") == benchmark
    ]
    return next(iter([*same, *stage]), None)


def _identity_difference(known: Known, other: Known | None) -> str | None:
    """What of an artifact's identity is not what it was; None where it is equal."""
    if other is None:
        return "nothing of this stage was made"
    if other.manifest.fingerprint == known.manifest.fingerprint:
        return None
    [stage] = diff_stages({known.stage: known}, {known.stage: other})
    causes = [f"{one.what}: {one.first} → {one.second}" for one in stage.causes]
    follows = [f"other {role}" for role in stage.follows]
    return f"it was made anew as {other.label}: " + "; ".join([*causes, *follows])


def _files(known: Known, other: Known) -> Iterator[tuple[str, str | None]]:
    """Every file of two equal artifacts, and how it differs."""
    there = {file.path for file in other.manifest.files}
    for file in known.manifest.files:
        if file.path not in there:
            yield file.path, "was not made"
        else:
            yield file.path, _difference(known.folder / file.path, other.folder / file.path)
    for path in sorted(there - {file.path for file in known.manifest.files}):
        yield path, "was made, and was not there before"


def _difference(before: Path, now: Path) -> str | None:
    """Where the bytes of two files part; None where they are equal."""
    if not before.is_file():
        return "is gone from the store; `webtext verify` tells what else is"
    offset = 0
    with before.open("rb") as one, now.open("rb") as other:
        while True:
            mine, theirs = one.read(_BLOCK_BYTES), other.read(_BLOCK_BYTES)
            if mine != theirs:
                pairs = zip(mine, theirs, strict=False)
                same = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
                at = offset + (min(len(mine), len(theirs)) if same is None else same)
                sizes = f"{before.stat().st_size:,} and {now.stat().st_size:,} bytes"
                return f"differs from byte {at:,} on ({sizes})"
            if not mine:
                return None
            offset += len(mine)
