"""Pages to documents end to end (WARC in, Parquet out), beside bare trafilatura on all cores.

Both are bound by the processor, so CPU time is compared: start of the processes, decompression,
language, tokens, filters and all tables included. Wall time is printed too; on a busy machine it
says little. Ours and bare trafilatura run in turns, each on a process for every core.
"""

import logging
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trafilatura

from tests.bench.real_texts import real_pages
from tests.webtext.pages import WebPage, write_artifacts
from webtext.counts import silent
from webtext.documents import DocumentsConfig, filter_documents_partition
from webtext.pages import PagesConfig, extract_pages_partition

GOAL = 1.5
"""The least that is asked is 0.95."""
PAGES = 1_000
CORES = 2
TURNS = 2


def run() -> dict[str, object]:
    pages = [
        WebPage(key, body, url, headers=(("Content-Type", "text/html"),))
        for key, (url, body) in enumerate(real_pages(PAGES))
    ]
    halves = [pages[start::CORES] for start in range(CORES)]
    spent: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, half in enumerate(halves):
            write_artifacts(Path(folder), half, partition=number)
        partitions = [(folder, number) for number in range(CORES)]
        for _turn in range(TURNS):
            for name, work, shares in (
                ("trafilatura, default", _extract_bare, halves),
                ("trafilatura, fast", _extract_fast, halves),
                ("webtext.pages + documents", _extract_ours, partitions),
            ):
                spent.setdefault(name, []).append(_measure(work, shares))
    print(f"{len(pages)} real pages, {CORES} processes at once, the better of {TURNS} turns")
    print(f"{'':28}{'pages/s':>8}{'CPU ms a page':>16}{'times default':>15}")
    best = {name: tuple(map(min, zip(*turns, strict=True))) for name, turns in spent.items()}
    bare = best["trafilatura, default"][1]
    for name, (wall, cpu) in best.items():
        print(f"{name:28}{len(pages) / wall:8.1f}{1000 * cpu / len(pages):16.1f}{bare / cpu:15.2f}")
    ratio = bare / best["webtext.pages + documents"][1]
    return {
        "name": "documents beside bare trafilatura on all cores",
        "measured": round(ratio, 3),
        "goal": GOAL,
        "unit": "times",
        "reached": ratio >= GOAL,
    }


def _measure(work: Callable[[Any], None], shares: list[Any]) -> tuple[float, float]:
    """Wall and CPU seconds of a process a share, all at once, their start included."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(share,)) for share in shares]
    start, cpu = time.perf_counter(), _children_cpu()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process failed; see above")
    return time.perf_counter() - start, _children_cpu() - cpu


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _extract_bare(pages: list[WebPage], *, fast: bool = False) -> None:
    logging.disable(logging.CRITICAL)
    for page in pages:
        trafilatura.extract(page.body, url=page.url, include_comments=False, fast=fast)


def _extract_fast(pages: list[WebPage]) -> None:
    _extract_bare(pages, fast=True)


def _extract_ours(share: tuple[str, int]) -> None:
    source, partition = Path(share[0]), share[1]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        extract_pages_partition(
            captures=source / "captures",
            partition=partition,
            destination=made,
            config=PagesConfig(),
            progress=silent,
        )
        filter_documents_partition(
            pages=made,
            links=source / "links",
            partition=partition,
            destination=made,
            config=DocumentsConfig(),
            progress=silent,
        )


if __name__ == "__main__":
    print(run())
