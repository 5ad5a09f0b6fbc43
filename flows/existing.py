"""An existing corpus in place of submissions and crawl: its files' rows, as links and pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import stages
from flows.removals import removals_input
from flows.session import Session
from flows.work import Inputs, Part, make, partitions, whole
from infra.manifest import InputRecord
from infra.sources import describe_source
from infra.store import Artifact
from webtext.hub import HubConfig, is_hub_reference, resolve_reference
from webtext.row_pages import RowPagesConfig


@dataclass(frozen=True)
class RowFile:
    """One file of rows."""

    path: Path
    sha256: str
    origin: str | None
    """Its address on the hub, commit included; None of a file from outside."""


def make_row_pages(run: Session) -> Iterator[Artifact]:
    """Make or find what stands for links and pages, which is the last of the artifacts given.

    Raises:
        SourceError: a data set cannot be had from its hub.
        StoreError: a file is not there.
    """
    files: list[RowFile] = []
    records: list[InputRecord] = []
    for given in run.profile.inputs.row_sources():
        if isinstance(given, str):
            fetched = _fetch(run, given)
            yield fetched
            files += _files_of(fetched)
            records.append(fetched.as_input("documents"))
        else:
            record = describe_source(run.store.root, "documents", given)
            files.append(RowFile(given, record.fingerprint, None))
            records.append(record)
    config = run.profile.rows
    rows = make(run, stages.ROWS, config, {"documents": records}, _parts(files), {})
    yield rows
    parts = partitions(run.profile.partitions)
    inputs: Inputs = {"rows": rows, **removals_input(run)}
    yield make(run, stages.ROW_PAGES, RowPagesConfig(), inputs, parts, {})


def _fetch(run: Session, reference: str) -> Artifact:
    assert is_hub_reference(reference)
    return make(run, stages.HUB, resolve_reference(reference), {}, whole(), {})


def _files_of(fetched: Artifact) -> list[RowFile]:
    config = HubConfig.model_validate(fetched.identity.config)
    where = f"hf://datasets/{config.repository}@{config.revision}"
    return [
        RowFile(
            fetched.path / file.path, file.sha256, f"{where}/{file.path.removeprefix('files/')}"
        )
        for file in fetched.manifest().files
    ]


def _parts(files: Sequence[RowFile]) -> list[Part]:
    parts = []
    for number, file in enumerate(files):
        arguments: dict[str, Any] = {
            "partition": number,
            "file": str(file.path.absolute()),
            "sha256": file.sha256,
            "origin": file.origin,
        }
        record = InputRecord(
            role="documents", kind="file", name=file.path.name, fingerprint=file.sha256
        )
        parts.append(Part(f"file-{number:05d}", arguments, [record]))
    return parts
