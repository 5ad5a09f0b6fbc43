"""Earlier corpora that new documents are matched against: their artifacts, found by lineage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.work import Inputs
from infra.errors import StoreError
from infra.lineage import input_of
from infra.store import Artifact, Store

_UPSTREAM = {"corpus": "duplicates", "duplicates": "signatures", "signatures": "documents"}


def earlier_inputs(
    store: Store, references: Sequence[str], *, with_texts: bool
) -> tuple[Inputs, dict[str, Any]]:
    """The inputs and arguments of the duplicates stage for earlier corpora, the oldest first.

    Args:
        store: where they are.
        references: corpus or duplicates artifacts, as `Store.find` takes them.
        with_texts: whether their documents are read too.

    Raises:
        StoreError: one is not there, or is an artifact of another stage.
    """
    roles = ("signatures", "duplicates", *(["documents"] if with_texts else []))
    found = [_chain(store, reference) for reference in references]
    inputs: Inputs = {
        f"earlier_{role}": [chain[role].as_input(f"earlier_{role}") for chain in found]
        for role in roles
        if found
    }
    arguments = {
        f"earlier_{role}": [str(chain[role].path) for chain in found] for role in roles if found
    }
    return inputs, arguments


def _chain(store: Store, reference: str) -> dict[str, Artifact]:
    """The artifacts from duplicates back to documents that a corpus was made from."""
    artifact = store.find(reference)
    if artifact.stage not in ("corpus", "duplicates"):
        raise StoreError(
            f"{reference} is an artifact of the stage {artifact.stage}; an earlier corpus is named "
            f"by its corpus or duplicates artifact"
        )
    chain = {artifact.stage: artifact}
    while artifact.stage in _UPSTREAM:
        role = _UPSTREAM[artifact.stage]
        # Named by its path, it may be of another store, where what it was made from is, too.
        artifact = input_of(Store(artifact.path.parents[1]), artifact, role)
        chain[role] = artifact
    return chain
