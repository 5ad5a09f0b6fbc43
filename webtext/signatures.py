"""Signatures: a MinHash and a digest of the normalised text for every document.

A signature is what `datasketch.MinHash(num_perm=permutations, seed=seed, scheme="affine32",
hashfunc=webtext.shingles.hash_shingle)` holds after it has seen the document's shingles, bit for
bit; here it is computed for batches of documents, by `webtext._minhash` where that was built, else
in numpy. Signatures of equal settings stay
comparable for ever, across runs and versions.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress
from webtext.shingles import (
    LENGTH_TERMS,
    MAX_SHINGLE_WORDS,
    Shingles,
    hash_documents,
    place_multipliers,
    word_characters,
)
from webtext.tables import part_name, reading, signatures_schema, write_table

_compiled: ModuleType | None
try:
    _compiled = import_module("webtext._minhash")
except ImportError:  # no compiler when it was installed
    _compiled = None

BATCH_CHARACTERS = 500_000
"""Documents are hashed in batches of about so many characters; results do not depend on it."""

# Columns at a time: three blocks of permutations x 256 uint32 stay within the second-level cache.
_BLOCK_SHINGLES = 256


class SignaturesConfig(StageConfig):
    """What a signature is made of."""

    shingle_words: int = Field(default=5, ge=1, le=MAX_SHINGLE_WORDS)
    """Words of a shingle."""
    permutations: int = Field(default=112, ge=1, le=4_096)
    """Minima a signature holds: the error of a similarity s is sqrt(s(1-s)/permutations).
    14 bands of 8 rows need 112."""
    seed: int = Field(default=1, ge=0, lt=2**32)
    """Seed of the permutations."""
    scheme: Literal["affine32"] = "affine32"
    """datasketch's name for the family of permutations, a·h + b mod 2³² with odd a."""
    hash_function: Literal["murmur-words"] = "murmur-words"
    """The hash of a shingle: `webtext.shingles.hash_shingle`."""


def sign_documents_partition(
    *,
    documents: Path,
    partition: int,
    destination: Path,
    config: SignaturesConfig,
    progress: Progress,
) -> Counts:
    """Sign every document of one partition of the documents artifact.

    Raises SourceError where the table cannot be read.
    """
    path = documents / "documents" / part_name(partition)
    parts: list[pa.Table] = []
    signed = shingles = 0
    with reading(path):
        source = pq.ParquetFile(path)
    with source:
        columns = ["link_id", "karma", "first_created_utc", "text"]
        for rows in source.iter_batches(batch_size=2_000, columns=columns):
            table = _sign_rows(rows, config)
            parts.append(table)
            signed += table.num_rows
            shingles += int(np.sum(table["shingles"].to_numpy()))
            progress(signed, source.metadata.num_rows)
    schema = _schema(config)
    table = pa.concat_tables(parts) if parts else schema.empty_table()
    write_table(destination / "signatures" / part_name(partition), table.combine_chunks())
    return Counts(rows_in=signed, rows_out=signed, facts={"shingles": shingles})


def _sign_rows(rows: pa.RecordBatch, config: SignaturesConfig) -> pa.Table:
    texts = rows.column("text").to_pylist()
    signatures, counts = sign_texts(texts, config)
    width = signatures.dtype.itemsize * config.permutations
    packed = np.ascontiguousarray(signatures, dtype="<u4").reshape(-1)
    columns = [
        rows.column("link_id"),
        rows.column("karma"),
        rows.column("first_created_utc"),
        pa.array([digest_text(text) for text in texts], pa.binary(16)),
        pa.array(counts.astype(np.int32)),
        pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(width), len(texts), [None, pa.py_buffer(packed)]
        ),
    ]
    return pa.Table.from_arrays(columns, schema=_schema(config))


def _schema(config: SignaturesConfig) -> pa.Schema:
    """The table's schema; it names the settings, by which later documents are checked."""
    return signatures_schema(config.permutations, config.model_dump_json())


def digest_text(text: str) -> bytes:
    """The 16-byte BLAKE2b hash of the text in lower case, every run of white space one space.

    Text is NFC already. Not NFKC: that would call texts equal that say different things (2⁵, 25).
    """
    return blake2b(" ".join(text.lower().split()).encode(), digest_size=16).digest()


def sign_texts(
    texts: Sequence[str], config: SignaturesConfig
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Signatures (texts × permutations) and numbers of distinct shingles of `texts`."""
    signatures = np.empty((len(texts), config.permutations), dtype=np.uint32)
    counts = np.empty(len(texts), dtype=np.int64)
    minimise = Permutations(config.permutations, config.seed)
    sign = _sign_in_numpy if _compiled is None else _sign_compiled
    for batch in text_batches(texts):
        sign(texts[batch], config, minimise, signatures[batch], counts[batch])
    return signatures, counts


def _sign_in_numpy(
    texts: Sequence[str],
    config: SignaturesConfig,
    minimise: "Permutations",
    signatures: NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> None:
    shingles = hash_documents(texts, config.shingle_words)
    counts[:] = np.diff(shingles.starts)
    minimise.sign(shingles, signatures)


def _sign_compiled(
    texts: Sequence[str],
    config: SignaturesConfig,
    minimise: "Permutations",
    signatures: NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> None:
    assert _compiled is not None
    _compiled.sign(
        [text.lower().encode() for text in texts],
        word_characters(),
        np.array(place_multipliers()[: config.shingle_words], dtype=np.uint64),
        np.ascontiguousarray(LENGTH_TERMS[: config.shingle_words + 1]),
        minimise.factors,
        minimise.terms,
        signatures,
        counts,
    )
    # Without a word, a text is hashed as it stands, in capitals too; that is rare.
    for empty in np.flatnonzero(counts == 0).tolist():
        one = slice(empty, empty + 1)
        _sign_in_numpy(texts[one], config, minimise, signatures[one], counts[one])


def text_batches(texts: Sequence[str]) -> Iterator[slice]:
    """Slices of about BATCH_CHARACTERS, of one text at least."""
    start = characters = 0
    for end, text in enumerate(texts):
        if characters and characters + len(text) > BATCH_CHARACTERS:
            yield slice(start, end)
            start, characters = end, 0
        characters += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


class Permutations:
    """The permutations h → a·h + b mod 2³² of a seed, as datasketch draws them."""

    def __init__(self, permutations: int, seed: int) -> None:
        generator = np.random.RandomState(seed)
        odd = generator.randint(0, 1 << 31, permutations, dtype=np.uint32)
        self.factors: NDArray[np.uint32] = odd * np.uint32(2) + np.uint32(1)
        self.terms = generator.randint(0, 1 << 32, permutations, dtype=np.uint32)
        # Written out over the block: numpy multiplies rows by rows twice as fast as by numbers.
        self._factors = np.repeat(self.factors[:, None], _BLOCK_SHINGLES, axis=1)
        self._terms = np.repeat(self.terms[:, None], _BLOCK_SHINGLES, axis=1)
        self._block = np.empty_like(self._factors)

    def sign(self, shingles: Shingles, signatures: NDArray[np.uint32]) -> None:
        """Write each document's signature into its row of `signatures`."""
        hashes = _mix32(shingles.hashes)
        bounds = shingles.starts.tolist()
        for row, start, end in zip(signatures, bounds[:-1], bounds[1:], strict=True):
            row[:] = self._minima(hashes[start : min(end, start + _BLOCK_SHINGLES)])
            for more in range(start + _BLOCK_SHINGLES, end, _BLOCK_SHINGLES):
                block = hashes[more : min(end, more + _BLOCK_SHINGLES)]
                np.minimum(row, self._minima(block), out=row)

    def _minima(self, hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The least image of `hashes` (one block of them at most) under each permutation."""
        columns = hashes.size
        block = self._block[:, :columns]
        np.multiply(self._factors[:, :columns], hashes, out=block)
        np.add(block, self._terms[:, :columns], out=block)
        minima: NDArray[np.uint32] = block.min(axis=1)
        return minima


def _mix32(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's 32-bit finalizer, which affine32 puts before its permutations."""
    hashes = hashes ^ (hashes >> np.uint32(16))
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    return hashes
