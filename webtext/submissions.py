"""Submissions: the rows of a Reddit dump that link to a page of the open web.

One dump (JSON lines, see `webtext.dumps`, or a Parquet table, see `webtext.dump_tables`) becomes
`submissions/dump-NNNNN.parquet`, sorted by partition, link_id and id. Each row of the dump is
either a row of it or counted under one of these reasons, judged in this order:

    blank_line          nothing on the line
    broken_json         no JSON object (over-long lines are cut short and so end here)
    self_post           text on Reddit itself, no link
    missing_field       id, url or score is absent, null or of no use
    outside_dates       made before `created_from` or after `created_to`
    over_18             by the rule `over_18`
    subreddit           not in the subreddits allowed, or among those blocked
    not_http, url_too_long, url_credentials, control_character, invalid_host, invalid_url
                        no URL to fetch (`webtext.urls`)
    wikipedia           Wikipedia, or with `strip_wikimedia` any Wikimedia project
    blocked_domain      among `blocked_domains`, or on a list of blocked domains
    not_allowed_domain  not on the list of allowed domains, where there is one
    media               a host of pictures, video or sound, or a file that is no page
    unreadable_rest     with `keep_going`, once for a damaged dump: what lies behind the damage

A damaged dump is an error, which tells the byte and the row reached; nothing is written then.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from webtext.counts import Counts, Progress, silent
from webtext.domain_lists import read_domain_lists
from webtext.dump_tables import is_table, read_table_rows
from webtext.dumps import DumpPosition, read_blocks
from webtext.errors import SourceError
from webtext.sorting import open_sorter, table_of, write_query
from webtext.submission_columns import LineReader
from webtext.submission_lines import judge_submission, submission_of
from webtext.submission_rules import DomainLists, Rules, SubmissionsConfig
from webtext.tables import SUBMISSIONS

__all__ = ["SubmissionsConfig", "read_submissions_dump"]

_REPORT_BLOCKS = 64  # about 64 MB of text


def read_submissions_dump(
    *,
    dump: Path,
    partition: int,
    destination: Path,
    config: SubmissionsConfig,
    blocked_domains: Sequence[Path] = (),
    allowed_domains: Sequence[Path] = (),
    progress: Progress = silent,
) -> Counts:
    """Read the dump numbered `partition` into `destination`/submissions/dump-NNNNN.parquet.

    `blocked_domains` and `allowed_domains` are files that list domains (`webtext.domain_lists`).
    Streams: memory does not grow with the dump, the sort spills to disk. Progress is in bytes of
    the file. Raises SourceError if the dump is missing, truncated or corrupt (with `keep_going`:
    if it is missing or of an unknown kind), or a list cannot be read.
    """
    lists = DomainLists(
        read_domain_lists(blocked_domains),
        read_domain_lists(allowed_domains) if allowed_domains else None,
    )
    rules = Rules(config, lists)
    position = DumpPosition()
    reader = LineReader(config, rules)
    losses: Counter[str] = reader.losses
    with open_sorter(destination / "scratch") as sorter:
        unsorted = destination / "scratch" / "unsorted.parquet"
        rows_out = _spill(unsorted, _read_dump(dump, position, reader, rules, config, progress))
        write_query(
            destination / "submissions" / f"dump-{partition:05d}.parquet",
            SUBMISSIONS,
            sorter.cursor(),
            f"SELECT * FROM {table_of(unsorted)} ORDER BY ALL",  # noqa: S608
        )
    return Counts(
        rows_in=rows_out + losses.total(),
        rows_out=rows_out,
        losses={reason: rows for reason, rows in sorted(losses.items()) if rows},
        facts={
            "file_bytes": position.file_size,
            "text_bytes": position.text_bytes,
            "unread_bytes": position.file_size - position.file_bytes,
        },
    )


def _read_dump(
    dump: Path,
    position: DumpPosition,
    reader: LineReader,
    rules: Rules,
    config: SubmissionsConfig,
    progress: Progress,
) -> Iterator[pa.Table]:
    """Tables of the rows that pass; every other row is counted in the reader's losses."""
    try:
        if is_table(dump):
            for row in read_table_rows(dump, position):
                reader.add(judge_submission(submission_of(row), rules))
                if reader.is_full():
                    yield reader.take()
                    progress(position.file_bytes, position.file_size, rows=position.row)
        else:
            for number, block in enumerate(read_blocks(dump, position)):
                reader.feed(block)
                position.row = reader.lines
                if reader.is_full():
                    yield reader.take()
                if number % _REPORT_BLOCKS == 0:
                    progress(position.file_bytes, position.file_size, rows=position.row)
    except SourceError as error:
        if not (config.keep_going and error.damaged):
            raise
        reader.losses["unreadable_rest"] += 1
        progress(position.file_bytes, position.file_size, rows=position.row)
    else:
        position.file_bytes = position.file_size
        progress(position.file_size, position.file_size, rows=position.row)
    yield reader.take()


def _spill(path: Path, tables: Iterator[pa.Table]) -> int:
    """Write tables as they come; returns the rows."""
    count = 0
    # Quick to write: this file lives until it is sorted.
    repeated = ["host", "domain", "subreddit"]
    with pq.ParquetWriter(
        path, SUBMISSIONS, compression="lz4", use_dictionary=repeated, write_statistics=False
    ) as writer:
        for table in tables:
            writer.write_table(table)
            count += table.num_rows
    return count
