"""Lists of domains from files: 8 bytes a domain, however long the list.

A file is text, plain or gzip, a domain a line. `#` starts a comment; of a hosts file's line
(`0.0.0.0 ads.example`) the address is passed over; `*.` before a domain changes nothing, since
hosts below a domain are always meant too. Names are brought into the form that URLs have: lower
case, punycode, no trailing dot.

Membership is by a 64-bit hash: of ten million listed domains, a domain that is not listed is taken
for one once in 10¹² questions.
"""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from webtext.errors import SourceError
from webtext.urls import read_site

MAX_LINE_CHARACTERS = 1_000
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:]*", re.IGNORECASE)


class DomainList:
    """A set of domains, held as hashes."""

    def __init__(self, domains: Iterable[str] = ()) -> None:
        self._hashes: NDArray[np.uint64] = np.unique(
            np.fromiter(map(_hash_domain, domains), dtype=np.uint64)
        )

    def __len__(self) -> int:
        return int(self._hashes.size)

    def holds_any(self, names: Iterable[str]) -> bool:
        """Whether one of the names is on the list."""
        if not self._hashes.size:
            return False
        asked = np.fromiter(map(_hash_domain, names), dtype=np.uint64)
        places = np.searchsorted(self._hashes, asked)
        found = self._hashes[np.minimum(places, self._hashes.size - 1)] == asked
        return bool(found.any())


def read_domain_lists(paths: Iterable[Path]) -> DomainList:
    """All domains of several files.

    Raises SourceError where a file cannot be read or a line names no domain; the message tells the
    line.
    """
    return DomainList(domain for path in paths for domain in _read_domains(path))


def _read_domains(path: Path) -> Iterator[str]:
    try:
        compressed = path.suffix.lower() == ".gz"
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if compressed
            else path.open(encoding="utf-8") as lines
        ):
            number = 0
            while line := lines.readline(MAX_LINE_CHARACTERS):
                number += 1
                text = line.partition("#")[0].strip()
                if text:
                    yield _read_domain(text, f"{path}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SourceError(f"the list of domains {path} cannot be read: {error}") from error


def _read_domain(text: str, where: str) -> str:
    words = text.split()
    if len(words) == 2 and _ADDRESS.fullmatch(words[0]):
        words = words[1:]
    site = read_site("http", words[0].removeprefix("*.")) if len(words) == 1 else "invalid"
    if isinstance(site, str) or site[0] != f"http://{site[1]}":
        raise SourceError(
            f"{where}: {text[:100]!r} is no domain; expected one a line, as in example.com"
        )
    return site[1]


def _hash_domain(domain: str) -> int:
    return int.from_bytes(blake2b(domain.encode(), digest_size=8).digest(), "little")
