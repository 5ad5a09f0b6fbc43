"""Signatures are datasketch's, bit for bit, however the texts are batched."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webtext.corpora import document_row, write_part
from webtext import signatures as module
from webtext.counts import silent
from webtext.errors import SourceError
from webtext.shingles import hash_documents, hash_shingle, shingles_of, words_of
from webtext.signatures import SignaturesConfig, digest_text, sign_documents_partition, sign_texts
from webtext.tables import signatures_schema

needs_compiled = pytest.mark.skipif(module._compiled is None, reason="was not compiled")

AWKWARD = [
    "",
    "!!",
    "? ?",
    "a",
    "a b c d",
    "a b c d e",
    "a b c d e f",
    "same " * 700,
    "x" * 10_000 + " " + "y" * 7 + " " + "z" * 8 + " " + "w" * 9 + " end",
    "Straße ΟΔΟΣ ΑΣ. İstanbul ẞ 中文 字 𝔸𝔹 \u0301e caf\u00e9 cafe\u0301 ٣٤ _under_ x²",
    "line\x85one\u2028two\u00a0three four five six seven",
]


def datasketch_signature(text: str, config: SignaturesConfig) -> np.ndarray:
    minhash = MinHash(
        num_perm=config.permutations,
        seed=config.seed,
        scheme=config.scheme,
        hashfunc=hash_shingle,
    )
    minhash.update_batch(shingles_of(text, config.shingle_words))
    return minhash.hashvalues


@pytest.mark.parametrize(
    "config",
    [
        SignaturesConfig(),
        SignaturesConfig(permutations=128, seed=77, shingle_words=1),
        SignaturesConfig(permutations=3, seed=2**32 - 1, shingle_words=13),
    ],
)
@pytest.mark.parametrize("compiled", [module._compiled, None])
def test_signatures_equal_datasketch(
    config: SignaturesConfig, compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_compiled", compiled)
    signatures, counts = sign_texts(AWKWARD, config)
    for text, signature, count in zip(AWKWARD, signatures, counts, strict=True):
        assert np.array_equal(signature, datasketch_signature(text, config)), text[:30]
        assert count == len({hash_shingle(s) for s in shingles_of(text, config.shingle_words)})


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=6), st.integers(1, 6))
def test_any_text_is_hashed_as_defined(texts: list[str], words: int) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    shingles = hash_documents(texts, words)
    for number, text in enumerate(texts):
        mine = shingles.hashes[shingles.starts[number] : shingles.starts[number + 1]]
        assert mine.tolist() == sorted({hash_shingle(s) for s in shingles_of(text, words)})


@needs_compiled
@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.text(max_size=80) | st.text("aB9_ \n!éßǅΣ字𝔸", max_size=80), max_size=6),
    st.integers(1, 7),
)
def test_compiled_and_numpy_agree(texts: list[str], words: int) -> None:
    config = SignaturesConfig(permutations=20, shingle_words=words)
    compiled, counts = sign_texts(texts, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_compiled", None)
        reference, expected = sign_texts(texts, config)
    assert np.array_equal(compiled, reference)
    assert np.array_equal(counts, expected)


@pytest.mark.parametrize("compiled", [module._compiled, None])
def test_a_lone_surrogate_is_refused(compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_compiled", compiled)
    with pytest.raises(UnicodeEncodeError):
        sign_texts(["a \ud800 b"], SignaturesConfig())


@needs_compiled
def test_the_compiled_signer_survives_what_is_no_utf8() -> None:
    shape = np.zeros(4, np.uint64), np.zeros(5, np.uint64), np.ones(3, np.uint32)
    multipliers, lengths, factors = shape
    texts = [bytes([lead]) * size for lead in (0x80, 0xC3, 0xE1, 0xF4, 0xFF) for size in range(5)]
    signatures, counts = np.zeros((25, 3), np.uint32), np.zeros(25, np.int64)
    table = module.word_characters()
    arguments = (table, multipliers, lengths, factors, factors, signatures, counts)
    module._compiled.sign(texts, *arguments)
    with pytest.raises(ValueError, match="do not fit"):
        module._compiled.sign(texts[1:], *arguments)
    with pytest.raises(TypeError, match="must be bytes"):
        module._compiled.sign([*texts[1:], "text"], *arguments)


def test_every_code_point_is_judged_as_by_re(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    text = " ".join("".join(points[start : start + 50]) for start in range(0, len(points), 50))
    signatures, counts = sign_texts([text], SignaturesConfig())
    assert np.array_equal(signatures[0], datasketch_signature(text, SignaturesConfig()))
    assert counts[0] == len({hash_shingle(s) for s in shingles_of(text, 5)})


def test_real_messages_equal_datasketch(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 10_000)
    with gzip.open(real_data / "text" / "20newsgroups.jsonl.gz", "rt") as lines:
        texts = [json.loads(next(lines))["text"] for _ in range(60)]
    config = SignaturesConfig()
    signatures, _ = sign_texts(texts, config)
    for text, signature in zip(texts, signatures, strict=True):
        assert np.array_equal(signature, datasketch_signature(text, config))


def test_the_hash_is_pinned() -> None:
    assert hash_shingle(b"a rose is a rose") == 1572657511
    assert hash_shingle("straße".encode()) == 3727763719
    assert hash_shingle(b"") == 1670632732


def test_words_are_those_of_the_regular_expression() -> None:
    assert words_of("It's the 2nd_one, naïve ÉCOLE!") == [
        "it",
        "s",
        "the",
        "2nd_one",
        "naïve",
        "école",
    ]


def test_short_texts_are_not_lumped_together() -> None:
    texts = ["one two", "one two three", "two one", "!!", "??", ""]
    signatures, counts = sign_texts(texts, SignaturesConfig())
    assert len({row.tobytes() for row in signatures}) == len(texts)
    assert counts.tolist() == [1] * len(texts)


def test_digest_ignores_case_and_spacing_alone() -> None:
    assert digest_text("A  rose\n\tis a\u00a0Rose ") == digest_text("a rose is a rose")
    assert digest_text("x 2⁵") != digest_text("x 25")


def test_a_partition_is_signed(tmp_path: Path) -> None:
    rows = [document_row(key, text, karma=key) for key, text in enumerate(AWKWARD)]
    artifact = write_part(tmp_path / "documents", "documents", rows, partition=3)
    config = SignaturesConfig(permutations=16)
    counts = sign_documents_partition(
        documents=artifact,
        partition=3,
        destination=tmp_path / "out",
        config=config,
        progress=silent,
    )
    assert (counts.rows_in, counts.rows_out) == (len(rows), len(rows))
    table = pq.read_table(tmp_path / "out" / "signatures" / "part-00003.parquet")
    assert table.schema == signatures_schema(16)
    expected, shingles = sign_texts(AWKWARD, config)
    stored = [np.frombuffer(row, "<u4") for row in table["signature"].to_pylist()]
    assert np.array_equal(np.array(stored), expected)
    assert table["shingles"].to_pylist() == shingles.tolist()
    assert table["karma"].to_pylist() == list(range(len(rows)))
    assert table["text_digest"].to_pylist() == [digest_text(text) for text in AWKWARD]


def test_an_empty_partition_is_written(tmp_path: Path) -> None:
    artifact = write_part(tmp_path / "documents", "documents", [])
    counts = sign_documents_partition(
        documents=artifact,
        partition=0,
        destination=tmp_path / "out",
        config=SignaturesConfig(),
        progress=silent,
    )
    assert counts.rows_in == 0
    path = tmp_path / "out" / "signatures" / "part-00000.parquet"
    assert pq.read_schema(path) == signatures_schema(112)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"part-00000\.parquet"):
        sign_documents_partition(
            documents=tmp_path,
            partition=0,
            destination=tmp_path,
            config=SignaturesConfig(),
            progress=silent,
        )
