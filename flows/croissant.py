"""A data set's description in Croissant 1.0: JSON-LD that tools read without opening the data.

Terms and structure by the format's specification (MLCommons Croissant 1.0, docs.mlcommons.org):
every file is a FileObject with its hash, a FileSet gathers those of a split, and a RecordSet for
each split names the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.fields import Field

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_TYPES = {"string": "sc:Text", "large_string": "sc:Text", "int32": "sc:Integer",
          "int64": "sc:Integer", "binary(16)": "sc:Text"}  # fmt: skip

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(
    *,
    name: str,
    description: str,
    version: str,
    files: Sequence[tuple[str, int, str]],
    splits: Sequence[str],
    fields: Sequence[Field],
) -> dict[str, Any]:
    """The description of a data set of Parquet files.

    Args:
        name: what it is called.
        description: a sentence.
        version: of the data.
        files: path inside the folder, bytes and SHA-256 of each file; `data/SPLIT/...`.
        splits: the folders below `data`.
        fields: the columns.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": CONFORMS_TO,
        "version": version,
        "isLiveDataset": False,
        "distribution": [
            *(_file_object(*file) for file in files),
            *map(_file_set, splits),
        ],
        "recordSet": [_record_set(split, fields) for split in splits],
    }


def _file_object(path: str, size: int, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256,
    }


def _file_set(split: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{split}-files",
        "name": f"{split}-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"data/{split}/*.parquet",
    }


def _record_set(split: str, fields: Sequence[Field]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"The documents of the split {split}.",
        "key": {"@id": f"{split}/link_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{split}/{field.name}",
                "name": field.name,
                "description": field.meaning,
                "dataType": _TYPES[field.kind],
                "source": {
                    "fileSet": {"@id": f"{split}-files"},
                    "extract": {"column": field.name},
                },
            }
            for field in fields
        ],
    }
