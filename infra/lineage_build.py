"""Builds: which artifacts of a store belong together, from the dumps to the scores.

A *build* is one way through the corpus stages: the artifact furthest down it (the shards, once they
are made) and everything that was made from, by the role it was read in. Models were trained on a
build, scores stand on models. All of it is read from the manifests; nothing else is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from infra.errors import StoreError
from infra.lineage_series import STAGE as SERIES
from infra.manifest import MANIFEST_NAME, Manifest
from infra.runs import Run, read_runs
from infra.store import Store

CORPUS_STAGES = (
    "submissions", "rows", "links", "row-pages", "captures", "pages", "documents", "signatures",
    "duplicates", "corpus", "shards",
)  # fmt: skip
"""Stages of a build, in their order: from submissions, or from the rows of an existing corpus."""

_EARLIER = "earlier_"
"""How the roles begin in which a build reads artifacts of earlier builds."""


@dataclass(frozen=True)
class Known:
    """A finished artifact and its manifest."""

    label: str
    folder: Path
    manifest: Manifest
    store: Store | None = field(default=None, compare=False)
    """What brings its files from object storage, where the store is there."""

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return self.manifest.identity.stage

    def inputs(self, role: str) -> list[str]:
        """Labels of the artifacts that it read in a role."""
        return [
            entry.name
            for entry in self.manifest.identity.inputs
            if entry.kind == "artifact" and entry.role == role
        ]

    @property
    def scored_model(self) -> str | None:
        """What scores were made of, a milestone with its step; None of a model from outside."""
        label = next(iter(self.inputs("scored_model")), None)
        files = [e.name for e in self.manifest.identity.inputs if e.role == "scored_model"]
        milestones = [name for name in files if name.startswith("milestones/step-")]
        if label is None or not milestones:
            return label
        return f"{label}@{int(milestones[0].split('/')[1].removeprefix('step-'))}"

    def part_names(self, table: str) -> list[str]:
        """The paths inside it of the files of one of its tables, in their order."""
        return sorted(f.path for f in self.manifest.files if f.path.startswith(f"{table}/"))

    def parts(self, table: str) -> list[Path]:
        """The files of one of its tables, a partition each, in their order."""
        names = self.part_names(table)
        home = self._home(set(names).__contains__)
        return [home / name for name in names]

    def part(self, table: str, partition: int) -> Path:
        """The file of one partition of a table."""
        return self.file(f"{table}/part-{partition:05d}.parquet")

    def file(self, name: str) -> Path:
        """One of its files."""
        return self._home(name.__eq__) / name

    def whole(self) -> Path:
        """Its folder, with all files in it."""
        return self._home(None)

    def _home(self, wanted: Callable[[str], bool] | None) -> Path:
        return self.folder if self.store is None else self.store.bring(self.folder, wanted)


@dataclass(frozen=True)
class Build:
    """The artifacts of one way from the dumps to the shards, and what was made of them."""

    tip: Known
    """The artifact furthest down."""
    by_role: Mapping[str, Known]
    """Itself and what it was made from, by the role in which it is read: `links`, ..."""
    earlier: Mapping[str, Sequence[Known]]
    """Artifacts of earlier builds that documents were matched against, by their stage."""
    models: Sequence[Known] = ()
    scores: Mapping[str, Sequence[Known]] = field(default_factory=dict)
    """Scores by the label of the model that they are of."""

    def get(self, role: str) -> Known | None:
        """The artifact read in a role; None where the build has none, or it is gone."""
        return self.by_role.get(role)

    def need(self, role: str) -> Known:
        """The artifact read in a role. Raises StoreError where there is none."""
        found = self.by_role.get(role)
        if found is None:
            raise StoreError(
                f"the build of {self.tip.label} has no {role} in the store: it was never made, or "
                "was removed; give the run's command again to make it"
            )
        return found

    @property
    def partitions(self) -> int:
        """How many partitions its links are dealt to."""
        return len(self.need("links").part_names("links"))

    def members(self) -> Iterator[Known]:
        """Its corpus artifacts, the models trained on them, and their scores."""
        yield from self.by_role.values()
        yield from self.models
        for scores in self.scores.values():
            yield from scores

    def labels(self) -> dict[str, str]:
        """The corpus artifacts by the stages' names, in their order."""
        found = {known.stage: known.label for known in self.by_role.values()}
        return {stage: found[stage] for stage in CORPUS_STAGES if stage in found}


class Library:
    """Every finished artifact of a store, by label; each manifest is read once."""

    def __init__(self, store: Store) -> None:
        """Read the manifests. Raises CorruptArtifact where one cannot be read."""
        self.store = store
        self.known = {
            f"{folder.parent.name}/{folder.name}": Known(
                f"{folder.parent.name}/{folder.name}", folder, Manifest.read(folder), store
            )
            for folder in store.folders()
            if (folder / MANIFEST_NAME).is_file()
        }

    @cached_property
    def runs(self) -> list[Run]:
        """The records of runs, oldest first."""
        return read_runs(self.store.root)

    @cached_property
    def users(self) -> dict[str, list[Known]]:
        """What was made directly from each artifact, by its label."""
        found: dict[str, list[Known]] = {label: [] for label in self.known}
        for known in self.known.values():
            for entry in known.manifest.identity.inputs:
                if entry.kind == "artifact" and entry.name in found:
                    found[entry.name].append(known)
        return found

    @cached_property
    def builds(self) -> list[Build]:
        """All builds, that of the newest run first."""
        tips = [known for known in self.known.values() if self._is_tip(known)]
        return [self._build(tip) for tip in sorted(tips, key=self._age, reverse=True)]

    def build_of(self, reference: str | None) -> Build:
        """The newest build, or that of a run's id or of any artifact made in it.

        Raises:
            StoreError: there is none.
        """
        if not self.builds:
            raise StoreError(f"{self.store.place} holds no corpus yet; `webtext run` makes one")
        if reference is None:
            return self.builds[0]
        wanted = self._labels_of(reference)
        for build in self.builds:
            if wanted & {known.label for known in build.members()}:
                return build
        raise StoreError(
            f"{reference} is part of no build; `webtext runs` lists runs and artifacts"
        )

    def builds_of_model(self, model: Known) -> list[Build]:
        """The builds that a model was trained on, of a series in the order of its months.

        None where a model's shards are gone.
        """
        labels = self.shards_of(model)
        builds = {build.tip.label: build for build in self.builds}
        return [builds[label] for label in labels if label in builds]

    def series_of(self, model: Known) -> Known | None:
        """The series of months that a model was trained on; None where it was one build."""
        read = [self.known[label] for label in model.inputs("shards") if label in self.known]
        return next((known for known in read if known.stage == SERIES), None)

    def shards_of(self, model: Known) -> list[str]:
        """The labels of the shards that a model was trained on, of a series those of its months."""
        series = self.series_of(model)
        return (series or model).inputs("shards")

    def months_with(self, build: Build) -> list[Build]:
        """The builds of the longest series that a build is a month of; itself where of none."""
        found = [user for user in self.users[build.tip.label] if user.stage == SERIES]
        if not found:
            return [build]
        longest = max(found, key=lambda one: (len(one.inputs("shards")), self._age(one)))
        builds = {one.tip.label: one for one in self.builds}
        return [builds[label] for label in longest.inputs("shards") if label in builds]

    def below(self, label: str) -> Iterator[Known]:
        """Everything made from an artifact, directly or not, each once, nearest first."""
        waiting, seen = [label], {label}
        while waiting:
            for user in self.users.get(waiting.pop(0), []):
                if user.label not in seen:
                    seen.add(user.label)
                    waiting.append(user.label)
                    yield user

    def _labels_of(self, reference: str) -> set[str]:
        run = next((run for run in self.runs if run.run_id == reference), None)
        if run is not None:
            chain = [use.artifact for use in run.uses]
            furthest = [label for label in chain if label.split("/")[0] in CORPUS_STAGES]
            return set(furthest[-1:])
        artifact = self.store.find(reference)
        return {artifact.label}

    def _is_tip(self, known: Known) -> bool:
        if known.stage not in CORPUS_STAGES:
            return False
        return not any(
            user.stage in CORPUS_STAGES and known.label in _plain_inputs(user)
            for user in self.users[known.label]
        )

    def _age(self, known: Known) -> tuple[str, str]:
        """When a run last used it, and when it was made: what is newest sorts last."""
        used = [run.run_id for run in self.runs for use in run.uses if use.artifact == known.label]
        return (used[-1] if used else "", known.manifest.maker.finished_at)

    def _build(self, tip: Known) -> Build:
        by_role: dict[str, Known] = {}
        self._gather(tip.stage, tip, by_role)
        earlier: dict[str, list[Known]] = {}
        for known in by_role.values():
            for entry in known.manifest.identity.inputs:
                if entry.role.startswith(_EARLIER) and entry.name in self.known:
                    stage = entry.role.removeprefix(_EARLIER)
                    earlier.setdefault(stage, []).append(self.known[entry.name])
        users = self.users[tip.label]
        trained = [user for one in users if one.stage == SERIES for user in self.users[one.label]]
        models = tuple(user for user in (*users, *trained) if user.stage == "model")
        return Build(
            tip,
            by_role,
            earlier,
            models,
            {
                model.label: tuple(
                    user for user in self.users[model.label] if user.stage == "scores"
                )
                for model in models
            },
        )

    def _gather(self, role: str, known: Known, by_role: dict[str, Known]) -> None:
        if role in by_role:
            return
        by_role[role] = known
        for entry in known.manifest.identity.inputs:
            above = self.known.get(entry.name)
            if above is not None and not entry.role.startswith(_EARLIER):
                self._gather(entry.role, above, by_role)


def _plain_inputs(known: Known) -> set[str]:
    inputs = known.manifest.identity.inputs
    return {entry.name for entry in inputs if not entry.role.startswith(_EARLIER)}
