"""The command that hands a corpus on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli_options import DebugOption, StoreRequired


def register_dataset(app: App) -> None:
    """Register the commands of this module."""
    app.command(push)


def push(
    repository: str,
    dataset: str = "dataset",
    *,
    store: StoreRequired = Path("runs"),
    public: Annotated[
        bool, Parameter(help="Open the repository to all, where it is made.", negative="")
    ] = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Push a corpus to a hub as a data set with its card. The token is read from HF_TOKEN.

    Args:
        repository: OWNER/NAME on the hub.
        dataset: the dataset artifact (`webtext list` shows it).
    """
    from flows.push import push_dataset
    from flows.running import store_of

    sys.stdout.write(push_dataset(store_of(store), dataset, repository, public=public) + "\n")
