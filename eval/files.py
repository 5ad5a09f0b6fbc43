"""Finds the benchmarks' original files in a folder and reads them, or says clearly why not.

A file is looked for by the names it has in the wild, in the order given here. Its sha256 is
compared with the known ones: a known file is labelled with its split, a prefix of a known file
as such, any other as "unknown file" — it is scored all the same, but never passes for the real
one. A `demo.json` beside the files labels those that this project cut itself. Where there is no
text8, it is derived from enwik8.

Texts are UTF-8. In files of lines a byte-order mark is dropped and CRLF becomes LF; the description
of the file says so. enwik8 and text8 are measured by the byte and are never touched.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from eval.errors import BenchmarkError, MissingBenchmark
from eval.known_files import KNOWN_BEGINNINGS, LAST_5_MB, known_file
from eval.text8 import derive_text8

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
    "text8": {"bytes": ("text8", "text8.prefix*"), "derived": ("enwik8", "enwik8.prefix*")},
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

STANDARD_TEST_BYTES = 5_000_000
"""The usual test split of enwik8 and text8: the last 5 MB of 100 MB. The paper does not say."""

MOST_BYTES = 200_000_000
"""No benchmark is larger: what is, is another file, and is not read into memory."""

BLOCK_BYTES = 1 << 20


class DataFile(BaseModel):
    """A benchmark's file as it was found: what a score says of the data it was made on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Path below the benchmarks folder, with slashes."""
    kind: str
    """Format: `jsonl`, `cbt`, `tokens`, `raw`, `lines`, `bytes`, `derived` or `sentences`."""
    bytes: int
    """Size of the whole file."""
    sha256: str
    """Of the whole file, before anything was dropped."""
    split: str
    """The split that a file of this name holds, and which part of it is scored."""
    label: str
    """What the file is known to be, "unknown file", or "demo"."""
    is_known: bool
    """Whether it is the published file (or its beginning) that belongs here."""
    treatment: str
    """What reading it changes."""


def missing_reason(benchmark: str, folder: Path) -> str | None:
    """Why `benchmark` cannot be scored from `folder`, or None where a file of it lies there."""
    if any(_find(benchmark, kind, folder) for kind in NAMES[benchmark]):
        return None
    names = [name for kind in NAMES[benchmark].values() for name in kind]
    return f"no file: looked for {', '.join(names)}"


def benchmark_paths(benchmark: str, folder: Path) -> list[Path]:
    """Every file that scoring `benchmark` reads from `folder` (the demo's labels included)."""
    found = {kind: _find(benchmark, kind, folder) for kind in NAMES[benchmark]}
    if found.get("bytes"):
        found.pop("derived", None)
    paths = [path for path in found.values() if path is not None]
    labels = folder / DEMO_LABELS
    return [*paths, labels] if paths and labels.is_file() else paths


def find_file(benchmark: str, kinds: tuple[str, ...], folder: Path) -> tuple[Path, DataFile]:
    """The first of `kinds` that lies in `folder`, with what is known of it.

    Raises MissingBenchmark where there is none, BenchmarkError where it is empty or far too large.
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

    A character cut in two at either border is left out. Bytes are otherwise as they are; text8 may
    be derived from them.
    """
    with path.open("rb") as file:
        if data.split.endswith(LAST_5_MB):
            file.seek(data.bytes - STANDARD_TEST_BYTES)
        content = file.read()
    text = _decode(path, _trim_cut_characters(content))
    if data.kind != "derived":
        return text
    derived = derive_text8(text)
    if not derived.strip():
        raise BenchmarkError(
            f"text8 derived from {path} is empty: it holds no <text> of a page; "
            "get the original enwik8 or text8"
        )
    return derived


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
    if size > MOST_BYTES:
        raise BenchmarkError(
            f"{path} has {size:,} bytes; no benchmark has more than {MOST_BYTES:,}: "
            "get the original test file"
        )
    sha256 = _sha256(path, size)
    label, split, is_known = _identify(benchmark, kind, path, size, sha256)
    if not is_known:
        label = _demo_label(folder, name, sha256) or label
    if kind == "derived":
        label, split = f"text8 derived from {label}", f"derived from enwik8's {split}"
    return DataFile(
        name=name,
        kind=kind,
        bytes=size,
        sha256=sha256,
        split=split,
        label=label,
        is_known=is_known and kind != "derived",
        treatment=_treatment(kind, path),
    )


def _identify(
    benchmark: str, kind: str, path: Path, size: int, sha256: str
) -> tuple[str, str, bool]:
    """Label, split, and whether the file is what its name says."""
    origin, origin_kind = ("enwik8", "bytes") if kind == "derived" else (benchmark, kind)
    label, split = known_file(sha256, origin, origin_kind)
    if split is not None and label is not None:
        return label, split, True
    if label is None and origin in KNOWN_BEGINNINGS:
        beginning, digest, whole = KNOWN_BEGINNINGS[origin]
        if beginning <= size <= whole and _sha256(path, beginning) == digest:
            if size == whole:
                return origin, LAST_5_MB, True
            return f"first {size:,} bytes of {origin}", "prefix, not the test split", True
    return label or UNKNOWN, f"{SPLITS[benchmark]}, by its name", False


def _treatment(kind: str, path: Path) -> str:
    """What `read_lines_text` or `read_bytes_text` does to this file."""
    if kind == "bytes":
        return "none"
    if kind == "derived":
        return "Mahoney's filter"
    content = path.read_bytes()
    done = []
    if content.startswith(b"\xef\xbb\xbf"):
        done.append("byte-order mark dropped")
    if ends := content.count(b"\r\n"):
        done.append(f"{ends:,} CRLF read as LF")
    return "; ".join(done) or "none"


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
