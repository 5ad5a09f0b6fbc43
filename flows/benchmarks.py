"""Fetching the benchmarks' files, with bars."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from eval.errors import FetchError
from eval.fetch import Fetched, fetch_benchmarks
from eval.hub_rows import write_from_hub
from eval.protocols import BENCHMARKS
from flows.terminal import console


def fetch_files(
    destination: Path, only: Sequence[str], *, hub: bool, mirror: str | None
) -> list[Fetched]:
    """Put the wanted benchmarks' files into a folder.

    Raises:
        FetchError: there is no such benchmark.
    """
    unknown = sorted(set(only) - set(BENCHMARKS))
    if unknown:
        raise FetchError(
            f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}"
        )
    wanted = only or BENCHMARKS
    if hub:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import datasets

        return write_from_hub(destination, wanted, datasets.load_dataset)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    out = console()
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        tasks = {}

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        return fetch_benchmarks(destination, wanted, report, mirror=mirror)
