"""Which columns of an existing corpus hold what."""

from pydantic import Field

from webtext.config import StageConfig


class RowsConfig(StageConfig):
    """Which columns of a corpus hold what. `meta.url` is the field `url` of the column `meta`."""

    text_column: str = Field(default="text", min_length=1)
    """Column of the texts."""
    url_column: str | None = "url"
    """Column of the pages' addresses; rows without one are known by file and number."""
    title_column: str | None = "title"
    """Column of the titles."""
    date_column: str | None = "date"
    """Column of the pages' dates."""
    karma_column: str | None = None
    """Column of a rank: of two near-copies, that with the higher one is kept."""
    created_column: str | None = None
    """Column of a time in seconds since 1970: at equal rank the earlier one is kept."""
    max_text_bytes: int = Field(default=10_000_000, gt=0)
    """Longest text, in bytes of UTF-8."""
    partitions: int = Field(default=8, ge=1, le=100_000)
    """Partitions of the corpus."""

    def columns(self) -> list[str]:
        """The columns that are read, the text's first."""
        optional = (
            self.url_column,
            self.title_column,
            self.date_column,
            self.karma_column,
            self.created_column,
        )
        return list(dict.fromkeys([self.text_column, *(name for name in optional if name)]))
