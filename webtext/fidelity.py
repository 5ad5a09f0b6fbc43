"""Fidelity: how the domains of a build compare with those that WebText is known to have had.

OpenAI published the 1,000 domains with the most links in WebText (repository openai/gpt-2, file
`domains.txt`; carried here as `published/webtext_domains.tsv`, without its one nameless entry). A
domain is named there by the label before its public suffix, so `bbc.co.uk` and `bbc.com` are one:
`bbc`. A build's domains are named in the same way and its rows counted by name.

The figures, for rows counted n_d and published links p_d of domain d:

- *Spearman* and *Kendall τ-b* rank correlation (Spearman 1904; Kendall 1945, which corrects for
  ties) of n and p over the domains that both name. 1 is the same order, 0 none.
- *covered mass*: the share of Σ p that belongs to domains of which the build has a row.
- *published share*: the share of the build's rows that lie on published domains.
- *divergence*: the Jensen-Shannon divergence (Lin 1991) in bits between n and p, each scaled to sum
  to 1 over the published domains: 0 is the same mix, 1 nothing in common.

Rank correlation leaves out domains that a build has not, so it is read beside the covered mass; and
over few shared domains it says little: `note` says so.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import kendalltau, spearmanr

from webtext.urls import registrable_domain

FEW_SHARED = 100
"""Below so many shared domains, a rank correlation carries a warning: its standard error is about
1/√(n − 1), a tenth at 100 (under independence)."""


class Fidelity(BaseModel):
    """How the domains of one table compare with the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows: int = Field(ge=0)
    """Rows of the table."""
    published_rows: int = Field(ge=0)
    """Those of them that lie on published domains."""
    published_share: float | None
    """`published_rows` / `rows`; null where there is no row."""
    shared_domains: int = Field(ge=0)
    """Published domains of which the table has a row."""
    covered_mass: float
    """Share of the published links that belong to shared domains."""
    spearman: float | None
    """Rank correlation over the shared domains, -1 to 1; null where it is not defined (fewer than
    three domains, or all counts equal)."""
    kendall: float | None
    """Kendall's τ-b over the same, -1 to 1."""
    divergence: float | None
    """Jensen-Shannon divergence in bits, 0 to 1; null where no published domain has a row."""
    note: str | None
    """A warning about few shared domains."""


@cache
def published_domains() -> Mapping[str, int]:
    """The published links of WebText by the domain's name, most first."""
    text = files("webtext").joinpath("published/webtext_domains.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {name.lower(): int(links) for name, links in rows}


def domain_name(domain: str) -> str:
    """What the published list calls a host or registrable domain: `bbc` for `news.bbc.co.uk`.

    An address has no name and stays as it is: `163.0.0.1` is not `163.com`.
    """
    name, _, suffix = registrable_domain(domain).partition(".")
    return domain if suffix[-1:].isdigit() else name


def compare_domains(counts: Mapping[str, int], rows: int, published: Mapping[str, int]) -> Fidelity:
    """Compare rows counted by domain name with the published links.

    Args:
        counts: rows by name; names that are not published may be left out.
        rows: all rows of the table, on published domains or not.
        published: links by name.
    """
    theirs = np.array(list(published.values()), np.float64)
    ours = np.array([counts.get(name, 0) for name in published], np.float64)
    shared = ours > 0
    inside = int(ours.sum())
    spearman, kendall = _correlate(ours[shared], theirs[shared])
    count = int(shared.sum())
    few = f"{count} domains are too few for a rank correlation that means much"
    return Fidelity(
        rows=rows,
        published_rows=inside,
        published_share=inside / rows if rows else None,
        shared_domains=count,
        covered_mass=float(theirs[shared].sum() / theirs.sum()),
        spearman=spearman,
        kendall=kendall,
        divergence=_diverge(ours, theirs) if inside else None,
        note=few if count < FEW_SHARED else None,
    )


def _correlate(
    ours: NDArray[np.float64], theirs: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    if ours.size < 3 or np.unique(ours).size < 2 or np.unique(theirs).size < 2:
        return None, None
    return float(spearmanr(ours, theirs).statistic), float(kendalltau(ours, theirs).statistic)


def _diverge(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    one, other = ours / ours.sum(), theirs / theirs.sum()
    middle = (one + other) / 2
    return (_relative_entropy(one, middle) + _relative_entropy(other, middle)) / 2


def _relative_entropy(of: NDArray[np.float64], to: NDArray[np.float64]) -> float:
    """Σ p log₂(p / q), where p log p is 0 for p = 0."""
    some = of > 0
    return float((of[some] * np.log2(of[some] / to[some])).sum())
