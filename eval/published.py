"""The published zero-shot scores of GPT-2, to stand beside ours.

Source: Radford, Wu, Child, Luan, Amodei, Sutskever: "Language Models are Unsupervised Multitask
Learners" (2019), table 3; the smallest model's row as GPT-2's model card gives it. Sizes are the
true ones; the paper calls them 117M, 345M, 762M and 1542M. Two cells look out of family (1558M
on WikiText-103, 774M on 1BW): they are shown as published, and nothing is decided by them.
"""

import math

from pydantic import BaseModel, ConfigDict

from eval.protocols import COLUMNS, Column


class PublishedRow(BaseModel):
    """A model's row of the published table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Size as it is called today."""
    parameters: int
    """Trainable parameters, embeddings tied."""
    source: str
    """Where the row is from."""
    scores: dict[Column, float]
    """Score by column: perplexities, bits and per cent."""


def _row(name: str, parameters: int, source: str, *scores: float) -> PublishedRow:
    return PublishedRow(
        name=name,
        parameters=parameters,
        source=source,
        scores=dict(zip(COLUMNS, scores, strict=True)),
    )


CARD = "GPT-2's model card"
PAPER = "Radford et al. 2019, table 3"

# fmt: off
PUBLISHED: tuple[PublishedRow, ...] = (
    _row("124M", 124_439_808, CARD,
         35.13, 45.99, 87.65, 83.4, 29.41, 65.85, 1.16, 1.17, 37.50, 75.20),
    _row("355M", 354_823_168, PAPER,
         15.60, 55.48, 92.35, 87.1, 22.76, 47.33, 1.01, 1.06, 26.37, 55.72),
    _row("774M", 774_030_080, PAPER,
         10.87, 60.12, 93.45, 88.0, 19.93, 40.31, 0.97, 1.02, 22.05, 44.575),
    _row("1558M", 1_557_611_200, PAPER,
         8.63, 63.24, 93.30, 89.05, 18.34, 35.76, 0.93, 0.98, 17.48, 42.16),
)
# fmt: on
"""Smallest first."""


def nearest_row(parameters: int) -> PublishedRow:
    """The published row whose size is nearest by ratio."""
    size = math.log(max(parameters, 1))
    return min(PUBLISHED, key=lambda row: abs(math.log(row.parameters) - size))
