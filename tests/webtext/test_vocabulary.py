"""The vocabulary is OpenAI's, or there is none."""

import shutil
from pathlib import Path

import pytest

from webtext.errors import VocabularyError
from webtext.vocabulary import (
    END_OF_TEXT,
    PATTERN,
    SHA256,
    VOCABULARY_TOKENS,
    gpt2_encoding,
    vocabulary_folder,
)


def test_known_tokens() -> None:
    encoding = gpt2_encoding()
    assert encoding.encode_ordinary("Hello world") == [15496, 995]
    assert encoding.n_vocab == VOCABULARY_TOKENS == 50257
    assert encoding.eot_token == END_OF_TEXT


def test_the_pattern_is_tiktokens_own() -> None:
    from tiktoken_ext.openai_public import r50k_pat_str

    assert r50k_pat_str == PATTERN


def test_ranks_are_those_tiktoken_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    theirs = data_gym_to_mergeable_bpe_ranks(
        vocab_bpe_file=str(vocabulary_folder() / "vocab.bpe"),
        encoder_json_file=str(vocabulary_folder() / "encoder.json"),
    )
    assert gpt2_encoding()._mergeable_ranks == theirs


def test_every_byte_has_a_token() -> None:
    encoding = gpt2_encoding()
    text = bytes(range(256)).decode("latin-1") + "\U0001f600\u0301 \u4e2d"
    assert encoding.decode(encoding.encode_ordinary(text)) == text


def test_it_is_loaded_once() -> None:
    assert gpt2_encoding() is gpt2_encoding()
    assert gpt2_encoding(vocabulary_folder()) is gpt2_encoding(vocabulary_folder())


@pytest.mark.parametrize("name", sorted(SHA256))
def test_an_altered_file_is_refused(tmp_path: Path, name: str) -> None:
    shutil.copytree(vocabulary_folder(), tmp_path / "altered")
    with (tmp_path / "altered" / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(VocabularyError, match=rf"{name} is not GPT-2's.*expected {SHA256[name]}"):
        gpt2_encoding(tmp_path / "altered")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"encoder\.json.*No such file"):
        gpt2_encoding(tmp_path)
