"""The scores stage: the model and evaluation rooms joined, in a child process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from eval.protocols import Benchmark
from eval.scores import EvalConfig
from webtext.counts import Progress


class ScoringConfig(BaseModel):
    """What the scores of one benchmark file depend on, beside the model and the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    benchmark: Benchmark
    """The benchmark whose file is scored."""
    evaluation: EvalConfig
    """How."""


def score_benchmark_file(
    *,
    model: Path,
    folder: Path,
    device: str,
    config: ScoringConfig,
    destination: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Score one benchmark file with the model in a folder; writes scores.json and items.parquet.

    One thread computes, so that the sums do not depend on how many benchmarks are scored at once.
    """
    import torch

    from eval.scores import score_benchmark
    from model.likelihood import load_scorer
    from webtext.vocabulary import gpt2_encoding

    torch.set_num_threads(1)
    scores = score_benchmark(
        scorer=load_scorer(model, device, getattr(torch, config.evaluation.dtype)),
        encode=gpt2_encoding().encode_ordinary,
        benchmark=config.benchmark,
        folder=folder,
        destination=destination,
        config=config.evaluation,
        progress=progress,
    )
    return {
        "columns": [score.model_dump(mode="json", exclude={"protocol"}) for score in scores],
        "items": max((score.items for score in scores), default=0),
        "tokens": max((score.tokens for score in scores), default=0),
    }
