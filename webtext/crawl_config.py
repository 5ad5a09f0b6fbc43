"""The crawl's identity config: what the captured bytes depend on."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from webtext.config import StageConfig
from webtext.warc import GZIP_LEVEL

_CONTACT = re.compile(r"https?://[^\s/]+\.[^\s/]+|[^\s@]+@[^\s@]+\.[^\s@]+")


class CrawlConfig(StageConfig):
    """Where pages are taken from, under what name, and where a fetch ends."""

    source: Literal["gateway", "live", "live-then-gateway", "warc", "cdx"] = "gateway"
    """`gateway`: as archived nearest the link's first submission, from a replay address; `live`:
    from the site itself; `live-then-gateway`: from the site, and where that is dead from the
    gateway; `warc`: from WARC files, without any network; `cdx`: from a web archive by its
    index."""
    user_agent: str = Field(default="webtext-pipeline/0.1", min_length=1, max_length=400)
    """Sent with every request; its first word is the name that robots.txt is asked for. For `live`
    it must hold a contact: an http(s) address or an e-mail address."""
    obey_robots: bool = True
    """Whether robots.txt is fetched (from the same source) and obeyed."""
    max_crawl_delay_s: float = Field(default=60.0, ge=0, le=3_600)
    """Live only: longest Crawl-delay that is honoured; beyond it a site would hold a crawl for
    weeks."""
    opt_out_tags: tuple[str, ...] = ("noai", "noml", "noindex")
    """Words of X-Robots-Tag fields and robots meta tags by which a page is left out
    (`opted_out`)."""
    obey_tdmrep: bool = True
    """Whether a TDM reservation (field, meta tag or the site's tdmrep.json) leaves a page out."""
    strip_wikimedia: bool = False
    """Whether a redirect to any Wikimedia project is stripped, and not to Wikipedia alone."""
    content_types: tuple[str, ...] = ("text/html", "application/xhtml+xml")
    """Media types that count as a page. A response that names none is one if it begins with `<`."""
    max_redirects: int = Field(default=10, ge=0, le=50)
    """Redirects followed from a link; RFC 9110 leaves it open, browsers take 20, Wayback 10."""
    max_body_bytes: int = Field(default=10_000_000, ge=1, le=1_000_000_000)
    """Largest body, both as sent and without content coding."""
    max_compression_ratio: float = Field(default=200.0, ge=1, le=100_000)
    """Most that a body's codings may swell it by, beyond its first 100,000 bytes; a page swells
    about 5 times, the default is what Apache's mod_deflate lets through
    (`DeflateInflateRatioLimit`)."""
    max_header_bytes: int = Field(default=65_536, ge=1_024, le=1_048_576)
    """Largest response header, all fields together."""
    connect_timeout_s: float = Field(default=15.0, gt=0, le=600)
    """Longest wait for a connection, TLS included."""
    total_timeout_s: float = Field(default=60.0, gt=0, le=3_600)
    """Longest a request may take from first to last byte, however the bytes trickle."""
    min_body_bytes_per_s: int = Field(default=100, ge=0, le=1_000_000)
    """Least pace of a body in any ten seconds; a slower one is left as a `timeout`."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts after errors that may pass (reset, timeout, 429, 503, ...)."""
    retry_delay_s: float = Field(default=1.0, ge=0, le=600)
    """Wait before the first retry; it doubles with each."""
    max_retry_after_s: float = Field(default=120.0, ge=0, le=3_600)
    """Longest wait that a server's Retry-After, or the doubling, may cause."""
    max_host_failures: int = Field(default=10, ge=1)
    """Live only: links of one host failing in a row (unreachable, timeout, or still busy after all
    retries) until it is given up."""
    gzip_level: int = Field(default=GZIP_LEVEL, ge=1, le=12)
    """libdeflate's level of the WARC records."""
    min_revisit_bytes: int = Field(default=1_024, ge=1)
    """A body that an earlier link of the partition has too is stored once, and the others as
    revisit records; smaller bodies are stored each time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_live and not _CONTACT.search(self.user_agent):
            raise ValueError(
                f"user_agent is {self.user_agent!r}: a live crawl must name a contact, "
                "e.g. 'name/1.0 (+https://your.site/crawler)' or an e-mail address"
            )
        if not self.user_agent.isascii() or not self.user_agent.isprintable():
            raise ValueError("user_agent must be printable ASCII")
        return self

    @property
    def is_live(self) -> bool:
        """Whether sites themselves are asked."""
        return self.source in {"live", "live-then-gateway"}

    @property
    def robots_name(self) -> str:
        """The product name that robots.txt rules are matched with (RFC 9309, 2.2.1)."""
        match = re.match(r"[A-Za-z_-]+", self.user_agent)
        return match[0] if match else "*"
