"""Greatest relative difference between our `lm-eval` scores and lm-evaluation-harness's."""

import tempfile
from pathlib import Path

from eval.lambada import read_passages
from eval.streams import split_pages
from tests.bench.eval_models import our_scores, real_folder, saved_model, write_files
from tests.eval.harness import harness_model, harness_results, lambada_task, wikitext_task

GOAL = 1e-4
PASSAGES, PAGES = 200, 4


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
    rows = [
        ("LAMBADA perplexity", lambada["lambada_ppl"].value, theirs["perplexity,none"]),
        ("LAMBADA accuracy", lambada["lambada_acc"].value, 100 * theirs["acc,none"]),
        ("WikiText-2 perplexity", wikitext["wikitext2"].value, theirs["word_perplexity,none"]),
    ]
    print(f"{'':24}{'ours':>16}{'harness':>16}")
    for name, ours, other in rows:
        print(f"{name:24}{ours:16.6g}{other:16.6g}")
    # Both accuracies of a random model may be 0.
    worst = max(abs(ours - other) / max(abs(other), 1e-9) for _, ours, other in rows)
    return {
        "name": "lm-eval variants beside lm-evaluation-harness",
        "measured": worst,
        "goal": GOAL,
        "unit": "relative difference",
        "reached": worst <= GOAL,
    }
