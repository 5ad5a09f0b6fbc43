"""Captures of a partition of links: one row a link, and the responses as WARC records.

`crawl_partition` fetches every link of `links/part-NNNNN.parquet`, live or from a gateway, and
writes `captures/part-NNNNN.parquet` and `warc/part-NNNNN.warc.gz`. Guarantees:

- Every link has one row with a named outcome; a bad page is never an error.
- With a gateway the files' bytes depend on the links, the config and the archive alone: not on
  concurrency, the order of arrival, kills, or the gateway's address.
- Resumable: `destination` may hold the journal of a killed attempt (`.journal/`). What it records
  is not fetched again. The captures table is the last thing put in place, so its presence means
  that the partition is done.
- Live, a host gets one request at a time with a delay between, over partitions and kills; with a
  gateway, `concurrency` requests at a time go to it, and `host_delay_s` is the delay between their
  starts.
"""

import asyncio
import hashlib
import shutil
from pathlib import Path

from webtext.addresses import NO_EXEMPTIONS, Exempt
from webtext.archive_source import GatewaySource
from webtext.counts import Counts, Progress, silent
from webtext.crawl_config import CrawlConfig
from webtext.crawl_files import assemble_files, count_captures
from webtext.crawl_frontier import Frontier
from webtext.crawl_journal import Journal
from webtext.crawl_work import crawl_links
from webtext.errors import ConfigError, SourceError
from webtext.fetch import LiveSource, Source
from webtext.tables import part_name

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
    concurrency: int = 16,
    host_delay_s: float = 1.0,
    politeness: Path | None = None,
    progress: Progress = silent,
    exempt: Exempt = NO_EXEMPTIONS,
) -> Counts:
    """Capture the links of one partition; see the module for the guarantees.

    `links` is the finished links artifact. `gateway` is the address that replays an archive, e.g.
    `http://127.0.0.1:8090` or `https://web.archive.org/web`; it must be given exactly where
    `config.source` is `gateway`. `politeness` is the file by which live crawls on
    this machine spare the same hosts (`webtext.host_turns`); without one a crawl knows of itself
    alone. `exempt` are (address, port) pairs that a live crawl may reach
    although they are not public: for tests. Returns links in, `ok` captures out, the others by
    outcome. Raises `SourceError` where the gateway is not there, `ConfigError` for arguments that
    do not fit the config.
    """
    _check_arguments(config, gateway, concurrency, host_delay_s)
    journal_folder = destination / JOURNAL
    if not (destination / "captures" / part_name(partition)).exists():
        part = links / "links" / part_name(partition)
        frontier = Frontier(part)
        with Journal(journal_folder, _identity(part, config)) as journal:

            def open_source() -> Source:  # inside the event loop, where its connections live
                if gateway is None:
                    return LiveSource(
                        config,
                        concurrency=concurrency,
                        host_delay_s=host_delay_s,
                        politeness=politeness or journal_folder / "hosts.bin",
                        exempt=exempt,
                    )
                return GatewaySource(
                    config, gateway, concurrency=concurrency, host_delay_s=host_delay_s
                )

            asyncio.run(
                crawl_links(
                    frontier,
                    journal,
                    config,
                    open_source,
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
    config: CrawlConfig, gateway: str | None, concurrency: int, host_delay_s: float
) -> None:
    if config.source == "gateway" and gateway is None:
        raise ConfigError("source is 'gateway', but no gateway address is given: name one")
    if config.source == "live" and gateway is not None:
        raise ConfigError(f"source is 'live', but a gateway is given ({gateway}): leave it out")
    if gateway is not None and not gateway.startswith(("http://", "https://")):
        raise ConfigError(f"gateway is {gateway!r}; expected an http(s) address")
    if concurrency < 1 or host_delay_s < 0:
        raise ConfigError(
            f"concurrency is {concurrency}, host_delay_s {host_delay_s}: "
            "expected at least 1 and at least 0"
        )


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
