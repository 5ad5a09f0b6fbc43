"""The `webtext` command. Heavy packages are imported by the command that needs them.

Exit codes: 0 done, 1 an error that the message explains, 2 a wrong command line, 130 stopped by
Ctrl-C or SIGTERM (the same command goes on from there).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.markup import escape

from flows.cli_bias import register_bias
from flows.cli_dataset import register_dataset
from flows.cli_eval import print_made_scores, register_eval
from flows.cli_features import register_features
from flows.cli_lineage import register_lineage
from flows.cli_operations import register_operations
from flows.cli_options import (
    UNWATCHED,
    BenchmarksOption,
    DebugOption,
    EngineOption,
    JsonOption,
    Options,
    ProfileOption,
    SetOption,
    StoreOption,
    StorePlace,
    StoreRequired,
    WatchOptions,
    WorkersOption,
    in_flow,
    settings_of,
    store_place,
)
from flows.cli_overlap import register_overlap
from flows.cli_refresh import register_refresh
from flows.cli_remove import register_remove
from flows.cli_report import register_report
from flows.cli_shared import register_shared
from flows.cli_sources import SourceOptions
from flows.cli_train import register_train
from flows.terminal import console, show_answer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flows.profile import Profile
    from flows.progress import Reporter
    from infra.store import Artifact, Store

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_STOPPED = 130

app = App(
    name="webtext",
    help="From Reddit link submissions to a GPT-2 with a score table, traceable both ways.",
    help_epilogue=(
        "Start with: webtext run --profile demo\n\n"
        "Everything is kept in the store (a folder, `runs` by default). A command that was stopped "
        "or killed goes on where it was when it is given again; what is there already is reused."
    ),
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
    help_format="markdown",
)


@app.command
def run(
    *,
    profile: ProfileOption = "demo",
    sources: SourceOptions = SourceOptions(),
    benchmarks: BenchmarksOption = None,
    store: StoreOption = None,
    workers: WorkersOption = None,
    engine: EngineOption = None,
    set_: SetOption = (),
    watch: WatchOptions = UNWATCHED,
    debug: DebugOption = False,  # noqa: ARG001  read by `main`
) -> None:
    """Run the whole pipeline: submissions to a trained model, its scores and its card."""
    inputs = {**sources.inputs(), "benchmarks": benchmarks}
    assignments = (*set_, *sources.assignments())
    options = Options(profile, assignments, store, workers, inputs, watch, engine)

    def flow(settings: Profile) -> dict[str, str]:
        from flows.pipeline import pipeline

        return pipeline(settings)

    def shortcut(settings: Profile, reporter: Callable[[], Reporter]) -> dict[str, str] | None:
        from flows.reuse import reuse_pipeline

        return reuse_pipeline(settings, reporter)

    settings, made = in_flow(options, flow, shortcut)
    _print_result(settings, made)


@app.command
def corpus(
    *,
    profile: ProfileOption = "demo",
    sources: SourceOptions = SourceOptions(),
    store: StoreOption = None,
    workers: WorkersOption = None,
    engine: EngineOption = None,
    set_: SetOption = (),
    watch: WatchOptions = UNWATCHED,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Make the corpus alone: submissions to shards of tokens."""
    assignments = (*set_, *sources.assignments())
    options = Options(profile, assignments, store, workers, sources.inputs(), watch, engine)

    def flow(settings: Profile) -> dict[str, str]:
        from flows.corpus import corpus as corpus_flow

        return corpus_flow(settings)

    settings, made = in_flow(options, flow)
    console().print(f"\nThe shards are in [bold]{settings.runtime.store / made['shards']}[/]")


register_refresh(app)
register_train(app)
register_eval(app)


@app.command
def lineage(
    artifact: str,
    *,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Show everything that an artifact or a score was made from.

    Args:
        artifact: STAGE/NAME-FINGERPRINT, the first letters of it, a stage (where there is one
            artifact of it), a path, or a column of the score table such as lambada_ppl.
    """
    from flows.show import lineage_json, lineage_tree
    from infra.lineage import upstream

    opened = _store(store)
    node = upstream(opened, _artifact_or_score(opened, artifact))
    if json:
        sys.stdout.write(lineage_json(node) + "\n")
    else:
        show_answer(lineage_tree(node))


@app.command
def fidelity(
    reference: str = "fidelity",
    *,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Compare the domains of a build with the published 1,000 commonest of WebText.

    Args:
        reference: a run's id, or a fidelity artifact (`webtext runs` shows both); where the store
            holds one build, nothing.
    """
    from flows.fidelity import find_fidelity
    from flows.show import print_fidelity

    opened = _store(store)
    found = find_fidelity(opened, reference)
    print_fidelity(console(), found, opened.bring(found.path), as_json=json)


@app.command
def verify(
    artifacts: tuple[str, ...] = (),
    *,
    store: StoreRequired = Path("runs"),
    debug: DebugOption = False,  # noqa: ARG001
) -> int:
    """Hash every file again, and check that all tables fit together. Exits with 1 where not.

    Files are compared with the manifests. Then the joins: every span has a document, every document
    a page, every page a capture, every capture a link, every link its submissions; and rows in are
    rows out and losses at each arrow.

    Args:
        artifacts: which ones; all of the store by default.
    """
    from flows.show import verify_folders
    from flows.verify import verify_joins

    opened = _store(store)
    named = [opened.find(name) for name in artifacts]
    folders = [artifact.path for artifact in named] or opened.folders()
    differing = verify_folders(console(), opened, folders)
    return verify_joins(console(), opened, [artifact.label for artifact in named]) | differing


@app.command
def gc(
    *,
    store: StoreRequired = Path("runs"),
    keep_runs: Annotated[int, Parameter(help="Finished runs to keep, of each profile.")] = 1,
    delete: Annotated[bool, Parameter(help="Delete; without it only list.", negative="")] = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """List, and with --delete remove, what no recent run uses: artifacts and unfinished work."""
    from flows.show import collect_garbage

    collect_garbage(console(), _store(store), keep_runs, delete=delete)


@app.command
def plan(
    run: str | None = None,
    *,
    profile: ProfileOption = "demo",
    sources: SourceOptions = SourceOptions(),
    benchmarks: BenchmarksOption = None,
    store: StoreOption = None,
    workers: WorkersOption = None,
    set_: SetOption = (),
    measure: Annotated[
        bool, Parameter(help="Measure this machine anew, about 20 seconds.", negative="")
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Estimate a run's time, memory, disk and tokens; or compare a run with its estimate.

    The first megabytes of the dumps are read; speeds are those of earlier runs in the store, or
    measured on this machine (once, and kept in the store). Every figure says where it comes from.

    Args:
        run: a run's id (`webtext runs` shows them) or `latest`: its estimate beside what it took.
    """
    from flows.plan_show import print_comparison, print_estimate
    from flows.plan_store import compare_run, plan_profile

    options = Options(
        profile,
        (*set_, *sources.assignments()),
        store,
        workers,
        {**sources.inputs(), "benchmarks": benchmarks},
    )
    if run is not None:
        compared = compare_run(_store(store_place(options)), run)
        _print_plan(compared, json, lambda: print_comparison(console(), compared))
        return
    estimate = plan_profile(settings_of(options), measure=measure)
    _print_plan(estimate, json, lambda: print_estimate(console(), estimate))


@app.command
def replay(
    archives: tuple[Path, ...],
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port; 0 takes a free one.")] = 8090,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Serve WARC files as a replay gateway, like the Wayback Machine's raw form.

    Prints `ready http://127.0.0.1:8090 RECORDS` when it listens; Ctrl-C ends it. Then for example
    GET /20170901000000id_/http://example.com/page gives the capture nearest to that time.

    Args:
        archives: WARC files, .warc or .warc.gz.
    """
    from webtext.gateway import run_gateway

    run_gateway(list(archives), host, port)


@app.command(name="s-curve")
def s_curve(
    profile: ProfileOption = "demo",
    *,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Print how many near-copies of each similarity a profile's bands and rows find."""
    from flows.profile import load_profile
    from webtext.s_curve import s_curve_markdown

    settings = load_profile(profile)
    found = settings.duplicates
    permutations = settings.signatures.permutations
    table = s_curve_markdown(found.bands, found.rows, permutations, found.min_similarity)
    sys.stdout.write(table + "\n")


@app.command
def generate(
    prompt: str = "",
    *,
    model: Annotated[str, Parameter(help="A model artifact, or a Hugging Face folder.")] = "model",
    tokens: Annotated[int, Parameter(help="Tokens to generate.")] = 100,
    samples: Annotated[int, Parameter(help="Continuations to generate.")] = 1,
    temperature: Annotated[float, Parameter(help="0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int, Parameter(help="Sample from so many likeliest tokens; 0: all.")] = 40,
    top_p: Annotated[float, Parameter(help="Sample from so much of the probability.")] = 1.0,
    seed: Annotated[int, Parameter(help="Equal seeds give equal text.")] = 0,
    store: StoreRequired = Path("runs"),
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Continue a text with a trained model.

    Args:
        prompt: the text to continue.
    """
    from flows.show import generate_text

    folder = _model_folder(store, model)
    for text in generate_text(folder, prompt, tokens, samples, temperature, top_k, top_p, seed):
        sys.stdout.write(text + "\n")


register_features(app)
register_bias(app)
register_overlap(app)


register_lineage(app)
register_report(app)
register_dataset(app)
register_remove(app)
register_operations(app)
register_shared(app)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        outcome = app(given, exit_on_error=False, print_error=True, result_action="return_value")
    except KeyboardInterrupt:
        return _stopped()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else EXIT_ERROR
    except Exception as error:  # noqa: BLE001  every error becomes one clear message here
        return _explain(error, debug="--debug" in given)
    return outcome if isinstance(outcome, int) else 0


def _print_result(settings: Profile, made: dict[str, str]) -> None:
    store = settings.runtime.store
    place = settings.runtime.shared or store
    print_made_scores(settings, made, made["model"])
    out = console()
    out.print(f"\nModel card    [bold]{store / made['card'] / 'README.md'}[/]")
    if "report" in made:
        out.print(f"Report        [bold]{store / made['report']}[/]")
    out.print(f"Try it        webtext generate --store {place} --model {made['model']} 'The '")
    out.print(f"Where from    webtext lineage --store {place} {made['card']}")


def _print_plan(value: BaseModel, as_json: bool, show: Callable[[], None]) -> None:
    if as_json:
        sys.stdout.write(value.model_dump_json(indent=2) + "\n")
    else:
        show()


def _store(place: StorePlace) -> Store:
    from flows.running import store_of

    return store_of(place)


def _artifact_or_score(store: Store, reference: str) -> Artifact:
    from flows.show import artifact_or_score

    return artifact_or_score(store, reference)


def _model_folder(store: StorePlace, model: str) -> Path:
    from flows.show import model_folder

    return model_folder(store, model)


def _stopped() -> int:
    console().print("Stopped. Give the same command again to go on from here.")
    return EXIT_STOPPED


def _explain(error: Exception, *, debug: bool) -> int:
    """Print what went wrong and what to do; the traceback only on demand."""
    from infra.errors import Stopped

    out = console()
    if isinstance(error, Stopped):
        return _stopped()
    if isinstance(error, CycloptsError):
        return EXIT_USAGE  # it has printed its own message
    if debug:
        traceback.print_exception(error)
    text = _message(error)
    known = text is not None
    text = text or f"{type(error).__name__}: {error}"
    out.print(f"[red]error:[/] {escape(text)}", highlight=False)
    if not known and not debug:
        out.print("This was not foreseen. Add --debug to see where it happened.")
    return EXIT_ERROR


def _message(error: Exception) -> str | None:
    """What to tell of an error that was foreseen: a room's own, or one of the file system."""
    if type(error).__module__.endswith(".errors"):
        return str(error)
    if not isinstance(error, OSError):
        return None
    from infra.errors import explain_os_error

    named = f"{error.filename}: {error.strerror}; check the path" if error.filename else None
    return explain_os_error(error, "the store") or named


if __name__ == "__main__":
    sys.exit(main())
