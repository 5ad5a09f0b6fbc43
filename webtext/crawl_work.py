"""The crawl itself: workers on one event loop that take links and journal what became of them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

from webtext.addresses import Exempt
from webtext.counts import Progress
from webtext.crawl_config import CrawlConfig
from webtext.crawl_frontier import Frontier, TableSchedule
from webtext.crawl_journal import Journal
from webtext.crawl_schedule import HostSchedule
from webtext.crawl_visit import Entry, Postponed, Visit, Visitor, write_visit
from webtext.fetch import LiveSource, Source

_INLINE_BYTES = 8 * 1024
"""Bodies up to this size are compressed at once: handing one to a thread costs about 0.1 ms."""

_PROGRESS_S = 0.5
_FAILURES = frozenset({"unreachable", "timeout"})
"""Outcomes that speak against the host and not the page."""
_BUSY = frozenset({429, 503})
"""Statuses by which a host, after all retries, still wants to be left alone."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What opens the sources that a crawl asks: the sites, an archive, or both in this order."""

    live: Callable[[], LiveSource] | None = None
    archive: Callable[[], Source] | None = None


async def crawl_links(
    frontier: Frontier,
    journal: Journal,
    config: CrawlConfig,
    sources: Sources,
    *,
    concurrency: int,
    exempt: Exempt,
    progress: Progress,
) -> None:
    """Fetch every link that the journal does not hold yet, and add it to the journal."""
    async with contextlib.AsyncExitStack() as stack:
        writer = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="warc"))
        live = sources.live() if sources.live is not None else None
        archive = sources.archive() if sources.archive is not None else None
        opened = [source for source in (live, archive) if source is not None]
        for source in opened:
            stack.push_async_callback(source.close)
        visitors = [Visitor(config, source, exempt) for source in opened]
        work = _Work(frontier, journal, config, visitors, writer)
        work.resume()
        schedule = TableSchedule(frontier) if live is None else HostSchedule(frontier, live.free_at)
        await work.run(schedule, concurrency, progress)


class _Work:
    """What the workers share."""

    def __init__(
        self,
        frontier: Frontier,
        journal: Journal,
        config: CrawlConfig,
        visitors: list[Visitor],
        writer: ThreadPoolExecutor,
    ) -> None:
        self._frontier = frontier
        self._journal = journal
        self._config = config
        self._visitor, *self._fallbacks = visitors
        self._writer = writer
        self._live = config.is_live
        self._failures: dict[str, int] = {}
        """Live: links that failed in a row, by host."""
        self._postponed: dict[int, int] = {}
        """Links that were put off, by row: attempts made at their pages."""
        self._outcomes: Counter[str] = Counter()

    def resume(self) -> None:
        """Take over what an earlier attempt recorded: links done, and hosts that were failing."""
        for entry in self._journal.entries():
            self._frontier.mark_done(entry.row)
            self._outcomes[entry.outcome] += 1
            self._note_failure(self._frontier.host(entry.row), entry)

    async def run(
        self, schedule: HostSchedule | TableSchedule, concurrency: int, progress: Progress
    ) -> None:
        """Work through the frontier; the first error ends it."""

        def facts() -> dict[str, float]:
            outcomes = {f"outcome_{name}": float(links) for name, links in self._outcomes.items()}
            hosts, age_s = schedule.queue()
            return {**outcomes, "queue_hosts": hosts, "queue_age_s": age_s}

        reporter = _Reporter(progress, len(self._frontier), self._journal, facts)
        workers = [
            asyncio.ensure_future(self._work(schedule, reporter)) for _ in range(concurrency)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        reporter.report()

    async def _work(self, schedule: HostSchedule | TableSchedule, reporter: "_Reporter") -> None:
        while (row := await schedule.take()) is not None:
            try:
                self._outcomes[await self._capture(row)] += 1
            except Postponed as error:
                before = self._postponed.get(row, 0)
                self._postponed[row] = before if error.attempts is None else error.attempts
                schedule.postpone(row)
            else:
                self._postponed.pop(row, None)
                schedule.finish(row)
                reporter.tick()

    async def _capture(self, row: int) -> str:
        """Bring a link into the journal; gives its outcome."""
        host = self._frontier.host(row)
        visit = self._give_up(row, host) or await self._visit(self._visitor, row)
        entry, records = await self._write(visit)
        self._note_failure(host, entry)
        for visitor in self._fallbacks:
            if not _is_dead(entry):
                break
            visit = await self._visit(visitor, row)
            archived, archived_records = await self._write(visit)
            if not _is_dead(archived):
                entry, records = archived, archived_records
        self._journal.append(entry, records)
        return entry.outcome

    async def _visit(self, visitor: Visitor, row: int) -> Visit:
        return await visitor.visit(
            row,
            self._frontier.link_id(row),
            self._frontier.url(row),
            self._frontier.timestamp(row),
            # Attempts at the site are none at an archive.
            postponed=self._postponed.get(row) if visitor is self._visitor else None,
        )

    async def _write(self, visit: Visit) -> tuple[Entry, bytes]:
        """Compress off the event loop where it pays."""
        if visit.final is None or len(visit.final.body) <= _INLINE_BYTES:
            return write_visit(visit, self._config)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, write_visit, visit, self._config)

    def _give_up(self, row: int, host: str) -> Visit | None:
        failures = self._failures.get(host, 0)
        if failures < self._config.max_host_failures:
            return None
        return Visit(
            row=row,
            source="live",
            link_id=self._frontier.link_id(row),
            outcome="unreachable",
            detail=f"host given up after {failures} failures in a row",
            url=self._frontier.url(row),
            hops=(),
            final=None,
        )

    def _note_failure(self, host: str, entry: Entry) -> None:
        if not self._live:
            return
        if entry.outcome not in _FAILURES and entry.status not in _BUSY:
            self._failures.pop(host, None)
        elif self._failures.get(host, 0) < self._config.max_host_failures:
            self._failures[host] = self._failures.get(host, 0) + 1


def _is_dead(entry: Entry) -> bool:
    """Whether a page is not there any more, so that an archive may be asked.

    A refusal (robots, an opt-out, a blocked address) is no death: the archive's copy is refused
    with it.
    """
    if entry.outcome == "http_error":
        return (entry.status or 0) >= 500
    return entry.outcome in {"not_found", "unreachable", "timeout", "not_archived"}


class _Reporter:
    """Tells `progress` how far the journal has come, at most twice a second."""

    def __init__(
        self,
        progress: Progress,
        total: int,
        journal: Journal,
        facts: Callable[[], dict[str, float]],
    ) -> None:
        self._progress = progress
        self._facts = facts
        self._total = total
        self._journal = journal
        self._next = monotonic()

    def tick(self) -> None:
        now = monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_S
            self.report()

    def report(self) -> None:
        self._progress(len(self._journal.rows), self._total, **self._facts())
