"""The rules that a submission is judged by, one fact at a time.

What a rule looks at is a row's own fields (time, mark as over 18, subreddit) or its site (the URL
up to the path). Sites are few beside rows, so each is judged once and remembered; that is what
makes judging cheap for whole columns (`webtext.submission_columns`) and for single rows
(`webtext.submission_lines`) alike, by the same rules.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

from pydantic import Field

from webtext.config import StageConfig
from webtext.domain_lists import DomainList
from webtext.urls import URL_REASONS, link_partition, names_above, read_site
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
    keep_going: bool = False
    """Whether a truncated or corrupt dump gives what can be read of it, and the rest is counted as
    `unreadable_rest`, instead of an error."""


class DomainLists(NamedTuple):
    """Lists of domains from files, beside the config's own."""

    blocked: DomainList = DomainList()
    """Hosts that are never followed, with all below them: `blocked_domain`."""
    allowed: DomainList | None = None
    """Hosts that alone are followed, with all below them: `not_allowed_domain` for the others."""


class Site(NamedTuple):
    """What every URL of one site has in common."""

    reason: str | None
    """Why none of its URLs is followed; None where they may be."""
    origin: str = ""
    """Normalised scheme, host and port, as in `https://example.com:8080`."""
    host: str = ""
    domain: str = ""
    """Registrable domain of `host`."""
    partition: int = 0


KARMA_MAX = 2**31 - 1
CREATED_MAX = 2**40

URL_RULES = (*URL_REASONS, "wikipedia", "blocked_domain", "not_allowed_domain", "media")

SUBMISSION_REASONS = (
    "blank_line",
    "broken_json",
    "self_post",
    "missing_field",
    "outside_dates",
    "over_18",
    "subreddit",
    *URL_RULES,
    "unreadable_rest",
)
"""Every reason that a row may be counted under, in the order of judging."""


class Rules:
    """A config and its lists in the form that rows are judged by."""

    def __init__(self, config: SubmissionsConfig, lists: DomainLists) -> None:
        self._config = config
        self._lists = lists
        self._subreddits_allowed = frozenset(name.lower() for name in config.subreddits_allowed)
        self._subreddits_blocked = frozenset(name.lower() for name in config.subreddits_blocked)
        self._extensions = frozenset(config.media_extensions)
        self._blocked = frozenset(config.blocked_domains)
        self._media = frozenset(config.media_hosts)
        self.dates = _second_range(config.created_from, config.created_to)
        """Seconds since 1970 that count, or None for all."""
        self.drops_over_18 = config.over_18 == "drop"
        self.judges_subreddits = bool(self._subreddits_allowed or self._subreddits_blocked)
        self.judge_site = lru_cache(maxsize=65_536)(self._judge_site)

    def drops_subreddit(self, name: str) -> bool:
        """Whether submissions to a subreddit do not count."""
        name = name.lower()
        allowed = self._subreddits_allowed
        return name in self._subreddits_blocked or bool(allowed and name not in allowed)

    def names_media(self, url: str) -> bool:
        """Whether the path of a normalised URL ends like a file that is no page."""
        path = url.partition("?")[0]
        _, dot, extension = path[path.rindex("/") :].rpartition(".")
        return dot == "." and extension.lower() in self._extensions

    def _judge_site(self, scheme: str, authority: str) -> Site:
        site = read_site(scheme, authority)
        if isinstance(site, str):
            return Site(site)
        origin, host, domain = site
        partition = link_partition(domain, self._config.partitions)
        return Site(self._judge_host(host), origin, host, domain, partition)

    def _judge_host(self, host: str) -> str | None:
        if is_wikipedia(host, all_projects=self._config.strip_wikimedia):
            return "wikipedia"
        names = set(names_above(host))
        if not names.isdisjoint(self._media):
            return "media"
        if not names.isdisjoint(self._blocked) or self._lists.blocked.holds_any(names):
            return "blocked_domain"
        allowed = self._lists.allowed
        return None if allowed is None or allowed.holds_any(names) else "not_allowed_domain"


def _second_range(first: date | None, last: date | None) -> range | None:
    """The seconds since 1970 from the start of `first` to the end of `last`, UTC."""
    if first is None and last is None:
        return None
    # A time of 0 stands for unknown and lies in no window.
    start = 1 if first is None else int(datetime.combine(first, time(), UTC).timestamp())
    if last is None:
        return range(start, CREATED_MAX)
    end = datetime.combine(last, time(), UTC) + timedelta(days=1)
    return range(start, int(end.timestamp()))
