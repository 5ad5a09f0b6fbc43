"""What changed between two runs, stage by stage, from their manifests and loss curves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from infra.lineage_answers import Answer
from infra.lineage_build import CORPUS_STAGES, Known
from infra.lineage_scores import name_of_input

_BEFORE = ("demo-web", "hub", "removals", "warc-index")
"""What some corpora are made from, beside dumps."""
TRAINED = (*_BEFORE, *CORPUS_STAGES, "model")
"""Stages in the order in which two runs are compared; scores come after them."""


class Change(Answer):
    """One value that differs."""

    what: str
    first: Any
    second: Any


class StageDiff(Answer):
    """A stage of two runs."""

    stage: str
    """Scores with their benchmark, as `scores/lambada`."""
    first: str | None
    """Label of the artifact; None where the run has none."""
    second: str | None
    same: bool
    """Whether both have the same artifact, and so the same bytes."""
    causes: tuple[Change, ...]
    """What of its own identity differs: version, settings, files from outside."""
    follows: tuple[str, ...]
    """Roles of inputs that differ because an earlier stage does."""
    counts: tuple[Change, ...]
    """Rows and losses that differ."""
    made_by: tuple[Change, ...]
    """What of the makers differs: packages, commit, Python; no part of the identity."""


class CurveDiff(Answer):
    """Two loss curves."""

    steps: tuple[int, int]
    first_different_step: int | None
    """None where all common steps have equal losses."""
    last_losses: tuple[float | None, float | None]
    """None: not finite."""
    validation_losses: tuple[float | None, float | None]
    largest_difference: float
    """Of the finite losses of one step, second minus first, by its size."""
    largest_at: int | None


def diff_stages(first: Mapping[str, Known], second: Mapping[str, Known]) -> Iterator[StageDiff]:
    """Each stage that one of two runs has, in order."""
    extra = sorted({*first, *second} - set(TRAINED))
    for stage in (*TRAINED, *extra):
        one, other = first.get(stage), second.get(stage)
        if one is not None or other is not None:
            yield _diff_stage(stage, one, other)


def diff_curves(first: Known, second: Known) -> CurveDiff:
    """The loss curves of two models."""
    curves = [_losses(known) for known in (first, second)]
    common = sorted(curves[0].keys() & curves[1].keys())
    pairs = {step: (curves[0][step]["loss"], curves[1][step]["loss"]) for step in common}
    apart = {step: two - one for step, (one, two) in pairs.items() if None not in (one, two)}
    largest = max(apart, key=lambda step: abs(apart[step]), default=None)
    last = [max(curve) for curve in curves]
    return CurveDiff(
        steps=(last[0], last[1]),
        first_different_step=next((step for step, (one, two) in pairs.items() if one != two), None),
        last_losses=(curves[0][last[0]]["loss"], curves[1][last[1]]["loss"]),
        validation_losses=(_validation(curves[0]), _validation(curves[1])),
        largest_difference=apart[largest] if largest is not None else 0.0,
        largest_at=largest if largest is not None and apart[largest] else None,
    )


def _diff_stage(stage: str, first: Known | None, second: Known | None) -> StageDiff:
    named: dict[str, Any] = {
        "stage": stage,
        "first": first and first.label,
        "second": second and second.label,
    }
    if first is None or second is None or _equal(first, second):
        same = first is not None and second is not None
        return StageDiff(**named, same=same, causes=(), follows=(), counts=(), made_by=())
    follows, outside = _diff_inputs(first, second)
    mine, theirs = first.manifest.identity, second.manifest.identity
    identity = _changes("version", mine.version, theirs.version)
    return StageDiff(
        **named,
        same=False,
        causes=(*identity, *_changes("config", mine.config, theirs.config), *outside),
        follows=follows,
        counts=tuple(_changes("", _counts(first), _counts(second))),
        made_by=tuple(_changes("", _maker(first), _maker(second))),
    )


def _counts(known: Known) -> dict[str, Any]:
    """What the stage counted; the columns of scores are compared apart."""
    return {name: value for name, value in known.manifest.counts.items() if name != "columns"}


def _equal(first: Known, second: Known) -> bool:
    return first.manifest.fingerprint == second.manifest.fingerprint


def _diff_inputs(first: Known, second: Known) -> tuple[tuple[str, ...], list[Change]]:
    """Roles of artifacts that differ, and what differs of files and addresses."""
    roles: dict[str, tuple[list[str], list[str]]] = {}
    outside: dict[str, tuple[list[str], list[str]]] = {}
    for side, known in enumerate((first, second)):
        for entry in known.manifest.identity.inputs:
            group = roles if entry.kind == "artifact" else outside
            sides = group.setdefault(entry.role, ([], []))
            sides[side].append(
                entry.fingerprint if entry.kind == "artifact" else name_of_input(entry)
            )
    follows = tuple(role for role, (mine, theirs) in roles.items() if mine != theirs)
    changed = [
        Change(what=role, first=mine, second=theirs)
        for role, (mine, theirs) in outside.items()
        if mine != theirs
    ]
    return follows, changed


def _changes(name: str, first: Any, second: Any) -> Iterator[Change]:
    """What differs in two nested values, by dotted names."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys((*first, *second)):
            yield from _changes(f"{name}.{key}" if name else key, first.get(key), second.get(key))
    elif first != second:
        yield Change(what=name, first=first, second=second)


def _maker(known: Known) -> dict[str, Any]:
    maker = known.manifest.maker
    return {"python": maker.python, "git_commit": maker.git_commit, **maker.packages}


def _losses(model: Known) -> dict[int, dict[str, Any]]:
    with model.file("losses.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return {line["step"]: line for line in lines}


def _validation(curve: Mapping[int, Mapping[str, Any]]) -> float | None:
    measured = [line["validation_loss"] for line in curve.values() if "validation_loss" in line]
    return measured[-1] if measured else None
