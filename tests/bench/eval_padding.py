"""Padding's share of the tokens that go through the network, on the real files.

Padding depends on lengths alone, so nothing is computed: network and head give zeros.
Batches are those of the CPU and those of a GPU, which are sixteen times as large. No CBT is at
hand: its questions are made of PTB's sentences, 21 in a row. A peer sorts by length and takes
sixteen requests a batch, as lm-evaluation-harness does with a batch size of 16; the ten candidates
of a question share their beginning here and do not there.
"""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eval.protocols import BENCHMARKS, Benchmark
from eval.scores import EvalConfig, score_benchmark
from model.config import ModelConfig
from model.gpt2 import build_gpt2
from model.likelihood import BATCH_TOKENS, BLOCK_BATCHES, GPU_BATCH_TOKENS, Answer, GPT2Scorer
from tests.bench.eval_models import real_folder
from tests.eval.scorers import gpt2_encoding, silent

GOAL = 0.05
ITEMS: dict[Benchmark, int] = {"lambada": 1_500, "cbt_cn": 100, "cbt_ne": 100}
WINDOWS = 100
"""Windows of a text, which are full but for the last, pages, or sentences."""
QUESTION_LINES, CANDIDATES = 21, 10
PEER_BATCH = 16


def run() -> dict[str, object]:
    torch.set_num_threads(1)
    encode = gpt2_encoding(real_folder() / "vocab")
    rows: list[tuple[str, list[float]]] = []
    totals = np.zeros((3, 2))
    with tempfile.TemporaryDirectory() as scratch:
        folder = _folder(Path(scratch))
        for benchmark in BENCHMARKS:
            counted = []
            for batch_tokens in (BATCH_TOKENS, GPU_BATCH_TOKENS):
                scorer = _Counter(batch_tokens)
                score_benchmark(
                    scorer=scorer,
                    encode=encode,
                    benchmark=benchmark,
                    folder=folder,
                    destination=Path(scratch),
                    config=EvalConfig(max_items=ITEMS.get(benchmark, WINDOWS), bootstrap_samples=1),
                    progress=silent,
                )
                counted.append((scorer.padding_tokens, scorer.computed_tokens))
            counted.append((scorer.peer_padding, scorer.peer_tokens))
            totals += counted
            rows.append((benchmark, [padding / tokens for padding, tokens in counted]))
    rows.append(("in all", list(totals[:, 0] / totals[:, 1])))
    print(f"{'padding':14}{f'{BATCH_TOKENS:,} at once':>16}{f'{GPU_BATCH_TOKENS:,}':>12}", end="")
    print(f"{f'{PEER_BATCH} a batch':>14}")
    for name, shares in rows:
        print(f"{name:14}{shares[0]:16.1%}{shares[1]:12.1%}{shares[2]:14.1%}")
    worst = max(max(shares[:2]) for _, shares in rows)
    return {
        "name": "padding, the worst benchmark's share of computed tokens",
        "measured": round(100 * worst, 2),
        "goal": 100 * GOAL,
        "unit": "%",
        "reached": worst <= GOAL,
    }


class _Counter(GPT2Scorer):
    """Batches as the real scorer does, and answers that every token is as likely."""

    def __init__(self, batch_tokens: int) -> None:
        super().__init__(build_gpt2(ModelConfig(layers=1, heads=1, width=8), seed=0))
        self.batch_tokens, self.block_tokens = batch_tokens, BLOCK_BATCHES * batch_tokens
        self.network.hidden_states = _zeros
        self.peer_padding = self.peer_tokens = 0

    def log_likelihoods(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int] = (),
    ) -> list[Answer]:
        lengths = sorted((len(request) - 1 for request in requests), reverse=True)
        for start in range(0, len(lengths), PEER_BATCH):
            batch = lengths[start : start + PEER_BATCH]
            self.peer_tokens += batch[0] * len(batch)
            self.peer_padding += batch[0] * len(batch) - sum(batch)
        return super().log_likelihoods(requests, scored_from, masked_ids)

    def _predict(
        self,
        x_NC: Tensor,  # noqa: N803
        requests: list[Sequence[int]],
        starts: list[int],
        masked: Tensor,
    ) -> list[Answer]:
        counts = [len(r) - s for r, s in zip(requests, starts, strict=True)]
        assert sum(counts) == len(x_NC)
        return [(np.full(n, -10.8, np.float32), np.zeros(n, np.bool_)) for n in counts]


def _zeros(tokens_BT: Tensor, cache: object = None) -> Tensor:  # noqa: N803
    return torch.zeros(*tokens_BT.shape, 8)


def _folder(scratch: Path) -> Path:
    """The real files, and questions in CBT's form."""
    folder = scratch / "benchmarks"
    folder.mkdir()
    for path in (real_folder() / "benchmarks").iterdir():
        (folder / path.name).symlink_to(path)
    lines = (real_folder() / "benchmarks" / "ptb.test.txt").read_text("utf-8").splitlines()
    for name in ("CN", "NE"):
        content = _questions(lines, random.Random(name))
        (folder / f"cbtest_{name}_valid_2000ex.txt").write_text(content, "utf-8")
    return folder


def _questions(lines: list[str], drawn: random.Random) -> str:
    """A question of each 21 sentences in a row, one word of the last of them left out."""
    made = []
    for start in range(0, len(lines) - QUESTION_LINES + 1, QUESTION_LINES):
        *context, query = (line.split() for line in lines[start : start + QUESTION_LINES])
        answer = drawn.randrange(len(query))
        others = [word for line in context for word in line if word != query[answer]]
        words = [query[answer], *drawn.sample(others, CANDIDATES - 1)]
        query[answer], answered = "XXXXX", query[answer]
        numbered = [f"{n} {' '.join(line)}" for n, line in enumerate(context, 1)]
        numbered.append(f"{QUESTION_LINES} {' '.join(query)}\t{answered}\t\t{'|'.join(words)}")
        made.append("\n".join(numbered))
    return "\n\n".join(made) + "\n\n"
