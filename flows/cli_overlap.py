"""The `overlap` command: what of the benchmarks a model was trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from flows.cli_options import (
    DebugOption,
    JsonOption,
    Options,
    ProfileOption,
    SetOption,
    StoreOption,
    WorkersOption,
    in_flow,
)
from flows.terminal import console

if TYPE_CHECKING:
    from flows.profile import Profile


def register_overlap(app: App) -> None:
    """Add the command to the command line."""

    @app.command
    def overlap(
        trained: str = "model",
        *,
        profile: ProfileOption = "demo",
        benchmarks: Annotated[
            Path | None,
            Parameter(
                name="--benchmarks",
                help="Folder with the benchmarks' original files, their training sets beside them.",
            ),
        ] = None,
        documents: Annotated[
            int, Parameter(help="Overlapping documents to name for each benchmark.")
        ] = 3,
        json: JsonOption = False,
        store: StoreOption = None,
        workers: WorkersOption = None,
        set_: SetOption = (),
        debug: DebugOption = False,  # noqa: ARG001  read by `main`
    ) -> None:
        """Tell how much of the benchmarks is in the training text, and score what is not.

        As in GPT-2's own study, the share of each benchmark's 8-grams that the training documents
        hold; beside it which documents these are, and every score of the model that is in the store
        again on the items without them. The filter of the training text is kept for the next time.

        Args:
            trained: a model, shards or corpus artifact of the store.
        """

        def flow(settings: Profile) -> dict[str, str]:
            from flows.overlap import overlap as overlap_flow

            return overlap_flow(settings, trained)

        options = Options(profile, set_, store, workers, {"benchmarks": benchmarks})
        settings, made = in_flow(options, flow)
        from flows.overlap_show import overlap_json, print_overlap

        root = settings.runtime.store
        if json:
            sys.stdout.write(overlap_json(root, made, documents) + "\n")
        else:
            print_overlap(console(), root, made, documents)
