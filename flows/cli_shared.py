"""Commands for a store in object storage: what this machine has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from flows.cli_options import DebugOption, StorePlace, StoreRequired
from flows.terminal import console

if TYPE_CHECKING:
    from infra.shared_store import SharedStore


def register_shared(app: App) -> None:
    """Add the commands to the command line."""
    app.command(bring)
    app.command(copies)


def bring(
    artifacts: tuple[str, ...],
    *,
    store: StoreRequired,
    debug: DebugOption = False,  # noqa: ARG001  read by `main`
) -> None:
    """Bring artifacts of a store in object storage to this machine; prints their folders.

    Each file is compared with its manifest. What is here already, and whole, is not fetched again.

    Args:
        artifacts: STAGE/NAME-FINGERPRINT or the first letters of it, a fingerprint, or a stage
            where there is one artifact of it.
    """
    opened = _shared(store)
    for reference in artifacts:
        folder = opened.bring(opened.find(reference).path)
        print(folder)  # noqa: T201  the result


def copies(
    *,
    store: StoreRequired,
    keep_gib: Annotated[
        float | None,
        Parameter(help="Remove copies, the longest unused first, until so many GiB are left."),
    ] = None,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Show what this machine has copies of, and with --keep-gib remove some of them.

    The copies are in the folder that WEBTEXT_CACHE names, or in `webtext` in the user's cache
    folder. Object storage keeps everything. Unfinished work is no copy and stays.
    """
    from infra.copies import clean_copies, copied_artifacts
    from infra.place import folder_of

    root = folder_of(store)
    if keep_gib is not None:
        removed = clean_copies(root, int(keep_gib * (1 << 30)))
        console().print(f"{removed / 1e6:,.1f} MB removed", highlight=False)
    found = copied_artifacts(root)
    for folder, size in found.items():
        label = f"{folder.parent.name}/{folder.name}"
        console().print(f"{size / 1e6:10,.1f} MB  {label}", highlight=False)
    total = sum(found.values()) / 1e6
    console().print(f"{len(found)} artifacts, {total:,.1f} MB in {root}", highlight=False)


def _shared(place: StorePlace) -> SharedStore:
    from flows.running import store_of
    from infra.errors import StoreError
    from infra.shared_store import SharedStore

    opened = store_of(place)
    if not isinstance(opened, SharedStore):
        raise StoreError(f"the store {place} is a folder: everything of it is here already")
    return opened
