"""What banding finds: the S-curve, and what is left of it when candidates are verified.

Two documents of Jaccard similarity s share each minimum of their signatures with probability s,
independently (Broder, "On the resemblance and containment of documents", 1997, section 2). They
become candidates when all `rows` minima of one of `bands` bands are shared (Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", section 3.4.2).
"""

import math

import numpy as np
from numpy.typing import NDArray

SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def collision_probability(similarity: float, bands: int, rows: int) -> float:
    """The probability that two documents of this Jaccard similarity agree in at least one band."""
    return float(1 - (1 - similarity**rows) ** bands)


def verified_probability(
    similarity: float, bands: int, rows: int, permutations: int, min_similarity: float
) -> float:
    """The probability to agree in a band and in `min_similarity` of all minima besides.

    All ways to share minima, less those in which no band is whole: sums of independent binomials.
    """
    needed = math.ceil(min_similarity * permutations - 1e-9)
    shared = _binomial(permutations, similarity)
    band = _binomial(rows, similarity)
    band[rows] = 0
    unbanded = _binomial(permutations - bands * rows, similarity)
    for _ in range(bands):
        unbanded = np.convolve(unbanded, band)
    return float(shared[needed:].sum() - unbanded[needed:].sum())


def s_curve_markdown(bands: int, rows: int, permutations: int, min_similarity: float) -> str:
    """The curve as a table: of pairs of each similarity, the share compared and the share found."""
    lines = [
        f"| Jaccard | compared ({bands} × {rows}) | found (≥ {min_similarity:g} of minima) |",
        "|---|---|---|",
    ]
    for similarity in SIMILARITIES:
        compared = collision_probability(similarity, bands, rows)
        found = verified_probability(similarity, bands, rows, permutations, min_similarity)
        lines.append(f"| {similarity:.2f} | {compared:.3f} | {found:.3f} |")
    return "\n".join(lines)


def _binomial(trials: int, chance: float) -> NDArray[np.float64]:
    """The probability of each number of successes, from 0 to `trials`."""
    weights = [
        math.comb(trials, count) * chance**count * (1 - chance) ** (trials - count)
        for count in range(trials + 1)
    ]
    return np.array(weights)
