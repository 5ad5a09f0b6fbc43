"""The columns of a corpus, in words: for the card of the data set and its Croissant description."""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """One column."""

    name: str
    kind: str
    """Arrow's name of its type."""
    meaning: str


FIELDS = (
    Field("link_id", "binary(16)", "Key: 128-bit BLAKE2b hash of the normalised address"),
    Field("url", "string", "Normalised address of the page, or of the row it was taken from"),
    Field("domain", "string", "Registrable domain of the address"),
    Field("title", "string", "Title of the page, where it has one"),
    Field("date", "string", "Date that the page gives itself, ISO 8601"),
    Field("author", "string", "Author that the page declares; left out unless asked for"),
    Field("language", "string", "Language by an identifier, ISO 639-1"),
    Field("karma", "int32", "Highest karma of the submissions that link to the page"),
    Field("first_created_utc", "int64", "Time of the earliest of them, in seconds since 1970"),
    Field("characters", "int32", "Unicode characters of the text"),
    Field("words", "int32", "Words of the text, parted by white space"),
    Field("tokens", "int32", "GPT-2 tokens of the text"),
    Field("text", "large_string", "The text"),
)
"""In the order of `webtext.tables.DOCUMENTS`; a test compares the two."""
