"""What removals reach in tables that are there, and the mark on models that read removed text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from flows import stages
from flows.removals import listed_removals
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
    count = len(list(table.glob("part-*.parquet")))
    removed = RemovedPages.of(removals)
    for partition in sorted({link_partition(one.site(), count) for one in removals}):
        for row in read_columns(table / part_name(partition), ["link_id", "url"]).to_pylist():
            known = normalise_url(row["url"])
            host = known.host if isinstance(known, NormalisedUrl) else ""
            if removed.find(row["link_id"], host) is not None:
                yield row["link_id"], row["url"]


def removed_documents(store: Store, shards: Artifact) -> int:
    """How many documents that a shards artifact has for training are on the list of removals."""
    removals = listed_removals(store.root)
    if not removals:
        return 0
    read = [one for one in shards.identity.inputs if one.role == stages.CORPUS.name]
    corpora = [artifact_of(store, one) for one in read]
    return sum(1 for one in corpora for _ in named_documents(one.path / "train", removals))


def mark_removed(store: Store, found: Inventory) -> Inventory:
    """The inventory, with what its models and cards have read that was removed since."""
    if not listed_removals(store.root):
        return found
    known: dict[str, int] = {}
    rows = [_marked(store, row, known) for row in found.artifacts]
    return found.model_copy(update={"artifacts": tuple(rows)})


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
