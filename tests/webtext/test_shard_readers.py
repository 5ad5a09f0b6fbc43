"""Shards open with what people have: numpy, `datasets`, and a loader in nanoGPT's manner."""

from pathlib import Path

import numpy as np
import pytest

from tests.webtext.corpora import document_row, write_part
from webtext.counts import silent
from webtext.shards import ShardsConfig, pack_shards_partition
from webtext.vocabulary import END_OF_TEXT, gpt2_encoding

TEXTS = ["One document about bridges. " * 40, "Another one, about <|endoftext|> as text. " * 30]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    rows = [document_row(key, text) for key, text in enumerate(TEXTS)]
    corpus = write_part(tmp_path / "corpus", "train", rows)
    write_part(corpus, "validation", [])
    pack_shards_partition(
        corpus=corpus,
        partition=0,
        destination=tmp_path / "shards",
        config=ShardsConfig(sequence_tokens=64),
        progress=silent,
    )
    return tmp_path / "shards" / "train" / "shard-00000-000.npy"


def expected() -> list[int]:
    encoding = gpt2_encoding()
    return [token for text in TEXTS for token in [*encoding.encode_ordinary(text), END_OF_TEXT]]


def test_numpy_maps_rows(shard: Path) -> None:
    rows = np.load(shard, mmap_mode="r")
    assert (rows.dtype, rows.shape[1]) == (np.uint16, 64)
    flat = rows.reshape(-1).tolist()
    assert flat[: len(expected())] == expected()
    assert set(flat[len(expected()) :]) <= {END_OF_TEXT}


def test_datasets_takes_rows(shard: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"input_ids": np.load(shard)}).with_format("numpy")
    assert rows[0]["input_ids"].tolist() == expected()[:64]
    assert len(rows) == len(np.load(shard))


def test_a_loader_in_nanogpts_manner_cuts_windows(shard: Path) -> None:
    data = np.load(shard, mmap_mode="r").reshape(-1)
    block_size, generator = 32, np.random.default_rng(0)
    starts = generator.integers(0, len(data) - block_size, size=8)
    x = np.stack([data[i : i + block_size].astype(np.int64) for i in starts])
    y = np.stack([data[i + 1 : i + 1 + block_size].astype(np.int64) for i in starts])
    assert (x[:, 1:] == y[:, :-1]).all()
    raw = np.memmap(shard, dtype=np.uint16, mode="r", offset=128)
    assert (raw == data).all(), "the header of a .npy of this kind has 128 bytes"
