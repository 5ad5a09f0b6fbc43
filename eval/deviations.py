"""Why a `paper` score may differ from the published one, even of the very same weights.

What follows from the protocol and the data of a score is said of that score: another window, an
unknown file, a sample. What the paper leaves open is said of the column. The facts are those of
Radford et al. 2019, section 3, and of what others found with OpenAI's weights.
"""

from collections.abc import Iterator

from eval.protocols import Column, Protocol
from eval.scores import MOST_CONTEXT, Score

_STREAM = "the paper gives neither the stride of its windows nor what the first token is given"

OPEN_QUESTIONS: dict[Column, str] = {
    "lambada_ppl": (
        "the published perplexity was made on OpenAI's own form of the passages; of the same "
        "weights, the whole last word after the plain passage has 40.06 (lm-eval)"
    ),
    "lambada_acc": (
        "the published filter of function words is not printed in the paper: this one has 127 "
        "words; of the same weights, the last token alone has 46.67 % and the whole word without "
        "a filter 32.56 %"
    ),
    "cbt_cn": "the paper does not say how contexts over 1,024 tokens are cut",
    "cbt_ne": "the paper does not say how contexts over 1,024 tokens are cut",
    "wikitext2": f"the de-tokenizer of the paper is not published; {_STREAM}",
    "ptb": f"the de-tokenizer of the paper is not published; {_STREAM}",
    "enwik8": f"the paper does not name the split; {_STREAM}",
    "text8": f"the paper does not name the split; {_STREAM}",
    "wikitext103": f"the de-tokenizer of the paper is not published; {_STREAM}",
    "1bw": "the paper does not say what a sentence is scored after, and which part of the set",
}


def deviations(score: Score) -> list[str]:
    """What makes this score's protocol another than the published one, the weightiest first."""
    return [*_of_data(score), *_of_protocol(score.protocol), OPEN_QUESTIONS[score.column]]


def _of_data(score: Score) -> Iterator[str]:
    data = score.data
    if not data.is_known:
        yield f"{data.label}: not the published file"
    elif data.split.startswith(("prefix", "derived")):
        yield f"{data.label}: {data.split}"
    elif "sentences of it" in data.label:
        yield f"{data.label}: not the whole split"
    if data.treatment not in {"none", "Mahoney's filter"}:
        yield data.treatment


def _of_protocol(protocol: Protocol) -> Iterator[str]:
    if protocol.sample is not None:
        yield protocol.sample
    if protocol.window < MOST_CONTEXT:
        yield f"windows of {protocol.window:,} tokens, not {MOST_CONTEXT:,}"
    if protocol.dtype != "float32":
        yield f"computed in {protocol.dtype}"
