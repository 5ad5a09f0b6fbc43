"""A crawl of WebText's size on paper: how many workers for how many days.

A simulation from figures given as arguments, so that they can be renewed:

    python -m tests.bench.crawl_month --pages-per-cpu-s 347 --delay-s 1 5 --workers 1 16 64

Links per domain are the published ones of WebText's 1,000 commonest domains (21.8 of the 45 million
links); the rest is spread evenly over the partitions, since no other domain has more than the last
published one. A domain is dealt to its partition as the pipeline does it. A worker takes the next
partition when it is free, and a partition ends when both its pages are stored and its largest
domain's last turn is over. A domain's hosts are taken for one, which is too slow for blogspot.com,
whose blogs are hosts of their own: an upper bound.

- live: a host's turn is the delay plus the answer's time; a worker stores `pages-per-cpu-s` pages
  a second at most, and keeps `concurrency` requests open.
- gateway: hosts do not count; the archive's answers do (`gateway-answer-s`, and for an archive that
  limits its visitors, `gateway-per-s` requests of all workers together).
"""

import argparse
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webtext.fidelity import published_domains
from webtext.urls import link_partition

DAY_S = 86_400
MONTH_DAYS = 30


@dataclass(frozen=True)
class Figures:
    """What the simulation is made from; times in seconds."""

    links: int = 45_000_000
    partitions: int = 1_024
    pages_per_cpu_s: float = 347.0
    """Of one crawling process on one core: `python -m tests.bench crawl_speed`;
    347 on two shared cores in November 2026, for pages of 100 to 200 KB."""
    concurrency: int = 64
    """Requests that a worker keeps open; the pipeline's default."""
    answer_s: float = 2.0
    """Mean time of a live page from the first byte sent to the last received; assumed."""
    gateway_answer_s: float = 1.0
    """The same of an archive; assumed."""
    gateway_per_s: float | None = None
    """Requests a second that the archive takes from all workers; None for no limit."""


def live_days(figures: Figures, delay_s: float, workers: int) -> float:
    """Days until all links have been asked for at their sites."""
    rate = min(figures.pages_per_cpu_s, figures.concurrency / figures.answer_s)
    turn_s = delay_s + figures.answer_s
    loads, largest = _deal(figures)
    return _makespan(
        [max(load / rate, most * turn_s) for load, most in zip(loads, largest, strict=True)],
        workers,
    )


def gateway_days(figures: Figures, workers: int) -> float:
    """Days until all links have been asked for at an archive."""
    rate = min(figures.pages_per_cpu_s, figures.concurrency / figures.gateway_answer_s)
    loads, _ = _deal(figures)
    days = _makespan([load / rate for load in loads], workers)
    if figures.gateway_per_s is None:
        return days
    return max(days, figures.links / figures.gateway_per_s / DAY_S)


def _deal(figures: Figures) -> tuple[list[float], list[int]]:
    """Links of each partition, and those of its largest domain."""
    published = published_domains()
    tail = (figures.links - sum(published.values())) / figures.partitions
    loads, largest = [tail] * figures.partitions, [min(published.values())] * figures.partitions
    for name, links in published.items():
        # The list names no suffix; which one it is moves a domain, not the picture.
        place = link_partition(f"{name}.com", figures.partitions)
        loads[place] += links
        largest[place] = max(largest[place], links)
    return loads, largest


def _makespan(seconds: Sequence[float], workers: int) -> float:
    """Days until the last partition ends, taken in their order by whoever is free."""
    free_at = [0.0] * workers
    for needed in seconds:
        heapq.heappush(free_at, heapq.heappop(free_at) + needed)
    return max(free_at) / DAY_S


def run(
    figures: Figures = Figures(),
    delays_s: Sequence[float] = (1.0, 5.0),
    workers: Sequence[int] = (1, 4, 16, 64, 256),
) -> dict[str, Any]:
    """Simulate, print a table, and return the days of the last number of workers at the archive."""
    print(f"{figures.links:,} links, {figures.partitions:,} partitions; {figures}")
    print("| workers | gateway, days | " + " | ".join(f"live {d:g} s, days" for d in delays_s), "|")
    print("|---:" * (2 + len(delays_s)) + "|")
    for count in workers:
        lives = [live_days(figures, delay, count) for delay in delays_s]
        cells = (f"{days:,.1f}" for days in (gateway_days(figures, count), *lives))
        print(f"| {count} | {' | '.join(cells)} |")
    name, most = max(published_domains().items(), key=lambda item: item[1])
    for delay in delays_s:
        days = most * (delay + figures.answer_s) / DAY_S
        print(f"{name} alone, {most:,} links, {delay:g} s apart: {days:,.1f} days")
    for rate in (10, 100):
        days = figures.links / rate / DAY_S
        print(f"an archive that takes {rate} requests a second in all: {days:,.1f} days")
    measured = round(gateway_days(figures, workers[-1]), 2)
    return {
        "name": "crawl_month",
        "measured": measured,
        "goal": MONTH_DAYS,
        "unit": f"days on paper for {figures.links:,} links, {workers[-1]} workers, archive",
        "reached": measured <= MONTH_DAYS,
    }


def main() -> None:
    """Take the figures from the command line."""
    parser = argparse.ArgumentParser(description="A crawl of WebText's size on paper.")
    known = Figures()
    for name in ("links", "partitions", "concurrency"):
        parser.add_argument(f"--{name}", type=int, default=getattr(known, name))
    for name in ("pages_per_cpu_s", "answer_s", "gateway_answer_s", "gateway_per_s"):
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=getattr(known, name))
    parser.add_argument("--delay-s", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    given = vars(parser.parse_args())
    delays, workers = given.pop("delay_s"), given.pop("workers")
    print(json.dumps(run(Figures(**given), delays, workers)))


if __name__ == "__main__":
    main()
