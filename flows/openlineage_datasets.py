"""Artifacts and outside files as OpenLineage datasets: names, schemas, statistics, columns.

A dataset is a table of an artifact, named by its place as the specification's naming rules say: a
file's namespace is `file`, an object's its bucket. Statistics are the manifest's and those in the
Parquet files' own footers, so nothing is read twice. Specification: OpenLineage 2-0-2 and its
facets (openlineage.io/spec).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attr
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    OutputDatasetFacet,
    column_lineage_dataset,
    data_quality_metrics_dataset,
    data_quality_metrics_input_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
    storage_dataset,
    symlinks_dataset,
)

from flows.openlineage_columns import COLUMNS, Source
from infra.manifest import MANIFEST_NAME, FileRecord, InputRecord, Manifest
from infra.store import Artifact, Store, open_artifact

LOGICAL_NAMESPACE = "webtext"
COUNTS_SCHEMA = "urn:webtext:openlineage:1-0-0:CountsOutputDatasetFacet.json"

Places = Mapping[str, list[tuple[str, str, bool]]]
"""By role, the inputs' namespace and name, and whether each is a folder of tables."""

_WHOLE = "."
_MOST_FOOTERS = 4096
"""Files whose footers are read for a table's column metrics; beyond it there are none."""


@attr.define
class CountsFacet(OutputDatasetFacet):
    """What a stage counted: rows in, rows out, and the named reason for each one lost."""

    rowsIn: int | None = attr.field(default=None)  # noqa: N815  the standard's spelling
    rowsOut: int | None = attr.field(default=None)  # noqa: N815
    losses: dict[str, int] = attr.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return COUNTS_SCHEMA


@attr.define(frozen=True)
class Table:
    """The files of one table of an artifact."""

    artifact: Artifact
    name: str
    """Folder inside the artifact; `.` for the artifact's own files."""
    files: tuple[FileRecord, ...]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.artifact.path if self.name == _WHOLE else self.artifact.path / self.name

    @property
    def is_parquet(self) -> bool:
        """Whether it has columns."""
        return all(file.path.endswith(".parquet") for file in self.files)

    @property
    def rows(self) -> int | None:
        """Rows over all files; None where a file has none."""
        counts = [file.rows for file in self.files if file.rows is not None]
        return sum(counts) if len(counts) == len(self.files) else None

    @property
    def bytes(self) -> int:
        """Bytes over all files."""
        return sum(file.bytes for file in self.files)


def tables_of(artifact: Artifact, manifest: Manifest) -> list[Table]:
    """The tables of a finished artifact: one for each folder, one for files beside them."""
    grouped: dict[str, list[FileRecord]] = {}
    for file in manifest.files:
        folder, slash, _rest = file.path.partition("/")
        grouped.setdefault(folder if slash else _WHOLE, []).append(file)
    return [Table(artifact, name, tuple(files)) for name, files in sorted(grouped.items())]


def place_of(folder: Path | str) -> tuple[str, str]:
    """Namespace and name of a folder or file, or of an address without its secrets."""
    parts = urlsplit(str(folder))
    if not parts.scheme:
        return "file", str(Path(folder).absolute())
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}", parts.path.strip("/") or "/"


def outputs(artifact: Artifact, store: Store) -> list[OutputDataset]:
    """What a finished artifact holds."""
    manifest, places = artifact.manifest(), _places(artifact, store)
    return [_output(table, manifest, places) for table in tables_of(artifact, manifest)]


def inputs(artifact: Artifact, store: Store) -> list[InputDataset]:
    """What an artifact is made from, finished itself or not."""
    found: list[InputDataset] = []
    for entry in artifact.identity.inputs:
        folder = _folder(entry, store)
        if folder is None:
            found.append(_outside(entry))
        else:
            source = open_artifact(folder)
            found += [_input(table) for table in tables_of(source, source.manifest())]
    return found


def _output(table: Table, manifest: Manifest, places: Places) -> OutputDataset:
    namespace, name = place_of(table.folder)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=table.rows, size=table.bytes, fileCount=len(table.files)
    )
    facets = _facets(table)
    lineage = _columns(table, places)
    if lineage is not None:
        facets["columnLineage"] = lineage
    if table.is_parquet:
        facets["dataQualityMetrics"] = data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
            rowCount=table.rows,
            bytes=table.bytes,
            fileCount=len(table.files),
            columnMetrics={
                column: data_quality_metrics_dataset.ColumnMetrics(**measures)
                for column, measures in _metrics(table).items()
            },
        )
    return OutputDataset(
        namespace=namespace,
        name=name,
        facets=facets,
        outputFacets={
            "outputStatistics": statistics,
            "webtext_counts": _counts(manifest.counts),
        },
    )


def _input(table: Table) -> InputDataset:
    namespace, name = place_of(table.folder)
    facets: dict[str, Any] = {
        "inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=table.rows, size=table.bytes, fileCount=len(table.files)
        )
    }
    if table.is_parquet:
        quality = data_quality_metrics_input_dataset
        facets["dataQualityMetrics"] = quality.DataQualityMetricsInputDatasetFacet(
            rowCount=table.rows,
            bytes=table.bytes,
            fileCount=len(table.files),
            columnMetrics={
                column: quality.ColumnMetrics(**measures)
                for column, measures in _metrics(table).items()
            },
        )
    return InputDataset(namespace=namespace, name=name, facets=_facets(table), inputFacets=facets)


def _outside(entry: InputRecord) -> InputDataset:
    namespace, name = place_of(entry.name) if entry.kind == "address" else ("file", entry.name)
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=entry.fingerprint)
    statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
        size=entry.bytes, fileCount=1 if entry.kind == "file" else None
    )
    return InputDataset(
        namespace=namespace,
        name=name,
        facets={"version": version},
        inputFacets={"inputStatistics": statistics},
    )


def _facets(table: Table) -> dict[str, DatasetFacet]:
    artifact = table.artifact
    logical = "/".join(
        (artifact.name, artifact.stage, *([] if table.name == _WHOLE else [table.name]))
    )
    facets: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=artifact.fingerprint
        ),
        # One name for all versions, by which a catalogue can follow a table from run to run.
        "symlinks": symlinks_dataset.SymlinksDatasetFacet(
            identifiers=[symlinks_dataset.Identifier(LOGICAL_NAMESPACE, logical, "TABLE")]
        ),
    }
    if table.is_parquet:
        facets["storage"] = storage_dataset.StorageDatasetFacet("webtext", fileFormat="parquet")
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=_fields(table))
    return facets


def _counts(counts: Mapping[str, Any]) -> CountsFacet:
    return CountsFacet(
        rowsIn=counts.get("rows_in"),
        rowsOut=counts.get("rows_out"),
        losses=dict(counts.get("losses", {})),
    )


def _columns(
    table: Table, places: Places
) -> column_lineage_dataset.ColumnLineageDatasetFacet | None:
    declared = COLUMNS.get((table.artifact.stage, table.name))
    if declared is None or not table.is_parquet:
        return None
    fields = {
        column: column_lineage_dataset.Fields(inputFields=_input_fields(sources, places))
        for column, sources in declared.columns.items()
    }
    return column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={column: made for column, made in fields.items() if made.inputFields},
        dataset=_input_fields(declared.whole, places),
    )


def _places(artifact: Artifact, store: Store) -> Places:
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for entry in artifact.identity.inputs:
        folder = _folder(entry, store)
        place = ("file", entry.name) if folder is None else place_of(folder)
        found.setdefault(entry.role, []).append((*place, folder is not None))
    return found


def _input_fields(
    sources: Sequence[Source], places: Places
) -> list[column_lineage_dataset.InputField]:
    return [
        column_lineage_dataset.InputField(
            namespace=namespace,
            name=f"{name}/{source.table}" if is_folder and source.table else name,
            field=source.column,
            transformations=[_transformation(source)],
        )
        for source in sources
        for namespace, name, is_folder in places.get(source.role, [])
    ]


def _transformation(source: Source) -> column_lineage_dataset.Transformation:
    return column_lineage_dataset.Transformation(
        type="INDIRECT" if source.kind in ("FILTER", "JOIN") else "DIRECT",
        subtype=source.kind,
        description=source.how or None,
        masking=False,
    )


def _fields(table: Table) -> list[schema_dataset.SchemaDatasetFacetFields]:
    import pyarrow.parquet as pq

    present = [table.artifact.path / file.path for file in table.files]
    first = next((path for path in present if path.is_file()), None)
    if first is None:
        return []
    return [
        schema_dataset.SchemaDatasetFacetFields(name=field.name, type=str(field.type))
        for field in pq.read_schema(first)
    ]


def _metrics(table: Table) -> dict[str, dict[str, Any]]:
    paths = tuple(str(table.artifact.path / file.path) for file in table.files)
    return _footer_metrics(paths) if len(paths) <= _MOST_FOOTERS else {}


@lru_cache(maxsize=64)
def _footer_metrics(paths: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Nulls, and least and greatest numbers, of each plain column, from the files' footers."""
    import pyarrow.parquet as pq

    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            footer = pq.read_metadata(path)
        except OSError:
            return {}
        for group in range(footer.num_row_groups):
            row_group = footer.row_group(group)
            for place in range(row_group.num_columns):
                column = row_group.column(place)
                if "." not in column.path_in_schema and column.statistics is not None:
                    _merge(found.setdefault(column.path_in_schema, {}), column)
    return found


def _merge(measures: dict[str, Any], column: Any) -> None:
    statistics = column.statistics
    measures["count"] = measures.get("count", 0) + statistics.num_values
    if statistics.has_null_count:
        measures["nullCount"] = measures.get("nullCount", 0) + statistics.null_count
    if statistics.has_min_max and isinstance(statistics.min, int | float):
        measures["min"] = min(measures.get("min", statistics.min), statistics.min)
        measures["max"] = max(measures.get("max", statistics.max), statistics.max)


def _folder(entry: InputRecord, store: Store) -> Path | None:
    """The folder of an input that is an artifact and in the store."""
    folder = store.root / entry.name
    return folder if entry.kind == "artifact" and (folder / MANIFEST_NAME).is_file() else None
