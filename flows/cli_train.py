"""The `train` and `join` commands: a model from shards, on one machine or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App

from flows.cli_options import (
    UNWATCHED,
    BenchmarksOption,
    DebugOption,
    Options,
    ProfileOption,
    SetOption,
    StoreOption,
    WatchOptions,
    WorkersOption,
    in_flow,
    settings_of,
)
from flows.terminal import console

if TYPE_CHECKING:
    from flows.profile import Profile


def register_train(app: App) -> None:
    """Add the commands to the command line."""
    app.command(train)
    app.command(join)


def train(
    shards: str = "shards",
    *,
    profile: ProfileOption = "demo",
    benchmarks: BenchmarksOption = None,
    store: StoreOption = None,
    workers: WorkersOption = None,
    set_: SetOption = (),
    watch: WatchOptions = UNWATCHED,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train the profile's model on shards that are in the store.

    Args:
        shards: the shards artifact, for example shards/laptop-3f9c2a7b10de or its first letters.
    """
    options = Options(profile, set_, store, workers, {"benchmarks": benchmarks}, watch)

    def flow(settings: Profile) -> dict[str, str]:
        from flows.train import train as train_flow

        return train_flow(settings, shards)

    settings, made = in_flow(options, flow)
    console().print(f"\nThe model is in [bold]{settings.runtime.store / made['model']}[/]")


def join(
    shards: str = "shards",
    *,
    profile: ProfileOption = "demo",
    benchmarks: BenchmarksOption = None,
    store: StoreOption = None,
    set_: SetOption = (),
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Take part in a training that machine 0 runs, as another machine with the same store.

    Give the profile and settings of machine 0, and --set runtime.node_rank=1 (2, 3, ...).

    Args:
        shards: the shards artifact that machine 0 trains on.
    """
    from flows.join import join_training

    settings = settings_of(Options(profile, set_, store, None, {"benchmarks": benchmarks}))
    join_training(settings, shards, console().print)
