"""One submission at a time: a JSON line, or a row of a table, to its row of ours or its reason.

Fields are read as Pushshift and Arctic Shift wrote them over the years: numbers may be strings or
floats, `is_self` may be missing (then a `domain` of `self.NAME` tells), an id may carry `t3_` or be
given as `name` alone, URLs may carry the API's `&amp;`. A missing subreddit becomes an empty name,
a missing time 0 (1970), which `webtext.links` takes for unknown. The author's name is never read.

This is the reference for `webtext.submission_columns`, which does the same for most lines at once.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from webtext.submission_rules import CREATED_MAX, KARMA_MAX, Rules
from webtext.urls import link_id, split_url

FIELDS = ("id", "name", "url", "score", "created_utc", "subreddit", "is_self", "domain", "over_18")
"""The fields that are read; all else in a row is skipped."""

Row = tuple[int, bytes, str, str, str, str, str, int, int]
"""A row of `webtext.tables.SUBMISSIONS`."""


class Submission(msgspec.Struct):
    """The fields that are read, as they may come."""

    id: str | None = None
    name: str | None = None
    url: str | None = None
    score: int | float | str | None = None
    created_utc: int | float | str | None = None
    subreddit: str | None = None
    is_self: bool | None = None
    domain: str | None = None
    over_18: bool | None = None


_DECODER = msgspec.json.Decoder(Submission)
_BROKEN_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ID = re.compile(r"[0-9a-z]{1,13}")


def judge_line(line: bytes, rules: Rules) -> Row | str:
    """The row of a JSON line, or the reason why it has none."""
    try:
        submission = _DECODER.decode(line)
    except _BROKEN_JSON:
        mended = _read_leniently(line)
        if isinstance(mended, str):
            return mended
        submission = mended
    return judge_submission(submission, rules)


def judge_submission(submission: Submission, rules: Rules) -> Row | str:
    """The row of a submission, or the reason why it has none."""
    if _is_self_post(submission):
        return "self_post"
    karma = _read_whole(submission.score, -KARMA_MAX, KARMA_MAX)
    reddit_id = (submission.id or submission.name or "").lower().removeprefix("t3_")
    if karma is None or not submission.url or not _ID.fullmatch(reddit_id):
        return "missing_field"
    created = _read_whole(submission.created_utc, 0, CREATED_MAX) or 0
    subreddit = submission.subreddit or ""
    if rules.dates is not None and created not in rules.dates:
        return "outside_dates"
    if submission.over_18 and rules.drops_over_18:
        return "over_18"
    if rules.judges_subreddits and rules.drops_subreddit(subreddit):
        return "subreddit"
    return _judge_url(submission.url, reddit_id, subreddit, karma, created, rules)


def _judge_url(
    posted: str, reddit_id: str, subreddit: str, karma: int, created: int, rules: Rules
) -> Row | str:
    parts = split_url(_unescape(posted))
    if isinstance(parts, str):
        return parts
    site = rules.judge_site(parts.scheme, parts.authority)
    if site.reason is not None and not site.origin:
        return site.reason
    url = parts.normalised(site.origin)
    if url is None:
        return "url_too_long"
    if site.reason is not None:
        return site.reason
    if rules.names_media(url):
        return "media"
    key = link_id(url)
    return site.partition, key, url, site.host, site.domain, reddit_id, subreddit, karma, created


def submission_of(row: Mapping[str, Any]) -> Submission:
    """What can be used of a row whose fields may be of any type."""
    submission = Submission()
    for name in ("id", "name", "url", "subreddit", "domain"):
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


def _read_leniently(line: bytes) -> Submission | str:
    """A line that msgspec refuses: what can be used of it, or the reason to drop it."""
    if not line.strip():
        return "blank_line"
    try:
        # The standard library's reader takes what msgspec will not: half surrogate pairs, NaN.
        row: Any = json.loads(line.decode())
    except (ValueError, RecursionError):
        return "broken_json"
    return submission_of(row) if isinstance(row, dict) else "broken_json"


def _is_self_post(submission: Submission) -> bool:
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


def _read_truth(value: object) -> bool | None:
    """True or false as the dumps have spelt it."""
    known = {"true": True, "1": True, "false": False, "0": False}
    return known.get(str(value).lower())
