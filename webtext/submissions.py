"""Submissions: the rows of a Reddit dump that link to a page of the open web.

One dump (see `webtext.dumps`) becomes `submissions/dump-NNNNN.parquet`, sorted by partition,
link_id and id. Each line of the dump is either a row of it or counted under one of these reasons,
judged in this order:

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
    blocked_domain      among `blocked_domains`
    media               a host of pictures, video or sound, or a file that is no page

Fields are read as Pushshift and Arctic Shift wrote them over the years: numbers may be strings or
floats, `is_self` may be missing (then a `domain` of `self.NAME` tells), URLs may carry the API's
`&amp;`. A missing subreddit becomes an empty name, a missing time 0 (1970), which `webtext.links`
takes for unknown. The author's name is never read.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.dumps import DumpPosition, read_lines
from webtext.sorting import open_sorter, write_query
from webtext.tables import SUBMISSIONS
from webtext.urls import URL_REASONS, link_id, link_partition, normalise_url
from webtext.wikimedia import is_wikipedia

MEDIA_EXTENSIONS = (
    "7z", "aac", "apk", "avi", "bin", "bmp", "bz2", "csv", "dat", "deb", "dmg", "doc", "docx",
    "epub", "exe", "flac", "flv", "gif", "gifv", "gz", "ico", "iso", "jar", "jpeg", "jpg", "m4a",
    "m4v", "mid", "mkv", "mobi", "mov", "mp3", "mp4", "mpeg", "mpg", "msi", "ogg", "ogv", "pdf",
    "png", "pps", "ppt", "pptx", "ps", "rar", "rpm", "rtf", "svg", "swf", "tar", "tgz", "tif",
    "tiff", "torrent", "wav", "webm", "webp", "wma", "wmv", "xls", "xlsx", "xz", "zip",
)  # fmt: skip
"""Endings of files that hold no HTML."""

MEDIA_HOSTS = (
    "500px.com", "clips.twitch.tv", "dailymotion.com", "deviantart.com", "flic.kr", "flickr.com",
    "gfycat.com", "giphy.com", "i.redd.it", "i.reddituploads.com", "imgflip.com", "imgur.com",
    "instagram.com", "liveleak.com", "livememe.com", "memegenerator.net", "minus.com",
    "mixcloud.com", "photobucket.com", "pornhub.com", "puu.sh", "qkme.me", "quickmeme.com",
    "redtube.com", "soundcloud.com", "spotify.com", "streamable.com", "twitch.tv", "twitpic.com",
    "v.redd.it", "vid.me", "vidble.com", "vimeo.com", "vine.co", "xhamster.com", "xvideos.com",
    "youtu.be", "youtube.com",
)  # fmt: skip
"""Hosts (with all below them) that show pictures, video or sound and next to no prose."""

BLOCKED_DOMAINS = (
    "facebook.com", "fb.com", "redd.it", "reddit.com", "redditmedia.com", "reddituploads.com",
    "t.co", "tumblr.com", "twitter.com",
)  # fmt: skip
"""Reddit itself, and social sites that Reddit links to often yet the published 1,000 commonest
WebText domains do not name."""


class SubmissionsConfig(StageConfig):
    """Which submissions count, by their own fields and by their URL."""

    partitions: int = Field(default=8, ge=1, le=100_000)
    """Partitions that links are dealt to by registrable domain; fixed for a corpus."""
    over_18: Literal["keep", "drop"] = "keep"
    """Whether submissions marked as over 18 stay; WebText is not known to have dropped them."""
    subreddits_allowed: tuple[str, ...] = ()
    """Subreddits that alone count, in any case, without `r/`; empty allows all."""
    subreddits_blocked: tuple[str, ...] = ()
    """Subreddits that never count, in any case, without `r/`."""
    created_from: date | None = None
    """First day (UTC) of submissions that count; null for no limit."""
    created_to: date | None = None
    """Last day (UTC) of submissions that count; null for no limit."""
    media_extensions: tuple[str, ...] = MEDIA_EXTENSIONS
    """Endings of a URL's path, in lower case and without the dot, that name no page."""
    media_hosts: tuple[str, ...] = MEDIA_HOSTS
    """Hosts of pictures, video and sound; hosts below them are meant too."""
    blocked_domains: tuple[str, ...] = BLOCKED_DOMAINS
    """Hosts that are never followed; hosts below them are meant too."""
    strip_wikimedia: bool = False
    """Whether all Wikimedia projects are stripped as Wikipedia is."""


class _Submission(msgspec.Struct):
    """The fields that are read; all else in a row is skipped undecoded."""

    id: str | None = None
    url: str | None = None
    score: int | float | str | None = None
    created_utc: int | float | str | None = None
    subreddit: str | None = None
    is_self: bool | None = None
    domain: str | None = None
    over_18: bool | None = None


_Row = tuple[int, bytes, str, str, str, str, str, int, int]

_DECODER = msgspec.json.Decoder(_Submission)
_BROKEN_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ID = re.compile(r"[0-9a-z]{1,13}")
_KARMA_MAX = 2**31 - 1
_CREATED_MAX = 2**40
_SPILL_ROWS = 100_000
_REPORT_BATCHES = 64  # about 64 MB of text


def read_submissions_dump(
    *,
    dump: Path,
    partition: int,
    destination: Path,
    config: SubmissionsConfig,
    progress: Progress = silent,
) -> Counts:
    """Read the dump numbered `partition` into `destination`/submissions/dump-NNNNN.parquet.

    Streams: memory does not grow with the dump, the sort spills to disk. Progress is in bytes of
    the file. Raises SourceError if the dump is missing, truncated or corrupt, and writes nothing.
    """
    losses: Counter[str] = Counter()
    position = DumpPosition()
    rows = _judge_lines(dump, position, _Rules(config), losses, progress)
    with open_sorter(destination / "scratch") as sorter:
        unsorted = destination / "scratch" / "unsorted.parquet"
        rows_out = _spill_rows(unsorted, rows)
        write_query(
            destination / "submissions" / f"dump-{partition:05d}.parquet",
            SUBMISSIONS,
            sorter.cursor(),
            f"SELECT * FROM read_parquet('{_quote(unsorted)}') ORDER BY ALL",  # noqa: S608
        )
    return Counts(
        rows_in=position.row,
        rows_out=rows_out,
        losses=dict(sorted(losses.items())),
        facts={"file_bytes": position.file_size, "text_bytes": position.text_bytes},
    )


def _quote(path: Path) -> str:
    return str(path).replace("'", "''")


def _judge_lines(
    dump: Path,
    position: DumpPosition,
    rules: "_Rules",
    losses: Counter[str],
    progress: Progress,
) -> Iterator[_Row]:
    """The rows of `dump` that pass, every other line counted in `losses`."""
    judge = rules.judge
    for number, lines in enumerate(read_lines(dump, position)):
        for line in lines:
            row = judge(line)
            if isinstance(row, str):
                losses[row] += 1
            else:
                yield row
        if number % _REPORT_BATCHES == 0:
            progress(position.file_bytes, position.file_size, rows=position.row)
    progress(position.file_size, position.file_size, rows=position.row)


def _spill_rows(path: Path, rows: Iterator[_Row]) -> int:
    """Write rows as they come, `_SPILL_ROWS` in memory at a time; returns how many."""
    count = 0
    # A quick codec: this file lives until it is sorted.
    with pq.ParquetWriter(path, SUBMISSIONS, compression="lz4") as writer:
        while batch := _take(rows, _SPILL_ROWS):
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*batch, strict=True), SUBMISSIONS, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=SUBMISSIONS))
            count += len(batch)
    return count


def _take(rows: Iterator[_Row], count: int) -> list[_Row]:
    return [row for _, row in zip(range(count), rows, strict=False)]


class _Rules:
    """The config in the form that a line is judged by."""

    def __init__(self, config: SubmissionsConfig) -> None:
        self._config = config
        self._allowed = frozenset(name.lower() for name in config.subreddits_allowed)
        self._blocked = frozenset(name.lower() for name in config.subreddits_blocked)
        self._dates = _second_range(config.created_from, config.created_to)
        self._extensions = frozenset(config.media_extensions)
        self._judge_host = lru_cache(maxsize=65_536)(self._judge_host_uncached)
        self._partition = lru_cache(maxsize=65_536)(self._partition_uncached)

    def judge(self, line: bytes) -> _Row | str:
        """The line's row of the table, or the reason why it has none."""
        try:
            submission = _DECODER.decode(line)
        except _BROKEN_JSON:
            mended = _read_leniently(line)
            if isinstance(mended, str):
                return mended
            submission = mended
        if _is_self_post(submission):
            return "self_post"
        karma = _read_whole(submission.score, -_KARMA_MAX, _KARMA_MAX)
        reddit_id = (submission.id or "").lower().removeprefix("t3_")
        if karma is None or not submission.url or not _ID.fullmatch(reddit_id):
            return "missing_field"
        created = _read_whole(submission.created_utc, 0, _CREATED_MAX) or 0
        subreddit = submission.subreddit or ""
        reason = self._judge_fields(created, subreddit, bool(submission.over_18))
        if reason:
            return reason
        return self._judge_url(submission.url, reddit_id, subreddit, karma, created)

    def _judge_fields(self, created: int, subreddit: str, over_18: bool) -> str | None:
        if self._dates is not None and created not in self._dates:
            return "outside_dates"
        if over_18 and self._config.over_18 == "drop":
            return "over_18"
        if not (self._allowed or self._blocked):
            return None
        name = subreddit.lower()
        if name in self._blocked or (self._allowed and name not in self._allowed):
            return "subreddit"
        return None

    def _judge_url(
        self, posted: str, reddit_id: str, subreddit: str, karma: int, created: int
    ) -> _Row | str:
        found = normalise_url(_unescape(posted))
        if isinstance(found, str):
            return found
        url, host, domain = found
        reason = self._judge_host(host)
        if reason:
            return reason
        if self._names_media(url):
            return "media"
        partition = self._partition(domain)
        return partition, link_id(url), url, host, domain, reddit_id, subreddit, karma, created

    def _judge_host_uncached(self, host: str) -> str | None:
        if is_wikipedia(host, all_projects=self._config.strip_wikimedia):
            return "wikipedia"
        labels = host.split(".")
        names = {".".join(labels[start:]) for start in range(len(labels))}
        if not names.isdisjoint(self._config.media_hosts):
            return "media"
        return None if names.isdisjoint(self._config.blocked_domains) else "blocked_domain"

    def _partition_uncached(self, domain: str) -> int:
        return link_partition(domain, self._config.partitions)

    def _names_media(self, url: str) -> bool:
        path = url.partition("?")[0]
        _, dot, extension = path[path.rindex("/") :].rpartition(".")
        return dot == "." and extension.lower() in self._extensions


def _second_range(first: date | None, last: date | None) -> range | None:
    """The seconds since 1970 from the start of `first` to the end of `last`, UTC."""
    if first is None and last is None:
        return None
    # A time of 0 stands for unknown and lies in no window.
    start = 1 if first is None else int(datetime.combine(first, time(), UTC).timestamp())
    if last is None:
        return range(start, _CREATED_MAX)
    end = datetime.combine(last, time(), UTC) + timedelta(days=1)
    return range(start, int(end.timestamp()))


def _is_self_post(submission: _Submission) -> bool:
    if submission.is_self is None:
        return (submission.domain or "").startswith("self.")
    return submission.is_self


def _read_whole(value: float | str | None, low: int, high: int) -> int | None:
    """A whole number from `low` to `high` given as integer, float or text; None for all else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if value is None or not low <= value <= high:  # NaN compares as false
        return None
    return int(value)


def _unescape(url: str) -> str:
    """Undo the HTML escaping that Reddit's API puts into its JSON."""
    if "&" not in url:
        return url
    return url.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _read_leniently(line: bytes) -> _Submission | str:
    """A row that msgspec refuses: what can be used of it, or the reason to drop it."""
    if not line.strip():
        return "blank_line"
    try:
        # The standard library's reader takes what msgspec will not: half surrogate pairs, NaN.
        row: Any = json.loads(line.decode())
    except (ValueError, RecursionError):
        return "broken_json"
    if not isinstance(row, dict):
        return "broken_json"
    submission = _Submission()
    for name in ("id", "url", "subreddit", "domain"):
        if isinstance(row.get(name), str):
            setattr(submission, name, row[name])
    for name in ("score", "created_utc"):
        if isinstance(row.get(name), int | float | str) and not isinstance(row[name], bool):
            setattr(submission, name, row[name])
    if submission.subreddit is not None:
        submission.subreddit = submission.subreddit.encode(errors="replace").decode()
    submission.is_self = _read_truth(row.get("is_self"))
    submission.over_18 = _read_truth(row.get("over_18"))
    return submission


def _read_truth(value: object) -> bool | None:
    """True or false as the dumps have spelt it."""
    known = {"true": True, "1": True, "false": False, "0": False}
    return known.get(str(value).lower())


SUBMISSION_REASONS = (
    "blank_line",
    "broken_json",
    "self_post",
    "missing_field",
    "outside_dates",
    "over_18",
    "subreddit",
    *URL_REASONS,
    "wikipedia",
    "blocked_domain",
    "media",
)
"""Every reason that a line may be counted under, in the order of judging."""
