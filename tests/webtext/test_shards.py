"""No token is lost: every shard decodes back to the documents, by its spans."""

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webtext.corpora import document_row, write_part
from webtext.counts import Counts, silent
from webtext.errors import SourceError
from webtext.shards import ShardsConfig, encode_document, pack_shards_partition
from webtext.tables import SPANS
from webtext.vocabulary import END_OF_TEXT, gpt2_encoding

TEXTS = st.text(max_size=40) | st.sampled_from(
    ["<|endoftext|>", "a<|endoftext|>b <|endoftext|>", "", "\n\n", " ", "naïve 中文", "a" * 300]
)


def pack(folder: Path, train: list[str], validation: list[str], **config: object) -> Counts:
    corpus = folder / "corpus"
    rows = [document_row(key, text) for key, text in enumerate([*train, *validation])]
    write_part(corpus, "train", rows[: len(train)], partition=7)
    write_part(corpus, "validation", rows[len(train) :], partition=7)
    return pack_shards_partition(
        corpus=corpus,
        partition=7,
        destination=folder / "out",
        config=ShardsConfig(**config),
        progress=silent,
    )


def unpack(out: Path, sequence_tokens: int, max_rows: int) -> dict[int, list[int]]:
    """The tokens of each document, read back; checks that spans and padding cover the shards."""
    spans = pq.read_table(out / "spans" / "part-00007.parquet")
    assert spans.schema == SPANS
    rows = spans.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["split"], row["shard"], row["start"]))
    shards = {
        str(path.relative_to(out)): np.load(path, mmap_mode="r") for path in out.rglob("*.npy")
    }
    assert {row["shard"] for row in rows} == set(shards)
    documents: dict[int, list[int]] = {}
    ends = dict.fromkeys(shards, 0)
    for row in rows:
        assert row["shard"].startswith(row["split"])
        assert row["start"] == ends[row["shard"]]
        ends[row["shard"]] += row["length"]
        tokens = shards[row["shard"]].reshape(-1)[row["start"] : ends[row["shard"]]].tolist()
        so_far = documents.setdefault(int.from_bytes(row["link_id"], "big"), [])
        assert row["document_start"] == len(so_far)
        so_far += tokens
    for name, shard in shards.items():
        assert shard.dtype == np.uint16
        assert shard.shape[1] == sequence_tokens
        assert 1 <= shard.shape[0] <= max_rows
        padding = shard.reshape(-1)[ends[name] :]
        assert padding.size < sequence_tokens
        assert (padding == END_OF_TEXT).all()
    return documents


@settings(deadline=None, max_examples=60)
@given(
    train=st.lists(TEXTS, max_size=8),
    validation=st.lists(TEXTS, max_size=3),
    sequence_tokens=st.integers(2, 12),
    max_rows=st.integers(1, 4),
)
def test_every_shard_decodes_back_to_the_documents(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[str],
    validation: list[str],
    sequence_tokens: int,
    max_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    counts = pack(folder, train, validation, sequence_tokens=sequence_tokens, max_rows=max_rows)
    documents = unpack(folder / "out", sequence_tokens, max_rows)
    encoding = gpt2_encoding()
    for key, text in enumerate([*train, *validation]):
        assert documents[key] == [*encoding.encode_ordinary(text), END_OF_TEXT]
        assert encoding.decode(documents[key][:-1]) == text
    assert len(documents) == counts.rows_out == len(train) + len(validation)
    tokens = counts.facts["train_tokens"] + counts.facts["validation_tokens"]
    assert tokens == sum(map(len, documents.values()))
    assert counts.facts["sequences"] * sequence_tokens == tokens + counts.facts["padding_tokens"]


def test_names_and_shapes(tmp_path: Path) -> None:
    pack(tmp_path, ["one two three"] * 300, ["four"])
    assert unpack(tmp_path / "out", 1024, 65_536)
    files = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert files == [
        "spans/part-00007.parquet",
        "train/shard-00007-000.npy",
        "validation/shard-00007-000.npy",
    ]
    assert np.load(tmp_path / "out" / files[1]).shape == (2, 1024)


def test_an_empty_partition_has_spans_and_no_shard(tmp_path: Path) -> None:
    counts = pack(tmp_path, [], [])
    assert counts.facts == {
        "sequences": 0,
        "padding_tokens": 0,
        "train_tokens": 0,
        "validation_tokens": 0,
    }
    assert not list((tmp_path / "out").rglob("*.npy"))
    assert pq.read_table(tmp_path / "out" / "spans" / "part-00007.parquet").num_rows == 0


@pytest.mark.parametrize("unit", ["a", " ", "!", "\n", "é", "0123456789", "ab<|endoftext|>"])
def test_pathological_text_takes_bounded_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    tokens = encode_document(text)
    assert time.process_time() - start < 10
    assert tokens[-1] == END_OF_TEXT
    assert gpt2_encoding().decode(tokens[:-1].tolist()) == text


@pytest.mark.parametrize("unit", ["a", "!", " \n", "é<"])
def test_pathological_text_has_the_tokens_of_the_reference(unit: str) -> None:
    from transformers import GPT2TokenizerFast

    from webtext.vocabulary import vocabulary_folder

    folder = vocabulary_folder()
    reference = GPT2TokenizerFast(
        vocab=str(folder / "encoder.json"), merges=str(folder / "vocab.bpe")
    )
    text = unit * 5_000
    expected = reference(text, add_special_tokens=False)["input_ids"]
    assert encode_document(text)[:-1].tolist() == expected


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"part-00000\.parquet"):
        pack_shards_partition(
            corpus=tmp_path,
            partition=0,
            destination=tmp_path,
            config=ShardsConfig(),
            progress=silent,
        )
