"""Up to 8 million signatures banded and clustered: time, memory, disk, and how time grows.

Synthetic signatures with planted clusters of near-copies, all of which must be found and no more.
Takes three to five minutes, 9 GB of disk; `python -m tests.bench.dedupe_scale 1 2` does less.
"""

import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from webtext.tables import part_name, signatures_schema

MILLIONS = (1, 2, 4, 8)
PERMUTATIONS = 112
PART = 250_000
COPIES = 4
"""Every tenth document heads a cluster of so many near-copies of it, in other partitions."""
CHANGED = 8
GOAL = 1.2

_CHILD = """
import json, re, sys, threading, time
from pathlib import Path
from webtext.duplicates import DuplicatesConfig, find_duplicates
from webtext.counts import silent
import scipy.sparse.csgraph
def status(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
base, private, done = status("RssAnon"), [0], threading.Event()
def watch():
    while not done.wait(0.02):
        private[0] = max(private[0], status("RssAnon"))
watcher = threading.Thread(target=watch)
watcher.start()
start, cpu = time.monotonic(), time.process_time()
counts = find_duplicates(signatures=Path(sys.argv[1]), destination=Path(sys.argv[2]),
                         config=DuplicatesConfig(), progress=silent)
seconds, cpu = time.monotonic() - start, time.process_time() - cpu
done.set()
print(json.dumps({"seconds": seconds, "cpu": cpu, "private": private[0] - base,
                  "peak": status("VmHWM")}))
"""


def run(millions: tuple[int, ...] = MILLIONS) -> dict[str, object]:
    print(f"{'documents':>10}{'s':>8}{'CPU s':>8}{'peak MiB':>10}{'private B/doc':>15}", end="")
    print(f"{'scratch GB':>12}{'clusters':>10}")
    seconds = {}
    for million in millions:
        seconds[million] = _measure(million * 1_000_000)
    first, last = millions[0], millions[-1]
    growth = 1.0
    if last > first:
        linearithmic = last * math.log(last * 1e6) / (first * math.log(first * 1e6))
        growth = seconds[last] / seconds[first] / linearithmic
    print(f"CPU time from {first} to {last} million beside n log n: {growth:.2f}")
    return {
        "name": f"growth of deduplication's time to {last} million beside n log n",
        "measured": round(growth, 2),
        "goal": GOAL,
        "unit": "times, at most",
        "reached": growth <= GOAL,
    }


def _measure(documents: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root / "signatures", documents)
        disk = [0]
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(root / "out" / "scratch", disk, done))
        watcher.start()
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, str(root), str(root / "out")],
            stdout=subprocess.PIPE,
            check=True,
        )
        done.set()
        watcher.join()
        told = json.loads(child.stdout)
        exact = _check(root / "out" / "duplicates" / "duplicates.parquet", documents)
    private = told["private"] * 1024 / documents
    print(
        f"{documents:10,}{told['seconds']:8.1f}{told['cpu']:8.1f}{told['peak'] / 1024:10,.0f}"
        f"{private:15.0f}{disk[0] / 1e9:12.2f}{exact:>10}",
        flush=True,
    )
    return float(told["cpu"])


def _write(folder: Path, documents: int) -> None:
    """Document i below (1 + COPIES) x heads, but above heads, is a near-copy of `_head(i)`."""
    heads = documents // 10
    for part in range(documents // PART):
        numbers = np.arange(part * PART, (part + 1) * PART, dtype=np.uint64)
        copied = (numbers >= heads) & (numbers < heads * (1 + COPIES))
        origin = np.where(copied, _head(numbers, heads), numbers)
        minima = _noise(
            origin[:, None] * np.uint64(PERMUTATIONS) + np.arange(PERMUTATIONS, dtype=np.uint64)
        )
        chance = np.random.default_rng(part)
        copies = np.flatnonzero(origin != numbers)
        for _ in range(CHANGED):
            columns = chance.integers(0, PERMUTATIONS, copies.size)
            minima[copies, columns] = chance.integers(0, 2**32, copies.size, dtype=np.uint32)
        keys = np.zeros((PART, 2), dtype=">u8")
        keys[:, 1] = numbers
        digests = np.zeros((PART, 2), dtype=">u8")
        digests[:, 0], digests[:, 1] = numbers * np.uint64(0x9E3779B97F4A7C15), numbers
        columns = [
            _binary(keys, 16),
            pa.array((1000 - (numbers // np.uint64(heads)).astype(np.int32)), pa.int32()),
            pa.array(np.full(PART, 1_500_000_000), pa.int64()),
            _binary(digests, 16),
            pa.array(np.full(PART, 996), pa.int32()),
            _binary(minima, 4 * PERMUTATIONS),
        ]
        table = pa.Table.from_arrays(columns, schema=signatures_schema(PERMUTATIONS))
        folder.mkdir(exist_ok=True)
        pq.write_table(table, folder / part_name(part), compression="none", use_dictionary=False)


def _head(numbers: np.ndarray, heads: int) -> np.ndarray:
    """The heads in an order of their own for each round of copies: 7919 divides none."""
    return (numbers * np.uint64(7919) + numbers // np.uint64(heads)) % np.uint64(heads)


def _noise(seeds: np.ndarray) -> np.ndarray:
    seeds *= np.uint64(0x9E3779B97F4A7C15)
    seeds ^= seeds >> np.uint64(29)
    seeds *= np.uint64(0xBF58476D1CE4E5B9)
    return (seeds >> np.uint64(32)).astype("<u4")


def _binary(rows: np.ndarray, width: int) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, data])


def _check(path: Path, documents: int) -> str:
    """`exact`, where each copy is removed for its head, and nothing else is."""
    table = pq.read_table(path).combine_chunks()
    lost, kept = (
        np.frombuffer(table[name].combine_chunks().buffers()[1], dtype=">u8").reshape(-1, 2)[:, 1]
        for name in ("link_id", "survivor_link_id")
    )
    heads = documents // 10
    expected = np.arange(heads, heads * (1 + COPIES), dtype=np.uint64)
    if np.array_equal(lost, expected) and np.array_equal(kept, _head(expected, heads)):
        return "exact"
    return f"{lost.size}/{expected.size}"


def _watch(folder: Path, largest: list[int], done: threading.Event) -> None:
    while not done.wait(0.5):
        sizes = [path.stat().st_size for path in folder.glob("*")]
        largest[0] = max(largest[0], sum(sizes))


if __name__ == "__main__":
    start = time.monotonic()
    print(run(tuple(map(int, sys.argv[1:])) or MILLIONS))
    print(f"{time.monotonic() - start:.0f} s in all")
