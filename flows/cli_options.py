"""Options that several commands share, and what they say of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from flows.terminal import console

if TYPE_CHECKING:
    from flows.profile import Profile
    from flows.progress import Reporter

Result = TypeVar("Result")

ProfileOption = Annotated[
    str, Parameter(name=["--profile", "-p"], help="A profile's TOML file, or its name: demo, ...")
]
StorePlace = str | Path
"""A folder, or an address in object storage."""
_STORE = "Folder of artifacts and runs, or an address such as s3://bucket/prefix."
StoreOption = Annotated[
    StorePlace | None, Parameter(name=["--store", "-s"], help=f"{_STORE} Default: runs")
]
SetOption = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        help="Change a setting of the profile, for example train.steps=20. May be repeated.",
        negative="",
    ),
]
WorkersOption = Annotated[
    int | None, Parameter(name=["--workers", "-w"], help="Partitions worked on at once.")
]
EngineOption = Annotated[
    Literal["local", "ray"] | None,
    Parameter(
        name="--engine",
        help="Work on parts here, or on the Ray cluster of RAY_ADDRESS. Default: local",
    ),
]
DebugOption = Annotated[bool, Parameter(name="--debug", help="Show tracebacks.", negative="")]
BenchmarksOption = Annotated[
    Path | None,
    Parameter(name="--benchmarks", help="Folder with the benchmarks' original files."),
]
StoreRequired = Annotated[StorePlace, Parameter(name=["--store", "-s"], help=_STORE)]
JsonOption = Annotated[bool, Parameter(name="--json", help="Print JSON.", negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Who listens to a run beside the terminal."""

    log_json: Annotated[
        Path | None,
        Parameter(name="--log-json", help="Append each event to this file as a line of JSON."),
    ] = None
    metrics_port: Annotated[
        int | None,
        Parameter(
            name="--metrics-port",
            help="Serve figures in Prometheus' form on this port of loopback; 0 takes a free one.",
        ),
    ] = None
    metrics_file: Annotated[
        Path | None,
        Parameter(
            name="--metrics-file",
            help="Keep the same figures in this file, for the node exporter's textfile collector.",
        ),
    ] = None

    def runtime(self) -> dict[str, Any]:
        """What is given, by the names of the profile's `runtime`."""
        return {name: value for name, value in vars(self).items() if value is not None}


UNWATCHED = WatchOptions()


@dataclass(frozen=True)
class Options:
    """What the command line says of a run: a profile, and what to change in it."""

    profile: str
    assignments: tuple[str, ...]
    store: StorePlace | None
    workers: int | None
    inputs: dict[str, Any]
    watch: WatchOptions = UNWATCHED
    engine: str | None = None


def settings_of(options: Options) -> Profile:
    """The profile with what the command line changes."""
    from flows.inputs import choose_source, parse_inputs
    from flows.profile import load_profile

    settings = load_profile(options.profile, options.assignments)
    given = {name: value for name, value in options.inputs.items() if value}
    merged = parse_inputs({**settings.inputs.model_dump(), **given})
    merged.check()
    crawl = settings.crawl
    if not any(name.startswith("crawl.source") for name in options.assignments):
        source = choose_source(crawl.source, parse_inputs(given))
        crawl = crawl.model_copy(update={"source": source})
    place = {"store": options.store, "shared": None} if options.store is not None else {}
    given_ways = {"workers": options.workers, "engine": options.engine}
    ways = {name: value for name, value in given_ways.items() if value is not None}
    runtime = type(settings.runtime).model_validate(
        {**settings.runtime.model_dump(), **place, **ways, **options.watch.runtime()}
    )
    return settings.model_copy(update={"inputs": merged, "runtime": runtime, "crawl": crawl})


def store_folder(options: Options) -> Path:
    """The store's folder on this machine."""
    from infra.place import folder_of

    return folder_of(store_place(options))


def store_place(options: Options) -> StorePlace:
    """The store's folder or address, known before the profile is understood in full."""
    if options.store is not None:
        return options.store
    from infra.profiles import override, read_profile

    runtime = override(read_profile(options.profile), options.assignments).get("runtime", {})
    return str(runtime.get("store", "runs")) if isinstance(runtime, dict) else "runs"


def in_flow(
    options: Options,
    flow: Callable[[Profile], Result],
    shortcut: Callable[[Profile, Callable[[], Reporter]], Result | None] | None = None,
) -> tuple[Profile, Result]:
    """Run a flow as the command line asks; gives the profile and what the flow gave."""
    from flows.running import run_flow

    store = store_folder(options)
    return run_flow(console(), store, lambda: settings_of(options), flow, shortcut)
