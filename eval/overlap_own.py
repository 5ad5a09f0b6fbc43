"""A benchmark's own training text: where it lies, and which n-grams of the test set it holds.

GPT-2's study set WebText's overlap beside that of each benchmark's own training set (table 6),
which is often the larger. It is looked for beside the test file, under the names it has in the
wild; of enwik8 and text8 it is the first 90 MB of the whole file. Every n-gram is compared word by
word, over the text as it is, and for PTB and CBT also de-tokenized, since their test sets are asked
for both.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.detokenize import CBT, PTB
from eval.files import DataFile
from eval.overlap_find import NgramFinder
from eval.protocols import Benchmark

NAMES: dict[Benchmark, tuple[str, ...]] = {
    "lambada": (),
    "cbt_cn": ("cbt_train.txt", "CBTest/data/cbt_train.txt"),
    "cbt_ne": ("cbt_train.txt", "CBTest/data/cbt_train.txt"),
    "wikitext2": (
        "wikitext2.train.tokens",
        "wikitext-2/wiki.train.tokens",
        "wikitext-2-v1/wiki.train.tokens",
    ),
    "ptb": ("ptb.train.txt", "simple-examples/data/ptb.train.txt"),
    "enwik8": (),
    "text8": (),
    "wikitext103": (
        "wikitext103.train.tokens",
        "wikitext-103/wiki.train.tokens",
        "wikitext-103-v1/wiki.train.tokens",
    ),
    "1bw": (
        "news.en-0*-of-00100",
        "training-monolingual.tokenized.shuffled/news.en-0*-of-00100",
    ),
}
"""Benchmark → the names of its training text, globs below the folder; LAMBADA's is whole novels."""

WHOLE_BYTES = 100_000_000
OWN_BYTES = 90_000_000
"""Of enwik8 and text8: the usual split is 90 MB to train on, 5 to validate and 5 to test."""

BLOCK_BYTES = 1 << 23
SEAM_BYTES = 1 << 16
"""Read again with the next block, so that no n-gram is lost between two."""

_DETOKENIZED: dict[Benchmark, Callable[[str], str]] = {
    "cbt_cn": CBT.detokenize,
    "cbt_ne": CBT.detokenize,
    "ptb": PTB.detokenize,
}


def own_paths(benchmark: Benchmark, folder: Path) -> list[Path]:
    """The files of a benchmark's own training text in `folder`; none where it is not there."""
    for name in NAMES[benchmark]:
        found = sorted(path for path in folder.glob(name) if path.is_file())
        if found:
            return found
    return []


def has_own(benchmark: Benchmark, data: DataFile, folder: Path) -> bool:
    """Whether a benchmark's own training text is in `folder`, `data` being its test file."""
    return _is_whole(benchmark, data) or bool(own_paths(benchmark, folder))


def find_in_own(
    benchmark: Benchmark, data: DataFile, folder: Path, finder: NgramFinder
) -> npt.NDArray[np.int64]:
    """The ids of `finder` that the benchmark's own training text holds, ascending."""
    paths, limit = own_paths(benchmark, folder), None
    if _is_whole(benchmark, data):
        paths, limit = [folder / data.name], OWN_BYTES
    detokenize = _DETOKENIZED.get(benchmark)
    found: set[int] = set()
    for text in chain.from_iterable(_read_blocks(path, limit) for path in paths):
        found.update(finder.find(text).tolist())
        if detokenize is not None:
            found.update(finder.find(_by_line(text, detokenize)).tolist())
    return np.array(sorted(found), dtype=np.int64)


def _is_whole(benchmark: Benchmark, data: DataFile) -> bool:
    return benchmark in ("enwik8", "text8") and data.kind == "bytes" and data.bytes == WHOLE_BYTES


def _by_line(text: str, detokenize: Callable[[str], str]) -> str:
    return "\n".join(map(detokenize, text.replace("\r\n", "\n").split("\n")))


def _read_blocks(path: Path, limit: int | None) -> Iterator[str]:
    """A file, or its first `limit` bytes, as overlapping texts that are cut between words."""
    with path.open("rb") as file:
        seam, left = b"", limit
        while content := file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left)):
            left = None if left is None else left - len(content)
            block = seam + content
            end = max(block.rfind(b" "), block.rfind(b"\n")) + 1 or len(block)
            yield block[:end].decode("utf-8", "replace")
            seam = block[_after_space(block, max(0, end - SEAM_BYTES), end) :]
        yield seam.decode("utf-8", "replace")


def _after_space(block: bytes, start: int, end: int) -> int:
    """Where the first word that begins after `start` begins; `end` where none does before it."""
    space = re.compile(rb"\s").search(block, start, end)
    return space.end() if space else end
