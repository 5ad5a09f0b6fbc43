"""A part on a node of a cluster: its inputs are brought, a child works, its files go to the store.

Nothing is asked of the node but the installation and the environment that names the keys and the
folder of copies (`WEBTEXT_CACHE`). A worker process of the cluster keeps its children and its
connections from part to part.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.part_spec import PartSpec
from flows.secret_blocks import load_secrets
from infra.children import Children
from infra.errors import InfraError
from infra.place import open_store
from infra.store import Store

Tell = Callable[[int, int | None, dict[str, float]], None]


@dataclass(frozen=True)
class Place:
    """The store as a node opens it."""

    store: str
    """Its address, or a folder that all nodes share."""
    timeout_s: float
    secrets: tuple[tuple[str, str], ...]
    """Variables that it needs and Prefect's blocks that hold them."""


_stores: dict[Place, Store] = {}
_children: dict[str, Children] = {}


def work_on_node(spec: PartSpec, place: Place, tell: Tell) -> dict[str, Any]:
    """Work on a part, unless an attempt that was lost had finished it; gives its counts.

    Raises:
        InfraError: as on the machine of the run; the message names the node.
    """
    try:
        store = _store_at(place)
        here = spec.moved_to(store.root)
        done = store.part_record(here.artifact, here.part)
        if done is not None:
            return done.counts
        store.bring_needs(here.needs)
        record = _children_of(store, here).run(here.call, tell)
        record = record.model_copy(update={"packages": here.packages})
        store.publish_part(here.artifact, here.part, record)
    except InfraError as error:
        raise type(error)(f"on {socket.gethostname()}: {error}") from error
    return record.counts


def _store_at(place: Place) -> Store:
    if place not in _stores:
        load_secrets(dict(place.secrets))
        _stores[place] = open_store(
            place.store if "://" in place.store else Path(place.store), place.timeout_s
        )
    return _stores[place]


def _children_of(store: Store, spec: PartSpec) -> Children:
    """The children of the stage that is worked on; those of an earlier one are ended."""
    for function, idle in list(_children.items()):
        if function != spec.call.function:
            idle.stop()
            del _children[function]
    logs = store.root / "logs" / spec.run_id / socket.gethostname()
    return _children.setdefault(spec.call.function, Children(logs))
