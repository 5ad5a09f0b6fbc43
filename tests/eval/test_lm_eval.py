"""The `lm-eval` variants equal lm-evaluation-harness: same weights, same files."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.detokenize import lm_eval_page
from eval.lambada import read_passages
from eval.scores import EvalConfig, score_benchmark
from eval.streams import split_pages
from tests.eval.scorers import NaiveScorer, gpt2_encoding, random_gpt2, silent

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

PASSAGES = 60
PAGES = 2


def lm_eval_scores(benchmark: str, folder: Path, vocabulary: Path) -> dict[str, float]:
    scores = score_benchmark(
        scorer=NaiveScorer(random_gpt2(2, 32)),
        encode=gpt2_encoding(vocabulary),
        benchmark=benchmark,
        folder=folder,
        destination=folder,
        config=EvalConfig(variants=("lm-eval",), bootstrap_samples=5),
        progress=silent,
    )
    return {score.column: score.value for score in scores}


def says_next(harness: Any, passage: str) -> str:
    """The likeliest token after `passage`, as text."""
    import torch

    ids = harness.tok_encode(passage)
    with torch.inference_mode():
        likeliest = harness.model(torch.tensor([ids])).logits[0, -1].argmax()
    return str(harness.tokenizer.decode([int(likeliest)]))


def test_every_page_is_detokenized_as_by_the_harness(real_data: Path) -> None:
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    for name in ("wikitext2.test.raw", "wikitext103.test.tokens"):
        text = (real_data / "benchmarks" / name).read_text("utf-8")
        for page in split_pages(text):
            assert lm_eval_page(page) == wikitext_detokenizer({"page": page})


@pytest.mark.slow
def test_lambada_equals_the_harness(real_data: Path, tmp_path: Path) -> None:
    from tests.eval.harness import harness_model, harness_results, lambada_task

    # The passages whose last word is cut differently by spaces and by white space come first.
    passages = read_passages(real_data / "benchmarks" / "lambada_test.openai.jsonl")
    passages.sort(key=lambda text: text.split(" ")[-1] == text.split()[-1])
    harness = harness_model(random_gpt2(2, 32), real_data / "vocab", batch_size=8)
    # A random model is never right: so let some passages end in what it would say.
    ended = [passage + says_next(harness, passage) for passage in passages[PASSAGES:][:PASSAGES]]
    chosen = passages[:PASSAGES] + [passage for passage in ended if passage.isascii()]
    lines = "".join(json.dumps({"text": passage}) + "\n" for passage in chosen)
    (tmp_path / "lambada_test.jsonl").write_text(lines, "utf-8")
    ours = lm_eval_scores("lambada", tmp_path, real_data / "vocab")
    theirs = harness_results(harness, lambada_task(tmp_path, chosen))
    assert 0 < theirs["acc,none"] < 1
    assert ours["lambada_ppl"] == pytest.approx(theirs["perplexity,none"], rel=1e-4)
    assert ours["lambada_acc"] == pytest.approx(100 * theirs["acc,none"], rel=1e-4)


@pytest.mark.slow
def test_wikitext_equals_the_harness(real_data: Path, tmp_path: Path) -> None:
    from tests.eval.harness import harness_model, harness_results, wikitext_task

    text = (real_data / "benchmarks" / "wikitext2.test.raw").read_text("utf-8")
    pages = sorted(split_pages(text), key=len)[:PAGES]
    chosen = " \n" + "".join(f"{page}\n" for page in pages)
    (tmp_path / "wikitext2.test.raw").write_text(chosen, "utf-8")
    ours = lm_eval_scores("wikitext2", tmp_path, real_data / "vocab")
    harness = harness_model(random_gpt2(2, 32), real_data / "vocab", batch_size=1)
    theirs = harness_results(harness, wikitext_task(tmp_path, chosen))
    assert ours["wikitext2"] == pytest.approx(theirs["word_perplexity,none"], rel=1e-4)
