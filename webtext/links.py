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
"""

from pathlib import Path
from typing import Literal

import duckdb
import pyarrow.parquet as pq
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.errors import ConfigError, SourceError
from webtext.sorting import open_sorter, write_query
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
) -> Counts:
    """Group partition `partition` of all dumps into `destination`/links/part-NNNNN.parquet.

    `submissions` is the artifact's folder. Raises SourceError where it holds no table, ConfigError
    where its partitions are not those of `config`. Spills to disk what does not fit in memory.
    """
    dumps = _find_dumps(submissions)
    _check_partitions(dumps, partition, config)
    with open_sorter(destination / "scratch") as sorter:
        _load_partition(sorter, dumps, partition)
        rows_in, distinct = _count_pair(sorter, "count(*), count(DISTINCT id) FROM loaded")
        sorter.execute(_GROUP.format(judged=_JUDGED[config.karma_rule]))
        path = destination / "links" / part_name(partition)
        query = f"SELECT * FROM grouped WHERE karma >= {config.min_karma} ORDER BY link_id"  # noqa: S608
        links = write_query(path, LINKS, sorter.cursor(), query)
        kept, _ = _count_pair(
            sorter,
            f"coalesce(sum(len(submissions)), 0), 0 FROM grouped WHERE karma >= {config.min_karma}",
        )
    progress(rows_in, rows_in, links=links)
    losses = {
        "karma_below_minimum": distinct - kept,
        "repeated_submission": rows_in - distinct,
        "same_link": kept - links,
    }
    return Counts(rows_in=rows_in, rows_out=links, losses=losses)


_GROUP = """
CREATE TABLE grouped AS
SELECT
    link_id,
    max(url) AS url,  -- "https:" is after "http:"
    min(host) AS host,
    min(domain) AS domain,
    CAST({judged} AS INTEGER) AS karma,
    coalesce(min(nullif(created_utc, 0)), 0) AS first_created_utc,
    list(
        struct_pack(id := id, subreddit := subreddit, karma := karma, created_utc := created_utc)
        ORDER BY created_utc, id
    ) AS submissions
FROM (
    SELECT * FROM loaded
    QUALIFY row_number() OVER (
        PARTITION BY id ORDER BY karma DESC, created_utc DESC, subreddit, url
    ) = 1
)
GROUP BY link_id
"""

_JUDGED = {"any": "max(karma)", "sum": "least(greatest(sum(karma), -2147483647), 2147483647)"}


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


def _load_partition(sorter: duckdb.DuckDBPyConnection, dumps: list[Path], partition: int) -> None:
    sorter.execute(
        "CREATE TABLE loaded AS SELECT * EXCLUDE (partition) "
        "FROM read_parquet(?) WHERE partition = ?",
        [[str(dump) for dump in dumps], partition],
    )


def _count_pair(sorter: duckdb.DuckDBPyConnection, counted: str) -> tuple[int, int]:
    found = sorter.execute(f"SELECT {counted}").fetchone()
    assert found is not None
    return int(found[0]), int(found[1])
