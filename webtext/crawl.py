"""Captures of a partition of links: one row a link, and the responses as WARC records.

`crawl_partition` fetches every link of `links/part-NNNNN.parquet`, live or from a gateway, and
writes `captures/part-NNNNN.parquet` and `warc/part-NNNNN.warc.gz`. Guarantees:

- Every link has one row with a named outcome; a bad page is never an error.
- With an archive (gateway, WARC files, CDX) the files' bytes depend on the links, the config and
  the archive alone: not on concurrency, the order of arrival, kills, or the archive's address.
- Resumable: `destination` may hold the journal of a killed attempt (`.journal/`). What it records
  is not fetched again. The captures table is the last thing put in place, so its presence means
  that the partition is done.
- Live, a host gets one request at a time with a delay between, over partitions and kills; an
  archive gets up to `concurrency` requests at a time, with `archive_delay_s` between their starts.
"""

import asyncio
import hashlib
import shutil
import ssl
from collections.abc import Sequence
from pathlib import Path

from webtext.addresses import NO_EXEMPTIONS, Exempt
from webtext.archive_source import GatewaySource
from webtext.cdx_source import CdxAddresses, CdxSource
from webtext.counts import Counts, Progress, silent
from webtext.crawl_config import CrawlConfig
from webtext.crawl_files import assemble_files, count_captures
from webtext.crawl_frontier import Frontier
from webtext.crawl_journal import Journal
from webtext.crawl_work import Sources, crawl_links
from webtext.errors import ConfigError, SourceError
from webtext.fetch import LiveSource, Source
from webtext.tables import part_name
from webtext.warc_index import WarcIndex
from webtext.warc_source import WarcSource

__all__ = ["CrawlConfig", "crawl_partition"]

JOURNAL = ".journal"
"""Folder inside `destination` that holds unfinished work."""


def crawl_partition(
    *,
    links: Path,
    partition: int,
    destination: Path,
    config: CrawlConfig,
    gateway: str | None = None,
    warc_index: Path | None = None,
    archives: Sequence[Path] = (),
    cdx: CdxAddresses | None = None,
    concurrency: int = 16,
    host_delay_s: float = 1.0,
    archive_delay_s: float = 0.0,
    politeness: Path | None = None,
    progress: Progress = silent,
    exempt: Exempt = NO_EXEMPTIONS,
    tls: ssl.SSLContext | None = None,
) -> Counts:
    """Capture the links of one partition; see the module for the guarantees.

    Args:
        links: the finished links artifact.
        partition: which of its partitions.
        destination: where `captures/` and `warc/` go.
        config: what is fetched, and how.
        gateway: the address that replays an archive, e.g. `http://127.0.0.1:8090` or
            `https://web.archive.org/web`, for the sources with a gateway.
        warc_index: for `warc`, the index artifact (`webtext.warc_index`) of `archives`.
        archives: for `warc`, the WARC files in the index's order.
        cdx: for `cdx`, where the archive's indexes and records are.
        concurrency: requests at a time over all hosts, and to an archive.
        host_delay_s: least time between two requests to one site.
        archive_delay_s: time between the starts of two requests to a gateway, index or archive.
        politeness: the file by which live crawls on this machine spare the same hosts
            (`webtext.host_turns`); without one a crawl knows of itself alone.
        progress: told links done and in all.
        exempt: (address, port) pairs that a live crawl may reach although they are not public: for
            tests.
        tls: takes the place of verification against the system's authorities: for tests.

    Returns:
        Links in, `ok` captures out, the others by outcome.

    Raises:
        SourceError: links, archives or gateway are not there.
        ConfigError: arguments that do not fit the config.
    """
    _check_arguments(config, gateway, warc_index, cdx, concurrency)
    journal_folder = destination / JOURNAL
    if not (destination / "captures" / part_name(partition)).exists():
        part = links / "links" / part_name(partition)
        frontier = Frontier(part)

        def open_live() -> LiveSource:
            return LiveSource(
                config,
                concurrency=concurrency,
                host_delay_s=host_delay_s,
                politeness=politeness or journal_folder / "hosts.bin",
                exempt=exempt,
                tls=tls,
            )

        def open_archive() -> Source:
            if config.source == "warc" and warc_index is not None:
                return WarcSource(WarcIndex.open(warc_index / "index", archives))
            if config.source == "cdx" and cdx is not None:
                return CdxSource(config, cdx, concurrency=concurrency, delay_s=archive_delay_s)
            assert gateway is not None
            return GatewaySource(
                config, gateway, concurrency=concurrency, host_delay_s=archive_delay_s
            )

        with Journal(journal_folder, _identity(part, config)) as journal:
            asyncio.run(
                crawl_links(
                    frontier,
                    journal,
                    config,
                    # Opened inside the event loop, where their connections live.
                    Sources(
                        live=open_live if config.is_live else None,
                        archive=open_archive if config.source != "live" else None,
                    ),
                    concurrency=concurrency,
                    exempt=exempt,
                    progress=progress,
                )
            )
            journal.sync()
            assemble_files(destination, partition, frontier, journal, config)
    shutil.rmtree(journal_folder, ignore_errors=True)
    return count_captures(destination, partition)


def _check_arguments(
    config: CrawlConfig,
    gateway: str | None,
    warc_index: Path | None,
    cdx: CdxAddresses | None,
    concurrency: int,
) -> None:
    given = {"gateway": gateway, "WARC index": warc_index, "CDX index": cdx}
    wanted = {"warc": "WARC index", "cdx": "CDX index", "live": None}.get(config.source, "gateway")
    if wanted is not None and given[wanted] is None:
        raise ConfigError(f"source is {config.source!r}, but no {wanted} is given: name one")
    if config.source == "live" and gateway is not None:
        raise ConfigError(
            f"source is 'live', but a gateway is given ({gateway}): leave it out, or set source to "
            "'live-then-gateway'"
        )
    if gateway is not None and not gateway.startswith(("http://", "https://")):
        raise ConfigError(f"gateway is {gateway!r}; expected an http(s) address")
    if concurrency < 1:
        raise ConfigError(f"concurrency is {concurrency}; expected at least 1")


def _identity(part: Path, config: CrawlConfig) -> str:
    """What a journal belongs to: these links, by this config."""
    digest = hashlib.blake2b(config.model_dump_json().encode(), digest_size=16)
    try:
        with part.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise SourceError(f"{part}: links cannot be read ({error.strerror})") from error
    return digest.hexdigest()
