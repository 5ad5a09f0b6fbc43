"""Measures this machine: the pipeline's stages on a small built-in web, and some training steps.

The web is the demo's, of two sizes, read from its WARC file without any network. The small one,
done twice, shows what a stage costs at its start and for each part; the difference to the larger
one what a row costs. Takes about twenty seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.plan_rates import Measurement, Observation
from flows.profile import Profile
from infra.environment import host, utc_now
from infra.errors import StoreError
from infra.files import folder_bytes
from model.device import why_no_gpu
from webtext.corpus import CorpusConfig, select_corpus_partition
from webtext.counts import Counts, silent
from webtext.crawl import CrawlConfig, crawl_partition
from webtext.demo_web import DemoWebConfig, build_demo_web
from webtext.documents import DocumentsConfig, filter_documents_partition
from webtext.domain_counts import FidelityConfig, measure_fidelity
from webtext.dumps import read_lines
from webtext.duplicates import DuplicatesConfig, find_duplicates
from webtext.links import LinksConfig, group_links_partition
from webtext.pages import PagesConfig, extract_pages_partition
from webtext.shards import ShardsConfig, pack_shards_partition
from webtext.signatures import SignaturesConfig, sign_documents_partition
from webtext.submissions import SubmissionsConfig, read_submissions_dump
from webtext.warc_index import WarcIndexConfig, index_archives

_SMALL_PAGES, _LARGE_PAGES = 8, 150
_COPIES = 100
"""The built-in dump has hundreds of rows; reading is timed on so many copies of it."""
_TRAINING_TIMEOUT_S = 300.0

Timed = dict[str, Observation]


def measure_machine(profile: Profile, cores: int) -> Measurement:
    """Run the stages on the built-in web and a few steps of training.

    Args:
        profile: gives the trainer's threads and device.
        cores: this machine's, for the record.

    Raises:
        StoreError: torch or DeepSpeed cannot be used here.
    """
    wanted = profile.runtime.device
    device = "cpu" if wanted == "cpu" or why_no_gpu() else "cuda"
    with TemporaryDirectory(prefix="webtext-plan-") as folder:
        root = Path(folder)
        cold = _run_stages(root / "cold", _SMALL_PAGES)
        small = _run_stages(root / "small", _SMALL_PAGES)
        large = _run_stages(root / "large", _LARGE_PAGES)
        large |= _time_reading(root / "large", root / "copies", large, small)
    started = _time_start()
    training = _measure_training(profile.train.cpu_threads, device)
    stages = {name: _slope(seen, small[name], cold[name], started) for name, seen in large.items()}
    return Measurement(
        host=host(),
        measured_at=utc_now(),
        cores=cores,
        stages=stages,
        start_s=started,
        training_start_s=training["start_s"],
        flops=training["flops"],
        threads=profile.train.cpu_threads,
        device=device,
    )


def _run_stages(root: Path, pages: int) -> Timed:
    """All stages on a web of so many pages, one partition each."""
    web = root / "web"
    build_demo_web(
        destination=web, config=DemoWebConfig(max_pages=pages, min_characters=0), progress=silent
    )
    archives = sorted((web / "web").iterdir())
    index_archives(archives=archives, destination=root / "index", config=WarcIndexConfig())
    seen: Timed = {}

    def do(stage: str, function: Callable[..., Counts], **arguments: Any) -> None:
        (root / stage).mkdir()
        began = _cpu_seconds()
        counts = function(destination=root / stage, progress=silent, **arguments)
        seconds = _cpu_seconds() - began
        size = folder_bytes(root / stage)
        seen[stage] = Observation(counts=counts.model_dump(), seconds=seconds, bytes=size)

    dump = next((web / "submissions").iterdir())
    part = {"partition": 0}
    do(
        "submissions", read_submissions_dump, dump=dump,
        config=SubmissionsConfig(partitions=1), **part,
    )  # fmt: skip
    do(
        "links", group_links_partition, submissions=root / "submissions",
        config=LinksConfig(partitions=1), **part,
    )  # fmt: skip
    do(
        "captures", crawl_partition, links=root / "links", warc_index=root / "index",
        archives=archives, config=CrawlConfig(source="warc"), **part,
    )  # fmt: skip
    do("pages", extract_pages_partition, captures=root / "captures", config=PagesConfig(), **part)
    do(
        "documents", filter_documents_partition, pages=root / "pages", links=root / "links",
        config=DocumentsConfig(), **part,
    )  # fmt: skip
    do(
        "signatures", sign_documents_partition, documents=root / "documents",
        config=SignaturesConfig(), **part,
    )  # fmt: skip
    do("duplicates", find_duplicates, signatures=root / "signatures", config=DuplicatesConfig())
    do(
        "corpus", select_corpus_partition, documents=root / "documents",
        duplicates=root / "duplicates", config=CorpusConfig(), **part,
    )  # fmt: skip
    do(
        "fidelity", measure_fidelity, links=root / "links", captures=root / "captures",
        documents=root / "documents", corpus=root / "corpus", config=FidelityConfig(),
    )  # fmt: skip
    do("shards", pack_shards_partition, corpus=root / "corpus", config=ShardsConfig(), **part)
    return seen


def _time_reading(web: Path, root: Path, large: Timed, small: Timed) -> Timed:
    """Submissions and links of `large`, their seconds as if a row cost what one of copies does."""
    root.mkdir()
    copies, dump = root / "RS_copies.jsonl", next((web / "web" / "submissions").iterdir())
    lines = [line for block in read_lines(dump) for line in block]
    with copies.open("wb") as file:
        for number in range(_COPIES):
            tag = b'"id":"%d' % (100 + number)
            for line in lines:
                file.write(line.replace(b'"id": "', tag).replace(b'"id":"', tag) + b"\n")
    began = _cpu_seconds()
    read = read_submissions_dump(
        dump=copies, partition=0, destination=root / "out", config=SubmissionsConfig(partitions=1)
    )
    middle = _cpu_seconds()
    grouped = group_links_partition(
        submissions=root / "out", partition=0, destination=root / "links",
        config=LinksConfig(partitions=1),
    )  # fmt: skip
    spent = {"submissions": middle - began, "links": _cpu_seconds() - middle}
    rows = {"submissions": read.rows_in, "links": grouped.rows_in}
    return {
        name: large[name].model_copy(
            update={
                "seconds": small[name].seconds
                + max(0.0, spent[name] - small[name].seconds)
                * (large[name].counts["rows_in"] / rows[name])
            }
        )
        for name in spent
    }


def _slope(
    large: Observation, small: Observation, cold: Observation, start_s: float
) -> Observation:
    """The larger run with the seconds of its rows alone; what the small ones took is its start."""
    rows, fewer = large.counts["rows_in"], small.counts["rows_in"]
    share = rows / (rows - fewer) if rows > fewer else 1.0
    if large.counts["rows_in"] and small.seconds < large.seconds:
        seconds = (large.seconds - small.seconds) * share
    else:
        seconds = 0.1 * large.seconds  # too quick to tell rows from start
    return large.model_copy(
        update={
            "seconds": seconds,
            "part_s": small.seconds,
            "start_s": start_s + max(0.0, cold.seconds - small.seconds),
        }
    )


def _cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended.

    Not the wall's: a machine that is busy while it is measured is not slower for ever.
    """
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _time_start() -> float:
    """Seconds until a worker's process has imported what a stage needs."""
    began = _cpu_seconds()
    program = "import infra.child, pyarrow, duckdb, webtext.links"
    subprocess.run([sys.executable, "-c", program], check=True)
    return _cpu_seconds() - began


def _measure_training(threads: int, device: str) -> dict[str, float]:
    command = [sys.executable, "-m", "model.speed", str(threads), device]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TRAINING_TIMEOUT_S, check=True
        )
        answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        told = getattr(error, "stderr", None) or str(error)
        raise StoreError(
            f"the speed of training cannot be measured: {told[-400:]}; install the project's "
            "packages, or leave --measure out"
        ) from error
    return {
        "flops": answer["flops"],
        "start_s": time.perf_counter() - began - answer["steps_s"],
    }
