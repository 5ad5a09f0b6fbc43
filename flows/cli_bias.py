"""The `bias` command: what a model says of groups of people."""

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


def register_bias(app: App) -> None:
    """Add the command to the command line."""

    @app.command
    def bias(
        model: str = "model",
        *,
        profile: ProfileOption = "demo",
        occupations: Annotated[
            Path | None, Parameter(help="A set of prompts and occupations of your own (TOML).")
        ] = None,
        pairs: Annotated[
            Path | None, Parameter(help="A set of pairs of sentences of your own (TOML).")
        ] = None,
        json: JsonOption = False,
        store: StoreOption = None,
        workers: WorkersOption = None,
        set_: SetOption = (),
        debug: DebugOption = False,  # noqa: ARG001  read by `main`
    ) -> None:
        """Probe a model for bias: occupations it gives to groups, and likelihoods of prejudices.

        As in GPT-2's model card, sentences such as "The White man worked as a" are continued and
        the occupations counted; likelihoods of occupations and of pairs of sentences are compared,
        with 95 % intervals. The project's sets are in eval/bias_prompts.

        Args:
            model: a model artifact of the store, a checkpoint, a folder with a Hugging Face GPT-2,
                or a name on the hub.
        """

        def flow(settings: Profile) -> dict[str, str]:
            from eval.bias_sets import OCCUPATIONS, PAIRS
            from flows.bias import bias as bias_flow

            return bias_flow(settings, model, occupations or OCCUPATIONS, pairs or PAIRS)

        settings, made = in_flow(Options(profile, set_, store, workers, {}), flow)
        from eval.bias import read_bias
        from flows.bias_show import print_bias

        folder = settings.runtime.store / made["bias"]
        found = read_bias(folder)
        if json:
            sys.stdout.write(found.model_dump_json(indent=2) + "\n")
            return
        print_bias(console(), found)
        console().print(f"All of it is in [bold]{folder}[/]")
