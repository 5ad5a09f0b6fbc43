"""What comes from outside: dumps, archives, lists and benchmarks, and whether they are there."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from infra.errors import ProfileError, StoreError
from infra.secrets import require_no_password
from webtext.cdx import is_address
from webtext.cdx_files import CLUSTER_NAME
from webtext.hub import is_hub_reference


class Inputs(BaseModel):
    """What comes from outside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

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
    cdx: tuple[str, ...] = ()
    """Indexes of a web archive such as Common Crawl: files (`cluster.idx`, `.cdx`, `.cdxj`) or
    addresses of index servers."""
    cdx_records: str | None = None
    """Address or folder that the WARC files which the indexes name are in."""
    documents: tuple[str, ...] = ()
    """An existing corpus in place of submissions and crawl: Parquet or JSON lines files, patterns,
    or data sets on a hub (`hf://datasets/OWNER/NAME@REVISION/PATTERN`)."""
    earlier: tuple[str, ...] = ()
    """Corpus or duplicates artifacts of earlier runs, the oldest first: new documents that are near
    one of theirs are removed, and theirs never."""
    benchmarks: Path | None = None
    """Folder of the benchmarks' original files."""
    taken: tuple[Path, ...] = ()
    """Finished artifacts of another store that are taken over, checked by hash, where a run would
    make the same: captures of the live web, above all, which nobody can make again."""
    removals: Path | None = None
    """A list of removals to obey in place of the store's own: that of an earlier run."""

    @field_validator("gateway", "cdx", "cdx_records", "documents")
    @classmethod
    def _hold_no_password(
        cls, value: str | tuple[str, ...] | None, info: ValidationInfo
    ) -> str | tuple[str, ...] | None:
        for address in [value] if isinstance(value, str) else value or ():
            require_no_password(f"inputs.{info.field_name}", address)
        return value

    def dumps(self) -> list[Path]:
        """The dumps, patterns replaced by what they match; each file once."""
        return _expand(self.submissions, "dump")

    def archives(self) -> list[Path]:
        """The WARC files, patterns replaced by what they match; each file once."""
        return _expand(self.replay, "replay")

    def row_sources(self) -> list[str | Path]:
        """Where the rows of an existing corpus are: files, patterns replaced; text for hubs."""
        found: list[str | Path] = []
        for given in self.documents:
            if is_hub_reference(given):
                found.append(given)
            else:
                found += [path for path in _expand([Path(given)], "documents") if path not in found]
        return found

    def cdx_files(self) -> list[Path]:
        """The indexes that are files."""
        return [Path(index) for index in self.cdx if not is_address(index)]

    def cdx_blocks(self) -> list[Path]:
        """The blocks beside two-level indexes."""
        folders = [path.parent for path in self.cdx_files() if path.name.endswith(CLUSTER_NAME)]
        return [block for folder in folders for block in sorted(folder.glob("cdx-*.gz"))]

    def check(self) -> None:
        """See that the files and folders named are there, before anything is started.

        Raises:
            StoreError: one is not; the message names it.
        """
        if self.documents and self.submissions:
            raise StoreError(
                "an existing corpus stands in for submissions and crawl: give --documents or "
                "--submissions, not both"
            )
        rows = [path for path in self.row_sources() if isinstance(path, Path)]
        lists = (
            ("blocked_domains", self.blocked_domains),
            ("allowed_domains", self.allowed_domains),
        )
        given = (("dump", self.dumps()), ("documents", rows), ("replay", self.archives()), *lists)
        for role, paths in given:
            for path in paths:
                if not path.is_file():
                    raise StoreError(f"there is no {role} file {path}; check the path")
        if self.removals is not None and not self.removals.is_file():
            raise StoreError(f"there is no list of removals {self.removals}; check the path")
        for path in self.cdx_files():
            if not path.is_file():
                raise StoreError(f"there is no index file {path}; check the path")
        if bool(self.cdx) != bool(self.cdx_records):
            raise StoreError(
                "indexes and the place of their records go together: give both --cdx and "
                "--cdx-records"
            )
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


def parse_inputs(given: Mapping[str, Any]) -> Inputs:
    """Inputs from the command line's values.

    Raises:
        ProfileError: one cannot be used; the message does not repeat what may be secret.
    """
    try:
        return Inputs.model_validate(given)
    except ValidationError as error:
        told = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
        raise ProfileError("; ".join(told)) from None


def choose_source(configured: str, given: Inputs) -> str:
    """The source of captures that the command line's inputs ask for, in place of the profile's.

    A gateway beside a live crawl is what it falls back to; otherwise what is given is what is read.
    """
    if given.cdx:
        return "cdx"
    if given.replay:
        return "warc"
    if given.gateway is not None:
        return "live-then-gateway" if configured.startswith("live") else "gateway"
    return configured
