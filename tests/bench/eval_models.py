"""What the evaluation benches share: a small GPT-2, scored by our scorer and by the harness."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval.protocols import Benchmark
from eval.scores import EvalConfig, Score, score_benchmark
from model.likelihood import load_scorer
from tests.eval.scorers import gpt2_encoding, random_gpt2, silent

LAYERS, WIDTH = 4, 128


def real_folder() -> Path:
    """The folder of real data."""
    beside = Path(__file__).parents[2].parent / "shared"
    return Path(os.environ.get("WEBTEXT_REAL_DATA", beside))


@contextmanager
def saved_model() -> Iterator[tuple[Any, Path]]:
    """A random GPT-2 and a folder that holds it, gone afterwards."""
    model = random_gpt2(LAYERS, WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        yield model, Path(folder)


def our_scores(benchmark: Benchmark, folder: Path, model: Path) -> dict[str, Score]:
    """Our `lm-eval` scores of one benchmark, by column."""
    scores = score_benchmark(
        scorer=load_scorer(model),
        encode=gpt2_encoding(real_folder() / "vocab"),
        benchmark=benchmark,
        folder=folder,
        destination=folder,
        config=EvalConfig(variants=("lm-eval",), bootstrap_samples=10),
        progress=silent,
    )
    return {score.column: score for score in scores}


def write_files(folder: Path, passages: Sequence[str], pages: Sequence[str]) -> str:
    """Write a LAMBADA and a WikiText file and return the latter's text."""
    lines = "".join(json.dumps({"text": passage}) + "\n" for passage in passages)
    (folder / "lambada_test.jsonl").write_text(lines, "utf-8")
    text = " \n" + "".join(f"{page}\n" for page in pages)
    (folder / "wikitext2.test.raw").write_text(text, "utf-8")
    return text
