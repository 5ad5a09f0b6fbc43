"""Language modelling on running text: WikiText-2 and -103, PTB, enwik8, text8, 1BW.

`paper`: the lines de-tokenized and scored as one stream after `<|endoftext|>`, in windows of 1024
inputs one after the other (the paper gives no stride), divided by the words and ends of line of
the original; enwik8 and text8 as they are, by the byte and the character; 1BW sentence by
sentence. WikiText-2 is read from `wiki.test.tokens`, whose `<unk>` the paper speaks of.
`lm-eval` (WikiText-2): page by page, as lm-evaluation-harness does, from the raw file if there.
`raw-token`: the text as it is, windows apart, nothing known at the start of each; perplexity of a
BPE token. A sample of a stream is a sample of its windows, each with its share of the units.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from eval.detokenize import (
    LM_EVAL_WIKITEXT,
    ONE_BILLION,
    PTB,
    WIKITEXT,
    Detokenizer,
    Rewrite,
    lm_eval_page,
)
from eval.files import DataFile, find_file, read_bytes_text, read_lines_text
from eval.items import (
    Item,
    MakeTask,
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


def wikitext_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` and `raw-token` of either WikiText, `lm-eval` of WikiText-2."""
    tasks = [
        _line_task(source, benchmark, column, ("tokens", "raw"), WIKITEXT),
        _raw_lines_task(source, benchmark, column, ("raw", "tokens"), _join_rows),
    ]
    if benchmark == "wikitext2":
        tasks.insert(1, _page_task(source, benchmark, column))
    return tasks


def ptb_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` and `raw-token` of PTB."""
    return [
        _line_task(source, benchmark, column, ("lines",), PTB),
        _raw_lines_task(source, benchmark, column, ("lines",), "\n".join),
    ]


def bytes_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` of enwik8 or text8, bits a byte or a character, and `raw-token`."""
    kinds = ("bytes", "derived") if benchmark == "text8" else ("bytes",)
    path, data = find_file(benchmark, kinds, source.folder)
    text = read_bytes_text(path, data)
    unit, units = "byte", len(text.encode("utf-8"))
    if benchmark == "text8":
        unit, units = "character", len(text)
    tokens = source.tokens(text)
    requests = list(windows(boundary_and(tokens), source.window))
    protocol = _protocol(
        source,
        data,
        column,
        "paper",
        measure="bits",
        unit=unit,
        detokenizer="none" if data.kind == "bytes" else "text8/1",
        sample=source.limits.describe(len(requests), "windows"),
    )
    items = _sampled(source, share_units(requests, units), len(requests))
    return [
        Task("paper", (protocol,), data, items, _count(source, len(requests))),
        _raw_task(source, data, column, tokens),
    ]


def sentence_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` and `raw-token` of 1BW: each sentence alone, its end-of-line scored."""
    path, data = find_file(benchmark, ("sentences",), source.folder)
    sentences = [line for line in read_lines_text(path).split("\n") if line.strip()]
    chosen = source.limits.choose(len(sentences), "sentences")

    def items(join: Rewrite) -> Iterator[Item]:
        for index in chosen:
            tokens = source.tokens(join(sentences[index]) + "\n")
            requests = tuple(windows(boundary_and(tokens), source.window, fill_last=True))
            yield Item(index, requests, len(sentences[index].split()) + 1)

    def task(
        variant: Variant,
        detokenizer: str,
        unit: str,
        join: Rewrite,
        untouched: MakeTask | None = None,
    ) -> Task:
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
            untouched=untouched,
        )

    unit = "word or end of sentence"
    return [
        task(
            "paper",
            ONE_BILLION.name,
            unit,
            ONE_BILLION.detokenize,
            untouched=lambda: task("paper", "none", unit, str),
        ),
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

    def task(name: str, rewrite: Rewrite, untouched: MakeTask | None = None) -> Task:
        joined = "".join(f"{rewrite(line)}\n" for line in lines)
        requests = list(windows(boundary_and(source.tokens(joined)), source.window))
        protocol = _protocol(
            source,
            data,
            column,
            "paper",
            unit="word or end of line",
            detokenizer=name,
            sample=source.limits.describe(len(requests), "windows"),
        )
        items = _sampled(source, share_units(requests, count_units(lines)), len(requests))
        total = _count(source, len(requests))
        return Task("paper", (protocol,), data, items, total, untouched=untouched)

    return task(detokenizer.name, detokenizer.detokenize, untouched=lambda: task("none", str))


def _raw_lines_task(
    source: Source,
    benchmark: Benchmark,
    column: Column,
    kinds: tuple[str, ...],
    join: Callable[[list[str]], str],
) -> Task:
    """`raw-token`: lines as they are, joined by `join`."""
    path, data = find_file(benchmark, kinds, source.folder)
    lines = split_lines(read_lines_text(path))
    return _raw_task(source, data, column, source.tokens(join([*lines, ""])))


def _raw_task(
    source: Source, data: DataFile, column: Column, tokens: npt.NDArray[np.int32]
) -> Task:
    """`raw-token`: windows apart from one another, divided by scored BPE tokens."""
    requests = list(windows_without_boundary(tokens, source.window))
    items = (Item(i, (request,), request.scored) for i, request in enumerate(requests))
    protocol = _protocol(
        source,
        data,
        column,
        "raw-token",
        unit="BPE token",
        scored="every token of a window but its first",
        first_token=FIRST_NOT_SCORED,
        sample=source.limits.describe(len(requests), "windows"),
    )
    return Task(
        "raw-token",
        (protocol,),
        data,
        _sampled(source, items, len(requests)),
        _count(source, len(requests)),
        unit_is_token=True,
    )


def _sampled(source: Source, items: Iterable[Item], total: int) -> Iterator[Item]:
    """The chosen ones of `total` windows, until enough tokens are scored."""
    chosen = set(source.limits.choose(total, "windows"))
    return source.limits.stop(item for item in items if item.index in chosen)


def _count(source: Source, total: int) -> int:
    return len(source.limits.choose(total, "windows"))


def _page_task(source: Source, benchmark: Benchmark, column: Column) -> Task:
    """`lm-eval`: each page alone, divided by the harness's count of its words."""
    path, data = find_file(benchmark, ("raw", "tokens"), source.folder)
    pages = split_pages(read_lines_text(path))
    chosen = source.limits.choose(len(pages), "pages")
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
