"""`webtext trace`: finds the answer to what a person asks, in the newest build or the one named.

What only some questions need is imported by them: an answer is to be there within two seconds.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flows.trace_order import order_of_model, orders_of
from flows.trace_subject import Subject, read_subject
from infra.errors import StoreError
from infra.lineage_answers import (
    ArtifactTrace,
    LinkTrace,
    PlaceTrace,
    RunTrace,
    ScoreTrace,
    StepTrace,
)
from infra.lineage_build import Build, Known, Library
from infra.lineage_impact import DomainTrace, trace_domain
from infra.lineage_index import Indexing, open_submissions, submission_key
from infra.lineage_places import trace_place, trace_steps
from infra.lineage_scores import newest_scores, trace_artifact, trace_run, trace_score
from infra.lineage_series import STAGE as SERIES
from infra.lineage_series import is_name_in_series, name_in_month
from infra.lineage_tables import find_submissions
from infra.lineage_trace import Tracer
from infra.runs import find_run
from infra.store import REMOVALS_NAME, Store

Trace = LinkTrace | DomainTrace | PlaceTrace | StepTrace | ScoreTrace | ArtifactTrace | RunTrace
_MOST_PAGE_BYTES = 64 << 20


class Desk:
    """Answers questions about one store; what several of them need is read once."""

    def __init__(self, store: Store, run: str | None, told: Indexing) -> None:
        """Read the manifests. `run`: which build is meant, by a run or an artifact of it."""
        self.library = Library(store)
        self._run = run
        self._told = told
        self._tracers: dict[str, Tracer] = {}

    def ask(self, text: str, limit: int = 20) -> Trace:
        """The answer to what `webtext trace` is asked; lists have up to `limit` entries.

        Raises:
            StoreError: nothing in the store answers to it.
        """
        subject = read_subject(self.library.store, text)
        return self._marked(self._answer(subject, limit))

    def _answer(self, subject: Subject, limit: int) -> Trace:
        match subject.kind:
            case "url":
                return self.url(subject.name)
            case "link":
                return self._link(bytes.fromhex(subject.name), None, subject.name)
            case "submission":
                return self.submission(subject.name)
            case "domain":
                return self.domain(subject.name, limit)
            case "place":
                return self.place(subject)
            case "steps":
                return self.steps(subject, limit)
            case "score":
                return self.score(subject, limit)
            case "run":
                return self.run(subject.name)
            case "artifact":
                return trace_artifact(self.library, self.library.known[subject.name])

    def _marked(self, found: Trace) -> Trace:
        """The answer, with what was taken down since of what it tells of."""
        store = self.library.store
        if not (store.root / REMOVALS_NAME).is_file():
            return found
        from flows.removed import removed_from, taken_down

        if isinstance(found, PlaceTrace) and found.document is not None:
            return found.model_copy(update={"document": self._marked(found.document)})
        if isinstance(found, LinkTrace):
            host = urlsplit(found.link.url).hostname or ""
            told = taken_down(store, found.link.link_id, host)
            return found.model_copy(update={"taken_down": told})
        if isinstance(found, StepTrace | ScoreTrace | ArtifactTrace):
            label = found.model if isinstance(found, StepTrace) else found.artifact
            number = removed_from(store, store.find(label))
            return found.model_copy(update={"removed_documents": number})
        return found

    def tracer(self, build: Build | None = None) -> Tracer:
        """What answers about the links of a build; by default of the one that is meant."""
        build = build or self.library.build_of(self._run)
        label = build.tip.label
        if label not in self._tracers:
            self._tracers[label] = Tracer(build, orders_of(self.library, build), self._told)
        return self._tracers[label]

    def _months(self) -> list[Build]:
        """The builds that an answer may be of, the one meant first.

        Without a run named, all months of its series: each link is one's of them.
        """
        meant = self.library.build_of(self._run)
        if self._run:
            return [meant]
        others = self.library.months_with(meant)
        return [meant, *(build for build in reversed(others) if build is not meant)]

    def url(self, url: str) -> LinkTrace:
        """The way of a URL, in any spelling of it."""
        from webtext.urls import link_id, link_partition, normalise_url

        if url.startswith("row://"):
            return self._link(link_id(url), None, url)
        known = normalise_url(url)
        if isinstance(known, str):
            raise StoreError(f"{url} was never followed: {known}")
        build = self.tracer().build
        partition = link_partition(known.domain, build.partitions)
        found = self._in_months(link_id(known.url), partition)
        if found is not None:
            return found
        reason = _rule_against(build, known.url)
        why = f"its rules strip it as {reason}" if reason else "no submission that passed led to it"
        raise StoreError(f"{known.url} is no link of {build.tip.label}: {why}")

    def submission(self, identifier: str) -> LinkTrace:
        """The way of the link that a submission led to."""
        for build in self._months():
            place = self._place_of_submission(build, identifier)
            found = self._in_months(*place) if place else None
            if found is not None:
                return found
        submissions = self.tracer().build.need("submissions")
        raise StoreError(
            f"no submission {identifier} in {submissions.label}: it was in no dump, or the rules "
            f"dropped it ({_losses(submissions)})"
        )

    def _place_of_submission(self, build: Build, identifier: str) -> tuple[bytes, int] | None:
        """The link that a submission of a build's dumps led to, and its partition."""
        submissions = build.need("submissions")
        index = open_submissions(self.library.store.root, submissions, self._told)
        key = submission_key(identifier)
        for place in index.find(key) if key is not None else ():
            assert place.link_id is not None
            rows = find_submissions(
                submissions.parts("submissions"), place.partition, place.link_id
            )
            if any(row["id"] == identifier for row in rows):
                return place.link_id, place.partition
        return None

    def _in_months(self, key: bytes, partition: int | None) -> LinkTrace | None:
        """The way of a link, in the month that captured it, else in the first that knows it."""
        known = None
        for build in self._months():
            found = self.tracer(build).trace(key, partition)
            if found is None:
                continue
            if found.dropped is None or found.dropped.stage != "links":
                return found
            known = known or found
        return known

    def domain(self, name: str, limit: int) -> DomainTrace:
        """What became of a registrable domain's links."""
        from webtext.urls import link_partition, normalise_url

        host = normalise_url(f"http://{name.strip('.')}/")
        if isinstance(host, str):
            raise StoreError(f"{name} is no domain: {host}")
        for build in self._months():
            partition = link_partition(host.domain, build.partitions)
            found = trace_domain(self.tracer(build), host.domain, host.host, partition, limit)
            if found.fate.links:
                return found
        raise StoreError(f"{self.tracer().build.tip.label} has no link to {host.host}")

    def place(self, subject: Subject) -> PlaceTrace:
        """The document of a token of a shard."""
        assert subject.first is not None
        build, shard = self._shard(subject.artifact, subject.name)
        return trace_place(self.tracer(build), shard, subject.first)

    def _shard(self, artifact: str | None, name: str) -> tuple[Build, str]:
        """The build that a shard is of, and its name there."""
        if artifact is None and not is_name_in_series(name):
            return self.library.build_of(self._run), name
        reference = artifact or self._newest_series()
        label = self.library.store.find(reference).label
        if self.library.known[label].stage != SERIES:
            return self.library.build_of(label), name
        number, shard = name_in_month(name)
        months = self.library.known[label].inputs("shards")
        if number >= len(months):
            raise StoreError(f"{label} has {len(months)} months, and so no shard {name}")
        return self.library.build_of(months[number]), shard

    def _newest_series(self) -> str:
        found = [one for one in self.library.known.values() if one.stage == SERIES]
        if not found:
            raise StoreError(f"{self.library.store.root} holds no series of months")
        return max(found, key=lambda one: one.manifest.maker.finished_at).label

    def steps(self, subject: Subject, limit: int) -> StepTrace:
        """What some steps of a training read."""
        model = self.library.known[subject.name]
        builds = self.library.builds_of_model(model) if model.stage == "model" else []
        if not builds:
            raise StoreError(f"{model.label} was not trained on shards that are in the store")
        if len(builds) < len(self.library.shards_of(model)):
            raise StoreError(f"shards of a month that {model.label} was trained on are gone")
        assert subject.first is not None
        assert subject.last is not None
        order = order_of_model(self.library, model, builds[0])
        tracer, months = self.tracer(builds[-1]), builds if self.library.series_of(model) else ()
        return trace_steps(tracer, order, model, subject.first, subject.last, limit, months)

    def score(self, subject: Subject, limit: int = 20) -> ScoreTrace:
        """What a score stands on."""
        scores = scores_meant(self.library, subject, self._run)
        return trace_score(self.library, scores, subject.column, subject.first, limit)

    def run(self, reference: str) -> RunTrace:
        """What a run made and reused."""
        run = find_run(self.library.runs, reference)
        if run is None:
            raise StoreError(
                f"no run of {self.library.store.root}, or several, answer to {reference}; `webtext "
                "runs` lists them"
            )
        return trace_run(self.library, run)

    def text(self, found: LinkTrace) -> str:
        """The extracted text of a link. Raises StoreError where there is none."""
        tracer = self._tracer_of(found)
        text = tracer.text(bytes.fromhex(found.link.link_id), found.link.partition)
        if text is None:
            raise StoreError(f"there is no text of {found.link.url}: {_end(found)}")
        return text

    def text_of(self, answer: Trace) -> str | None:
        """The text of the document that an answer is of; None where it is of none."""
        found = answer.document if isinstance(answer, PlaceTrace) else answer
        if not isinstance(found, LinkTrace) or found.document is None:
            return None
        return self.text(found)

    def page(self, found: LinkTrace) -> bytes:
        """The body of a link's capture, as it was sent. Raises StoreError where there is none."""
        from webtext.errors import WebtextError
        from webtext.warc import read_capture

        capture, captures = found.capture, self._tracer_of(found).build.get("captures")
        if capture is None or captures is None or capture.warc_file is None:
            raise StoreError(f"there is no capture of {found.link.url}: {_end(found)}")
        try:
            captures.file(capture.warc_file)
            response = read_capture(
                captures.folder, capture.model_dump(), max_bytes=_MOST_PAGE_BYTES
            )
            return response.page(max_bytes=_MOST_PAGE_BYTES)
        except WebtextError as error:
            raise StoreError(f"{captures.label}: {error}") from error

    def _link(self, key: bytes, partition: int | None, shown: str) -> LinkTrace:
        found = self._in_months(key, partition)
        if found is None:
            raise StoreError(f"{self.tracer().build.tip.label} has no link {shown}")
        return found

    def _tracer_of(self, found: LinkTrace) -> Tracer:
        """What gave an answer."""
        return next(t for t in self._tracers.values() if t.build.labels() == found.build)

    def _known(self, reference: str) -> Known:
        return self.library.known[self.library.store.find(reference).label]


def scores_meant(library: Library, subject: Subject, run: str | None) -> Known:
    """The scores that a person means: those named, or the newest of a benchmark.

    Args:
        library: the store's artifacts.
        subject: a score or an item, as `read_subject` understood it.
        run: which build is meant, where a benchmark was named.

    Raises:
        StoreError: there are none.
    """
    if subject.artifact is not None:
        return library.known[subject.artifact]
    build = library.build_of(run) if run else None
    return newest_scores(library, subject.name, build)


def _rule_against(build: Build, url: str) -> str | None:
    """Why the rules on submissions refuse a normalised URL; None where they do not."""
    from webtext.submission_rules import DomainLists, Rules, SubmissionsConfig
    from webtext.urls import split_url

    submissions = build.get("submissions")
    if submissions is None:
        return None
    config = SubmissionsConfig.model_validate(submissions.manifest.identity.config)
    rules = Rules(config, DomainLists())
    parts = split_url(url)
    if isinstance(parts, str):
        return parts
    site = rules.judge_site(parts.scheme, parts.authority)
    return site.reason or ("media" if rules.names_media(url) else None)


def _losses(known: Known) -> str:
    losses = known.manifest.counts.get("losses", {})
    return ", ".join(f"{rows:,} {reason}" for reason, rows in losses.items() if rows) or "none"


def _end(found: LinkTrace) -> str:
    end = found.dropped
    return f"{end.stage}: {end.reason}" if end else "its build has not come so far"


def link_of(answer: Trace, subject: str) -> LinkTrace:
    """The link that an answer is of. Raises StoreError where it is of none."""
    if isinstance(answer, PlaceTrace) and answer.document is not None:
        return answer.document
    if isinstance(answer, LinkTrace):
        return answer
    raise StoreError(f"{subject} is no single document; give a URL, a link_id or a shard's token")
