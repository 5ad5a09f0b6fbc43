"""What removals reach in tables that are there, and the mark on models that read removed text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flows import stages
from flows.removal_list import listed_removals
from infra.errors import StoreError
from infra.lineage import artifact_of, input_of
from infra.lineage_runs import ArtifactRow, Inventory
from infra.lineage_tables import read_columns
from infra.store import Artifact, Store, open_artifact
from webtext.removals import Removal, RemovedPages
from webtext.tables import part_name
from webtext.urls import NormalisedUrl, link_partition, normalise_url


def named_documents(table: Path, removals: Sequence[Removal]) -> Iterator[tuple[bytes, str]]:
    """The documents of a table that removals name: key and URL."""
    for _partition, key, url in named_by_partition(table, removals):
        yield key, url


def named_by_partition(
    table: Path, removals: Sequence[Removal]
) -> Iterator[tuple[int, bytes, str]]:
    """The documents of a table that removals name: partition, key and URL."""
    count = len(list(table.glob("part-*.parquet")))
    removed = RemovedPages.of(removals)
    for partition in sorted({link_partition(one.site(), count) for one in removals}):
        for row in read_columns(table / part_name(partition), ["link_id", "url"]).to_pylist():
            known = normalise_url(row["url"])
            host = known.host if isinstance(known, NormalisedUrl) else ""
            if removed.find(row["link_id"], host) is not None:
                yield partition, row["link_id"], row["url"]


def removed_documents(store: Store, shards: Artifact) -> int:
    """How many documents that a shards artifact has for training are on the list of removals."""
    removals = listed_removals(store.root)
    if not removals:
        return 0
    read = [one for one in shards.identity.inputs if one.role == stages.CORPUS.name]
    corpora = [artifact_of(store, one) for one in read]
    for corpus in corpora:
        store.bring(corpus.path, lambda name: name.startswith("train/"))
    return sum(1 for one in corpora for _ in named_documents(one.path / "train", removals))


def mark_removed(store: Store, found: Inventory) -> Inventory:
    """The inventory, with what its models and cards have read that was removed since."""
    if not listed_removals(store.root):
        return found
    known: dict[str, int] = {}
    superseded = superseded_cards(store)
    rows = [
        _marked(store, row, known).model_copy(
            update={"superseded_by": superseded.get(row.artifact)}
        )
        for row in found.artifacts
    ]
    return found.model_copy(update={"artifacts": tuple(rows)})


def superseded_cards(store: Store) -> dict[str, str]:
    """Cards that were issued again when something was taken down: the card in each one's place."""
    cards = [card for card in store.finished() if card.stage == stages.CARD.name]
    newest: dict[str, Artifact] = {}
    for card in sorted(cards, key=_takedowns_told):
        newest[card_but_for_removals(card)] = card
    places = {card.label: newest[card_but_for_removals(card)].label for card in cards}
    return {label: other for label, other in places.items() if label != other}


def card_but_for_removals(card: Artifact) -> str:
    """What the cards of one model have in common, whatever was removed when they were issued."""
    alike = {"version": 0, "config": {**card.identity.config, "removed": None}}
    return card.identity.model_copy(update=alike).fingerprint()


def told_takedowns(card: Artifact) -> list[Any]:
    """The takedowns that a card tells of."""
    told = card.identity.config.get("removed")
    return told if isinstance(told, list) else []  # older versions knew no more than a number


def taken_down(store: Store, link_id: str, host: str) -> str | None:
    """When and why a page was put on the list of removals; None where it was not."""
    removals = listed_removals(store.root)
    return RemovedPages.of(removals).find(bytes.fromhex(link_id), host) if removals else None


def _takedowns_told(card: Artifact) -> tuple[int, str]:
    return (len(told_takedowns(card)), card.manifest().maker.finished_at)


def removed_from(store: Store, artifact: Artifact) -> int:
    """How many documents that a model, or what was made of one, was trained on are removed since.

    Nothing where it is of no model of the store, or the corpus is gone.
    """
    if not listed_removals(store.root):
        return 0
    role = {stages.SCORES.name: "scored_model", stages.BIAS.name: "probed_model"}.get(
        artifact.stage
    )
    try:
        model = input_of(store, artifact, role) if role else artifact
        return removed_documents(store, input_of(store, model, stages.SHARDS.name))
    except (StoreError, StopIteration):
        return 0


def _marked(store: Store, row: ArtifactRow, known: dict[str, int]) -> ArtifactRow:
    stage = row.artifact.partition("/")[0]
    if row.state != "finished" or stage not in (stages.MODEL.name, stages.CARD.name):
        return row
    try:
        artifact = open_artifact(store.root / row.artifact)
        shards = input_of(store, artifact, stages.SHARDS.name)
        if shards.label not in known:
            known[shards.label] = removed_documents(store, shards)
    except StoreError:
        return row  # its corpus is gone, and with it what could be asked
    return row.model_copy(update={"removed_documents": known[shards.label]})
