"""How far our scores are from others': lm-evaluation-harness, a naive scorer, other batches.

Relative difference of our `lm-eval` scores from the harness's (goal 1e-4), and of an item's NLL
from that of a naive scorer which asks transformers' GPT-2 one request at a time (goal 1e-5 nats a
token), from other batches, and from being asked alone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from eval.item_table import ItemRow, read_items
from eval.lambada import read_passages
from eval.protocols import Benchmark
from eval.scores import EvalConfig, score_benchmark
from eval.streams import split_pages
from model.likelihood import GPT2Scorer, load_scorer
from tests.bench.eval_models import our_scores, real_folder, saved_model, write_files
from tests.eval.harness import harness_model, harness_results, lambada_task, wikitext_task
from tests.eval.scorers import NaiveScorer, gpt2_encoding, silent
from tests.eval.test_scores import cbt_file

GOAL = 1e-4
NLL_GOAL = 1e-5
PASSAGES, PAGES = 200, 4
ITEMS: dict[Benchmark, int] = {"lambada": 30, "cbt_cn": 4, "ptb": 3, "enwik8": 2, "1bw": 30}


def run() -> dict[str, object]:
    benchmarks = real_folder() / "benchmarks"
    passages = read_passages(benchmarks / "lambada_test.openai.jsonl")[:PASSAGES]
    pages = split_pages((benchmarks / "wikitext2.test.raw").read_text("utf-8"))[:PAGES]
    with saved_model() as (model, saved), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        text = write_files(folder, passages, pages)
        lambada = our_scores("lambada", folder, saved)
        wikitext = our_scores("wikitext2", folder, saved)
        harness = harness_model(model, real_folder() / "vocab", batch_size=8)
        theirs = harness_results(harness, lambada_task(folder, passages))
        theirs |= harness_results(harness, wikitext_task(folder, text))
        differences = _item_differences(NaiveScorer(model), load_scorer(saved), folder)
    rows = [
        ("LAMBADA perplexity", lambada["lambada_ppl"].value, theirs["perplexity,none"]),
        ("LAMBADA accuracy", lambada["lambada_acc"].value, 100 * theirs["acc,none"]),
        ("WikiText-2 perplexity", wikitext["wikitext2"].value, theirs["word_perplexity,none"]),
    ]
    print(f"{'lm-eval':24}{'ours':>16}{'harness':>16}")
    for name, ours, other in rows:
        print(f"{name:24}{ours:16.6g}{other:16.6g}")
    print(f"\n{'nats a token':24}{'naive':>12}{'alone':>12}{'small batches':>15}")
    for name, found in differences.items():
        print(f"{name:24}{found[0]:12.1e}{found[1]:12.1e}{found[2]:15.1e}")
    # Both accuracies of a random model may be 0.
    worst = max(abs(ours - other) / max(abs(other), 1e-9) for _, ours, other in rows)
    worst_nll = max(max(found) for found in differences.values())
    print(f"\nworst: {worst:.1e} relative to the harness, {worst_nll:.1e} nats a token")
    return {
        "name": "lm-eval variants beside lm-evaluation-harness",
        "measured": worst,
        "goal": GOAL,
        "unit": "relative difference",
        "reached": worst <= GOAL and worst_nll <= NLL_GOAL,
    }


def _item_differences(
    naive: NaiveScorer, ours: GPT2Scorer, folder: Path
) -> dict[str, tuple[float, float, float]]:
    """Greatest differences of an item's NLL, per token: naive, asked alone, in small batches."""
    (folder / "cbtest_CN_valid_2000ex.txt").write_text(cbt_file(4), "utf-8")
    for path in (real_folder() / "benchmarks").iterdir():
        if not (folder / path.name).exists() and not path.name.startswith("wikitext"):
            (folder / path.name).symlink_to(path)
    found = {}
    for benchmark, items in ITEMS.items():
        expected = _rows(naive, benchmark, folder, items)
        together = _rows(ours, benchmark, folder, items)
        with _asked(ours, block_tokens=1):
            alone = _rows(ours, benchmark, folder, items)
        with _asked(ours, batch_tokens=300):
            small = _rows(ours, benchmark, folder, items)
        others = (expected, alone, small)
        found[benchmark] = tuple(_worst(together, other) for other in others)
    return found


@contextmanager
def _asked(scorer: GPT2Scorer, **sizes: int) -> Iterator[None]:
    before = {name: getattr(scorer, name) for name in sizes}
    vars(scorer).update(sizes)
    yield
    vars(scorer).update(before)


def _rows(scorer: object, benchmark: Benchmark, folder: Path, items: int) -> list[ItemRow]:
    score_benchmark(
        scorer=scorer,
        encode=gpt2_encoding(real_folder() / "vocab"),
        benchmark=benchmark,
        folder=folder,
        destination=folder,
        config=EvalConfig(bootstrap_samples=1, max_items=items, variants=("paper",)),
        progress=silent,
    )
    return read_items(folder)


def _worst(mine: list[ItemRow], theirs: list[ItemRow]) -> float:
    assert [row.item for row in mine] == [row.item for row in theirs]
    return float(max(np.abs(a.nll - b.nll) / a.tokens for a, b in zip(mine, theirs, strict=True)))
