"""Language modelling on running text: WikiText-2 and -103, PTB, enwik8, text8, 1BW.

`paper`: the lines de-tokenized and scored as one stream after `<|endoftext|>`, in windows of 1024
inputs one after the other (the paper gives no stride), divided by the words and ends of line of
the original; enwik8 and text8 as they are, by the byte and the character; 1BW sentence by
sentence. WikiText-2 is read from `wiki.test.tokens`, whose `<unk>` the paper speaks of.
`lm-eval` (WikiText-2): page by page, as lm-evaluation-harness does, from the raw file if there.
`raw-token`: the text as it is, windows apart, nothing known at the start of each.
"""

import re
from collections.abc import Callable, Iterator

from eval.detokenize import (
    LM_EVAL_WIKITEXT,
    ONE_BILLION,
    PTB,
    WIKITEXT,
    Detokenizer,
    lm_eval_page,
)
from eval.files import DataFile, find_file, read_bytes_text, read_lines_text
from eval.items import (
    Item,
    Request,
    Source,
    Task,
    boundary_and,
    share_units,
    windows,
    windows_without_boundary,
)
from eval.protocols import (
    BOUNDARY_FIRST,
    FIRST_NOT_SCORED,
    Benchmark,
    Column,
    Measure,
    Protocol,
    Variant,
)

PIECE_CHARACTERS = 2_000
"""Pieces in which a text without lines is sampled."""


def wikitext_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` and `raw-token` of either WikiText, `lm-eval` of WikiText-2."""
    tasks = [
        _line_task(source, benchmark, column, ("tokens", "raw"), WIKITEXT),
        _raw_task(source, benchmark, column, ("raw", "tokens"), _join_rows),
    ]
    if benchmark == "wikitext2":
        tasks.insert(1, _page_task(source, benchmark, column))
    return tasks


def ptb_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` and `raw-token` of PTB."""
    return [
        _line_task(source, benchmark, column, ("lines",), PTB),
        _raw_task(source, benchmark, column, ("lines",), "\n".join),
    ]


def bytes_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """The one variant of enwik8 or text8: bits a byte, or a character."""
    path, data = find_file(benchmark, ("bytes",), source.folder)
    text = read_bytes_text(path, data)
    pieces = [text]
    if source.limits.max_tokens is not None:
        pieces = [text[i : i + PIECE_CHARACTERS] for i in range(0, len(text), PIECE_CHARACTERS)]
    taken = _take(source, pieces)
    scored = "".join(pieces[:taken])
    unit, units = "byte", len(scored.encode("utf-8"))
    if benchmark == "text8":
        unit, units = "character", len(scored)
    requests = list(windows(boundary_and(source.tokens(scored)), source.window))
    protocol = _protocol(
        source,
        data,
        column,
        "paper",
        measure="bits",
        unit=unit,
        sample=_sample(taken, pieces, f"pieces of {PIECE_CHARACTERS:,} characters"),
    )
    items = list(share_units(requests, units))
    return [Task("paper", (protocol,), data, items, len(items))]


def sentence_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` and `raw-token` of 1BW: each sentence alone, its end-of-line scored."""
    path, data = find_file(benchmark, ("sentences",), source.folder)
    sentences = [line for line in read_lines_text(path).split("\n") if line.strip()]
    chosen = source.limits.choose(len(sentences))

    def items(join: Callable[[str], str]) -> Iterator[Item]:
        for index in chosen:
            tokens = source.tokens(join(sentences[index]) + "\n")
            requests = tuple(windows(boundary_and(tokens), source.window, fill_last=True))
            yield Item(index, requests, len(sentences[index].split()) + 1)

    def task(variant: Variant, detokenizer: str, unit: str, join: Callable[[str], str]) -> Task:
        protocol = _protocol(
            source,
            data,
            column,
            variant,
            unit=unit,
            detokenizer=detokenizer,
            stride=None,
            last_window="filled from the left",
            sample=source.limits.describe(len(sentences), "sentences"),
        )
        return Task(
            variant,
            (protocol,),
            data,
            source.limits.stop(items(join)),
            len(chosen),
            unit_is_token=variant == "raw-token",
        )

    return [
        task("paper", ONE_BILLION.name, "word or end of sentence", ONE_BILLION.detokenize),
        task("raw-token", "none", "BPE token", str),
    ]


def count_units(lines: list[str]) -> int:
    """Canonical units of lines of words: the words, and an end-of-line for each line."""
    return sum(len(line.split()) for line in lines) + len(lines)


def split_lines(text: str) -> list[str]:
    """Lines without their ends; nothing after the last end-of-line."""
    return text.removesuffix("\n").split("\n")


def split_pages(text: str) -> list[str]:
    """The pages of WikiText as the harness's data set cuts them: before each top heading."""
    pages: list[str] = []
    lines: list[str] = []
    for line in text.split("\n"):
        title = line.replace("= = =", "===").replace("= =", "==").strip()
        if title.startswith("= ") and title.endswith(" ="):
            pages.append("\n".join(lines))
            lines = []
        lines.append(line)
    leading = [page for page in pages if page.strip()]
    return [*leading, "\n".join(lines)]


def _line_task(
    source: Source,
    benchmark: Benchmark,
    column: Column,
    kinds: tuple[str, ...],
    detokenizer: Detokenizer,
) -> Task:
    """`paper`: de-tokenized lines as one stream, divided by original words and lines."""
    path, data = find_file(benchmark, kinds, source.folder)
    lines = split_lines(read_lines_text(path))
    taken = _take(source, lines)
    joined = "".join(f"{detokenizer.detokenize(line)}\n" for line in lines[:taken])
    requests = list(windows(boundary_and(source.tokens(joined)), source.window))
    items = list(share_units(requests, count_units(lines[:taken])))
    protocol = _protocol(
        source,
        data,
        column,
        "paper",
        unit="word or end of line",
        detokenizer=detokenizer.name,
        sample=_sample(taken, lines, "lines"),
    )
    return Task("paper", (protocol,), data, items, len(items))


def _raw_task(
    source: Source,
    benchmark: Benchmark,
    column: Column,
    kinds: tuple[str, ...],
    join: Callable[[list[str]], str],
) -> Task:
    """`raw-token`: lines as they are, joined by `join`, divided by scored BPE tokens."""
    path, data = find_file(benchmark, kinds, source.folder)
    lines = split_lines(read_lines_text(path))
    taken = _take(source, lines)
    tokens = source.tokens(join([*lines[:taken], ""]))
    requests = list(windows_without_boundary(tokens, source.window))
    items = [Item(i, (request,), request.scored) for i, request in enumerate(requests)]
    protocol = _protocol(
        source,
        data,
        column,
        "raw-token",
        unit="BPE token",
        scored="every token of a window but its first",
        first_token=FIRST_NOT_SCORED,
        sample=_sample(taken, lines, "lines"),
    )
    return Task("raw-token", (protocol,), data, items, len(items), unit_is_token=True)


def _page_task(source: Source, benchmark: Benchmark, column: Column) -> Task:
    """`lm-eval`: each page alone, divided by the harness's count of its words."""
    path, data = find_file(benchmark, ("raw", "tokens"), source.folder)
    pages = split_pages(read_lines_text(path))
    chosen = source.limits.choose(len(pages))
    protocol = _protocol(
        source,
        data,
        column,
        "lm-eval",
        unit="word of a page, and the empty string at either end",
        detokenizer=LM_EVAL_WIKITEXT,
        last_window="filled from the left",
        sample=source.limits.describe(len(pages), "pages"),
    )
    items = source.limits.stop(_page_item(source, index, pages[index]) for index in chosen)
    return Task("lm-eval", (protocol,), data, items, len(chosen))


def _page_item(source: Source, index: int, page: str) -> Item:
    tokens = boundary_and(source.tokens(lm_eval_page(page)))
    requests: tuple[Request, ...] = tuple(windows(tokens, source.window, fill_last=True))
    return Item(index, requests, len(re.split(r"\s+", page)))


def _join_rows(lines: list[str]) -> str:
    """Lines of WikiText as rows of its data set, joined by blank lines as reports do."""
    return "\n\n".join(f"{line}\n" if line.strip() else "" for line in lines[:-1])


def _take(source: Source, pieces: list[str]) -> int:
    """How many pieces give no more than `max_tokens` tokens, at least one."""
    if source.limits.max_tokens is None:
        return len(pieces)
    tokens = 0
    for taken, piece in enumerate(pieces):
        tokens += len(source.encode(f"{piece}\n"))
        if tokens > source.limits.max_tokens:
            return max(1, taken)
    return len(pieces)


def _sample(taken: int, pieces: list[str], things: str) -> str | None:
    return f"first {taken:,} of {len(pieces):,} {things}" if taken < len(pieces) else None


def _protocol(
    source: Source,
    data: DataFile,
    column: Column,
    variant: Variant,
    *,
    unit: str,
    sample: str | None,
    measure: Measure = "perplexity",
    scored: str = "every token",
    detokenizer: str = "none",
    stride: int | None = -1,
    last_window: str = "short",
    first_token: str = BOUNDARY_FIRST,
) -> Protocol:
    return Protocol(
        column=column,
        variant=variant,
        measure=measure,
        unit=unit,
        scored=scored,
        detokenizer=detokenizer,
        window=source.window,
        stride=source.window if stride == -1 else stride,
        last_window=last_window,
        first_token=first_token,
        ties="none",
        filter="none",
        sample=sample,
        dtype=source.dtype,
        data_sha256=data.sha256,
        data_split=data.split,
    )
