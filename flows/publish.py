"""The end of a pipeline: the model card, from the artifacts alone, and the report of the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from flows import stages
from flows.card import CardConfig
from flows.session import Session
from flows.takedowns import takedowns_of
from flows.work import make, whole

_LOG = logging.getLogger(__name__)


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


def run_report(run: Session) -> dict[str, str]:
    """Write the report of a run that has ended; its path in the store, by `report`.

    A page that cannot be written is no reason for a run to fail: its artifacts are there, and
    `webtext report` writes it again or says what is wrong.
    """
    from flows.report import write_report  # brings DuckDB, which no part of a run needs in here

    try:
        path = write_report(run.store, run.run.run_id)
        name = path.relative_to(run.store.root).as_posix()
        run.store.share(name)
    except Exception:  # noqa: BLE001
        _LOG.warning("the report of %s could not be written", run.run.run_id, exc_info=True)
        return {}
    return {"report": name}
