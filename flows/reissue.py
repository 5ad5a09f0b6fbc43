"""Model cards issued again when what a model was trained on is taken down.

A card is an artifact and does not change, so a new one takes its place: the same card, which says
what was removed since, beside the same exported model. It is made without a Prefect flow.
"""

from __future__ import annotations

from flows import stages
from flows.card import CardConfig
from flows.profile import Profile, Runtime
from flows.removed import superseded_cards, told_takedowns
from flows.session import Session, session
from flows.takedowns import takedowns_of
from flows.work import make, run_part, whole
from infra.errors import StoreError
from infra.lineage import input_of
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
    issued: dict[str, str] = {}
    profile = Profile(
        name=stale[0][0].name,
        runtime=Runtime.model_validate({"store": store.address or store.root, "workers": 1}),
    )
    with session(FLOW, profile) as run:
        for card, config in stale:
            issued[card.label] = _issue(run, card, config).label
    return [(old, new) for old, new in issued.items() if old != new]


def _config_now(store: Store, card: Artifact) -> CardConfig | None:
    """What a card should say now; None where it says that, or a later one of its model does."""
    config = card.identity.config
    try:
        read = {entry.role: input_of(store, card, entry.role) for entry in card.identity.inputs}
        takedowns = takedowns_of(store, read[stages.MODEL.name])
        told = CardConfig.model_validate({**config, "removed": told_takedowns(card)})
    except StoreError:
        return None  # some of what it was made from is gone, and it cannot be made again
    if told.removed == takedowns or card.label in superseded_cards(store):
        return None
    return told.model_copy(update={"removed": takedowns})


def _issue(run: Session, card: Artifact, config: CardConfig) -> Artifact:
    store = run.store
    artifacts = {
        entry.role: input_of(store, card, entry.role).path for entry in card.identity.inputs
    }
    return make(
        run,
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
