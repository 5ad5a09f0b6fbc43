"""What comes from outside: dumps, archives, lists and benchmarks, and whether they are there."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.errors import StoreError


class Inputs(BaseModel):
    """What comes from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    submissions: tuple[Path, ...] = ()
    """Dumps of submissions in Pushshift's or Arctic Shift's format: files, or patterns such as
    `dumps/RS_2017-*.zst`, whose matches are read in the order of their names."""
    blocked_domains: tuple[Path, ...] = ()
    """Lists of domains that are never followed: text, a domain a line (or a hosts file)."""
    allowed_domains: tuple[Path, ...] = ()
    """Lists of domains that alone are followed; none for all."""
    replay: tuple[Path, ...] = ()
    """WARC files to take the links from instead of the web: files, or patterns."""
    gateway: str | None = None
    """Address of a replay gateway (pywb or the Wayback Machine's form) to fetch the links from."""
    benchmarks: Path | None = None
    """Folder of the benchmarks' original files."""

    def dumps(self) -> list[Path]:
        """The dumps, patterns replaced by what they match; each file once."""
        return _expand(self.submissions, "dump")

    def archives(self) -> list[Path]:
        """The WARC files, patterns replaced by what they match; each file once."""
        return _expand(self.replay, "replay")

    def check(self) -> None:
        """See that the files and folders named are there, before anything is started.

        Raises:
            StoreError: one is not; the message names it.
        """
        lists = (
            ("blocked_domains", self.blocked_domains),
            ("allowed_domains", self.allowed_domains),
        )
        for role, paths in (("dump", self.dumps()), ("replay", self.archives()), *lists):
            for path in paths:
                if not path.is_file():
                    raise StoreError(f"there is no {role} file {path}; check the path")
        if self.benchmarks is not None and not self.benchmarks.is_dir():
            raise StoreError(f"there is no folder of benchmarks {self.benchmarks}; check the path")


def _expand(given: Iterable[Path], role: str) -> list[Path]:
    """Files in the order given, the matches of a pattern by name, no file twice.

    Raises:
        StoreError: a pattern matches nothing.
    """
    found: dict[Path, Path] = {}
    for path in given:
        pattern = str(path)
        matches = [path]
        if not path.exists() and glob.has_magic(pattern):
            matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207
            if not matches:
                raise StoreError(f"no {role} file matches the pattern {pattern}; check the path")
        for match in matches:
            found.setdefault(match.resolve(), match)
    return list(found.values())
