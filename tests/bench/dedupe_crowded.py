"""What a crowded bucket costs: the share of near-copies found when everything agrees in one band.

Boilerplate makes documents agree in a band that are not alike, in a bucket too large to compare in
full. Here all documents share band 0, and pairs of each similarity are planted among them. Found
are those that agree in another band, or lie near one another in the bucket; beside it the share
that a full comparison of all pairs would find, which is the peer.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from webtext.counts import silent
from webtext.duplicates import DuplicatesConfig, find_duplicates
from webtext.s_curve import verified_probability
from webtext.tables import part_name, signatures_schema

PERMUTATIONS, ROWS, BANDS = 112, 8, 14
PAIRS = 5_000
CROWD = 50_000
SIMILARITIES = (0.75, 0.8, 0.85, 0.9, 0.95)
JUDGED = 0.85
GOAL = 0.02


def run() -> dict[str, object]:
    print(f"{2 * PAIRS + CROWD:,} documents in one bucket of band 0, {PAIRS:,} planted pairs")
    print(f"{'Jaccard':>8}{'full comparison':>17}{'found':>8}{'lost':>8}{'S-curve, no crowd':>19}")
    lost = {}
    for similarity in SIMILARITIES:
        found, full = _measure(similarity)
        lost[similarity] = full - found
        promised = verified_probability(similarity, BANDS, ROWS, PERMUTATIONS, 0.75)
        print(f"{similarity:8.2f}{full:17.3f}{found:8.3f}{lost[similarity]:8.3f}{promised:19.3f}")
    return {
        "name": f"pairs of similarity {JUDGED} that a bucket of all documents loses",
        "measured": round(lost[JUDGED], 4),
        "goal": GOAL,
        "unit": "share of those a full comparison finds, at most",
        "reached": lost[JUDGED] <= GOAL,
    }


def _measure(similarity: float) -> tuple[float, float]:
    """The share of planted pairs found, and the share that are verified when compared."""
    chance = np.random.default_rng(int(similarity * 1000))
    minima = chance.integers(0, 2**32, (2 * PAIRS + CROWD, PERMUTATIONS), dtype=np.uint32)
    minima[:, :ROWS] = 7
    shared = chance.random((PAIRS, PERMUTATIONS)) < similarity
    minima[PAIRS : 2 * PAIRS] = np.where(shared, minima[:PAIRS], minima[PAIRS : 2 * PAIRS])
    minima[:, :ROWS] = 7
    alike = (minima[:PAIRS] == minima[PAIRS : 2 * PAIRS]).mean(axis=1) >= 0.75
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), minima, chance)
        find_duplicates(
            signatures=Path(folder),
            destination=Path(folder) / "out",
            config=DuplicatesConfig(),
            progress=silent,
        )
        removed = pq.read_table(Path(folder) / "out" / "duplicates" / "duplicates.parquet").num_rows
    return removed / PAIRS, float(alike.mean())


def _write(folder: Path, minima: np.ndarray, chance: np.random.Generator) -> None:
    """The signatures in an order of karma that parts the pairs."""
    count = len(minima)
    keys = np.zeros((count, 2), dtype=">u8")
    keys[:, 1] = np.arange(count)
    columns = [
        _binary(keys, 16),
        pa.array(chance.permutation(count).astype(np.int32)),
        pa.array(np.full(count, 1_500_000_000)),
        _binary(keys, 16),
        pa.array(np.full(count, 996, dtype=np.int32)),
        _binary(minima, 4 * PERMUTATIONS),
    ]
    table = pa.Table.from_arrays(columns, schema=signatures_schema(PERMUTATIONS))
    (folder / "signatures").mkdir()
    pq.write_table(table, folder / "signatures" / part_name(0))


def _binary(values: np.ndarray, width: int) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(values).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), [None, data])
