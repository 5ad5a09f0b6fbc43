"""Shards: the corpus as GPT-2 tokens, packed into rows of equal length, and which token is whose.

A partition's documents of a split follow each other in the order of `link_id`, each closed by
`<|endoftext|>`, and are cut into rows of `sequence_tokens` wherever a row ends. The partition's
last row is filled up with `<|endoftext|>`. No token is lost, and a document's text that spells
`<|endoftext|>` is text like any other.

The files are plain `.npy` of uint16 that numpy maps into memory; `spans` names the document of
every token that is not padding.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from webtext.config import StageConfig
from webtext.corpus import SPLITS
from webtext.counts import Counts, Progress
from webtext.tables import SPANS, part_name, reading, write_rows
from webtext.vocabulary import END_OF_TEXT, gpt2_encoding

DOCUMENTS_A_BATCH = 256
"""Documents read at a time; the files do not depend on it."""


class ShardsConfig(StageConfig):
    """The shape of the shards."""

    sequence_tokens: int = Field(default=1_024, ge=2, le=1 << 20)
    """Tokens of a row; GPT-2 reads 1,024 at a time."""
    max_rows: int = Field(default=65_536, ge=1)
    """Most rows of a shard: 128 MiB at 1,024 tokens. A partition begins a new shard beyond."""


def pack_shards_partition(
    *, corpus: Path, partition: int, destination: Path, config: ShardsConfig, progress: Progress
) -> Counts:
    """Tokenise and pack one partition of the corpus artifact.

    Raises SourceError where a table cannot be read.
    """
    spans: list[dict[str, Any]] = []
    facts = {"sequences": 0, "padding_tokens": 0}
    documents = 0
    total = sum(_count_rows(corpus, split, partition) for split in SPLITS)
    for split in SPLITS:
        packer = ShardPacker(destination, split, partition, config)
        for link_id, text in _read_texts(corpus, split, partition):
            packer.add(link_id, encode_document(text))
            documents += 1
            if documents % DOCUMENTS_A_BATCH == 0 or documents == total:
                progress(documents, total)
        packer.close()
        spans += packer.spans
        facts[f"{split}_tokens"] = packer.tokens
        facts["sequences"] += packer.rows
        facts["padding_tokens"] += packer.rows * config.sequence_tokens - packer.tokens
    write_rows(destination / "spans" / part_name(partition), SPANS, spans)
    return Counts(rows_in=documents, rows_out=documents, facts=facts)


def encode_document(text: str) -> NDArray[np.uint16]:
    """The tokens of a text and the closing `<|endoftext|>`.

    Nothing in the text is special. A megabyte without a space takes under a second.
    """
    tokens = gpt2_encoding().encode_to_numpy(text, allowed_special=set(), disallowed_special=())
    closed = np.empty(tokens.size + 1, dtype=np.uint16)
    closed[:-1] = tokens
    closed[-1] = END_OF_TEXT
    return closed


class ShardPacker:
    """Writes the shards of one split of one partition, and notes the spans of its documents."""

    def __init__(self, destination: Path, split: str, partition: int, config: ShardsConfig) -> None:
        self.spans: list[dict[str, Any]] = []
        self.tokens = 0
        """Tokens added, padding not counted."""
        self.rows = 0
        """Rows written."""
        self._destination = destination
        self._split = split
        self._partition = partition
        self._config = config
        self._shards = 0
        self._buffer: NDArray[np.uint16] = np.empty(0, dtype=np.uint16)
        self._filled = 0

    def add(self, link_id: bytes, tokens: NDArray[np.uint16]) -> None:
        """Append a document; it continues in the next shard where this one is full."""
        capacity = self._config.max_rows * self._config.sequence_tokens
        done = 0
        while done < tokens.size:
            length = min(tokens.size - done, capacity - self._filled)
            self._append(tokens[done : done + length])
            self.spans.append(
                {
                    "link_id": link_id,
                    "split": self._split,
                    "shard": self._shard_name(),
                    "start": self._filled - length,
                    "length": length,
                    "document_start": done,
                }
            )
            done += length
            if self._filled == capacity:
                self._write()
        self.tokens += tokens.size

    def close(self) -> None:
        """Fill up the last row and write what is left."""
        short = -self._filled % self._config.sequence_tokens
        self._append(np.full(short, END_OF_TEXT, dtype=np.uint16))
        if self._filled:
            self._write()

    def _append(self, tokens: NDArray[np.uint16]) -> None:
        end = self._filled + tokens.size
        if end > self._buffer.size:
            # Doubling, so that small partitions take little memory.
            grown = np.empty(max(end, 2 * self._buffer.size), dtype=np.uint16)
            grown[: self._filled] = self._buffer[: self._filled]
            self._buffer = grown
        self._buffer[self._filled : end] = tokens
        self._filled = end

    def _write(self) -> None:
        path = self._destination / self._shard_name()
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = self._buffer[: self._filled].reshape(-1, self._config.sequence_tokens)
        np.save(path, rows, allow_pickle=False)
        self.rows += len(rows)
        self._shards += 1
        self._filled = 0

    def _shard_name(self) -> str:
        return f"{self._split}/shard-{self._partition:05d}-{self._shards:03d}.npy"


def _count_rows(corpus: Path, split: str, partition: int) -> int:
    path = corpus / split / part_name(partition)
    with reading(path):
        return int(pq.read_metadata(path).num_rows)


def _read_texts(corpus: Path, split: str, partition: int) -> Iterator[tuple[bytes, str]]:
    """Every document's key and text, in the order of `link_id`."""
    with pq.ParquetFile(corpus / split / part_name(partition)) as source:
        for rows in source.iter_batches(batch_size=DOCUMENTS_A_BATCH, columns=["link_id", "text"]):
            yield from zip(
                rows.column("link_id").to_pylist(), rows.column("text").to_pylist(), strict=True
            )
