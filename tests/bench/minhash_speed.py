"""Signatures a second on one core, beside datasketch's `update_batch`; shingling on both sides."""

import time
from collections.abc import Callable

from datasketch import MinHash

from tests.bench.real_texts import newsgroup_texts
from webtext.signatures import SignaturesConfig, sign_texts

GOAL = 8.0
CONFIG = SignaturesConfig(permutations=128)
WORDS_A_DOCUMENT = 1_000


def run() -> dict[str, object]:
    words = " ".join(newsgroup_texts(8_000)).split()
    starts = range(0, len(words) - WORDS_A_DOCUMENT, WORDS_A_DOCUMENT)
    texts = [" ".join(words[start : start + WORDS_A_DOCUMENT]) for start in starts][:2_000]
    sign_texts(texts[:10], CONFIG)
    # Alternating, the best of three: other processes disturb both alike.
    theirs = min(_seconds(lambda: _sign_by_datasketch(texts[:400])) for _ in range(3)) / 400
    ours = min(_seconds(lambda: sign_texts(texts, CONFIG)) for _ in range(3)) / len(texts)
    print(f"{len(texts)} documents of {WORDS_A_DOCUMENT} words, 128 permutations, one core")
    print(f"{'':28}{'documents/s':>12}")
    print(f"{'datasketch update_batch':28}{1 / theirs:12,.0f}")
    print(f"{'webtext.signatures':28}{1 / ours:12,.0f}")
    ratio = theirs / ours
    return {
        "name": "signatures beside datasketch update_batch",
        "measured": round(ratio, 2),
        "goal": GOAL,
        "unit": "times",
        "reached": ratio >= GOAL,
    }


def _sign_by_datasketch(texts: list[str]) -> None:
    """As one would by datasketch's documentation: its own SHA-1 hash of each shingle."""
    permutations = MinHash(num_perm=CONFIG.permutations, seed=CONFIG.seed).permutations
    for text in texts:
        words = text.lower().split()
        shingles = {
            " ".join(words[i : i + CONFIG.shingle_words]).encode()
            for i in range(len(words) - CONFIG.shingle_words + 1)
        }
        minhash = MinHash(
            num_perm=CONFIG.permutations,
            seed=CONFIG.seed,
            permutations=permutations,
            scheme=CONFIG.scheme,
        )
        minhash.update_batch(shingles)


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    print(run())
