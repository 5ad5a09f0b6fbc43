"""Model cards issued again when what a model was trained on is taken down.

A card is an artifact and does not change, so a new one takes its place: the same card, which says
what was removed since, beside the same exported model. It is made without a Prefect flow.
"""

from __future__ import annotations

import os

from flows import stages
from flows.card import CardConfig
from flows.profile import Profile, Runtime
from flows.progress import LogReporter
from flows.removed import superseded_cards, told_takedowns
from flows.session import Session
from flows.takedowns import takedowns_of
from flows.work import make, run_part, whole
from infra.children import Children
from infra.environment import utc_now
from infra.errors import StoreError
from infra.lineage import input_of
from infra.runs import new_run, write_run
from infra.store import Artifact, Store

FLOW = "remove"


def reissue_cards(store: Store) -> list[tuple[str, str]]:
    """Issue the cards again that do not tell of a takedown; gives the labels, old and new."""
    stale = [
        (card, config)
        for card in store.finished()
        if card.stage == stages.CARD.name and (config := _config_now(store, card)) is not None
    ]
    if not stale:
        return []
    run = new_run(FLOW, stale[0][0].name, os.getpid())
    children = Children(store.root / "logs" / run.run_id)
    issued: dict[str, str] = {}
    try:
        for card, config in stale:
            profile = Profile(name=card.name, runtime=Runtime(store=store.root, workers=1))
            session = Session(profile, store, run, LogReporter(), children)
            issued[card.label] = _issue(session, card, config).label
        run.state = "finished"
    except BaseException as error:
        run.state, run.message = "failed", str(error) or type(error).__name__
        raise
    finally:
        children.stop()
        run.ended_at = utc_now()
        write_run(store.root, run)
    return [(old, new) for old, new in issued.items() if old != new]


def _config_now(store: Store, card: Artifact) -> CardConfig | None:
    """What a card should say now; None where it says that, or a later one of its model does."""
    config = card.identity.config
    try:
        takedowns = takedowns_of(store, input_of(store, card, stages.MODEL.name))
        told = CardConfig.model_validate({**config, "removed": told_takedowns(card)})
    except StoreError:
        return None  # its corpus is gone, and with it what could be asked
    if told.removed == takedowns or card.label in superseded_cards(store):
        return None
    return told.model_copy(update={"removed": takedowns})


def _issue(session: Session, card: Artifact, config: CardConfig) -> Artifact:
    store = session.store
    artifacts = {
        entry.role: input_of(store, card, entry.role).path for entry in card.identity.inputs
    }
    return make(
        session,
        stages.CARD,
        config,
        {entry.role: [entry] for entry in card.identity.inputs},
        whole(),
        {
            "store": str(store.root),
            "artifacts": {role: str(folder) for role, folder in artifacts.items()},
        },
        name=card.name,
        run=run_part.fn,
    )
