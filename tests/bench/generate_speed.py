"""Generation on one core beside transformers': the same 124M weights, greedy, the same tokens.

The two take turns, a text each, so that what else the machine does hits both alike. Figures are
tokens a second of CPU time; the median of the turns' ratios decides. The texts must be equal.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from model.config import PRESETS
from model.export import export_model, import_model
from model.generate import generate_tokens, lay_out_for_one
from model.gpt2 import build_gpt2
from tests.bench.unavailable import Unavailable

TURNS, WARM_UP = 9, 1
NEW_TOKENS = 32
PROMPT = [464, 2159, 286, 262, 3670, 318, 257, 1178, 2431, 13, 198, 198]
GOAL = 1.0


def run() -> dict[str, object]:
    try:
        from transformers import GPT2LMHeadModel
    except ImportError as error:
        raise Unavailable(str(error)) from error
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = PRESETS["124M"]
        weights = dict(build_gpt2(config, seed=0).state_dict())
        export_model(config, weights, Path(folder), vocabulary_folder=None)
        del weights
        ours = lay_out_for_one(import_model(Path(folder)))
        theirs = GPT2LMHeadModel.from_pretrained(folder).eval()
    prompt = torch.tensor([PROMPT])

    def with_transformers() -> list[int]:
        with torch.inference_mode():
            grown = theirs.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=0,
            )
        return grown[0, len(PROMPT) :].tolist()

    def with_ours() -> list[int]:
        (grown,) = generate_tokens(ours, PROMPT, max_new_tokens=NEW_TOKENS, temperature=0.0, end=-1)
        return grown

    ways: dict[str, Callable[[], list[int]]] = {
        "ours": with_ours,
        "transformers": with_transformers,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    texts: dict[str, list[int]] = {}
    for turn in range(TURNS + WARM_UP):
        for name in sorted(ways, reverse=bool(turn % 2)):
            began = time.process_time()
            texts[name] = ways[name]()
            if turn >= WARM_UP:
                seconds[name].append(time.process_time() - began)
    if texts["ours"] != texts["transformers"]:
        raise AssertionError(f"the texts differ: {texts}")
    print(f"124M, fp32, one core, {len(PROMPT)} tokens before {NEW_TOKENS} new ones, greedy")
    print(f"{'tokens/s':16}{'fastest':>10}{'median':>10}")
    for name, times in seconds.items():
        print(
            f"{name:16}{NEW_TOKENS / min(times):10.1f}{NEW_TOKENS / statistics.median(times):10.1f}"
        )
    # Of each turn by itself: two texts in a row meet the same neighbours.
    ratio = statistics.median(
        theirs_s / ours_s
        for ours_s, theirs_s in zip(seconds["ours"], seconds["transformers"], strict=True)
    )
    return {
        "name": "generation of 124M beside transformers",
        "measured": round(ratio, 2),
        "goal": GOAL,
        "unit": "times",
        "reached": ratio >= GOAL,
    }


if __name__ == "__main__":
    print(run())
