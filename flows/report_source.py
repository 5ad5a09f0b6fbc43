"""What a report is of: the artifacts of one run, and what was made of them since.

A run's record names what it made and reused. What those were made from belongs to it as well, and
so do findings about its corpus or model that a later command made: overlap, clean scores, bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flows import stages
from infra.errors import StoreError
from infra.lineage_build import Known, Library
from infra.runs import Run, find_run

WHOLE = "pipeline"
"""The flow whose runs go from the dumps to the card."""

ORDER = (
    "demo-web", "hub", "submissions", "rows", "row-pages", "links", "warc-index", "removals",
    "captures", "pages", "documents", "signatures", "duplicates", "corpus", "dataset", "fidelity",
    "shards", "series", "model", "demo-benchmarks", "scores", "curves", "bias", "ngram-filter",
    "benchmark-ngrams", "ngram-hits", "overlap", "clean-scores", "card",
)  # fmt: skip
"""The stages in the order in which a report lists them."""

_LATER = (stages.OVERLAP.name, stages.CLEAN_SCORES.name, stages.BIAS.name)
"""Findings that belong to a run's report although another command made them."""


@dataclass(frozen=True)
class Source:
    """One run and its artifacts."""

    library: Library
    run: Run
    artifacts: tuple[Known, ...]
    """In the order of `ORDER`, then by name."""
    missing: tuple[str, ...]
    """Artifacts that the run used and that are gone."""

    def get(self, stage: str) -> Known | None:
        """The run's artifact of a stage, the last one where there are several."""
        found = [known for known in self.artifacts if known.stage == stage]
        return found[-1] if found else None

    @property
    def scores(self) -> list[Known]:
        """The scores of the run's model; without a model, all that the run made or reused."""
        model = self.get(stages.MODEL.name)
        found = [known for known in self.artifacts if known.stage == stages.SCORES.name]
        if model is None:
            return found
        return [known for known in found if known.scored_model == model.label] or found


def report_source(library: Library, reference: str) -> Source:
    """What the report of a run is of.

    Args:
        library: the store's artifacts.
        reference: a run's id, its first letters, or `latest`: the newest of the whole pipeline,
            or where there is none, the newest that came to something.

    Raises:
        StoreError: there is no such run, or it made and reused nothing.
    """
    run = _find_run(library, reference)
    used = list(dict.fromkeys(use.artifact for use in run.uses))
    if not used:
        raise StoreError(f"the run {run.run_id} made and reused nothing: there is no report of it")
    labels = set(_with_inputs(library, used))
    labels.update(_later(library, labels))
    found = [library.known[label] for label in labels if label in library.known]
    return Source(
        library,
        run,
        tuple(sorted(found, key=lambda known: (_place(known.stage), _used_at(used, known)))),
        tuple(sorted(label for label in used if label not in library.known)),
    )


def _used_at(used: list[str], known: Known) -> tuple[int, str]:
    """Where a run used an artifact; what it did not use itself comes first.

    Scores are made at once, in an order that says nothing: they stand by their names.
    """
    is_ordered = known.label in used and known.stage != stages.SCORES.name
    return (used.index(known.label) if is_ordered else -1, known.label)


def _find_run(library: Library, reference: str) -> Run:
    if reference == "latest":
        newest = [run for run in reversed(library.runs) if run.uses]
        # What looks at a run, as `webtext overlap` does, shows in that one's report.
        for run in [*(run for run in newest if run.flow == WHOLE), *newest]:
            return run
        raise StoreError(f"no run in {library.store.root} made anything yet; `webtext run` does")
    found = find_run(library.runs, reference)
    if found is None:
        raise StoreError(
            f"no run of {library.store.root}, or several, answer to {reference!r}; `webtext runs` "
            "lists them"
        )
    return found


def _with_inputs(library: Library, used: list[str]) -> Iterator[str]:
    """The used artifacts and, in turn, what they were made from."""
    waiting, seen = list(used), set[str]()
    while waiting:
        label = waiting.pop()
        if label in seen:
            continue
        seen.add(label)
        yield label
        known = library.known.get(label)
        if known is not None:
            entries = known.manifest.identity.inputs
            waiting += [e.name for e in entries if e.kind == "artifact" and _is_own(e.role)]


def _is_own(role: str) -> bool:
    """Whether an input is of the same build; earlier corpora have reports of their own."""
    return not role.startswith("earlier_")


def _later(library: Library, labels: set[str]) -> set[str]:
    """Findings about these artifacts, the newest of each kind, where the run has none itself."""
    found: dict[str, Known] = {}
    have = {label.partition("/")[0] for label in labels}
    tips = [label for label in labels if label.split("/")[0] in ("corpus", "shards", "model")]
    for tip in sorted(tips):
        for known in library.below(tip) if tip in library.users else ():
            if known.stage not in _LATER or known.stage in have:
                continue
            newest = found.get(known.stage)
            if newest is None or _age(known) > _age(newest):
                found[known.stage] = known
    return set(_with_inputs(library, [known.label for known in found.values()]))


def _age(known: Known) -> tuple[str, str]:
    return (known.manifest.maker.finished_at, known.label)


def _place(stage: str) -> int:
    return ORDER.index(stage) if stage in ORDER else len(ORDER)
