"""Links: the distinct URLs whose karma suffices, each with all of its submissions.

One partition of all `submissions/dump-NNNNN.parquet` becomes `links/part-NNNNN.parquet`, sorted by
link_id. `http` and `https` spellings of an address have one link_id; the link keeps the `https` one
if anybody posted it. A submission of unknown time (0) does not make a link the oldest.

The same submission may come in two dumps, or twice in one: of the rows with one id that with the
highest karma is kept (then the latest, then by its other fields), whatever the order of dumps.

Submissions are rows in, links rows out; the others are counted as

    repeated_submission     another row with the same id was kept
    karma_below_minimum     every submission of a link whose karma does not suffice
    same_link               every submission of a link that was kept, but one
    known_link              with earlier captures: every submission of a link that they have

With the captures of earlier months, a link that they have is not a link again: it goes with this
month's submissions, and the outcome and time of its capture, to `known/part-NNNNN.parquet`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.errors import ConfigError, SourceError
from webtext.known_links import KnownLinks
from webtext.link_groups import LinkGroups, drop_repeats
from webtext.sorting import open_sorter, write_tables
from webtext.tables import LINKS, SUBMISSIONS, part_name


class LinksConfig(StageConfig):
    """Which URLs become links."""

    min_karma: int = 3
    """Least karma of a link; WebText took 3 for a sign that people found it worth reading."""
    karma_rule: Literal["any", "sum"] = "any"
    """What is judged: the highest karma of any one submission, or the sum over all of them."""
    partitions: int = Field(default=8, ge=1, le=100_000)
    """Partitions of the links; the same number as the submissions were dealt to."""


def group_links_partition(
    *,
    submissions: Path,
    partition: int,
    destination: Path,
    config: LinksConfig,
    progress: Progress = silent,
    earlier_captures: Sequence[Path] = (),
) -> Counts:
    """Group partition `partition` of all dumps into `destination`/links/part-NNNNN.parquet.

    `submissions` is the artifact's folder, `earlier_captures` those of the months before, the
    first first. Raises SourceError where it holds no table, ConfigError
    where its partitions are not those of `config`. Spills to disk what does not fit in memory,
    and holds a batch of rows besides.
    """
    dumps = _find_dumps(submissions)
    _check_partitions(dumps, partition, config)
    with open_sorter(destination / "scratch") as sorter:
        kept = destination / "scratch" / "kept.parquet"
        rows_in, distinct = drop_repeats(sorter, dumps, partition, kept)
        groups = LinkGroups(config.min_karma, config.karma_rule)
        known = KnownLinks(earlier_captures, partition)
        path = destination / "links" / part_name(partition)
        links = write_tables(path, LINKS, known.leave_out(groups.read(sorter, kept)))
    if earlier_captures:
        known.write(destination / "known" / part_name(partition))
    progress(rows_in, rows_in, links=links)
    losses = {
        "karma_below_minimum": distinct - groups.submissions,
        "repeated_submission": rows_in - distinct,
        "same_link": groups.submissions - known.submissions - links,
        **({"known_link": known.submissions} if earlier_captures else {}),
    }
    facts = {"known_links": known.links} if earlier_captures else {}
    return Counts(rows_in=rows_in, rows_out=links, losses=losses, facts=facts)


def _find_dumps(submissions: Path) -> list[Path]:
    dumps = sorted((submissions / "submissions").glob("dump-*.parquet"))
    if not dumps:
        raise SourceError(
            f"there are no submissions/dump-*.parquet in {submissions}: read a dump first"
        )
    return dumps


def _check_partitions(dumps: list[Path], partition: int, config: LinksConfig) -> None:
    if not 0 <= partition < config.partitions:
        raise ConfigError(f"partition {partition} is not one of the {config.partitions}")
    for dump in dumps:
        groups = pq.read_metadata(dump)
        if groups.schema.to_arrow_schema().names != SUBMISSIONS.names:
            raise SourceError(f"{dump} is no table of submissions: read its dump again")
        if not groups.num_rows:
            continue
        # Sorted by partition, so the last row group holds the highest.
        last = groups.row_group(groups.num_row_groups - 1).column(0).statistics.max
        if last >= config.partitions:
            raise ConfigError(
                f"{dump} has submissions in partition {last}, but links are to have "
                f"{config.partitions} partitions: set both stages' `partitions` to one number"
            )
