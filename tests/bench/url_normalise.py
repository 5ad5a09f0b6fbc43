"""URLs normalised a second, beside courlan's `clean_url` on the same URLs in the same run."""

import random
import time
from collections.abc import Callable
from typing import Any

import courlan

from webtext.urls import normalise_url

URLS = 200_000


def run(urls: int = URLS) -> dict[str, Any]:
    """Measure, print a table, and return the figure with its goal: no slower than courlan."""
    made = _make_urls(urls)
    ours = urls / _time(normalise_url, made)
    theirs = urls / _time(courlan.clean_url, made)
    print(f"{urls:,} URLs on {len({url.split('/')[2] for url in made}):,} hosts")
    print(f"{'normaliser':<26}{'URLs / CPU s':>14}")
    print(f"{'ours (with domain)':<26}{ours:>14,.0f}")
    print(f"{'courlan.clean_url':<26}{theirs:>14,.0f}")
    return {
        "name": "url_normalise",
        "measured": round(ours),
        "goal": round(theirs),
        "unit": "URLs/s per core",
        "reached": ours >= theirs,
    }


def _time(normalise: Callable[[str], object], urls: list[str]) -> float:
    start = time.process_time()
    for url in urls:
        normalise(url)
    return time.process_time() - start


def _make_urls(count: int) -> list[str]:
    """Like those of a dump: few hosts hold most, a quarter have a query, some are odd."""
    draw = random.Random(1)
    hosts = [f"{draw.choice(['www.', 'blog.', ''])}site{n}.{tld}" for n in range(8_000)
             for tld in (draw.choice(["com", "co.uk", "org", "de"]),)]  # fmt: skip
    tails = ["", "?id={n}", "?utm_source=reddit&id={n}", "#top", "/%7Euser/{n}", "/a b/é"]
    weights = [60, 15, 6, 6, 3, 2]
    return [
        f"{draw.choice(['http', 'https'])}://{hosts[int(draw.paretovariate(0.7)) % len(hosts)]}"
        f"/2017/10/some-words-about-{n}" + draw.choices(tails, weights)[0].replace("{n}", str(n))
        for n in range(count)
    ]


if __name__ == "__main__":
    run()
