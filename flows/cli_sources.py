"""Options that say where submissions and pages come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


def _files(name: str, text: str) -> Parameter:
    """An option that takes one file or more."""
    return Parameter(name=name, help=text, negative="", consume_multiple=True)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where submissions and pages come from."""

    submissions: Annotated[
        tuple[Path, ...],
        _files(
            "--submissions",
            "Dumps of submissions: JSON lines (.zst, .xz, .bz2, .gz, plain) or Parquet. Files, or "
            "patterns such as 'RS_2017-*.zst'.",
        ),
    ] = ()
    keep_going: Annotated[
        bool,
        Parameter(
            name="--keep-going",
            help="Take what can be read of a damaged dump, and count the rest as lost.",
            negative="",
        ),
    ] = False
    blocked_domains: Annotated[
        tuple[Path, ...],
        _files("--blocked-domains", "Lists of domains that are never followed, a domain a line."),
    ] = ()
    allowed_domains: Annotated[
        tuple[Path, ...],
        _files("--allowed-domains", "Lists of domains that alone are followed."),
    ] = ()
    replay: Annotated[
        tuple[Path, ...],
        _files("--replay", "WARC files to take the links from, instead of the web."),
    ] = ()
    gateway: Annotated[
        str | None,
        Parameter(name="--gateway", help="Address of a replay gateway (pywb's or Wayback's form)."),
    ] = None
    cdx: Annotated[
        tuple[str, ...],
        _files(
            "--cdx",
            "Indexes of a web archive such as Common Crawl: cluster.idx, .cdx and .cdxj files, or "
            "addresses of index servers.",
        ),
    ] = ()
    cdx_records: Annotated[
        str | None,
        Parameter(name="--cdx-records", help="Address or folder of the indexes' WARC files."),
    ] = None
    documents: Annotated[
        tuple[str, ...],
        _files(
            "--documents",
            "An existing corpus in place of submissions and crawl: Parquet or JSON lines files, or "
            "hf://datasets/OWNER/NAME@REVISION.",
        ),
    ] = ()
    earlier: Annotated[
        tuple[str, ...],
        _files(
            "--earlier",
            "Corpus artifacts of earlier runs, the oldest first, whose documents and near-copies "
            "of them are left out.",
        ),
    ] = ()

    def inputs(self) -> dict[str, Any]:
        """What is given, by the names of `flows.inputs.Inputs`."""
        return {name: value for name, value in vars(self).items() if name != "keep_going"}

    def assignments(self) -> tuple[str, ...]:
        """The settings that the options stand for."""
        return ("submissions.keep_going=true",) if self.keep_going else ()
