"""The score table of a run, read back from its scores artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from eval.protocols import BENCHMARKS
from eval.scores import Score, read_scores
from eval.table import TableRow, table_rows


def score_rows(
    scores: Iterable[Path], missing: Mapping[str, str], parameters: int
) -> list[TableRow]:
    """The ten columns, from folders of scores artifacts and the reasons for those not there."""
    found: list[Score] = []
    for folder in scores:
        found += read_scores(folder / "scores.json")
    return table_rows(found, missing=missing, parameters=parameters)


def missing_benchmarks(folder: Path) -> dict[str, str]:
    """Why each benchmark without a file in `folder` has no score."""
    from eval.files import missing_reason

    reasons = {name: missing_reason(name, folder) for name in BENCHMARKS}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def model_parameters(folder: Path) -> int:
    """Trained numbers of the GPT-2 in a Hugging Face folder, from its config.json."""
    from model.config import ModelConfig

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = ModelConfig(
        layers=config["n_layer"],
        heads=config["n_head"],
        width=config["n_embd"],
        context=config["n_positions"],
        vocabulary=config["vocab_size"],
        padded_vocabulary=config["vocab_size"],
    )
    return shape.parameters
