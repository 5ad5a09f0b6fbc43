"""An estimate, not a measurement: all ten columns of the 124M model on one H100.

From the tokens of the real files (prefixes scaled to the whole split; the questions of CBT and the
sentences of 1BW by what their papers and samples tell), the operations of the network and of the
head, and the share of the card's peak that such work reaches. The arithmetic is printed.
"""

from eval.protocols import BENCHMARKS
from tests.bench.eval_models import real_folder
from tests.eval.scorers import gpt2_encoding

GOAL_S = 120.0

LAYERS, WIDTH, VOCABULARY = 12, 768, 50304
HEAD_OPERATIONS = 2 * WIDTH * VOCABULARY
PEAK_BF16, PEAK_FP32 = 989e12, 67e12
"""Dense operations a second of an H100 SXM, by NVIDIA's data sheet: tensor cores, plain cores."""
SHARE_BF16, SHARE_FP32 = 0.25, 0.60
"""What is assumed to be reached of them; a quarter is low for batches of 65,536 tokens."""
START_S = 12.0
"""Python, torch, CUDA and weights; each benchmark file has a process of its own."""
LAUNCH_S = 2e-3
"""One forward of a question's context or candidates: some 200 kernels at 10 microseconds."""
ENCODE_BYTES_PER_S = 4e6
"""Tokenizing and de-tokenizing on one core; tiktoken alone does 9 MB/s."""

CBT_QUESTIONS, CBT_CONTEXT, CBT_ENDS = 2000, 480, 10 * 12
"""Each CBT file (Hill et al. 2016): 20 sentences of some 22 tokens; ten candidates and the rest."""
HELD_OUT_SENTENCES = 6075
SPLIT_BYTES = 5_000_000


def run() -> dict[str, object]:
    counts = _tokens()
    print(f"{'benchmark':14}{'inputs':>12}{'scored':>12}{'network s':>11}{'head s':>9}{'CPU s':>9}")
    device, encoding = 0.0, []
    for name in BENCHMARKS:
        inputs, scored, forwards, size = counts[name]
        network = inputs * _network_operations() / (SHARE_BF16 * PEAK_BF16) + forwards * LAUNCH_S
        head = scored * HEAD_OPERATIONS / (SHARE_FP32 * PEAK_FP32)
        encoding.append(size / ENCODE_BYTES_PER_S)
        device += network + head
        print(f"{name:14}{inputs:12,}{scored:12,}{network:11.2f}{head:9.2f}{encoding[-1]:9.1f}")
    at_once = START_S + device + max(encoding)
    in_turn = len(BENCHMARKS) * START_S + device + sum(encoding)
    print(
        f"\nnetwork: {_network_operations() / 1e9:.3f} G operations a token in bf16 at "
        f"{SHARE_BF16:.0%} of {PEAK_BF16 / 1e12:.0f} T/s, and {LAUNCH_S * 1e3:.0f} ms a forward of "
        f"CBT\nhead: {HEAD_OPERATIONS / 1e9:.3f} G a scored token in fp32 at {SHARE_FP32:.0%} of "
        f"{PEAK_FP32 / 1e12:.0f} T/s\n`paper` readings; {START_S:.0f} s to start a process: "
        f"{at_once:.0f} s with nine workers, {in_turn:.0f} s with one. An estimate."
    )
    return {
        "name": "all ten columns of 124M on one H100, nine workers (an estimate, not measured)",
        "measured": round(at_once, 1),
        "goal": GOAL_S,
        "unit": "s",
        "reached": at_once <= GOAL_S,
    }


def _network_operations() -> float:
    """Operations a token: two a weight of the blocks, and attention over 512 tokens on average."""
    return LAYERS * (2 * 12 * WIDTH**2 + 4 * 512 * WIDTH)


def _tokens() -> dict[str, tuple[int, int, int, float]]:
    """Input tokens, scored tokens, forwards that are not batched, and bytes of each benchmark."""
    folder = real_folder() / "benchmarks"
    encode = gpt2_encoding(real_folder() / "vocab")

    def of(name: str) -> tuple[int, int]:
        content = (folder / name).read_bytes()
        return len(encode(content.decode("utf-8", "ignore"))), len(content)

    counts: dict[str, tuple[int, int, int, float]] = {}
    lambada, size = of("lambada_test.openai.jsonl")
    counts["lambada"] = (lambada, 6700, 0, size)
    questions = CBT_QUESTIONS * (CBT_CONTEXT + CBT_ENDS), CBT_QUESTIONS * CBT_ENDS
    for name in ("cbt_cn", "cbt_ne"):
        counts[name] = (*questions, 2 * CBT_QUESTIONS, 4e6)
    for name, file in (
        ("wikitext2", "wikitext2.test.tokens"),
        ("wikitext103", "wikitext103.test.tokens"),
        ("ptb", "ptb.test.txt"),
    ):
        tokens, size = of(file)
        counts[name] = (tokens, tokens, 0, size)
    for name, file in (("enwik8", "enwik8.prefix4154399"), ("text8", "text8.prefix.txt")):
        tokens, size = of(file)
        whole = round(tokens * SPLIT_BYTES / size)
        counts[name] = (whole, whole, 0, float(SPLIT_BYTES))
    tokens, size = of("1bw.heldout-00000-of-00050.sample100.txt")
    whole = round(tokens / 100 * HELD_OUT_SENTENCES)
    counts["1bw"] = (whole, whole, 0, size / 100 * HELD_OUT_SENTENCES)
    return counts
