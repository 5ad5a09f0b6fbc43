"""GPT-2's byte-pair vocabulary, built offline from files that are checked by their SHA-256.

The two files ship beside this module. `tiktoken.get_encoding("gpt2")` would download them; here a
missing or altered file is an error instead, so that token ids mean the same on every machine.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import tiktoken

from webtext.errors import VocabularyError

END_OF_TEXT = 50256
"""The token that closes every document."""

VOCABULARY_TOKENS = 50257
"""Token ids run from 0 to one less; all fit an uint16."""

SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
"""Digests of OpenAI's files, the same that tiktoken checks its download against."""

# GPT-2 cuts text into contractions, runs of letters, of digits, of other signs, and of spaces.
# This is tiktoken's own possessive form of the published pattern: same pieces, no backtracking.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def vocabulary_folder() -> Path:
    """The folder of the vocabulary files that ship with the package."""
    return Path(__file__).parent / "vocabulary_files"


def gpt2_encoding(folder: Path | None = None) -> tiktoken.Encoding:
    """GPT-2's encoding from the `encoder.json` and `vocab.bpe` in `folder`; cached.

    Raises:
        VocabularyError: a file is missing or is not OpenAI's.
    """
    return _load(None if folder is None else folder.resolve())


# None for the shipped folder: resolving a path takes a tenth of a short document's time.
@lru_cache(maxsize=4)
def _load(folder: Path | None) -> tiktoken.Encoding:
    folder = folder or vocabulary_folder()
    for name in SHA256:
        _check_file(folder / name)
    return tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=VOCABULARY_TOKENS,
        pat_str=PATTERN,
        mergeable_ranks=_read_ranks(folder / "encoder.json"),
        special_tokens={"<|endoftext|>": END_OF_TEXT},
    )


def count_tokens(text: str) -> int:
    """How many GPT-2 tokens `text` has; special tokens in it count as the text that they are."""
    return len(gpt2_encoding().encode_to_numpy(text, disallowed_special=()))


def _read_ranks(encoder: Path) -> dict[bytes, int]:
    """The bytes of every token and its id, which is its rank among the merges.

    tiktoken's own reader leaves copies of what it reads in the machine's temporary folder and
    prefers them from then on; so the file is read here.
    """
    byte_of = {letter: byte for byte, letter in enumerate(_letters_of_bytes())}
    tokens: dict[str, int] = json.loads(encoder.read_text("utf-8"))
    return {
        bytes(byte_of[letter] for letter in token): rank
        for token, rank in tokens.items()
        if rank != END_OF_TEXT
    }


def _letters_of_bytes() -> list[str]:
    """GPT-2 writes a byte as its Latin-1 letter where that prints, else from U+0100 upwards."""
    spare = iter(range(256, 512))
    return [
        chr(byte) if chr(byte).isprintable() and byte != 0x20 else chr(next(spare))
        for byte in range(256)
    ]


def _check_file(path: Path) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise VocabularyError(
            f"cannot read the GPT-2 vocabulary file {path}: {error.strerror}. "
            f"Reinstall the package, or name a folder that holds {' and '.join(SHA256)}."
        ) from error
    if found != SHA256[path.name]:
        raise VocabularyError(
            f"{path} is not GPT-2's vocabulary: its sha256 is {found}, "
            f"expected {SHA256[path.name]}. Replace it by OpenAI's file."
        )
