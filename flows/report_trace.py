"""The answers of tracing as pages: what `webtext trace` prints, with links among them.

An answer becomes stops on a way, each with facts and tables. What an answer holds beyond those a
stop names is shown under "more", so that nothing that is traced is missing from its page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from eval.table import format_score
from flows import html
from flows.report_links import Links
from infra.lineage_answers import (
    ArtifactTrace,
    Capture,
    Document,
    Dropped,
    Link,
    LinkTrace,
    PlaceTrace,
    Reading,
    RunTrace,
    ScoreLine,
    ScoreTrace,
    Span,
    StepTrace,
)
from infra.lineage_impact import DomainTrace, Fate

_MOST = 100
"""Entries of a list on a page; the command's JSON has all."""
_TEXT_CHARACTERS = 20_000


@dataclass(frozen=True)
class Cell:
    """A value, and where it leads."""

    text: str
    href: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table of a stop."""

    headings: Sequence[str]
    rows: list[list[Cell]]
    more: int = 0
    """Rows that are not shown."""


@dataclass
class Stop:
    """A place on the way."""

    title: str
    facts: list[tuple[str, Cell]] = field(default_factory=list)
    grid: Grid | None = None
    note: str = ""
    is_end: bool = False
    """Whether the way ends here."""


@dataclass(frozen=True)
class View:
    """An answer as a page shows it."""

    kind: str
    title: str
    build: dict[str, Cell]
    stops: list[Stop]


def trace_page(answer: BaseModel, links: Links, text: str | None = None) -> str:
    """The page of an answer; `text`, where given, is the document's and is shown below."""
    shown = None if text is None else text[:_TEXT_CHARACTERS]
    return html.render(
        "trace.html.j2",
        served=links.served,
        view=trace_view(answer, links),
        text=shown,
        left_out=len(text or "") - len(shown or ""),
        q="",
    )


def trace_view(answer: BaseModel, links: Links) -> View:
    """What a page shows of an answer."""
    make = _View(links)
    build = {stage: make.at(label) for stage, label in getattr(answer, "build", {}).items()}
    match answer:
        case LinkTrace():
            return View("link", answer.link.url, build, make.link(answer))
        case DomainTrace():
            return View("domain", answer.domain, build, make.domain(answer))
        case PlaceTrace():
            name = f"token {answer.offset:,} of {answer.shard}"
            return View("token", name, build, make.place(answer))
        case StepTrace():
            return View("training step", _steps_name(answer), build, make.steps(answer))
        case ScoreTrace():
            return View("score", _scores_name(answer), build, make.score(answer))
        case ArtifactTrace():
            return View("artifact", answer.artifact, build, make.artifact(answer))
        case RunTrace():
            return View("run", answer.run, build, make.run(answer))
    rest = make.rest(answer, ())
    return View(type(answer).__name__, "answer", build, rest)


@dataclass(frozen=True)
class _View:
    links: Links

    def at(self, subject: str, text: str | None = None) -> Cell:
        """A cell that leads to the page of what it names."""
        return Cell(text or subject, self.links.trace(subject))

    def link(self, found: LinkTrace) -> list[Stop]:
        """The way of a link, from its submissions to the scores."""
        stops = [self._submissions(found.link), self._link(found)]
        if found.capture is not None:
            stops.append(self._capture(found.capture, found))
        if found.document is not None:
            stops.append(self._document(found.document, found))
        if found.taken_down is not None:
            stops.append(Stop("taken down", [("on the list since", Cell(found.taken_down))]))
        if found.dropped is not None:
            stops.append(self._dropped(found.dropped))
        if found.spans:
            stops.append(self._spans(found.spans, found.build.get("shards")))
        stops += [self._reading(reading) for reading in found.readings]
        known = ("build", "link", "capture", "document", "dropped", "spans", "readings", "scores",
                 "copies", "copies_in_all", "origin", "taken_down")  # fmt: skip
        return [*stops, *self._scores(found.scores), *self.rest(found, known)]

    def domain(self, found: DomainTrace) -> list[Stop]:
        """What became of a domain's links."""
        stops = self._fate(found.fate)
        rows = [
            [
                self.at(one.url),
                Cell(one.fate.replace("_", " ")),
                Cell(f"{one.karma:,}"),
                Cell("" if one.tokens is None else f"{one.tokens:,}"),
            ]
            for one in found.shown[:_MOST]
        ]
        more = found.fate.links - len(rows)
        listed = Stop("links", grid=Grid(("link", "became", "karma", "tokens"), rows, more))
        known = ("build", "domain", "partition", "fate", "shown")
        return [*stops[:1], listed, *stops[1:], *self.rest(found, known)]

    def place(self, found: PlaceTrace) -> list[Stop]:
        """A token's document, with its whole way."""
        facts = [("sequence", Cell(f"{found.row:,}"))]
        if found.token_of_document is not None:
            facts.append(("token of its document", Cell(f"{found.token_of_document:,}")))
        if found.document is None:
            note = "Padding: no document's token."
            return [Stop("token", facts, note=note, is_end=True)]
        facts.append(("document", self.at(found.document.link.url)))
        return [Stop("token", facts), *self.link(found.document)]

    def steps(self, found: StepTrace) -> list[Stop]:
        """What some steps of a training read."""
        facts = [
            ("model", self.at(found.model)),
            ("of", Cell(f"{found.of_steps:,} steps")),
            ("sequences read", Cell(f"{found.sequences:,}")),
        ]
        stops = [Stop("training", facts, self._lines(found))]
        rows = [
            [
                self.at(one.url or one.link_id),
                self.at(f"{found.model}@{one.step}", f"{one.step:,}"),
                self._token(one.shard, one.start, found.build.get("shards")),
                Cell(f"{one.row:,}"),
            ]
            for one in found.documents[:_MOST]
        ]
        note = ""
        if left := found.sequences - found.sequences_shown:
            note = f"The documents of {left:,} sequences more are not listed."
        grid = Grid(("document", "step", "shard and token", "sequence"), rows)
        stops.append(Stop("documents read", grid=grid, note=note))
        known = ("build", "model", "first_step", "last_step", "of_steps", "sequences", "losses",
                 "spikes", "documents", "sequences_shown", "scores")  # fmt: skip
        return [*stops, *self._scores(found.scores), *self.rest(found, known)]

    def score(self, found: ScoreTrace) -> list[Stop]:
        """What a score stands on, down to the dumps."""
        stops = list(self._scores(found.scores))
        facts = [("file", self._maybe(name)) for name in found.benchmark]
        stops.append(Stop("benchmark", facts, self._records("item", found.items)))
        settings = [(name.replace("_", " "), Cell(f"{v}")) for name, v in found.training.items()]
        stops.append(Stop("model", [("artifact", self._maybe(found.model)), *settings]))
        rows = [
            [
                self.at(made.artifact),
                Cell("" if made.rows_in is None else f"{made.rows_in:,}"),
                Cell("" if made.rows_out is None else f"{made.rows_out:,}"),
                Cell(", ".join(f"{n:,} {r.replace('_', ' ')}" for r, n in made.losses.items())),
            ]
            for made in found.made_from
        ]
        stops.append(Stop("made from", grid=Grid(("artifact", "in", "kept", "lost"), rows)))
        stops.append(Stop("dumps", [("file", self._maybe(name)) for name in found.dumps]))
        known = ("scores", "artifact", "items", "benchmark", "model", "steps", "made_from", "dumps",
                 "training", "runs")  # fmt: skip
        return [*stops, *self._runs(found.runs), *self.rest(found, known)]

    def artifact(self, found: ArtifactTrace) -> list[Stop]:
        """An artifact among those it was made from and those made from it."""
        stops = [
            Stop(title, [("", self._maybe(name)) for name in names[:_MOST]])
            for title, names in (("made from", found.made_from), ("made of it", found.made_of_it))
            if names
        ]
        made = [("run", self.at(found.made_by))]
        if found.prefect_flow_run_id:
            made.append(("Prefect flow run", Cell(found.prefect_flow_run_id)))
        stops.insert(0, Stop("made by", made))
        known = ("artifact", "stage", "made_from", "made_of_it", "scores", "runs", "made_by",
                 "prefect_flow_run_id")  # fmt: skip
        rest = self.rest(found, known)
        return [*stops, *self._scores(found.scores), *self._runs(found.runs), *rest]

    def run(self, found: RunTrace) -> list[Stop]:
        """What a run made and reused."""
        values = {
            "flow": found.flow, "profile": found.profile, "state": found.state,
            "message": found.message, "began": found.began_at, "ended": found.ended_at,
            "Prefect flow run": found.prefect_flow_run_id,
        }  # fmt: skip
        facts = [(name, Cell(value)) for name, value in values.items() if value]
        if self.links.served:
            facts.append(("report", Cell("the run as a page", f"/report/{found.run}")))
        stops = [Stop("run", facts)]
        for title, names in (("made", found.made), ("reused", found.reused)):
            if names:
                cells = [
                    ("", Cell(f"{name}, gone") if name in found.gone else self.at(name))
                    for name in names[:_MOST]
                ]
                stops.append(Stop(title, cells))
        known = (*values, "run", "began_at", "ended_at", "prefect_flow_run_id", "made", "reused",
                 "gone", "scores")  # fmt: skip
        return [*stops, *self._scores(found.scores), *self.rest(found, known)]

    def rest(self, found: BaseModel, known: Iterable[str]) -> list[Stop]:
        """What else an answer holds, by the names of its fields."""
        facts = []
        for name in type(found).model_fields:
            value = getattr(found, name)
            if name not in known and value not in (None, (), {}, [], "", 0):
                facts.append((name.replace("_", " "), Cell(_plain(value))))
        return [Stop("more", facts)] if facts else []

    def _submissions(self, link: Link) -> Stop:
        rows = [
            [
                self.at(f"t3_{post.id}", post.id),
                Cell(f"r/{post.subreddit}"),
                Cell(f"{post.karma:,}"),
                Cell(_time(post.created_utc)),
            ]
            for post in link.submissions[:_MOST]
        ]
        more = len(link.submissions) - len(rows)
        headings = ("submission", "subreddit", "karma", "posted")
        note = "" if rows else "No submission: the link is of an existing corpus."
        return Stop("submissions", grid=Grid(headings, rows, more) if rows else None, note=note)

    def _link(self, found: LinkTrace) -> Stop:
        link = found.link
        facts = [
            ("address", Cell(link.url)),
            ("domain", self.at(link.domain) if link.domain else Cell("none")),
            ("link_id", self.at(link.link_id)),
            ("partition", Cell(f"{link.partition:,}")),
        ]
        if link.karma is not None:
            facts.append(("karma", Cell(f"{link.karma:,}")))
        if found.origin is not None:
            origin = found.origin
            named = origin.origin or origin.sha256 or ""
            facts.append(("row", Cell(f"{origin.row:,} of file {origin.file} {named}")))
        return Stop("link", facts)

    def _capture(self, capture: Capture, found: LinkTrace) -> Stop:
        facts = [("outcome", Cell(capture.outcome.replace("_", " ")))]
        values = {
            "detail": capture.detail,
            "status": capture.status,
            "asked of": capture.source,
            "after redirects": capture.final_url if capture.redirects else None,
            "type": capture.content_type,
            "captured": capture.captured_at and f"{capture.captured_at:%Y-%m-%d %H:%M} UTC",
            "payload": capture.payload_digest,
        }
        facts += [(name, Cell(f"{value}")) for name, value in values.items() if value]
        if capture.warc_file:
            place = f"{capture.warc_file} at {capture.warc_offset:,}, {capture.warc_length:,} bytes"
            facts.append(("record", Cell(f"{found.build.get('captures', '')}/{place}")))
            to_keep = self.links.capture(found.link.link_id)
            if to_keep:
                facts.append(("page as sent", Cell("download", to_keep)))
        return Stop("capture", facts)

    def _document(self, document: Document, found: LinkTrace) -> Stop:
        values = {
            "title": document.title,
            "date": document.date,
            "language": document.language,
            "split": document.split or "not in the corpus",
        }
        facts = [(name, Cell(f"{value}")) for name, value in values.items() if value]
        if document.tokens is not None:
            size = f"{document.tokens:,} tokens, {document.words or 0:,} words"
            facts.append(("size", Cell(size)))
        text = self.links.text(found.link.link_id)
        if text:
            facts.append(("text", Cell("read it", text)))
        rows = [
            [self.at(copy.link_id), Cell(copy.kind), Cell(f"{copy.similarity:.2f}")]
            for copy in found.copies[:_MOST]
        ]
        more = found.copies_in_all - len(rows)
        grid = Grid(("kept in place of", "kind", "similarity"), rows, more) if rows else None
        return Stop("document", facts, grid)

    def _dropped(self, end: Dropped) -> Stop:
        facts = [("reason", Cell(end.reason.replace("_", " ")))]
        if end.detail:
            facts.append(("detail", Cell(end.detail)))
        if end.kept is not None:
            kept = end.kept
            facts.append(("kept in its place", self.at(kept.url or kept.link_id)))
            facts.append(("likeness", Cell(f"{kept.kind}, {kept.similarity:.2f}")))
            if kept.artifact:
                facts.append(("of", self.at(kept.artifact)))
        return Stop(f"dropped by {end.stage}", facts, is_end=True)

    def _spans(self, spans: Sequence[Span], shards: str | None) -> Stop:
        rows = [
            [
                self._token(span.shard, span.start, shards),
                Cell(f"{span.length:,}"),
                Cell(f"{span.document_start:,}"),
            ]
            for span in spans[:_MOST]
        ]
        headings = ("shard and first token", "tokens", "from token of the document")
        return Stop("tokens", grid=Grid(headings, rows, len(spans) - len(rows)))

    def _token(self, shard: str, start: int, shards: str | None) -> Cell:
        named = f"{shards}:" if shards else ""
        return self.at(f"{named}{shard}@{start}", f"{shard} @ {start:,}")

    def _reading(self, reading: Reading) -> Stop:
        facts = [("model", self.at(reading.model)), ("of", Cell(f"{reading.of_steps:,} steps"))]
        if not reading.steps:
            return Stop("training", facts, note="No step read it.")
        lasting = sorted({*reading.steps} - {*reading.without_update})
        if lasting:
            facts.append(("in every checkpoint since", Cell(f"step {lasting[0]:,}")))
        if reading.without_update:
            facts.append(("taken back or skipped", Cell(f"{len(reading.without_update):,} steps")))
        rows = [[self.at(f"{reading.model}@{step}", f"{step:,}")] for step in reading.steps[:_MOST]]
        more = len(reading.steps) - len(rows)
        return Stop("training", facts, Grid(("read by step",), rows, more))

    def _scores(self, lines: Sequence[ScoreLine]) -> Iterable[Stop]:
        rows = [
            [
                self.at(line.artifact, line.column),
                Cell(line.variant),
                Cell(format_score(line.value)),
                Cell(_interval(line)),
                self._maybe(line.model),
            ]
            for line in lines[:_MOST]
        ]
        if rows:
            headings = ("score", "reading", "value", "95 % interval", "model")
            yield Stop("scores", grid=Grid(headings, rows, len(lines) - len(rows)))

    def _fate(self, fate: Fate) -> list[Stop]:
        facts = [
            ("links", Cell(f"{fate.links:,} of {fate.submissions:,} submissions")),
            (
                "documents",
                Cell(f"{fate.documents:,} ({fate.share_of_documents:.4%} of the corpus)"),
            ),
            ("tokens", Cell(f"{fate.tokens:,} ({fate.share_of_tokens:.4%})")),
        ]
        ends = [[Cell(end.replace("_", " ")), Cell(f"{n:,}")] for end, n in fate.ends.items()]
        stops = [Stop("what became of it", facts, Grid(("ended as", "links"), ends))]
        if fate.shards:
            rows = [[Cell(shard), Cell(f"{n:,}")] for shard, n in list(fate.shards.items())[:_MOST]]
            grid = Grid(("shard", "tokens"), rows, len(fate.shards) - len(rows))
            stops.append(Stop("tokens", grid=grid))
        stops += [self._reading(reading) for reading in fate.readings]
        return [*stops, *self._scores(fate.scores)]

    def _lines(self, found: StepTrace) -> Grid | None:
        """The losses of the steps, with the spikes among them."""
        spikes = {line["step"]: line for line in found.spikes}
        rows = []
        for line in found.losses:
            spike = spikes.get(line["step"])
            told = f"{spike['kind']}, {spike['action']}".replace("_", " ") if spike else ""
            loss = "not finite" if line["loss"] is None else f"{line['loss']:.4f}"
            checked = line.get("validation_loss")
            rows.append(
                [
                    self.at(f"{found.model}@{line['step']}", f"{line['step']:,}"),
                    Cell(loss),
                    Cell("" if checked is None else f"{checked:.4f}"),
                    Cell(told),
                ]
            )
        return Grid(("step", "loss", "held-out loss", "spike"), rows) if rows else None

    def _records(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Grid | None:
        """Rows of a table as they are."""
        if not rows:
            return None
        headings = [name, *(key for key in rows[0] if key != name)]
        return Grid(
            headings, [[Cell(_plain(row.get(h))) for h in headings] for row in rows[:_MOST]]
        )

    def _runs(self, runs: Sequence[str]) -> Iterable[Stop]:
        if runs:
            cells = [("", self.at(run)) for run in runs[-_MOST:]]
            yield Stop("runs that made or reused it", cells)

    def _maybe(self, name: str) -> Cell:
        """A link where the name is that of an artifact."""
        stage, slash, rest = name.partition("/")
        is_label = bool(slash) and " " not in name and "/" not in rest and not stage.startswith(".")
        return self.at(name) if is_label else Cell(name)


def _steps_name(found: StepTrace) -> str:
    last = "" if found.last_step == found.first_step else f"–{found.last_step:,}"
    return f"step {found.first_step:,}{last} of {found.model}"


def _scores_name(found: ScoreTrace) -> str:
    if len({line.column for line in found.scores}) == 1:
        return found.scores[0].column
    return found.artifact


def _interval(line: ScoreLine) -> str:
    if line.low is None or line.high is None:
        return ""
    return f"{format_score(line.low)} – {format_score(line.high)}"


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if seconds else "not known"


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, tuple | list):
        return ", ".join(_plain(one) for one in value[:_MOST])
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else f"{value}"
