"""Lineage from the manifests: the tree of everything that an artifact was made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infra.manifest import InputRecord, Manifest
from infra.store import Artifact, Store, open_artifact


@dataclass(frozen=True)
class Node:
    """An artifact or an outside file, and what it was made from."""

    role: str
    """What the artifact above it used it as; empty at the root."""
    name: str
    kind: str
    """`artifact`, `file`, or `missing` for an artifact that is no longer in the store."""
    fingerprint: str
    manifest: Manifest | None = None
    parents: tuple[Node, ...] = field(default=())

    def as_dict(self, *, with_maker: bool = True) -> dict[str, Any]:
        """The tree as plain values for JSON; without its makers it depends on identities alone."""
        value: dict[str, Any] = {
            "role": self.role,
            "name": self.name,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
        }
        if self.manifest is not None:
            value["counts"] = self.manifest.counts
        if self.manifest is not None and with_maker:
            value["run_id"] = self.manifest.maker.run_id
            value["finished_at"] = self.manifest.maker.finished_at
        if self.parents:
            value["made_from"] = [parent.as_dict(with_maker=with_maker) for parent in self.parents]
        return value


def input_of(store: Store, artifact: Artifact, role: str) -> Artifact:
    """The artifact that another was made from as `role`. Raises StoreError where it is gone."""
    return artifact_of(
        store, next(entry for entry in artifact.identity.inputs if entry.role == role)
    )


def artifact_of(store: Store, entry: InputRecord) -> Artifact:
    """The artifact that an input's record names, wherever it is called what.

    Raises:
        StoreError: it is gone.
    """
    folder = store.root / entry.name
    if store.has(entry.name):
        found = open_artifact(folder)
        if found.fingerprint == entry.fingerprint:
            return found
    return store.find(entry.fingerprint)


def upstream(store: Store, artifact: Artifact) -> Node:
    """The tree of inputs above a finished artifact. Raises CorruptArtifact at a bad manifest."""
    return _node(store, artifact.as_input(""), {})


def _node(store: Store, entry: InputRecord, seen: dict[str, Node]) -> Node:
    if entry.kind != "artifact":
        return Node(entry.role, entry.name, entry.kind, entry.fingerprint)
    if entry.name not in seen:
        seen[entry.name] = _artifact_node(store, entry, seen)
    known = seen[entry.name]
    return Node(
        entry.role, known.name, known.kind, known.fingerprint, known.manifest, known.parents
    )


def _artifact_node(store: Store, entry: InputRecord, seen: dict[str, Node]) -> Node:
    folder = store.root / entry.name
    if not store.has(entry.name):
        return Node(entry.role, entry.name, "missing", entry.fingerprint)
    manifest = Manifest.read(folder)
    parents = tuple(_node(store, parent, seen) for parent in manifest.identity.inputs)
    return Node(entry.role, entry.name, "artifact", entry.fingerprint, manifest, parents)
