"""Finds the benchmarks' original files in a folder and reads them, or says clearly why not.

A file is looked for by the names it has in the wild, in the order given here. Its sha256 is
compared with the known ones: a known file is labelled with its split, a prefix of a known file
as such, any other as "unknown file" — it is scored all the same, but never passes for the real
one. A `demo.json` beside the files labels those that this project cut itself.

Texts are UTF-8. In files of lines a byte-order mark is dropped and CRLF becomes LF (the sha256,
taken before, tells); enwik8 and text8 are measured by the byte and are never touched.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from eval.errors import BenchmarkError, MissingBenchmark

DEMO_LABELS = "demo.json"
"""Written beside benchmark files that this project cut itself."""

UNKNOWN = "unknown file"

NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "lambada": {"jsonl": ("lambada_test.openai.jsonl", "lambada_test.jsonl")},
    "cbt_cn": {
        "cbt": ("cbtest_CN_valid_2000ex.txt", "CBTest/data/cbtest_CN_valid_2000ex.txt"),
    },
    "cbt_ne": {
        "cbt": ("cbtest_NE_valid_2000ex.txt", "CBTest/data/cbtest_NE_valid_2000ex.txt"),
    },
    "wikitext2": {
        "tokens": (
            "wikitext2.test.tokens",
            "wikitext-2/wiki.test.tokens",
            "wikitext-2-v1/wiki.test.tokens",
        ),
        "raw": (
            "wikitext2.test.raw",
            "wikitext-2-raw/wiki.test.raw",
            "wikitext-2-raw-v1/wiki.test.raw",
        ),
    },
    "ptb": {"lines": ("ptb.test.txt", "simple-examples/data/ptb.test.txt")},
    "enwik8": {"bytes": ("enwik8", "enwik8.prefix*")},
    "text8": {"bytes": ("text8", "text8.prefix*")},
    "wikitext103": {
        "tokens": (
            "wikitext103.test.tokens",
            "wikitext-103/wiki.test.tokens",
            "wikitext-103-v1/wiki.test.tokens",
        ),
        "raw": (
            "wikitext103.test.raw",
            "wikitext-103-raw/wiki.test.raw",
            "wikitext-103-raw-v1/wiki.test.raw",
        ),
    },
    "1bw": {
        "sentences": (
            "news.en.heldout-00000-of-00050",
            "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050",
            "1bw.heldout-00000-of-00050*",
        ),
    },
}
"""Benchmark → kind of file → the names it is looked for, paths below the folder or globs."""

SPLITS = {
    "lambada": "test",
    "cbt_cn": "validation",
    "cbt_ne": "validation",
    "wikitext2": "test",
    "ptb": "test",
    "enwik8": "test",
    "text8": "test",
    "wikitext103": "test",
    "1bw": "heldout-00000",
}

KNOWN: dict[str, str] = {
    "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226": "LAMBADA, OpenAI's",
    "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0": "WikiText-2, tokens",
    "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08": "WikiText-2, raw",
    "56db52eb157b1ab5c89646eef70510c1eca6e12a3bfdb99f0d6b05b4eacb75b9": "WikiText-103, tokens",
    "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0": "PTB, Mikolov's",
    "ad6a682f268be2c8c392303869d66616101b62ec9526d36c7f632a72b4b194ba": "1BW, 100 sentences of it",
}
"""sha256 of a whole file → what it is. Computed from the published files."""

KNOWN_BEGINNINGS: dict[str, tuple[int, str, int]] = {
    "enwik8": (
        1_000_000,
        "369b688978f649681136198fb96db14c1616756260c55fb4b65e9bc049552cad",
        100_000_000,
    ),
    "text8": (
        1_000_000,
        "a29a713419313a2c4f0f38d3907938156a7c088a69c7c30542410124651ab5b2",
        100_000_000,
    ),
}
"""Benchmark → bytes at the beginning, their sha256, and the bytes of the whole file."""

STANDARD_TEST_BYTES = 5_000_000
"""The usual test split of enwik8 and text8: the last 5 MB of 100 MB. The paper does not say."""

BLOCK_BYTES = 1 << 20


class DataFile(BaseModel):
    """A benchmark's file as it was found: what a score says of the data it was made on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Path below the benchmarks folder, with slashes."""
    kind: str
    """Format: `jsonl`, `cbt`, `tokens`, `raw`, `lines`, `bytes` or `sentences`."""
    bytes: int
    """Size of the whole file."""
    sha256: str
    """Of the whole file, before anything was dropped."""
    split: str
    """The split that a file of this name holds, and which part of it is scored."""
    label: str
    """What the file is known to be, "unknown file", or "demo"."""


def missing_reason(benchmark: str, folder: Path) -> str | None:
    """Why `benchmark` cannot be scored from `folder`, or None where a file of it lies there."""
    if any(_find(benchmark, kind, folder) for kind in NAMES[benchmark]):
        return None
    names = [name for kind in NAMES[benchmark].values() for name in kind]
    return f"no file: looked for {', '.join(names)}"


def benchmark_paths(benchmark: str, folder: Path) -> list[Path]:
    """Every file that scoring `benchmark` reads from `folder` (the demo's labels included)."""
    found = [_find(benchmark, kind, folder) for kind in NAMES[benchmark]]
    paths = [path for path in found if path is not None]
    labels = folder / DEMO_LABELS
    return [*paths, labels] if paths and labels.is_file() else paths


def find_file(benchmark: str, kinds: tuple[str, ...], folder: Path) -> tuple[Path, DataFile]:
    """The first of `kinds` that lies in `folder`, with what is known of it.

    Raises MissingBenchmark where there is none, BenchmarkError where it is empty.
    """
    for kind in kinds:
        path = _find(benchmark, kind, folder)
        if path is not None:
            return path, _describe(benchmark, kind, path, folder)
    raise MissingBenchmark(
        f"{benchmark} in {folder}: {missing_reason(benchmark, folder)}; "
        "put the original file there under one of these names"
    )


def read_lines_text(path: Path) -> str:
    """A text file of lines: without byte-order mark, CRLF as LF.

    Raises BenchmarkError where it is empty or not UTF-8.
    """
    return _decode(path, path.read_bytes()).removeprefix("\ufeff").replace("\r\n", "\n")


def read_bytes_text(path: Path, data: DataFile) -> str:
    """The scored part of enwik8 or text8: the last 5 MB of the whole file, else all of it.

    A character cut in two at either border is left out. Bytes are otherwise as they are.
    """
    with path.open("rb") as file:
        if data.split.endswith("MB"):
            file.seek(data.bytes - STANDARD_TEST_BYTES)
        content = file.read()
    return _decode(path, _trim_cut_characters(content))


def _trim_cut_characters(content: bytes) -> bytes:
    """Drop at most three continuation bytes in front and an unfinished character at the end."""
    start = 0
    while start < min(3, len(content)) and content[start] & 0xC0 == 0x80:
        start += 1
    for back in range(1, min(4, len(content) - start) + 1):
        lead = content[-back]
        if lead & 0xC0 == 0x80:
            continue
        needed = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        return content[start : len(content) - back] if needed > back else content[start:]
    return content[start:]


def _decode(path: Path, content: bytes) -> str:
    if not content.strip():
        raise BenchmarkError(f"{path} is empty; get the original file again")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BenchmarkError(
            f"{path} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start:,} "
            f"({error.reason}); get the original file again"
        ) from error


def _find(benchmark: str, kind: str, folder: Path) -> Path | None:
    for name in NAMES[benchmark][kind]:
        for path in sorted(folder.glob(name)):
            if path.is_file():
                return path
    return None


def _describe(benchmark: str, kind: str, path: Path, folder: Path) -> DataFile:
    name = path.relative_to(folder).as_posix()
    size = path.stat().st_size
    if size == 0:
        raise BenchmarkError(f"{path} is empty; get the original file again")
    sha256 = _sha256(path, size)
    label = _demo_label(folder, name, sha256) or KNOWN.get(sha256)
    split = SPLITS[benchmark]
    if label is None and benchmark in KNOWN_BEGINNINGS:
        label, split = _label_beginning(benchmark, path, size)
    return DataFile(
        name=name, kind=kind, bytes=size, sha256=sha256, split=split, label=label or UNKNOWN
    )


def _label_beginning(benchmark: str, path: Path, size: int) -> tuple[str, str]:
    """Label and split of a file of which only the beginning's digest is known."""
    beginning, sha256, whole = KNOWN_BEGINNINGS[benchmark]
    if size < beginning or size > whole or _sha256(path, beginning) != sha256:
        return UNKNOWN, SPLITS[benchmark]
    if size == whole:
        return benchmark, f"{SPLITS[benchmark]}: last 5 MB"
    return f"first {size:,} bytes of {benchmark}", "prefix, not the test split"


def _demo_label(folder: Path, name: str, sha256: str) -> str | None:
    """The label that `demo.json` gives to this very file, by name and digest."""
    labels = folder / DEMO_LABELS
    if not labels.is_file():
        return None
    try:
        files: Any = json.loads(labels.read_text("utf-8"))["files"]
        entry = files.get(name, {})
        return str(entry["label"]) if entry.get("sha256") == sha256 else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(
            f'{labels} is broken ({error!r}); expected {{"files": {{NAME: {{"label", "sha256"}}}}}}'
            "; remove it or cut the demo's benchmarks again"
        ) from error


def _sha256(path: Path, size: int) -> str:
    """SHA-256 of the first `size` bytes, a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(BLOCK_BYTES, size))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()
