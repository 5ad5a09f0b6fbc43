"""`webtext reproduce`: the one command, and all it reads, that give a score again.

Everything is read from the manifests of what the score was made from. The command runs a profile
that names every setting and every file; what lies on the live web is not asked for again, for it
may have changed: the captures of then are taken over, hashed, and everything behind them is made.
A model from outside, or of another corpus than the benchmark was cut from, is scored as it is.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import stages
from flows.models import MILESTONES, ROLE
from flows.removal_list import listed_removals
from flows.reproduce_inputs import (
    FOLDER,
    Finder,
    OutsideInput,
    gather_inputs,
    given_inputs,
    outside_of,
)
from flows.reproduce_made import MadeWith, made_with
from flows.reproduce_profile import EARLIER, chain_of, profile_settings, profile_toml
from infra.errors import StoreError
from infra.files import write_atomic
from infra.lineage_answers import Answer, ScoreLine
from infra.lineage_build import Known, Library
from infra.lineage_trace import score_lines

NEW_STORE = "reproduced"
"""The store that the printed command makes."""


class Taken(Answer):
    """An artifact that is taken over as it is, and why it is not made again."""

    artifact: str
    fingerprint: str
    files: int
    bytes: int
    why: str


class Recipe(Answer):
    """How to have a score again."""

    score: str
    """Label of the scores."""
    fingerprint: str
    lines: tuple[ScoreLine, ...]
    """The numbers: those of the column that was asked for, or all."""
    command: tuple[str, ...]
    profile: str
    """The profile's file, which holds every setting and names every input."""
    profile_sha256: str
    inputs: tuple[OutsideInput, ...]
    taken: tuple[Taken, ...]
    made_again: tuple[str, ...]
    """Artifacts that the command makes, inputs before what is made of them."""
    made_with: MadeWith
    notes: tuple[str, ...]

    @property
    def shell(self) -> str:
        """The command as one types it."""
        return shlex.join(self.command)

    def command_for(self, store: Path) -> list[str]:
        """The command with another store."""
        return [str(store) if word == NEW_STORE else word for word in self.command]

    def obstacles(self) -> list[str]:
        """What must be mended before the command can give the score again."""
        lost = [
            f"{one.role} {one.name}: {one.advice}" for one in self.inputs if one.advice is not None
        ]
        return [*lost, *self.made_with.obstacles()]


@dataclass(frozen=True)
class _Plan:
    """What is made again and what is taken, of the chain of one score."""

    again: Sequence[Known]
    """What is made again, inputs before what is made of them."""
    taken: Sequence[tuple[Known, str]]
    model: str
    """Label or name of the model."""
    scored: tuple[str, ...] | None
    """Words of a command that scores the model as it is; None where it is trained again."""

    def chain(self) -> list[Known]:
        """Both."""
        return [*self.again, *(known for known, _why in self.taken)]

    def by_stage(self) -> dict[str, Known]:
        """Both by their stages, of which there is one artifact each (but of hubs)."""
        return {known.stage: known for known in self.chain()}


def recipe_of(
    library: Library, scores: Known, column: str | None, folders: Sequence[Path] = ()
) -> Recipe:
    """How to have a scores artifact again; its profile is written into the store.

    Args:
        library: the store's artifacts.
        scores: the artifact.
        column: its column that is meant; all by default.
        folders: where files are looked for that are not where they were.

    Raises:
        StoreError: what it was made from is gone, or was made by other code.
    """
    _refuse_series(library, scores)
    finder = Finder(library.store, folders)
    plan = _plan(library, scores, finder)
    inputs = gather_inputs(finder, plan.again, [known for known, _ in plan.taken])
    settings = profile_settings(
        plan.by_stage() | _bias_of(library, plan),
        given_inputs(library.store.root, plan.chain(), inputs),
        _name(plan.by_stage()),
    )
    settings["inputs"] |= _taken_inputs(plan)
    text = profile_toml(settings, scores.manifest.maker.git_commit)
    path = library.store.root / FOLDER / f"{scores.manifest.fingerprint[:12]}.toml"
    write_atomic(path, text.encode())
    lines = score_lines(scores, plan.model)
    made = made_with(plan.again)
    return Recipe(
        score=scores.label,
        fingerprint=scores.manifest.fingerprint,
        lines=tuple(line for line in lines if column in (None, line.column)),
        command=("webtext", *_words(plan), "--profile", str(path), "--store", NEW_STORE),
        profile=str(path),
        profile_sha256=hashlib.sha256(text.encode()).hexdigest(),
        inputs=tuple(inputs),
        taken=tuple(_taken(known, why) for known, why in plan.taken),
        made_again=tuple(known.label for known in plan.again),
        made_with=made,
        notes=tuple(_notes(library, plan)),
    )


def _refuse_series(library: Library, scores: Known) -> None:
    """See that one profile tells all that a score was made from: a series has one for each month.

    Raises:
        StoreError: it does not.
    """
    models = [library.known[label] for label in scores.inputs(ROLE) if label in library.known]
    series = next(filter(None, map(library.series_of, models)), None)
    if series is not None:
        raise StoreError(
            f"{scores.label} stands on {series.label}, the months "
            f"{', '.join(series.manifest.identity.config['months'])}, which no single profile "
            "makes; give their dumps to `webtext refresh` in another store, train on `series`, and "
            "score that"
        )


def _plan(library: Library, scores: Known, finder: Finder) -> _Plan:
    """What is made again. Raises StoreError where a model from outside cannot be found."""
    chain = chain_of(library, scores)
    model = next(iter(scores.inputs(ROLE)), None)
    cut = next((known for known in chain if known.label in scores.inputs("benchmark")), None)
    held_out = next(iter(cut.inputs("documents")), None) if cut else None
    below = {known.label for known in chain_of(library, library.known[model])} if model else set()
    stages_made = [known.stage for known in chain if known.stage != stages.HUB.name]
    is_one_build = len(set(stages_made)) == len(stages_made)  # a series has one a month
    is_last = model == scores.scored_model  # and no milestone on the way to it
    if model is not None and is_one_build and is_last and held_out in (None, *below):
        taken = [(known, why) for known in chain if (why := _why_taken(known)) is not None]
        again = [known for known in chain if _why_taken(known) is None]
        return _Plan(again, taken, model, None)
    root = library.store.root.absolute()
    folder = str(_milestone(root / model, scores) if model else _outside_model(scores, finder))
    held = ("--held-out", str(root / held_out)) if held_out else ()
    return _Plan([*([cut] if cut else []), scores], [], model or folder, (folder, *held))


def _why_taken(known: Known) -> str | None:
    """Why an artifact is taken over; None of one that can be made again."""
    config, inputs = known.manifest.identity.config, known.manifest.identity.inputs
    if known.stage == stages.HUB.name:
        return "its files are on a hub, at a commit that may have been removed"
    if known.stage != stages.CAPTURES.name or config["source"] == "warc":
        return None
    if config["source"] == "gateway" and any(entry.role == "replay" for entry in inputs):
        return None
    return (
        f"it was crawled ({config['source']}) and the web may have changed since: the WARC files "
        "of then are replayed"
    )


def _milestone(model: Path, scores: Known) -> Path:
    """The folder that was scored: the model's, or that of a milestone in it."""
    names = [Path(entry.name) for entry in scores.manifest.identity.inputs if entry.role == ROLE]
    kept = [name for name in names if name.parts[0] == MILESTONES]
    return model / kept[0].parent if kept else model


def _outside_model(scores: Known, finder: Finder) -> Path:
    """The folder of a model from outside."""
    entries = [entry for entry in outside_of(scores) if entry.role == ROLE]
    for entry in entries:
        found = finder.look(entry)
        if found.path is not None:
            return Path(found.path).parent
    raise StoreError(
        f"the model of {scores.label} was from outside, and where its files were is not known; "
        "name a folder that holds them by --find: "
        + ", ".join(f"{entry.name} (sha256 {entry.fingerprint[:12]}…)" for entry in entries)
    )


def _words(plan: _Plan) -> tuple[str, ...]:
    return ("run",) if plan.scored is None else ("eval", *plan.scored)


def _bias_of(library: Library, plan: _Plan) -> dict[str, Known]:
    """The bias probes of the model, which the command makes, too: with the settings of then."""
    found = [
        known
        for known in library.users.get(plan.model, [])
        if known.stage == stages.BIAS.name and plan.scored is None
    ]
    return {known.stage: known for known in found[:1]}


def _taken_inputs(plan: _Plan) -> dict[str, list[str]]:
    folders = [str(known.folder.absolute()) for known, _why in plan.taken]
    return {"taken": folders} if folders else {}


def _taken(known: Known, why: str) -> Taken:
    files = known.manifest.files
    return Taken(
        artifact=known.label,
        fingerprint=known.manifest.fingerprint,
        files=len(files),
        bytes=known.manifest.total_bytes,
        why=why,
    )


def _name(by_stage: Mapping[str, Known]) -> str:
    """The profile's name: that of the run that made the shards or the scores."""
    known = by_stage.get(stages.SHARDS.name)
    if known is not None:
        return known.manifest.name
    scores = by_stage[stages.SCORES.name].manifest
    return scores.name.removesuffix(f"-{scores.identity.config['benchmark']}")


def _notes(library: Library, plan: _Plan) -> Iterator[str]:
    if plan.scored is not None:
        yield f"the model {plan.model} is scored as it is: it is not trained again"
    for known in plan.again:
        if known.manifest.identity.packages:
            versions = known.manifest.identity.packages.items()
            named = ", ".join(f"{name} {version}" for name, version in versions)
            yield (
                f"{known.label} was remade beside an older one and is named by {named}: made again "
                "in a new store it has another fingerprint, and so has what follows from it"
            )
    by_stage = plan.by_stage()
    duplicates = by_stage.get(stages.DUPLICATES.name)
    for label in duplicates.inputs(f"{EARLIER}duplicates") if duplicates else ():
        yield f"the earlier corpus of {label} is read as it is"
    captures = by_stage.get(stages.CAPTURES.name)
    if captures is not None and captures.manifest.purges:
        yield (
            f"{len(captures.manifest.purges):,} records of {captures.label} were overwritten "
            "since: where the score stands on their pages it cannot be had again"
        )
    listed = len(listed_removals(library.store.root))
    removals = by_stage.get(stages.REMOVALS.name)
    obeyed = removals.manifest.counts["rows_in"] if removals else 0
    if plan.scored is None and listed > obeyed:
        yield (
            f"{listed - obeyed:,} removals were listed since: what they took down is read again by "
            "this command, so remove the new store afterwards"
        )
