"""The last stage of a pipeline: the model card, from the artifacts of the run alone."""

from __future__ import annotations

from collections.abc import Mapping

from flows import stages
from flows.card import CardConfig
from flows.session import Session
from flows.takedowns import takedowns_of
from flows.work import make, whole


def card_artifact(
    run: Session, made: Mapping[str, str], missing: Mapping[str, str]
) -> dict[str, str]:
    """Write the card of what a pipeline made; gives its label."""
    artifacts = {role: run.store.root / label for role, label in sorted(made.items())}
    card = make(
        run,
        stages.CARD,
        CardConfig(
            missing=dict(missing),
            description=run.profile.description,
            removed=takedowns_of(run.store, run.store.find(made[stages.MODEL.name])),
            marks=tuple(f"{mark.gate}: {mark.message}" for mark in run.run.marks),
        ),
        {role: [run.store.find(made[role]).as_input(role)] for role in artifacts},
        whole(),
        {
            "store": str(run.store.root),
            "artifacts": {role: str(folder) for role, folder in artifacts.items()},
        },
    )
    return {stages.CARD.name: card.label}
