"""The `overlap` command: what of the benchmarks a model was trained on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from cyclopts import App, Parameter

from flows.terminal import console

if TYPE_CHECKING:
    from flows.profile import Profile

ProfileOption = Annotated[
    str, Parameter(name=["--profile", "-p"], help="A profile's TOML file, or its name: demo, ...")
]
StoreOption = Annotated[
    Path | None,
    Parameter(name=["--store", "-s"], help="Folder of artifacts and runs. Default: runs"),
]
SetOption = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        help="Change a setting of the profile, for example overlap.ngram_words=13.",
        negative="",
    ),
]
WorkersOption = Annotated[
    int | None, Parameter(name=["--workers", "-w"], help="Partitions worked on at once.")
]
DebugOption = Annotated[bool, Parameter(name="--debug", help="Show tracebacks.", negative="")]


class RunInFlow(Protocol):
    """Runs a flow by the command line's options: a profile, settings, a store, workers, inputs."""

    def __call__(
        self,
        profile: str,
        assignments: tuple[str, ...],
        store: Path | None,
        workers: int | None,
        inputs: dict[str, Any],
        /,
        *,
        flow: Callable[[Profile], dict[str, str]],
    ) -> tuple[Profile, dict[str, str]]:
        """The profile with what the options change, and the labels of what was made."""


def register_overlap(app: App, run_in_flow: RunInFlow) -> None:
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
        json: Annotated[bool, Parameter(name="--json", help="Print JSON.", negative="")] = False,
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

        inputs = {"benchmarks": benchmarks}
        settings, made = run_in_flow(profile, set_, store, workers, inputs, flow=flow)
        from flows.overlap_show import overlap_json, print_overlap

        root = settings.runtime.store
        if json:
            sys.stdout.write(overlap_json(root, made, documents) + "\n")
        else:
            print_overlap(console(), root, made, documents)
