"""`webtext diff`: what changed between two runs, and the first stage at which they part."""

from __future__ import annotations

from collections.abc import Mapping

from eval.compare import Comparison, compare, read_scored
from eval.errors import ComparisonError
from infra.errors import StoreError
from infra.lineage_answers import Answer
from infra.lineage_build import CORPUS_STAGES, Build, Known, Library
from infra.lineage_diff import CurveDiff, StageDiff, diff_curves, diff_stages
from infra.lineage_diff_documents import DocumentsDiff, diff_documents
from infra.lineage_index import Indexing


class RunsDiff(Answer):
    """Two runs of a store."""

    first: str
    second: str
    parting: str | None
    """The first stage at which they part; None where all that both have is the same."""
    stages: tuple[StageDiff, ...]
    documents: DocumentsDiff | None
    """None where both have the same corpus, or one has none."""
    losses: CurveDiff | None
    """None where both have the same model, or one has none."""
    scores: tuple[Comparison, ...]
    """With paired intervals, of the scores that both have by one protocol."""
    not_compared: tuple[str, ...]
    """Why other scores are not compared."""


def diff_runs(library: Library, first: str, second: str, limit: int, told: Indexing) -> RunsDiff:
    """What changed from the first run to the second; lists have up to `limit` entries.

    Raises:
        StoreError: there is no such run, or what it made is gone.
    """
    names = (find_run(library, first), find_run(library, second))
    used = (_used(library, names[0]), _used(library, names[1]))
    stages = tuple(diff_stages(*used))
    both = [stage for stage in stages if stage.first and stage.second]
    scores, not_compared = _compare_scores(*used)
    return RunsDiff(
        first=names[0],
        second=names[1],
        parting=next((stage.stage for stage in both if not stage.same), None),
        stages=stages,
        documents=_documents(library, *used, limit, told),
        losses=_curves(*used),
        scores=scores,
        not_compared=not_compared,
    )


def find_run(library: Library, reference: str) -> str:
    """The id of a run: whole, by its first letters, or `latest`. Raises StoreError without one."""
    ids = [run.run_id for run in library.runs]
    found = ids[-1:] if reference == "latest" else [one for one in ids if one.startswith(reference)]
    named = [
        run.run_id for run in library.runs if reference in (run.run_id, run.prefect_flow_run_id)
    ]
    if named:
        return named[-1]
    if len(found) != 1:
        several = "several runs begin" if found else "no run begins"
        raise StoreError(f"{several} with {reference!r}; `webtext runs` lists them")
    return found[0]


def _used(library: Library, run_id: str) -> dict[str, Known]:
    """What a run made or reused, by stage; scores by their benchmark."""
    run = next(run for run in library.runs if run.run_id == run_id)
    found: dict[str, Known] = {}
    for use in run.uses:
        known = library.known.get(use.artifact)
        if known is None:
            raise StoreError(
                f"{use.artifact} of run {run_id} is no longer in the store; give the run's command "
                "again to make it"
            )
        benchmark = known.manifest.identity.config.get("benchmark")
        name = f"scores/{benchmark}" if known.stage == "scores" else known.stage
        found[name] = known
    return found


def _documents(
    library: Library,
    first: Mapping[str, Known],
    second: Mapping[str, Known],
    limit: int,
    told: Indexing,
) -> DocumentsDiff | None:
    if not _differ("corpus", first, second):
        return None
    builds = [_build_of(library, used) for used in (first, second)]
    return diff_documents(builds[0], builds[1], limit, told)


def _build_of(library: Library, used: Mapping[str, Known]) -> Build:
    furthest = next(used[stage] for stage in reversed(CORPUS_STAGES) if stage in used)
    return library.build_of(furthest.label)


def _curves(first: Mapping[str, Known], second: Mapping[str, Known]) -> CurveDiff | None:
    return diff_curves(first["model"], second["model"]) if _differ("model", first, second) else None


def _compare_scores(
    first: Mapping[str, Known], second: Mapping[str, Known]
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    both = sorted(name for name in {*first} & {*second} if name.startswith("scores/"))
    changed = [name for name in both if _differ(name, first, second)]
    if not changed:
        return (), ()
    sides = [read_scored(used[name].whole() for name in changed) for used in (first, second)]
    try:
        found, reasons = compare(sides[0], sides[1])
    except ComparisonError as error:
        return (), (str(error),)
    return tuple(found), tuple(reasons)


def _differ(stage: str, first: Mapping[str, Known], second: Mapping[str, Known]) -> bool:
    mine, theirs = first.get(stage), second.get(stage)
    return mine is not None and theirs is not None and mine.label != theirs.label
