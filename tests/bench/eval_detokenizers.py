"""What de-tokenizing gains: a small GPT-2 trained on plain prose, scored with and without it.

The model is trained here, for minutes, on books as people write them, as GPT-2 was on web pages;
so tokenised text is foreign to it. The score is of the same original words in either case.
"""

import gzip
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from eval.scores import EvalConfig, Score, score_benchmark
from model.config import ModelConfig
from model.gpt2 import GPT2, build_gpt2
from model.likelihood import GPT2Scorer
from tests.bench.eval_models import real_folder
from tests.eval.scorers import gpt2_encoding, silent

GOAL = 0.0
SECONDS = 150.0
TOKENS = 256
SEQUENCES = 2
CONFIG = ModelConfig(layers=2, heads=2, width=64, context=TOKENS)


def run() -> dict[str, object]:
    torch.set_num_threads(1)
    encode = gpt2_encoding(real_folder() / "vocab")
    network, loss = _train(np.array(encode(_books()), np.int64))
    print(
        f"a model of {CONFIG.parameters:,} weights at a training loss of {loss:.2f} nats a token\n"
    )
    scorer = GPT2Scorer(network)
    found: list[Score] = []
    with tempfile.TemporaryDirectory() as scratch:
        for benchmark in ("wikitext2", "wikitext103", "ptb", "1bw"):
            found += score_benchmark(
                scorer=scorer,
                encode=encode,
                benchmark=benchmark,
                folder=real_folder() / "benchmarks",
                destination=Path(scratch),
                config=EvalConfig(quick=True, detokenizer_gain=True, variants=("paper",)),
                progress=silent,
            )
    print(f"{'column':14}{'as it is':>12}{'de-tokenized':>14}{'gain':>8}")
    gains = []
    for score in found:
        assert score.untouched is not None
        gains.append(1 - score.value / score.untouched)
        print(f"{score.column:14}{score.untouched:12,.0f}{score.value:14,.0f}{gains[-1]:8.1%}")
    return {
        "name": "least share of perplexity that de-tokenizing gains",
        "measured": round(min(gains), 3),
        "goal": GOAL,
        "unit": "of the perplexity",
        "reached": min(gains) > GOAL,
    }


def _books() -> str:
    with gzip.open(real_folder() / "text" / "gutenberg18.jsonl.gz", "rt", encoding="utf-8") as file:
        return "\n".join(json.loads(line)["text"] for _, line in zip(range(8), file, strict=False))


def _train(tokens: np.ndarray) -> tuple[GPT2, float]:
    """A network trained for `SECONDS` of processor time, and its last losses' mean."""
    network = build_gpt2(CONFIG, seed=0).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, betas=(0.9, 0.95))
    generator = np.random.default_rng(0)
    losses = []
    began = time.process_time()
    while (spent := time.process_time() - began) < SECONDS:
        starts = generator.integers(0, len(tokens) - TOKENS - 1, SEQUENCES)
        batch = torch.from_numpy(np.stack([tokens[s : s + TOKENS + 1] for s in starts]))
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - spent / SECONDS)
        loss = network(batch[:, :-1], batch[:, 1:].contiguous(), 1 / (SEQUENCES * TOKENS))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return network.eval(), float(np.mean(losses[-20:]))
