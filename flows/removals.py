"""The removals that a run obeys.

It makes a `removals` artifact of the store's list as it is then (`flows.removal_list`), and the
pages that it names are left out from there on. Only the partitions they are in are made anew
(`infra.part_keys`).
"""

from __future__ import annotations

from collections.abc import Sequence

from flows import stages
from flows.session import Session
from flows.work import make, whole
from infra.manifest import InputRecord
from infra.sources import describe_source
from infra.store import REMOVALS_NAME, Artifact
from webtext.removals import RemovalsConfig


def removals_input(run: Session, links: Artifact | None = None) -> dict[str, Artifact]:
    """The `removals` artifact of a run under that role; nothing where nothing was ever removed.

    With `links`, what is removed by domain is resolved to links.

    Raises:
        SourceError: the list was damaged.
    """
    path = run.profile.inputs.removals or run.store.root / REMOVALS_NAME
    if not path.is_file() or not path.stat().st_size:
        return {}
    inputs: dict[str, Artifact | Sequence[InputRecord]] = {
        "list": [describe_source(run.store.root, "list", path)]
    }
    if links is not None:
        inputs["links"] = links
    dealt = make(
        run,
        stages.REMOVALS,
        RemovalsConfig(partitions=run.profile.partitions),
        inputs,
        whole(),
        {"list_file": str(path)},
    )
    return {"removals": dealt}
