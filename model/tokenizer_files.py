"""The tokenizer beside an exported model, made from OpenAI's `encoder.json` and `vocab.bpe`.

Written by hand, so that the bytes depend on those two files alone and not on the version of a
tokenizer library: `vocab.json` and `merges.txt` (the two files under Hugging Face's names),
`tokenizer.json` (its fast tokenizer's format 1.0, byte-level BPE) and `tokenizer_config.json`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from model.errors import WeightsError

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 50256


def write_tokenizer(vocabulary_folder: Path, destination: Path, *, context: int) -> None:
    """Write the four tokenizer files into `destination`.

    Raises:
        WeightsError: a vocabulary file is missing or not GPT-2's.
    """
    encoder, merges = read_vocabulary(vocabulary_folder)
    shutil.copyfile(vocabulary_folder / "encoder.json", destination / "vocab.json")
    shutil.copyfile(vocabulary_folder / "vocab.bpe", destination / "merges.txt")
    tokenizer = tokenizer_settings(encoder, merges)
    _write_json(destination / "tokenizer.json", tokenizer, compact=True)
    config = {
        "add_prefix_space": False,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "model_max_length": context,
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": END_OF_TEXT,
    }
    _write_json(destination / "tokenizer_config.json", config)


def read_vocabulary(folder: Path) -> tuple[dict[str, int], list[list[str]]]:
    """Ids by token text (bytes as GPT-2's printable characters), and merges in order of rank."""
    try:
        encoder = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"no GPT-2 vocabulary (encoder.json, vocab.bpe) in {folder}: {error}"
        ) from error
    merges = [line.split(" ") for line in lines[1:] if line]  # the first line is a version
    if encoder.get(END_OF_TEXT) != END_OF_TEXT_ID or len(merges) + 257 != len(encoder):
        raise WeightsError(
            f"{folder} has {len(encoder)} tokens and {len(merges)} merges; "
            f"GPT-2 has 50257 and 50000: take OpenAI's files"
        )
    return encoder, merges


def tokenizer_settings(encoder: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    """The content of `tokenizer.json`: byte-level BPE with one special token."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": END_OF_TEXT_ID,
                "content": END_OF_TEXT,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "post_processor": {**byte_level, "trim_offsets": False, "use_regex": True},
        "decoder": {**byte_level, "add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": encoder,
            "merges": merges,
        },
    }


def _write_json(path: Path, content: dict[str, Any], *, compact: bool = False) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=None if compact else 2)
    path.write_text(text + "\n", encoding="utf-8")
