"""Zero-shot scores while a model trains: evaluation's quick mode, called by the trainer.

The model room knows no benchmarks and the evaluation room no training; the trainer calls the
function that its spec names (`model.probe`), which is `score_on_the_way`. What it scores is a small
sample of each file, drawn by a seed and the same at every step; each score has its 95 % interval
and says that it is a sample. Nothing here imports Prefect: it runs inside the trainer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from eval.protocols import BENCHMARKS, Benchmark, Column, columns_of
from eval.scores import EvalConfig, Score, score_benchmark

if TYPE_CHECKING:
    from eval.scorer import Scorer

FUNCTION = f"{__name__}:score_on_the_way"
LOG_NAME = "zero_shot.jsonl"
DRAWING_NAME = "zero_shot.svg"
NOTE = "Scores of small samples, the same at every step; bands are 95 % intervals."


class ZeroShotConfig(BaseModel):
    """Scores of small samples of the benchmarks while the model trains."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    every_steps: int = Field(default=0, ge=0)
    """Score after each so many steps and after the last one; 0 never."""
    columns: tuple[Column, ...] = ("lambada_ppl", "lambada_acc")
    """Columns of the published table to score."""
    items: int = Field(default=100, ge=1)
    """Passages, questions, sentences, pages or windows of a text to score of each file, and no more
    than `eval.quick` takes."""
    seed: int = Field(default=0, ge=0)
    """Draws them, and the intervals' resamples."""
    bootstrap_samples: int = Field(default=1000, ge=1)
    """Resamples of the items for the 95 % interval."""

    def evaluation(self, benchmark: Benchmark) -> EvalConfig:
        """How one file is scored."""
        return EvalConfig(
            columns=tuple(c for c in columns_of(benchmark) if c in self.columns),
            variants=("paper",),
            max_items=self.items,
            quick=True,
            seed=self.seed,
            bootstrap_samples=self.bootstrap_samples,
        )

    def benchmarks(self) -> list[Benchmark]:
        """The benchmarks that fill the columns."""
        return [name for name in BENCHMARKS if set(columns_of(name)) & set(self.columns)]


def score_on_the_way(
    scorer: Scorer, arguments: Mapping[str, Any], progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Score samples of the benchmarks; a JSON object a column, `sample` telling what it is.

    Args:
        scorer: the network as it is.
        arguments: `config`, a ZeroShotConfig, and `folder`, which holds the benchmarks' files.
        progress: called after every batch; it raises where the training is to stop.
    """
    from webtext.vocabulary import gpt2_encoding

    config = ZeroShotConfig.model_validate(arguments["config"])
    encode = gpt2_encoding().encode_ordinary
    scores: list[Score] = []
    for benchmark in config.benchmarks():
        with TemporaryDirectory(prefix="webtext-zero-shot-") as aside:
            scores += score_benchmark(
                scorer=scorer,
                encode=encode,
                benchmark=benchmark,
                folder=Path(arguments["folder"]),
                destination=Path(aside),
                config=config.evaluation(benchmark),
                progress=progress,
            )
    return [
        score.model_dump(mode="json")
        | {"sample": f"quick: {score.items} items drawn by seed {config.seed}"}
        for score in scores
    ]


def read_on_the_way(log: Path) -> list[tuple[int, list[Score]]]:
    """The scores of a training's log, by step."""
    found = []
    for line in log.read_text("utf-8").splitlines():
        entry = json.loads(line)
        for score in entry["scores"]:
            score.pop("sample")
            score["protocol"].pop("id")
        found.append((entry["step"], [Score.model_validate(score) for score in entry["scores"]]))
    return found


def draw_on_the_way(folder: Path, parameters: int) -> None:
    """Draw the curves of a training's scores beside their log."""
    from eval.curves import CurvePoint, draw_curves

    points = [
        CurvePoint(f"step {step}", step, scores)
        for step, scores in read_on_the_way(folder / LOG_NAME)
    ]
    svg = draw_curves(points, parameters=parameters, note=NOTE)
    (folder / DRAWING_NAME).write_text(svg, encoding="utf-8")


def on_the_way_markdown(log: Path) -> str:
    """The scores of a training's log as a Markdown table; nothing where there are none."""
    if not log.is_file():
        return ""
    lines = [
        NOTE,
        "",
        "| step | column | score | 95 % interval | items |",
        "|---:|---|---:|---|---:|",
    ]
    for step, scores in read_on_the_way(log):
        for score in scores:
            between = "" if score.low is None else f"{score.low:.4g} – {score.high:.4g}"
            lines.append(
                f"| {step} | {score.column} | {score.value:.4g} | {between} | {score.items} |"
            )
    return "\n".join(lines)
