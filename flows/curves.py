"""The curves stage: the scores of many checkpoints as a drawing and as rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from webtext.counts import Progress

if TYPE_CHECKING:
    from flows.models import Scorable
    from flows.session import Session


class CurvePointConfig(BaseModel):
    """One checkpoint of the curves."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """What it is called."""
    step: int | None
    """Training steps; None where they are not known."""


class CurvesConfig(BaseModel):
    """What the curves depend on beside the scores."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    points: tuple[CurvePointConfig, ...]
    """The checkpoints, in order."""
    parameters: int
    """Size of the model, which names the published row."""


def make_curves(run: Session, models: list[Scorable], made: list[dict[str, str]]) -> str:
    """Make or find the curves of some models' scores; gives the artifact's label."""
    from flows import stages
    from flows.models import model_parameters
    from flows.work import make, whole

    labels = [
        sorted(label for role, label in of_model.items() if role.startswith("scores/"))
        for of_model in made
    ]
    curves = make(
        run,
        stages.CURVES,
        CurvesConfig(
            points=tuple(CurvePointConfig(name=m.name, step=m.step) for m in models),
            parameters=model_parameters(models[-1].folder),
        ),
        {
            f"scores/{number}": [run.store.find(label).as_input(f"scores/{number}") for label in of]
            for number, of in enumerate(labels)
        },
        whole(),
        {"scores": [[str(run.store.root / label) for label in of] for of in labels]},
    )
    return curves.label


def draw_curves_of(
    *,
    scores: list[list[str]],
    config: CurvesConfig,
    destination: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write `curves.svg` and `curves.json` from folders of scores, a list of them a model."""
    from eval.curves import CurvePoint, draw_curves
    from eval.scores import SCORES_NAME, read_scores

    points = [
        CurvePoint(
            point.name,
            point.step,
            [score for folder in of for score in read_scores(Path(folder) / SCORES_NAME)],
        )
        for point, of in zip(config.points, scores, strict=True)
    ]
    svg = draw_curves(points, parameters=config.parameters)
    (destination / "curves.svg").write_text(svg, encoding="utf-8")
    rows = [
        {
            "name": point.name,
            "step": point.step,
            "column": score.column,
            "variant": score.variant,
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "items": score.items,
            "protocol": score.protocol.id,
        }
        for point in points
        for score in point.scores
    ]
    (destination / "curves.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    progress(len(points), len(points))
    return {"models": len(points), "scores": len(rows)}
