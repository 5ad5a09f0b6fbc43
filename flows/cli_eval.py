"""The `eval` and `benchmarks` commands: scores, comparisons, and the benchmarks' files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from flows.cli_options import (
    BenchmarksOption,
    DebugOption,
    JsonOption,
    Options,
    ProfileOption,
    SetOption,
    StoreOption,
    StoreRequired,
    WorkersOption,
    in_flow,
)
from flows.terminal import console

if TYPE_CHECKING:
    from flows.profile import Profile
    from flows.progress import Reporter

_DEFAULT_FOLDER = Path("benchmarks")


def register_eval(app: App) -> None:
    """Add the commands to the command line."""
    scoring = App(name="eval", help="Score models in the ten columns of GPT-2's model card.")
    scoring.default(score)
    scoring.command(compare)
    app.command(scoring)
    files = App(name="benchmarks", help="The benchmarks' original files.")
    files.command(fetch)
    app.command(files)


def score(
    models: tuple[str, ...] = ("model",),
    *,
    profile: ProfileOption = "demo",
    benchmarks: BenchmarksOption = None,
    held_out: Annotated[str | None, Parameter(help="Corpus to cut demo benchmarks from.")] = None,
    quick: Annotated[
        bool, Parameter(help="Score a small sample of each file, drawn by a seed.", negative="")
    ] = False,
    gain: Annotated[
        bool, Parameter(help="Tell what de-tokenizing gains in each column.", negative="")
    ] = False,
    milestones: Annotated[
        bool, Parameter(help="Score the milestones that a model keeps, too.", negative="")
    ] = False,
    store: StoreOption = None,
    workers: WorkersOption = None,
    set_: SetOption = (),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Score one model in the ten columns of GPT-2's model card, or many with their learning curves.

    What is in the store already is not scored again. Of OpenAI's weights, or what may be them, the
    scores on record are printed and whether they were met.

    Args:
        models: model artifacts of the store, checkpoints, folders with a Hugging Face GPT-2, names
            on the hub (`openai-community/gpt2`), or a folder that holds several of them.
    """
    assignments = [*set_]
    assignments += ["eval.quick=true"] if quick else []
    assignments += ["eval.detokenizer_gain=true"] if gain else []
    options = Options(profile, tuple(assignments), store, workers, {"benchmarks": benchmarks})

    def flow(settings: Profile) -> dict[str, Any]:
        from flows.evaluate import evaluate_many

        return evaluate_many(settings, list(models), held_out, milestones)

    def shortcut(settings: Profile, reporter: Callable[[], Reporter]) -> dict[str, Any] | None:
        from flows.reuse import reuse_scores

        return reuse_scores(settings, reporter, models, held_out, milestones)

    settings, made = in_flow(options, flow, shortcut)
    if json:
        _print_json(settings, made)
    elif len(made["models"]) == 1:
        print_made_scores(settings, made["scores"][0], made["references"][0])
    else:
        _print_curves(settings, made)


def print_made_scores(settings: Profile, made: dict[str, str], model: str) -> None:
    """Print the table of one model's scores, and whether those on record were met."""
    from flows.evaluate import benchmarks_folder
    from flows.models import find_model, model_parameters
    from flows.scores import all_scores, missing_benchmarks, score_rows
    from flows.show_scores import print_records, print_scores

    scorable = find_model(settings.runtime.open_store(), model)
    folders = _score_folders(settings, made)
    parameters = model_parameters(scorable.folder)
    missing = missing_benchmarks(benchmarks_folder(settings, made))
    scores = all_scores(folders)
    print_scores(console(), score_rows(folders, missing, parameters), scores)
    if not scorable.is_ours:
        print_records(console(), scores, parameters, scorable.weights_sha256)


def compare(
    first: str,
    second: str,
    *,
    items: Annotated[
        Path | None, Parameter(help="Write a row an item of both models to this Parquet file.")
    ] = None,
    samples: Annotated[int, Parameter(help="Resamples of the items.")] = 2000,
    seed: Annotated[int, Parameter(help="Draws the resamples.")] = 0,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Compare two models that were scored: paired differences, item by item, with 95 % intervals.

    Args:
        first: a model, as `eval` takes it, whose scores are in the store; or a folder of scores.
        second: another.
    """
    from eval.compare import compare as compare_scores
    from eval.compare import read_scored, write_changes
    from flows.scores import find_scores
    from flows.show_scores import print_comparisons

    mine, theirs = (read_scored(find_scores(store, name)) for name in (first, second))
    found, reasons = compare_scores(mine, theirs, samples=samples, seed=seed)
    if items is not None:
        rows = write_changes(mine, theirs, items)
        console().print(f"{rows:,} items are in {items}")
    if json:
        _write_json([comparison.model_dump(mode="json") for comparison in found])
        return
    print_comparisons(console(), first, second, found, reasons)


def fetch(
    destination: Path = _DEFAULT_FOLDER,
    *,
    only: Annotated[
        tuple[str, ...],
        Parameter(
            help="Benchmarks to fetch: lambada, cbt_cn, ...; all by default.",
            negative="",
            consume_multiple=True,
        ),
    ] = (),
    hub: Annotated[
        bool,
        Parameter(help="Take the texts from data sets on the hub, by `datasets`.", negative=""),
    ] = False,
    mirror: Annotated[
        str | None, Parameter(help="Look for every archive at this address instead of its own.")
    ] = None,
    debug: DebugOption = False,  # noqa: ARG001
) -> int:
    """Fetch the benchmarks' original files, and check them. Exits with 1 where one is missing.

    Files that are there stay. 1BW comes as an archive of 1.8 GB; leave it out with --only.

    Args:
        destination: folder to put them in; give it to `eval` with --benchmarks.
    """
    from flows.benchmarks import fetch_files
    from flows.show_scores import print_fetched

    fetched = fetch_files(destination, only, hub=hub, mirror=mirror)
    print_fetched(console(), fetched)
    return 0 if all(one.is_there for one in fetched) else 1


def _print_json(settings: Profile, made: dict[str, Any]) -> None:
    from flows.scores import all_scores

    _write_json(
        [
            {
                "model": name,
                "scores": [
                    score.model_dump(mode="json")
                    for score in all_scores(_score_folders(settings, of_model))
                ],
            }
            for name, of_model in zip(made["models"], made["scores"], strict=True)
        ]
    )


def _print_curves(settings: Profile, made: dict[str, Any]) -> None:
    from flows.scores import all_scores
    from flows.show_scores import print_many

    scores = [all_scores(_score_folders(settings, of_model)) for of_model in made["scores"]]
    print_many(console(), made["models"], scores)
    drawing = settings.runtime.open_store().folder_of(made["curves"]) / "curves.svg"
    console().print(f"\nLearning curves    [bold]{drawing}[/]")


def _score_folders(settings: Profile, made: dict[str, str]) -> list[Path]:
    labels: Sequence[str] = [label for role, label in made.items() if role.startswith("scores/")]
    store = settings.runtime.open_store()
    return [store.folder_of(label) for label in labels]


def _write_json(value: Any) -> None:
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
