"""A look at the dumps before they are read: the first megabytes of each, carried on to its size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard
from pydantic import BaseModel, ConfigDict

from flows.profile import Profile
from webtext.domain_lists import read_domain_lists
from webtext.dump_tables import is_table, read_table_rows
from webtext.dumps import MAX_WINDOW_BYTES, DumpPosition, read_blocks
from webtext.errors import SourceError
from webtext.submission_columns import LineReader
from webtext.submission_lines import judge_submission, submission_of
from webtext.submission_rules import DomainLists, Rules

SAMPLE_TEXT_BYTES = 8 * 2**20
"""Text that is read of a dump."""
SAMPLE_ROWS = 20_000
"""Rows that are read of a Parquet table."""
SAMPLE_DUMPS = 12
"""Dumps that are looked into, the first, the last and some between; the others are taken alike."""
_LEAST_WINDOW_BYTES = 8 * 2**20  # zstd's at its default level


class Sample(BaseModel):
    """The dumps of a run, as far as could be told without reading them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dumps: int
    file_bytes: int
    text_bytes: float
    rows: float
    submissions: float
    """Rows that link to a page of the open web."""
    links: float
    """Distinct links of enough karma. Over sampled dumps alone: the same link in dumps far apart
    is counted twice, so this is on the high side."""
    largest_domain: float
    """Links of the domain that has most."""
    window_bytes: int
    """Largest zstd window of a dump; 0 where none is zstd."""
    read_rows: int
    """Rows that were read for it."""
    whole: bool
    """Whether everything was read, so that the numbers are exact."""


def sample_dumps(dumps: Sequence[Path], profile: Profile) -> Sample:
    """Read the first megabytes of some of the dumps by the profile's rules.

    Raises SourceError where a dump is missing, of an unknown kind or damaged where it begins.
    """
    chosen = _spread(dumps)
    seen = [_sample_dump(dump, profile) for dump in chosen]
    sizes = sum(dump.stat().st_size for dump in dumps)
    scale = sizes / max(1, sum(one.file_bytes for one in seen))
    return Sample(
        dumps=len(dumps),
        file_bytes=sizes,
        text_bytes=scale * sum(one.text_bytes for one in seen),
        rows=scale * sum(one.rows for one in seen),
        submissions=scale * sum(one.submissions for one in seen),
        links=scale * sum(one.links for one in seen),
        largest_domain=scale * sum(one.largest_domain for one in seen),
        window_bytes=max((one.window_bytes for one in seen), default=0),
        read_rows=sum(one.read_rows for one in seen),
        whole=len(chosen) == len(dumps) and all(one.whole for one in seen),
    )


def _spread(dumps: Sequence[Path]) -> list[Path]:
    """At most `SAMPLE_DUMPS` of them, evenly over the list."""
    if len(dumps) <= SAMPLE_DUMPS:
        return list(dumps)
    places = np.linspace(0, len(dumps) - 1, SAMPLE_DUMPS).round().astype(int)
    return [dumps[place] for place in places]


def _sample_dump(dump: Path, profile: Profile) -> Sample:
    position = DumpPosition()
    rules = _rules(profile)
    reader = LineReader(profile.submissions, rules)
    if is_table(dump):
        share = _read_table(dump, position, reader, rules)
    else:
        share = _read_text(dump, position, reader)
    table = reader.take()
    links, largest = _count_links(table, profile)
    text = position.text_bytes or position.file_size * share
    return Sample(
        dumps=1,
        file_bytes=position.file_size,
        text_bytes=text / share,
        rows=position.row / share,
        submissions=table.num_rows / share,
        links=links / share,
        largest_domain=largest / share,
        window_bytes=_window(dump),
        read_rows=position.row,
        whole=share == 1.0,
    )


def _rules(profile: Profile) -> Rules:
    given = profile.inputs
    allowed = read_domain_lists(given.allowed_domains) if given.allowed_domains else None
    return Rules(
        profile.submissions, DomainLists(read_domain_lists(given.blocked_domains), allowed)
    )


def _read_text(dump: Path, position: DumpPosition, reader: LineReader) -> float:
    """Feed the start of a dump to the reader; the share of the file that it was."""
    try:
        for block in read_blocks(dump, position):
            reader.feed(block)
            position.row = reader.lines
            if position.text_bytes >= SAMPLE_TEXT_BYTES:
                return max(position.file_bytes, 1) / max(position.file_size, 1)
    except SourceError as error:
        if not error.damaged or not reader.lines:
            raise
        return max(position.file_bytes, 1) / max(position.file_size, 1)
    return 1.0


def _read_table(dump: Path, position: DumpPosition, reader: LineReader, rules: Rules) -> float:
    read = 0
    for row in islice(read_table_rows(dump, position), SAMPLE_ROWS):
        reader.add(judge_submission(submission_of(row), rules))
        read += 1
    position.row = read
    return read / max(1, int(pq.read_metadata(dump).num_rows))


def _count_links(table: pa.Table, profile: Profile) -> tuple[int, int]:
    """Distinct links with enough karma, and how many the largest domain has."""
    how = "max" if profile.links.karma_rule == "any" else "sum"
    grouped = table.group_by(["link_id", "domain"]).aggregate([("karma", how)])
    kept = grouped.filter(pc.greater_equal(grouped[f"karma_{how}"], profile.links.min_karma))
    if not kept.num_rows:
        return 0, 0
    largest = pc.max(pc.value_counts(kept["domain"].combine_chunks()).field("counts")).as_py()
    return kept.num_rows, largest


def _window(dump: Path) -> int:
    """The window that a zstd dump declares; 0 for other kinds."""
    if dump.suffix.lower() != ".zst":
        return 0
    with dump.open("rb") as file:
        head = file.read(64)
    try:
        declared = int(zstandard.get_frame_parameters(head).window_size)
    except zstandard.ZstdError:
        return MAX_WINDOW_BYTES  # a skippable frame comes first: expect the most
    return max(_LEAST_WINDOW_BYTES, min(declared, MAX_WINDOW_BYTES))
