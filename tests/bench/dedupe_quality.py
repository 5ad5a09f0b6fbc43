"""What deduplication removes, judged by the exact Jaccard similarity of every pair.

Natural texts (20 Newsgroups) for precision; near-copies planted at known similarity for recall,
beside the S-curve that bands and rows promise.
"""

import random
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from tests.bench.real_texts import newsgroup_texts
from tests.webtext.corpora import document_row, write_part
from webtext.counts import silent
from webtext.duplicates import DuplicatesConfig, find_duplicates
from webtext.s_curve import collision_probability, verified_probability
from webtext.signatures import SignaturesConfig, sign_documents_partition

GOAL = 0.99
CONFIG = DuplicatesConfig()
SIGNATURES = SignaturesConfig()
MESSAGES = 6_000
SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
PLANTED = 200


def run() -> dict[str, object]:
    texts = newsgroup_texts()
    random.Random(1).shuffle(texts)
    texts = texts[:MESSAGES]
    precision = _measure_natural(texts)
    _measure_planted()
    return {
        "name": f"precision of removed pairs at {CONFIG.min_similarity - 0.05:.2f}",
        "measured": round(precision, 4),
        "goal": GOAL,
        "unit": "share",
        "reached": precision >= GOAL,
    }


def _measure_natural(texts: list[str]) -> float:
    """Precision of the (removed, survivor) pairs; recall of documents that have a twin."""
    removed = _find(texts)
    ids, starts = shingle_ids(texts)
    pairs = similar_pairs(ids, starts, 0.5)
    true = [
        _jaccard(ids, starts, lost, kept) >= CONFIG.min_similarity - 0.05
        for lost, kept in removed.items()
    ]
    precision = sum(true) / len(true)
    together = {key: removed.get(key, key) for key in range(len(texts))}
    print(f"{len(texts)} messages, {len(removed)} removed, precision {precision:.4f}")
    print(f"{'exact Jaccard':16}{'pairs':>8}{'joined':>8}{'recall':>8}")
    for low, high in ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0), (1.0, 1.1)):
        band = [(i, j) for i, j, s in pairs if low <= s < high]
        joined = sum(together[i] == together[j] for i, j in band)
        share = joined / len(band) if band else float("nan")
        print(f"{f'{low:.1f} to {min(high, 1):.1f}':16}{len(band):8}{joined:8}{share:8.3f}")
    return precision


def _measure_planted() -> None:
    """Recall at known similarity; the verification lets about half of those on the edge through."""
    chance = random.Random(2)
    print(f"{'planted Jaccard':16}{'pairs':>8}{'removed':>8}{'recall':>8}", end="")
    print(f"{'S-curve':>9}{'verified':>10}")
    for similarity in SIMILARITIES:
        originals = [numbered(chance) for _ in range(PLANTED)]
        copies = [changed(words, similarity) for words in originals]
        removed = _find([" ".join(words) for words in originals] + copies)
        curve = collision_probability(similarity, CONFIG.bands, CONFIG.rows)
        recall = len(removed) / PLANTED
        verified = verified_probability(
            similarity, CONFIG.bands, CONFIG.rows, SIGNATURES.permutations, CONFIG.min_similarity
        )
        print(
            f"{similarity:<16}{PLANTED:8}{len(removed):8}{recall:8.3f}{curve:9.3f}{verified:10.3f}"
        )


def numbered(chance: random.Random) -> list[str]:
    return [f"w{chance.randrange(10**9)}" for _ in range(1_000)]


def changed(words: list[str], similarity: float) -> str:
    """The words with a stretch at the end replaced, so that the shingles' Jaccard is as wanted."""
    shingles = len(words) - SIGNATURES.shingle_words + 1
    same = round(2 * shingles * similarity / (1 + similarity))
    kept = same + SIGNATURES.shingle_words - 1
    return " ".join(words[:kept] + [f"new{word}" for word in words[kept:]])


def _find(texts: list[str]) -> dict[int, int]:
    """Removed text and the one kept for it, by position."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = [document_row(key, text) for key, text in enumerate(texts)]
        write_part(root / "documents", "documents", rows)
        sign_documents_partition(
            documents=root / "documents",
            partition=0,
            destination=root / "signatures",
            config=SIGNATURES,
            progress=silent,
        )
        find_duplicates(
            signatures=root / "signatures", destination=root / "out", config=CONFIG, progress=silent
        )
        table = pq.read_table(root / "out" / "duplicates" / "duplicates.parquet")
    return {
        int.from_bytes(lost, "big"): int.from_bytes(kept, "big")
        for lost, kept in zip(
            table["link_id"].to_pylist(), table["survivor_link_id"].to_pylist(), strict=True
        )
    }


def shingle_ids(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each text's distinct shingles, numbered by a dictionary of the shingles themselves."""
    known: dict[tuple[str, ...], int] = {}
    ids, starts = [], [0]
    size = SIGNATURES.shingle_words
    for text in texts:
        words = re.findall(r"\w+", text.lower()) or [text]
        places = range(max(1, len(words) - size + 1))
        shingles = {tuple(words[place : place + size]) for place in places}
        ids.append(np.array(sorted(known.setdefault(s, len(known)) for s in shingles)))
        starts.append(starts[-1] + len(shingles))
    return np.concatenate(ids), np.array(starts)


def _jaccard(hashes: np.ndarray, starts: np.ndarray, one: int, other: int) -> float:
    left, right = (hashes[starts[key] : starts[key + 1]] for key in (one, other))
    common = np.intersect1d(left, right, assume_unique=True).size
    return float(common / (left.size + right.size - common))


def similar_pairs(
    hashes: np.ndarray, starts: np.ndarray, least: float
) -> list[tuple[int, int, float]]:
    """Every pair of at least this Jaccard similarity: the product of the incidence matrix."""
    _, columns = np.unique(hashes, return_inverse=True)
    matrix = csr_array((np.ones(hashes.size, np.int32), columns, starts))
    sizes = np.diff(starts)
    found: dict[tuple[int, int], float] = defaultdict(float)
    for start in range(0, len(sizes), 500):
        common = (matrix[start : start + 500] @ matrix.T).tocoo()
        left, right = common.row + start, common.col
        similarity = common.data / (sizes[left] + sizes[right] - common.data)
        for i, j, s in zip(left, right, similarity, strict=True):
            if i < j and s >= least:
                found[int(i), int(j)] = float(s)
    return [(i, j, s) for (i, j), s in found.items()]


if __name__ == "__main__":
    print(run())
