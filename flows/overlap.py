"""The overlap flow: what of the benchmarks a model was trained on, and its scores without."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import flow

from eval.files import benchmark_paths, missing_reason
from eval.overlap_benchmarks import BenchmarkNgramsConfig
from eval.overlap_filter import FilterConfig, PartitionedFilterConfig, count_partitions
from eval.overlap_hits import HitsConfig
from eval.overlap_own import own_paths
from eval.overlap_report import ReportConfig, read_report
from eval.overlap_scores import CleanScoresConfig
from eval.protocols import BENCHMARKS
from eval.scores import MOST_CONTEXT
from flows import stages
from flows.funnel import publish_markdown
from flows.overlap_show import overlap_markdown
from flows.profile import Profile, as_profile
from flows.session import Session, session
from flows.work import THREADS, make, partitions, whole
from infra.errors import ProfileError, StoreError
from infra.lineage import Node, upstream
from infra.manifest import InputRecord
from infra.sources import describe_source
from infra.store import Artifact


@flow(name="overlap", persist_result=False, task_runner=THREADS)
def overlap(
    profile: Profile | str, trained: str, found: dict[str, str] | None = None
) -> dict[str, str]:
    """Compare the profile's benchmarks with the text that `trained` was trained on.

    Args:
        profile: the profile, its path or its name.
        trained: label of a model, shards or corpus artifact. Of a model the scores are given again
            on the clean items.
        found: labels by role, as a pipeline has made them: its corpus, benchmarks and scores. What
            is not among them is looked for in the store.

    Returns:
        Labels of what was made, by stage.
    """
    settings = as_profile(profile)
    with session("overlap", settings) as run:
        made = make_overlap(run, trained, found or {})
        report = read_report(run.store.folder_of(made[stages.OVERLAP.name]))
        publish_markdown(
            "overlap", "## Overlap with the training text\n\n" + overlap_markdown(report)
        )
        return made


def make_overlap(run: Session, trained: str, found: Mapping[str, str]) -> dict[str, str]:
    """Make or find the overlap of a model's, shards' or corpus's text; labels by stage."""
    subject = run.store.find(trained)
    known = found.get(stages.CORPUS.name)
    corpus = run.store.find(known) if known else _corpus_of(run, subject)
    asked = _benchmark_ngrams(run, subject, found.get(stages.DEMO_BENCHMARKS.name))
    made = [asked, *_compare(run, corpus, asked)]
    # In the order of the columns, not in that of their making: it is part of the identity.
    labels = [found[f"scores/{name}"] for name in BENCHMARKS if f"scores/{name}" in found]
    scores = [run.store.find(label) for label in labels] or _scores_of(run, subject, asked)
    if scores:
        made.append(_score_clean(run, subject, scores, made[-1]))
    return {artifact.stage: artifact.label for artifact in made}


def _compare(run: Session, corpus: Artifact, asked: Artifact) -> list[Artifact]:
    """The stages from the corpus to the report, which comes last."""
    parts = partitions(count_partitions(run.store.bring(corpus.path)))
    words = run.profile.overlap.ngram_words
    settings = {name: getattr(run.profile.overlap, name) for name in FilterConfig.model_fields}
    built = make(
        run,
        stages.NGRAM_FILTER,
        PartitionedFilterConfig(**settings, partitions=len(parts)),
        {"corpus": corpus},
        parts,
        {},
        name=corpus.name,
    )
    hits = make(
        run,
        stages.NGRAM_HITS,
        HitsConfig(ngram_words=words),
        {"corpus": corpus, "ngram_filter": built, "benchmark_ngrams": asked},
        parts,
        {},
        name=corpus.name,
    )
    report = make(
        run,
        stages.OVERLAP,
        ReportConfig(ngram_words=words),
        {"ngram_filter": built, "benchmark_ngrams": asked, "ngram_hits": hits},
        whole(),
        {},
        name=corpus.name,
    )
    return [built, hits, report]


def _benchmark_ngrams(run: Session, trained: Artifact, cut: str | None) -> Artifact:
    folder, inputs = _benchmarks(run, cut or stages.DEMO_BENCHMARKS.name)
    return make(
        run,
        stages.BENCHMARK_NGRAMS,
        BenchmarkNgramsConfig(
            ngram_words=run.profile.overlap.ngram_words,
            window=min(_context(run, trained), MOST_CONTEXT),
        ),
        {"benchmark": inputs},
        whole(),
        {"folder": str(folder)},
    )


def _benchmarks(run: Session, demo: str) -> tuple[Path, list[InputRecord]]:
    """The folder of benchmarks, the demo's own where none is given, and its files."""
    given = run.profile.inputs.benchmarks
    if given is None and run.profile.demo_benchmarks is not None:
        cut = run.store.find(demo)
        return run.store.bring(cut.path), [cut.as_input("benchmark")]
    if given is None:
        raise ProfileError(
            f"the profile {run.profile.name} names no folder of benchmarks; "
            "give one with --benchmarks"
        )
    run.profile.inputs.check()
    there = [name for name in BENCHMARKS if missing_reason(name, given) is None]
    paths = {p: None for name in there for p in benchmark_paths(name, given)}
    own = {p: None for name in there for p in own_paths(name, given)}
    root = run.store.root
    return given, [
        *(describe_source(root, "benchmark", path) for path in paths),
        *(describe_source(root, "own_training_text", path) for path in own),
    ]


def _context(run: Session, trained: Artifact) -> int:
    """Tokens that the model reads at once, by which texts are cut into windows."""
    if trained.stage != stages.MODEL.name:
        return run.profile.model.context
    folder = run.store.bring(trained.path, "config.json".__eq__)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return int(config["n_positions"])


def _corpus_of(run: Session, trained: Artifact) -> Artifact:
    """The corpus that an artifact was made from, or that it is."""
    run.store.refresh()
    waiting: list[Node] = [upstream(run.store, trained)]
    while waiting:
        node = waiting.pop(0)
        if node.name.partition("/")[0] == stages.SERIES.name:
            raise StoreError(
                f"{trained.label} stands on several months, those of {node.name}; name one's "
                "corpus/... (`webtext lineage` shows them)"
            )
        if node.name.partition("/")[0] == stages.CORPUS.name:
            if node.kind == "missing":
                raise StoreError(f"{node.name}, which {trained.label} was made from, is gone")
            return run.store.find(node.name)
        waiting += node.parents
    raise StoreError(
        f"{trained.label} was made from no corpus; name a model, a shards or a corpus artifact"
    )


def _scores_of(run: Session, model: Artifact, asked: Artifact) -> list[Artifact]:
    """The model's scores by the profile's settings on the files whose n-grams were taken."""
    files = {entry.fingerprint for entry in asked.identity.inputs}
    wanted = run.profile.eval.model_dump(mode="json", exclude={"columns"})
    found: dict[str, Artifact] = {}
    for artifact in run.store.finished():
        if artifact.stage != stages.SCORES.name:
            continue
        inputs, config = artifact.identity.inputs, artifact.identity.config
        of_model = any(entry.fingerprint == model.fingerprint for entry in inputs)
        same_files = files >= {e.fingerprint for e in inputs if e.role == "benchmark"}
        settings = {k: v for k, v in config["evaluation"].items() if k != "columns"}
        if of_model and same_files and settings == wanted:
            found[config["benchmark"]] = artifact
    return [found[name] for name in BENCHMARKS if name in found]


def _score_clean(
    run: Session, model: Artifact, scores: Sequence[Artifact], report: Artifact
) -> Artifact:
    return make(
        run,
        stages.CLEAN_SCORES,
        CleanScoresConfig(
            limits=run.profile.overlap.clean_limits,
            bootstrap_samples=run.profile.eval.bootstrap_samples,
            seed=run.profile.eval.seed,
        ),
        {"overlap": report, "scored": [artifact.as_input("scored") for artifact in scores]},
        whole(),
        {"scores": [str(artifact.path) for artifact in scores]},
        name=model.name,
    )
