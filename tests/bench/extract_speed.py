"""Pages to documents end to end (WARC in, Parquet out), beside bare trafilatura on all cores.

Both are bound by the processor, so CPU time is compared: start of the processes, decompression,
language, tokens and tables included. Wall time is printed too; on a busy machine it says little.
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
from webtext.documents import DocumentsConfig, extract_documents_partition

GOAL = 0.95
PAGES = 400
CORES = 2


def run() -> dict[str, object]:
    pages = [
        WebPage(key, body, url, headers=(("Content-Type", "text/html"),))
        for key, (url, body) in enumerate(real_pages(PAGES))
    ]
    halves = [pages[start::CORES] for start in range(CORES)]
    with tempfile.TemporaryDirectory() as folder:
        for number, half in enumerate(halves):
            write_artifacts(Path(folder), half, partition=number)
        partitions = [(folder, number) for number in range(CORES)]
        bare_wall, bare = _measure(_extract_bare, halves)
        ours_wall, ours = _measure(_extract_ours, partitions)
    print(f"{len(pages)} real pages, {CORES} processes at once")
    print(f"{'':28}{'pages/s':>8}{'CPU ms a page':>16}")
    for name, wall, cpu in (
        ("trafilatura.extract", bare_wall, bare),
        ("webtext.documents", ours_wall, ours),
    ):
        print(f"{name:28}{len(pages) / wall:8.1f}{1000 * cpu / len(pages):16.1f}")
    ratio = bare / ours
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


def _extract_bare(pages: list[WebPage]) -> None:
    logging.disable(logging.CRITICAL)
    for page in pages:
        trafilatura.extract(page.body, url=page.url, include_comments=False)


def _extract_ours(share: tuple[str, int]) -> None:
    folder, partition = share
    with tempfile.TemporaryDirectory() as destination:
        extract_documents_partition(
            captures=Path(folder) / "captures",
            links=Path(folder) / "links",
            partition=partition,
            destination=Path(destination),
            config=DocumentsConfig(),
            progress=silent,
        )


if __name__ == "__main__":
    print(run())
