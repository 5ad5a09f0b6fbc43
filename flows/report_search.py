"""Searching the texts of documents: partition after partition, in a set time and little memory.

There is no index of words: what is asked for is looked for in each text, and an answer says how far
the search came. It goes on from there when asked again.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import duckdb

from flows.report_tables import open_tables
from infra.lineage_build import Known

MOST_CHARACTERS = 200
"""Of what is looked for."""
MOST_HITS = 50
LIMIT_S = 10.0
_AROUND = {"before": 120, "after_it": 200}
"""Characters that are shown on either side."""


@dataclass(frozen=True)
class Place:
    """Where a search goes on: a partition, and the last document of it that was told."""

    partition: int = 0
    after: bytes = b""

    def __str__(self) -> str:
        return f"{self.partition}.{self.after.hex()}"

    @classmethod
    def read(cls, text: str) -> Place:
        """The place that `str` wrote; the beginning where it is none."""
        number, _, after = text.partition(".")
        try:
            return cls(max(int(number), 0), bytes.fromhex(after))
        except ValueError:
            return cls()


@dataclass(frozen=True)
class Hit:
    """A document that holds what was looked for, and where."""

    link_id: str
    url: str
    title: str | None
    before: str
    found: str
    after: str


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    hits: list[Hit]
    files: int
    files_read: int
    """Partitions that were searched to their end, those of earlier parts of the search included."""
    stopped: str
    """Why it ended early; empty where everything was searched."""
    next: Place | None
    """Where it goes on; None at the end."""
    seconds: float


def search_texts(
    documents: Known,
    words: str,
    start: Place = Place(),
    *,
    most: int = MOST_HITS,
    limit_s: float = LIMIT_S,
) -> Found:
    """The documents whose text holds `words` in this order, whatever the case of the letters.

    Args:
        documents: the artifact.
        words: what to look for, at most `MOST_CHARACTERS`.
        start: where an earlier search ended.
        most: documents that are told at most.
        limit_s: seconds after which the search ends.
    """
    files = documents.parts("documents")
    began = time.monotonic()
    hits: list[Hit] = []
    at, after, stopped = start.partition, start.after, ""
    with open_tables(ordered=True) as tables:
        alarm = threading.Timer(limit_s, tables.connection.interrupt)
        alarm.daemon = True
        alarm.start()
        try:
            while at < len(files):
                if time.monotonic() - began > limit_s:
                    stopped = f"it had {limit_s:g} seconds"
                    break
                given = {"words": words, "after": after, "most": most - len(hits), **_AROUND}
                rows = tables.rows(_SEARCH, [files[at]], given)
                hits += [_hit(words, *row) for row in rows]
                if len(hits) >= most:
                    after, stopped = rows[-1][0], f"it tells {most} documents at once"
                    break
                at, after = at + 1, b""
        except duckdb.InterruptException:
            stopped = f"it had {limit_s:g} seconds"
        finally:
            alarm.cancel()
    seconds = time.monotonic() - began
    going_on = Place(at, after) if stopped else None
    return Found(hits, len(files), min(at, len(files)), stopped, going_on, seconds)


def _hit(words: str, link_id: bytes, url: str, title: str | None, around: str) -> Hit:
    place = around.lower().find(words.lower())
    if place < 0:  # the lower case of a letter before it is longer than the letter
        return Hit(link_id.hex(), url, title, around, "", "")
    end = place + len(words)
    return Hit(link_id.hex(), url, title, around[:place], around[place:end], around[end:])


_SEARCH = """
SELECT link_id, url, title,
       substr(text, greatest(place - $before, 1), $before + length($words) + $after_it)
FROM (
    SELECT link_id, url, title, text, instr(lower(text), lower($words)) AS place
    FROM read_parquet($files) WHERE link_id > $after::BLOB
)
WHERE place > 0 LIMIT $most
"""
