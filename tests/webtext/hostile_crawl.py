"""A live crawl in a process of its own, which reports what it cost: a job on standard input.

The job is JSON: `crawls` (folders of links and destinations), `exempt`, `authority` and `config`.
For each crawl a JSON line tells the growth of the most memory ever resident (VmHWM, reset before:
getrusage's figure would begin with that of the parent), the processor time and the time.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path

from webtext.crawl import CrawlConfig, crawl_partition
from webtext.fetch import verifying_tls


def main() -> None:
    """Crawl one after another."""
    job = json.load(sys.stdin)
    exempt = frozenset((host, port) for host, port in job["exempt"])
    tls = verifying_tls()
    tls.load_verify_locations(job["authority"])
    for crawl in job["crawls"]:
        before_kib = _reset_peak()
        cpu_s, began = _cpu_s(), time.monotonic()
        crawl_partition(
            links=Path(crawl["links"]),
            partition=0,
            destination=Path(crawl["destination"]),
            config=CrawlConfig.model_validate(job["config"]),
            concurrency=len(exempt),
            host_delay_s=0.0,
            exempt=exempt,
            tls=tls,
        )
        cost = {
            "grown_kib": _peak_kib() - before_kib,
            "cpu_s": _cpu_s() - cpu_s,
            "wall_s": time.monotonic() - began,
        }
        sys.stdout.write(json.dumps(cost) + "\n")
        sys.stdout.flush()


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _reset_peak() -> int:
    """Make the peak what is resident now (Linux: proc(5), clear_refs); that figure."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_kib()


def _peak_kib() -> int:
    match = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1])


if __name__ == "__main__":
    main()
