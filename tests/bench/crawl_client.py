"""The crawl with storing off beside a bare aiohttp client: what robots, politeness and limits cost.

The crawl still schedules hosts, asks each for robots.txt and tdmrep.json, keeps its turns in the
shared file, bounds every read and judges every response; only WARC, journal and tables are left
out. See `tests.bench.crawl_speed` for pages and measure. The best of three turns each.
"""

import os

from tests.bench.crawl_speed import compare

GOAL = 0.7
FETCHES = int(os.environ.get("WEBTEXT_BENCH_FETCHES", "5000"))
TURNS = 3


def run() -> dict[str, object]:
    """Measure, print a table, and return the figure that is judged."""
    pages = compare(["bare_aiohttp", "our_client"], FETCHES, TURNS)
    ratio = pages["our_client"] / pages["bare_aiohttp"]
    return {
        "name": "crawl_client",
        "measured": round(ratio, 3),
        "goal": GOAL,
        "unit": "of a bare aiohttp client's pages a CPU second",
        "reached": ratio >= GOAL,
    }
