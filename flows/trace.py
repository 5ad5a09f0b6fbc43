"""`webtext trace`: finds the answer to what a person asks, in the newest build or the one named.

What only some questions need is imported by them: an answer is to be there within two seconds.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flows.trace_order import TrainingOrder, orders_of
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
            self._tracers[label] = Tracer(build, orders_of(build), self._told)
        return self._tracers[label]

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
        found = self.tracer().trace(link_id(known.url), partition)
        if found is not None:
            return found
        reason = _rule_against(build, known.url)
        why = f"its rules strip it as {reason}" if reason else "no submission that passed led to it"
        raise StoreError(f"{known.url} is no link of {build.tip.label}: {why}")

    def submission(self, identifier: str) -> LinkTrace:
        """The way of the link that a submission led to."""
        tracer = self.tracer()
        submissions = tracer.build.need("submissions")
        index = open_submissions(self.library.store.root, submissions, self._told)
        key = submission_key(identifier)
        for place in index.find(key) if key is not None else ():
            assert place.link_id is not None
            # Keys of ids are cut short: another submission may have the same one.
            found = tracer.trace(place.link_id, place.partition)
            if found is not None and identifier in {post.id for post in found.link.submissions}:
                return found
        raise StoreError(
            f"no submission {identifier} in {submissions.label}: it was in no dump, or the rules "
            f"dropped it ({_losses(submissions)})"
        )

    def domain(self, name: str, limit: int) -> DomainTrace:
        """What became of a registrable domain's links."""
        from webtext.urls import link_partition, normalise_url

        host = normalise_url(f"http://{name.strip('.')}/")
        if isinstance(host, str):
            raise StoreError(f"{name} is no domain: {host}")
        tracer = self.tracer()
        partition = link_partition(host.domain, tracer.build.partitions)
        found = trace_domain(tracer, host.domain, host.host, partition, limit)
        if not found.fate.links:
            raise StoreError(f"{tracer.build.tip.label} has no link to {host.host}")
        return found

    def place(self, subject: Subject) -> PlaceTrace:
        """The document of a token of a shard."""
        build = self.library.build_of(subject.artifact or self._run)
        assert subject.first is not None
        return trace_place(self.tracer(build), subject.name, subject.first)

    def steps(self, subject: Subject, limit: int) -> StepTrace:
        """What some steps of a training read."""
        model = self.library.known[subject.name]
        build = self.library.build_of_model(model)
        if model.stage != "model" or build is None:
            raise StoreError(f"{model.label} was not trained on shards that are in the store")
        assert subject.first is not None
        assert subject.last is not None
        order = TrainingOrder(model, build.need("shards"))
        tracer = self.tracer(build)
        return trace_steps(tracer, order, model, subject.first, subject.last, limit)

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
        text = self.tracer().text(bytes.fromhex(found.link.link_id), found.link.partition)
        if text is None:
            raise StoreError(f"there is no text of {found.link.url}: {_end(found)}")
        return text

    def page(self, found: LinkTrace) -> bytes:
        """The body of a link's capture, as it was sent. Raises StoreError where there is none."""
        from webtext.errors import WebtextError
        from webtext.warc import read_capture

        capture, captures = found.capture, self.tracer().build.get("captures")
        if capture is None or captures is None or capture.warc_file is None:
            raise StoreError(f"there is no capture of {found.link.url}: {_end(found)}")
        try:
            response = read_capture(
                captures.folder, capture.model_dump(), max_bytes=_MOST_PAGE_BYTES
            )
            return response.page(max_bytes=_MOST_PAGE_BYTES)
        except WebtextError as error:
            raise StoreError(f"{captures.label}: {error}") from error

    def _link(self, key: bytes, partition: int | None, shown: str) -> LinkTrace:
        found = self.tracer().trace(key, partition)
        if found is None:
            raise StoreError(f"{self.tracer().build.tip.label} has no link {shown}")
        return found


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
