"""The compiled scanner of submissions (`_rows.c`)."""

from collections.abc import Sequence
from typing import Any

class Scanner:
    """Reads whole JSON lines; keeps the rows that it is certain of."""

    def __init__(self, extensions: Sequence[bytes], tracking: Sequence[bytes]) -> None: ...
    def feed(self, text: bytes, /) -> tuple[int, list[bytes]]: ...
    def take(self) -> tuple[Any, ...]: ...
