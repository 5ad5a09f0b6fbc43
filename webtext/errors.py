"""What can go wrong in the corpus room.

    WebtextError            anything a user can mend; its message says what, where and how
    ├── SourceError         a dump, WARC file or table is missing, truncated or of the wrong kind
    ├── ConfigError         a setting that no single field's type could refuse
    └── VocabularyError     the GPT-2 vocabulary is missing or is not OpenAI's

A bad row or page is never an exception: it is a counted, named outcome.
"""


class WebtextError(Exception):
    """Base of the room's errors."""


class SourceError(WebtextError):
    """An input file is missing, truncated, corrupt or of the wrong kind."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged
        """Whether the file is there and of the right kind, and only a part of it is unreadable."""


class ConfigError(WebtextError):
    """Settings that contradict one another or the input."""


class VocabularyError(WebtextError):
    """The GPT-2 vocabulary files are missing or differ from OpenAI's."""
