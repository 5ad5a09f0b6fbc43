"""What tracing answers: plain frozen values, the same for people, JSON and pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Base of the answers: frozen, made of plain values."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Submission(Answer):
    """A post on Reddit that leads to a link."""

    id: str
    subreddit: str
    karma: int
    created_utc: int
    """Seconds since 1970; 0: not known."""


class Link(Answer):
    """The address that submissions led to."""

    link_id: str
    url: str
    domain: str
    partition: int
    karma: int | None = None
    """What the rule judged; None where the link did not come so far."""
    first_created_utc: int | None = None
    submissions: tuple[Submission, ...] = ()


class Origin(Answer):
    """The row of an existing corpus that a document is, where nothing was crawled."""

    file: int
    """Number of the file in the order given."""
    row: int
    """Number of the row in it, from 0."""
    sha256: str | None = None
    origin: str | None = None
    """The file's address on a hub, if it has one."""


class Capture(Answer):
    """What a crawl got of a link, and where that is recorded."""

    outcome: str
    detail: str | None
    source: str
    status: int | None
    final_url: str | None
    redirects: int | None
    content_type: str | None
    warc_file: str | None
    warc_offset: int | None
    warc_length: int | None
    payload_offset: int | None
    payload_length: int | None
    payload_digest: str | None
    payload_bytes: int | None
    captured_at: datetime | None


class Document(Answer):
    """The text of a page that passed the filters."""

    title: str | None
    date: str | None
    language: str | None
    characters: int | None
    words: int | None
    tokens: int | None
    split: str | None = None
    """`train` or `validation`, where it is in the corpus."""


class Kept(Answer):
    """The document that was kept in the place of a duplicate."""

    link_id: str
    url: str | None
    kind: str
    """`exact` or `near`."""
    similarity: float
    artifact: str | None
    """The documents artifact that it is of: an earlier build's, maybe."""


class Dropped(Answer):
    """Where a link's way ended, and why."""

    stage: str
    reason: str
    detail: str | None = None
    kept: Kept | None = None


class Copy(Answer):
    """A document that was removed because this one was kept."""

    link_id: str
    kind: str
    similarity: float


class Span(Answer):
    """Tokens of a document in a shard."""

    link_id: str
    split: str
    shard: str
    start: int
    length: int
    document_start: int


class Reading(Answer):
    """The steps of one training that read some tokens."""

    model: str
    steps: tuple[int, ...]
    """Each that read at least one of them, as input or as target, in order."""
    without_update: tuple[int, ...] = ()
    """Those among them that left no trace in the weights: skipped or rolled back after a spike."""
    of_steps: int
    """Steps of the whole training."""
    sequences: int
    """Rows of the shards that hold the tokens."""


class ScoreLine(Answer):
    """A number that stands on a model."""

    artifact: str
    model: str
    column: str
    variant: str
    value: float
    low: float | None
    high: float | None
    unit: str | None = None


class LinkTrace(Answer):
    """The whole way of one link, from its submissions to the scores."""

    build: dict[str, str]
    """The artifacts that were looked at, by their stages."""
    link: Link
    origin: Origin | None = None
    capture: Capture | None = None
    document: Document | None = None
    taken_down: str | None = None
    """When and why it was put on the store's list of removals since, if it was."""
    dropped: Dropped | None = None
    """None where its tokens are in the shards, or the build has not come further yet."""
    copies: tuple[Copy, ...] = ()
    """Documents removed for its sake; the first ones, where there are many."""
    copies_in_all: int = 0
    spans: tuple[Span, ...] = ()
    readings: tuple[Reading, ...] = ()
    scores: tuple[ScoreLine, ...] = ()
    """Scores of the models that read it."""


def plain(value: Any) -> Any:
    """A table's value as an answer holds it: keys as hexadecimal digits."""
    return value.hex() if isinstance(value, bytes) else value


class ReadDocument(Answer):
    """A document that a step read, and where."""

    step: int
    shard: str
    row: int
    link_id: str
    url: str | None
    start: int
    """First token of the document's span in the shard."""
    length: int


class PlaceTrace(Answer):
    """A token of a shard, and the way of the document that it is of."""

    build: dict[str, str]
    shard: str
    offset: int
    row: int
    """The sequence that the token is in."""
    span: Span | None
    """None where it is padding."""
    token_of_document: int | None
    """Which token of the document it is, from 0."""
    document: LinkTrace | None


class StepTrace(Answer):
    """What some steps of a training read, and what stands on it."""

    build: dict[str, str]
    model: str
    first_step: int
    last_step: int
    of_steps: int
    sequences: int
    """Rows of shards that these steps read."""
    losses: tuple[dict[str, Any], ...]
    """The lines of losses.jsonl of these steps; the first ones, where there are many."""
    spikes: tuple[dict[str, Any], ...]
    """The lines of spikes.jsonl of these steps, where the training noted any."""
    documents: tuple[ReadDocument, ...]
    """Documents by step and row; the first ones, where there are many."""
    sequences_shown: int
    """How many of the rows these documents are of."""
    scores: tuple[ScoreLine, ...]
    removed_documents: int = 0
    """Documents that the model was trained on and that were taken down since."""


class Made(Answer):
    """A stage of the way to a score: its artifact, and the rows it kept of those it read."""

    stage: str
    artifact: str
    rows_in: int | None
    rows_out: int | None
    losses: dict[str, int]


class SharedDocument(Answer):
    """A training document that shares n-grams with an item of a benchmark."""

    link_id: str
    url: str
    ngrams: int
    """Distinct n-grams that they share."""
    artifact: str
    """The hits that say so."""


class ScoreTrace(Answer):
    """A score and everything that it was made from."""

    scores: tuple[ScoreLine, ...]
    artifact: str
    items: tuple[dict[str, Any], ...] = ()
    """The rows of items.parquet that were asked for."""
    overlaps: tuple[SharedDocument, ...] = ()
    """Training documents that share n-grams with that item, where the overlap was looked for; the
    first ones, where there are many."""
    benchmark: tuple[str, ...]
    """The files that it was made on: artifacts, or names of outside files with their SHA-256."""
    model: str
    steps: int | None
    """Steps that the model was trained for; None for a model from outside."""
    made_from: tuple[Made, ...]
    """The build below it, from the shards up to the dumps."""
    dumps: tuple[str, ...]
    """The outside files at its beginning, with their SHA-256."""
    training: dict[str, Any]
    """The training's settings."""
    runs: tuple[str, ...]
    """Runs that made or reused it."""
    removed_documents: int = 0
    """Documents that the model was trained on and that were taken down since."""


class ArtifactTrace(Answer):
    """An artifact, what it was made from, and what was made from it."""

    artifact: str
    stage: str
    made_from: tuple[str, ...]
    made_of_it: tuple[str, ...]
    """Artifacts below it, nearest first."""
    made_by: str
    """The run that made it."""
    prefect_flow_run_id: str | None
    """The Prefect flow run which that was."""
    scores: tuple[ScoreLine, ...]
    """Numbers that stand on it."""
    runs: tuple[str, ...]
    removed_documents: int = 0
    """Documents that the model was trained on and that were taken down since."""


class RunTrace(Answer):
    """A run of the pipeline, or of a part of it: what it made and reused, and what came of it."""

    run: str
    flow: str
    profile: str
    state: str
    message: str | None
    began_at: str
    ended_at: str | None
    prefect_flow_run_id: str | None
    """The flow run that it was, on whichever Prefect server it ran."""
    made: tuple[str, ...]
    reused: tuple[str, ...]
    gone: tuple[str, ...]
    """Those among them that are no longer in the store."""
    scores: tuple[ScoreLine, ...]
    """Numbers that it made or reused."""
