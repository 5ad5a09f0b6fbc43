"""The way of one link through a build: where it came from, what became of it, what read it.

Each lookup reads a row group or two of one partition. Where a link's way ended, the answer names
the stage and the reason, and for a duplicate the document that was kept in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.errors import StoreError
from infra.lineage_answers import (
    Capture,
    Copy,
    Document,
    Dropped,
    Kept,
    Link,
    LinkTrace,
    Origin,
    ScoreLine,
    Span,
    Submission,
    plain,
)
from infra.lineage_build import Build, Known
from infra.lineage_index import Indexing, KeyIndex, link_key, open_links
from infra.lineage_steps import Order, read_spans
from infra.lineage_tables import find_row, find_rows, find_submissions

SPLITS = ("train", "validation")
_LINK = ("link_id", "url", "domain", "karma", "first_created_utc", "submissions")
_TEXT = ("title", "date", "language", "characters", "words", "tokens")


@dataclass
class Tracer:
    """Answers questions about the links of one build of a store."""

    build: Build
    orders: Sequence[Order]
    """The order of each training on the build's shards."""
    told: Indexing
    most_copies: int = 20
    """Removed copies that are named; all are counted."""
    _index: KeyIndex | None = field(default=None, init=False)

    def trace(self, link_id: bytes, partition: int | None = None) -> LinkTrace | None:
        """The whole way of a link; None where no table of the build knows it.

        Args:
            link_id: its key.
            partition: where it is; found by the index where that is not known.
        """
        if partition is None:
            partition = self.partition_of(link_id)
            if partition is None:
                return None
        link = self.link(link_id, partition) or self._unlinked(link_id, partition)
        if link is None:
            return None
        labels = self.build.labels()
        if link.karma is None:
            known = self._known_before(link_id, partition)
            end = known or self._too_little_karma(link)
            return LinkTrace(build=labels, link=link, dropped=end)
        capture, document = self._capture(link_id, partition), self._document(link_id, partition)
        dropped = self._dropped(link_id, partition, capture, document)
        spans = self.spans(link_id, partition) if dropped is None else ()
        readings = [read_spans(order, spans) for order in self.orders] if spans else []
        copies = [] if document is None else self._copies(link_id)
        return LinkTrace(
            build=labels,
            link=link,
            origin=self._origin(link_id, partition),
            capture=capture,
            document=document,
            dropped=dropped,
            copies=tuple(copies[: self.most_copies]),
            copies_in_all=len(copies),
            spans=tuple(spans),
            readings=tuple(readings),
            scores=tuple(
                score
                for reading in readings
                if reading.steps
                for score in self.scores_of(reading.model)
            ),
        )

    def partition_of(self, link_id: bytes) -> int | None:
        """The partition that holds a link; None where no links table has it."""
        links = self.build.need("links")
        if self._index is None:
            self._index = open_links(self.build_root, links, self.told)
        for place in self._index.find(link_key(link_id)):
            path = links.part("links", place.partition)
            if find_row(path, "link_id", link_id, ["link_id"]) is not None:
                return place.partition
        return None

    @property
    def build_root(self) -> Any:
        """The store's folder."""
        return self.build.tip.folder.parent.parent

    def link(self, link_id: bytes, partition: int) -> Link | None:
        """The row of a link; None where there is none."""
        path = self.build.need("links").part("links", partition)
        row = find_row(path, "link_id", link_id, _LINK)
        if row is None:
            return None
        posts = tuple(Submission.model_validate(post) for post in row.pop("submissions") or ())
        shown = {name: plain(value) for name, value in row.items()}
        return Link(**shown, partition=partition, submissions=posts)

    def spans(self, link_id: bytes, partition: int) -> list[Span]:
        """The tokens of a document, shard by shard."""
        shards = self.build.get("shards")
        if shards is None:
            return []
        rows = find_rows(shards.part("spans", partition), "link_id", [link_id])
        return [Span(**{name: plain(value) for name, value in row.items()}) for row in rows]

    def scores_of(self, model: str) -> Iterator[ScoreLine]:
        """The numbers that stand on a model."""
        for known in self.build.scores.get(model, ()):
            yield from score_lines(known, known.scored_model or model)

    def text(self, link_id: bytes, partition: int) -> str | None:
        """The text of a document, or of a page that did not become one."""
        for role, table in (("documents", "documents"), ("pages", "pages")):
            known = self.build.get(role)
            if known is not None:
                row = find_row(known.part(table, partition), "link_id", link_id, ["text"])
                if row is not None:
                    text: str | None = row["text"]
                    return text
        return None

    def _unlinked(self, link_id: bytes, partition: int) -> Link | None:
        """A link that submissions lead to, but too few people liked."""
        submissions = self.build.get("submissions")
        if submissions is None:
            return None
        rows = list(find_submissions(submissions.parts("submissions"), partition, link_id))
        if not rows:
            return None
        names = Submission.model_fields
        posts = {row["id"]: Submission(**{name: row[name] for name in names}) for row in rows}
        return Link(
            link_id=link_id.hex(),
            url=rows[0]["url"],
            domain=rows[0]["domain"],
            partition=partition,
            submissions=tuple(sorted(posts.values(), key=lambda post: (post.created_utc, post.id))),
        )

    def _known_before(self, link_id: bytes, partition: int) -> Dropped | None:
        """The earlier month that captured a link already; None where none did."""
        path = self.build.need("links").part("known", partition)
        row = None
        if path.is_file():
            row = find_row(path, "link_id", link_id, ["month", "outcome", "captured_at"])
        if row is None:
            return None
        months = self.build.earlier.get("captures", ())
        where = months[row["month"]].label if row["month"] < len(months) else "an earlier month"
        time = row["captured_at"]  # in milliseconds
        when = f" at {datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d}" if time else ""
        return Dropped(
            stage="links", reason="known_link", detail=f"{row['outcome']}{when} in {where}"
        )

    def _too_little_karma(self, link: Link) -> Dropped:
        rule = self.build.need("links").manifest.identity.config
        most = max((post.karma for post in link.submissions), default=0)
        detail = f"at most {most}, at least {rule.get('min_karma')} wanted"
        if rule.get("karma_rule") == "sum":
            total = sum(post.karma for post in link.submissions)
            detail = f"{total} in all, at least {rule.get('min_karma')} wanted"
        return Dropped(stage="links", reason="karma_below_minimum", detail=detail)

    def _origin(self, link_id: bytes, partition: int) -> Origin | None:
        rows, pages = self.build.get("rows"), self.build.get("pages")
        if rows is None or pages is None or not pages.part_names("origins"):
            return None
        row = find_row(pages.part("origins", partition), "link_id", link_id, ["file", "row"])
        if row is None:
            return None
        source = rows.file(f"sources/file-{row['file']:05d}.json")
        told = json.loads(source.read_bytes()) if source.is_file() else {}
        named = {name: told.get(name) for name in ("sha256", "origin")}
        return Origin(file=row["file"], row=row["row"], **named)

    def _capture(self, link_id: bytes, partition: int) -> Capture | None:
        captures = self.build.get("captures")
        if captures is None:
            return None
        path = captures.part("captures", partition)
        row = find_row(path, "link_id", link_id, list(Capture.model_fields))
        if row is None:
            return None
        time = row["captured_at"]  # in milliseconds
        when = None if time is None else datetime.fromtimestamp(time / 1000, UTC)
        return Capture.model_validate({**row, "captured_at": when})

    def _document(self, link_id: bytes, partition: int) -> Document | None:
        documents = self.build.get("documents")
        if documents is None:
            return None
        path = documents.part("documents", partition)
        row = find_row(path, "link_id", link_id, _TEXT)
        return None if row is None else Document(**row, split=self._split(link_id, partition))

    def _split(self, link_id: bytes, partition: int) -> str | None:
        corpus = self.build.get("corpus")
        if corpus is None:
            return None
        for split in SPLITS:
            if find_row(corpus.part(split, partition), "link_id", link_id, ["link_id"]):
                return split
        return None

    def _dropped(
        self,
        link_id: bytes,
        partition: int,
        capture: Capture | None,
        document: Document | None,
    ) -> Dropped | None:
        if capture is not None and capture.outcome != "ok":
            return Dropped(stage="captures", reason=capture.outcome, detail=capture.detail)
        documents = self.build.get("documents")
        if document is None and documents is not None:
            path = documents.part("rejected", partition)
            row = find_row(path, "link_id", link_id, ["reason", "detail"])
            if row is not None:
                return Dropped(stage="documents", **row)
            raise StoreError(
                f"{documents.label} neither holds nor rejects {link_id.hex()}: the store is not "
                "whole; `webtext verify` says what is wrong"
            )
        if document is not None and document.split is None:
            return self._removed(link_id)
        return None

    def _removed(self, link_id: bytes) -> Dropped | None:
        duplicates = self.build.get("duplicates")
        if duplicates is None:
            return None
        row = find_row(duplicates.file("duplicates/duplicates.parquet"), "link_id", link_id)
        if row is None:
            return None
        survivor = row["survivor_link_id"]
        url, artifact = self._survivor(survivor)
        kept = Kept(
            link_id=survivor.hex(),
            url=url,
            kind=row["kind"],
            similarity=row["similarity"],
            artifact=artifact,
        )
        return Dropped(stage="corpus", reason=f"{row['kind']}_duplicate", kept=kept)

    def _survivor(self, link_id: bytes) -> tuple[str | None, str | None]:
        """URL of a survivor and the documents that it is of: this build's, or an earlier one's."""
        earlier = self.build.earlier.get("signatures", ())
        partition = self.partition_of(link_id)
        documents = self.build.get("documents")
        if partition is not None and documents is not None:
            row = find_row(documents.part("documents", partition), "link_id", link_id, ["url"])
            if row is not None:
                return row["url"], documents.label
        for signatures in earlier:
            for path in signatures.parts("signatures"):
                if find_row(path, "link_id", link_id, ["link_id"]) is not None:
                    return self._earlier_url(signatures, path.name, link_id)
        return None, None

    def _earlier_url(
        self, signatures: Known, part: str, link_id: bytes
    ) -> tuple[str | None, str | None]:
        for label in signatures.inputs("documents"):
            path = self.build_root / label / "documents" / part
            row = find_row(path, "link_id", link_id, ["url"]) if path.is_file() else None
            if row is not None:
                return row["url"], label
        return None, None

    def _copies(self, link_id: bytes) -> list[Copy]:
        duplicates = self.build.get("duplicates")
        if duplicates is None:
            return []
        path = duplicates.file("duplicates/duplicates.parquet")
        columns = ["link_id", "kind", "similarity"]
        rows = find_rows(path, "survivor_link_id", [link_id], columns)
        return [Copy(**{name: plain(value) for name, value in row.items()}) for row in rows]


def score_lines(scores: Known, model: str) -> Iterator[ScoreLine]:
    """The numbers of a scores artifact. Raises CorruptArtifact where they cannot be read."""
    content = json.loads(scores.file("scores.json").read_bytes())
    for score in content:
        names = ("column", "variant", "value", "low", "high", "unit")
        shown = {name: score.get(name) for name in names}
        yield ScoreLine(artifact=scores.label, model=model, **shown)
