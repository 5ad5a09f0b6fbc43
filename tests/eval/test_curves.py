"""Learning curves: one drawing, well-formed, that holds every point."""

import xml.etree.ElementTree as ET

import pytest

from eval.curves import CurvePoint, draw_curves
from eval.scores import EvalConfig, Score, score_benchmark
from tests.eval.scorers import UniformScorer, byte_encoding, silent

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def score(tmp_path_factory: pytest.TempPathFactory) -> Score:
    folder = tmp_path_factory.mktemp("ptb")
    (folder / "ptb.test.txt").write_text(" a b \n" * 300, "utf-8")
    (found,) = score_benchmark(
        scorer=UniformScorer(64),
        encode=byte_encoding,
        benchmark="ptb",
        folder=folder,
        destination=folder,
        config=EvalConfig(bootstrap_samples=10, variants=("paper",)),
        progress=silent,
    )
    return found


def with_value(score: Score, value: float) -> Score:
    return score.model_copy(update={"value": value, "low": value * 0.9, "high": value * 1.1})


def test_every_point_is_drawn_where_it_belongs(score: Score) -> None:
    points = [
        CurvePoint(f"<step {step}>", step, [with_value(score, value)])
        for step, value in ((10, 9000.0), (20, 900.0), (40, 90.0))
    ]
    drawn = ET.fromstring(draw_curves(points, parameters=124_439_808))
    circles = list(drawn.iter(f"{SVG}circle"))
    assert [circle[0].text for circle in circles] == [
        "<step 10>: 9,000", "<step 20>: 900.00", "<step 40>: 90.00",
    ]  # fmt: skip
    x = [float(circle.get("cx", "")) for circle in circles]
    y = [float(circle.get("cy", "")) for circle in circles]
    assert x[1] - x[0] == pytest.approx((x[2] - x[0]) / 3, abs=0.2)
    # The axis is logarithmic: a tenth is the same way down each time.
    assert y[1] - y[0] == pytest.approx(y[2] - y[1], abs=0.2)
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "GPT-2 124M: 65.85" in texts
    assert "training step" in texts
    assert len(list(drawn.iter(f"{SVG}polygon"))) == 1
    assert draw_curves(points, parameters=124_439_808) == draw_curves(points, parameters=10**8)


def test_points_without_steps_are_drawn_in_order(score: Score) -> None:
    points = [CurvePoint("b", None, [score]), CurvePoint("a", 5, [score])]
    drawn = ET.fromstring(draw_curves(points, parameters=1))
    assert "in the order given" in [text.text for text in drawn.iter(f"{SVG}text")]
    assert [circle[0].text[0] for circle in drawn.iter(f"{SVG}circle")] == ["b", "a"]


def test_a_single_point_and_none_are_drawings(score: Score) -> None:
    alone = score.model_copy(update={"low": None, "high": None})
    assert "circle" in draw_curves([CurvePoint("a", 1, [alone])], parameters=1)
    assert "circle" not in draw_curves([CurvePoint("a", 1, [])], parameters=1)
