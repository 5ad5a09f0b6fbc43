"""The evaluate flows: scores of one model or many in the ten columns, a task a benchmark file.

LAMBADA's file fills two columns, every other one; a task is retried, and done again only where the
checkpoint, the protocol's settings or the file have changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from eval.files import benchmark_paths, missing_reason
from eval.protocols import BENCHMARKS, Benchmark, columns_of
from eval.table import render_markdown
from flows import stages
from flows.curves import make_curves
from flows.funnel import publish_markdown
from flows.gates import check_coverage
from flows.models import ROLE, Scorable, find_model, find_models, model_parameters
from flows.part_spec import is_transient
from flows.profile import Profile, as_profile
from flows.scores import missing_benchmarks, score_rows
from flows.scoring import ScoringConfig
from flows.session import Session, session, session_of
from flows.work import THREADS, in_window, make, run_one, whole
from infra.errors import ProfileError
from infra.manifest import InputRecord
from infra.sources import describe_source
from infra.store import Artifact


@dataclass(frozen=True)
class Benchmarks:
    """Where the benchmarks' files lie, and the artifact that they belong to, if to any."""

    folder: Path
    cut: Artifact | None

    def inputs_of(self, run: Session, benchmark: Benchmark) -> Sequence[InputRecord]:
        """What the scores of one benchmark depend on."""
        if self.cut is not None:
            return [self.cut.as_input("benchmark")]
        paths = benchmark_paths(benchmark, self.folder)
        return [describe_source(run.store.root, "benchmark", path) for path in paths]


ScoreAll = Callable[[Session, Scorable, Benchmarks], dict[Benchmark, Artifact]]
"""Makes the scores of all benchmarks: by Prefect's tasks, or in turn."""


@flow(name="evaluate", persist_result=False, task_runner=THREADS)
def evaluate(profile: Profile | str, model: str, held_out: str | None = None) -> dict[str, str]:
    """Score a model on the profile's benchmarks.

    Args:
        profile: the profile, its path or its name.
        model: a model artifact's label, a checkpoint, a folder with a Hugging Face GPT-2, or a name
            on the hub.
        held_out: label of a corpus artifact to cut the demo's benchmarks from, where the profile
            asks for that and names no folder of benchmarks.

    Returns:
        Labels of the scores, by `scores/BENCHMARK`; a benchmark without a file has none.
    """
    settings = as_profile(profile)
    with session("evaluate", settings) as run:
        scorable = find_model(run.store, model)
        made = make_scores(run, scorable, held_out, _submit_all)
        _publish_scores(run, scorable, made)
        return made


@flow(name="evaluate-many", persist_result=False, task_runner=THREADS)
def evaluate_many(
    profile: Profile | str,
    models: list[str],
    held_out: str | None = None,
    milestones: bool = False,
) -> dict[str, Any]:
    """Score several models, and draw their learning curves.

    Args:
        profile: the profile, its path or its name.
        models: as `evaluate` takes them, or a folder that holds checkpoints.
        held_out: as `evaluate` takes it.
        milestones: score the milestones that model artifacts keep, too.

    Returns:
        `models`: names, in order; `references`: what finds them again; `scores`: for each what
        `evaluate` gives; `curves`: a label.
    """
    settings = as_profile(profile)
    with session("evaluate", settings) as run:
        scorables = find_models(run.store, models, milestones=milestones)
        made = make_all_scores(run, scorables, held_out, _submit_all)
        for scorable, of_model in zip(scorables, made["scores"], strict=True):
            _publish_scores(run, scorable, of_model)
        return made


def make_all_scores(
    run: Session, scorables: list[Scorable], held_out: str | None, score_all: ScoreAll
) -> dict[str, Any]:
    """Make or find the scores of several models and their curves."""
    made = [make_scores(run, scorable, held_out, score_all) for scorable in scorables]
    return {
        "models": [scorable.name for scorable in scorables],
        "references": [scorable.reference for scorable in scorables],
        "scores": made,
        "curves": make_curves(run, scorables, made),
    }


def make_scores(
    run: Session, scorable: Scorable, held_out: str | None, score_all: ScoreAll
) -> dict[str, str]:
    """Make or find the scores of a model; labels by `scores/BENCHMARK`."""
    files = find_benchmarks(run, held_out)
    expect_coverage(run, files.folder)
    labels = {
        f"scores/{name}": artifact.label
        for name, artifact in score_all(run, scorable, files).items()
    }
    return labels | ({files.cut.stage: files.cut.label} if files.cut else {})


def expect_coverage(run: Session, folder: Path | None) -> None:
    """Judge the profile's gates on how many benchmarks have a file; nothing where none are named.

    Raises:
        GateClosed: too few have.
    """
    if folder is not None:
        missing = missing_benchmarks(folder)
        check_coverage(run, len(BENCHMARKS) - len(missing), missing)


@task(
    name="score",
    task_run_name="score-{benchmark}",
    retries=2,
    retry_delay_seconds=1,
    retry_condition_fn=lambda _task, _run, state: is_transient(state),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def score(run_id: str, benchmark: Benchmark, scorable: Scorable, files: Benchmarks) -> Artifact:
    """Make the scores of one benchmark file."""
    run = session_of(run_id)
    assert run is not None
    return _score_file(run, benchmark, scorable, files)


def score_in_turn(run: Session, scorable: Scorable, files: Benchmarks) -> dict[Benchmark, Artifact]:
    """Score what has a file, one after the other and without Prefect."""
    return {name: _score_file(run, name, scorable, files) for name in _wanted(run, files)}


def _score_file(
    run: Session, benchmark: Benchmark, scorable: Scorable, files: Benchmarks
) -> Artifact:
    return make(
        run,
        stages.SCORES,
        scoring_config(run.profile, benchmark),
        {ROLE: scorable.inputs, "benchmark": files.inputs_of(run, benchmark)},
        whole(),
        {
            "model": str(scorable.folder),
            "folder": str(files.folder),
            "device": run.device,
        },
        name=f"{run.profile.name}-{benchmark}",
        title=benchmark,
        run=run_one,
    )


def scoring_config(profile: Profile, benchmark: Benchmark) -> ScoringConfig:
    """The identity config of one benchmark's scores."""
    wanted = tuple(column for column in columns_of(benchmark) if column in profile.eval.columns)
    return ScoringConfig(
        benchmark=benchmark, evaluation=profile.eval.model_copy(update={"columns": wanted})
    )


def benchmarks_folder(profile: Profile, made: Mapping[str, str]) -> Path:
    """The folder whose files were scored: the one that was given, or the demo's own."""
    if profile.inputs.benchmarks is not None:
        return profile.inputs.benchmarks
    return profile.runtime.open_store().folder_of(made[stages.DEMO_BENCHMARKS.name])


def find_benchmarks(run: Session, held_out: str | None) -> Benchmarks:
    """The benchmarks' files: the folder that is given, or the demo's, cut from held-out pages.

    Raises:
        ProfileError: there are neither.
    """
    profile = run.profile
    if profile.inputs.benchmarks is not None:
        profile.inputs.check()
        return Benchmarks(profile.inputs.benchmarks, None)
    if profile.demo_benchmarks is None or held_out is None:
        raise ProfileError(
            f"the profile {profile.name} names no folder of benchmarks; give one with --benchmarks"
        )
    documents = run.store.find(held_out)
    cut = make(
        run,
        stages.DEMO_BENCHMARKS,
        profile.demo_benchmarks,
        {"documents": documents},
        whole(),
        {},
    )
    return Benchmarks(run.store.bring(cut.path), cut)


def _wanted(run: Session, files: Benchmarks) -> list[Benchmark]:
    """The benchmarks that have a file and fill a wanted column."""
    return [
        name
        for name in BENCHMARKS
        if missing_reason(name, files.folder) is None
        and scoring_config(run.profile, name).evaluation.columns
    ]


def _submit_all(run: Session, scorable: Scorable, files: Benchmarks) -> dict[Benchmark, Artifact]:
    """Score what has a file, as many at once as the run has workers."""

    def submit(name: Benchmark) -> PrefectFuture[Artifact]:
        return score.submit(run.run.run_id, name, scorable, files)

    made = dict(in_window(run, _wanted(run, files), submit))
    run.children.retire(stages.SCORES.function)
    return made


def _publish_scores(run: Session, scorable: Scorable, made: Mapping[str, str]) -> None:
    rows = score_rows(
        [run.store.folder_of(label) for role, label in made.items() if role.startswith("scores/")],
        missing_benchmarks(benchmarks_folder(run.profile, made)),
        model_parameters(scorable.folder),
    )
    publish_markdown("scores", "## Zero-shot scores\n\n" + render_markdown(rows))
