"""LAMBADA: the last word of a passage, given the passage before it.

`lm-eval` equals lm-evaluation-harness's `lambada_openai`: the passage as it is, cut at its last
space; every BPE token of the last word must be the argmax. `raw-token` takes the same requests
by the token: perplexity of a token of the last word, and accuracy of the last token alone.
`paper`: double and single quotes made plain, a newline in front, and function words left out of
the argmax (the paper's stop-word filter).
"""

import json
from collections.abc import Iterator
from pathlib import Path

from eval.detokenize import LAMBADA_QUOTES, normalise_quotes
from eval.errors import BenchmarkError
from eval.files import DataFile, find_file, read_lines_text
from eval.items import Item, Source, Task, continuation
from eval.protocols import NEWLINE_FIRST, NO_BOUNDARY, Column, Measure, Protocol, Variant
from eval.stop_words import STOP_WORDS, STOP_WORDS_NAME

_MEASURES: dict[Column, Measure] = {"lambada_ppl": "perplexity", "lambada_acc": "accuracy"}


def lambada_tasks(source: Source) -> list[Task]:
    """The three variants of both LAMBADA columns."""
    path, data = find_file("lambada", ("jsonl",), source.folder)
    passages = read_passages(path)
    chosen = source.limits.choose(len(passages), "passages")

    def items(variant: Variant) -> Iterator[Item]:
        make = _paper_item if variant == "paper" else _plain_item
        return source.limits.stop(make(source, index, passages[index]) for index in chosen)

    def task(variant: Variant) -> Task:
        return Task(
            variant=variant,
            protocols=_protocols(source, data, variant, len(passages)),
            data=data,
            items=items(variant),
            total=len(chosen),
            masked_ids=_masked_ids(source) if variant == "paper" else (),
            last_token=variant == "raw-token",
            unit_is_token=variant == "raw-token",
            same_requests="" if variant == "paper" else "plain",
        )

    return [task("paper"), task("lm-eval"), task("raw-token")]


def read_passages(path: Path) -> list[str]:
    """The passages of a LAMBADA file: a JSON object with `text` a line, blank lines left out.

    Raises BenchmarkError naming the line that is not one, or has fewer than two words.
    """
    passages = []
    for number, line in enumerate(read_lines_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BenchmarkError(
                f'{path}, line {number}: expected {{"text": PASSAGE}}, found {line[:60]!r}'
            ) from error
        if not isinstance(text, str) or len(text.split()) < 2:
            raise BenchmarkError(
                f"{path}, line {number}: a passage of at least two words is needed, "
                f"found {str(text)[:60]!r}"
            )
        passages.append(text)
    return passages


def _plain_item(source: Source, index: int, passage: str) -> Item:
    """The last word as the harness finds it: what follows the last space."""
    context, _, word = passage.rpartition(" ")
    kept = context.rstrip()
    scored = f"{context[len(kept) :]} {word}"
    before = source.tokens(kept)
    after = source.tokens(kept + scored)[len(before) :]
    if not len(after):
        after = source.tokens(scored)
    return Item(index, (continuation(before, after, source.window),), 1)


def _paper_item(source: Source, index: int, passage: str) -> Item:
    text = "\n" + normalise_quotes(passage.strip())
    word = text.split()[-1]
    context = text[: len(text) - len(word)]
    if context.endswith(" ") and context.strip():
        context, word = context[:-1], f" {word}"
    request = continuation(source.tokens(context), source.tokens(word), source.window)
    return Item(index, (request,), 1)


def _masked_ids(source: Source) -> tuple[int, ...]:
    """Tokens that are a whole function word after a space, small or with a capital."""
    ways = [f" {form}" for word in STOP_WORDS for form in (word, word.capitalize())]
    encoded = [source.encode(way) for way in ways]
    return tuple(sorted({ids[0] for ids in encoded if len(ids) == 1}))


def _protocols(
    source: Source, data: DataFile, variant: Variant, total: int
) -> tuple[Protocol, ...]:
    units = {"paper": "last word", "lm-eval": "last word", "raw-token": "BPE token of last word"}
    accuracy_of = "last BPE token" if variant == "raw-token" else "every BPE token of the last word"
    return tuple(
        Protocol(
            column=column,
            variant=variant,
            measure=measure,
            unit="passage" if measure == "accuracy" else units[variant],
            scored=accuracy_of if measure == "accuracy" else "every BPE token of the last word",
            detokenizer=LAMBADA_QUOTES if variant == "paper" else "none",
            window=source.window,
            stride=None,
            last_window="context cut from the left",
            first_token=NEWLINE_FIRST if variant == "paper" else NO_BOUNDARY,
            ties="first argmax" if measure == "accuracy" else "none",
            filter=STOP_WORDS_NAME if variant == "paper" and measure == "accuracy" else "none",
            sample=source.limits.describe(total, "passages"),
            dtype=source.dtype,
            data_sha256=data.sha256,
            data_split=data.split,
        )
        for column, measure in _MEASURES.items()
    )
