"""OpenLineage's own JSON schemas, where a checkout of the specification is at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

VARIABLE = "OPENLINEAGE_SPEC"
OURS = Path(__file__).parents[2] / "infra" / "openlineage"


def own_schemas() -> dict[str, dict[str, Any]]:
    """The schemas of our own facets, by `$id`."""
    found = (json.loads(path.read_text()) for path in sorted(OURS.glob("*.json")))
    return {schema["$id"]: schema for schema in found}


class Specification:
    """Validates whole events: the event by its schema, each facet by the one that it names."""

    def __init__(self, folder: Path) -> None:
        files = [folder / "OpenLineage.json", *sorted((folder / "facets").glob("*.json"))]
        self.schemas = {
            schema["$id"]: schema for schema in (json.loads(path.read_text()) for path in files)
        } | own_schemas()
        self.registry = Registry().with_resources(
            (name, Resource.from_contents(schema)) for name, schema in self.schemas.items()
        )
        # By the file's name: a client may name another version of a facet than the checkout has.
        self.by_name = {name.rpartition("/")[2]: name for name in self.schemas}

    def problems(self, event: dict[str, Any]) -> Iterator[str]:
        """What is wrong with an event."""
        yield from self._check(event, {"$ref": self.by_name["OpenLineage.json"]}, "event")
        for where, facet in facets_of(event):
            url, _, place = facet["_schemaURL"].partition("#")
            name = url.rpartition("/")[2].rpartition(":")[2]
            known = self.by_name.get(name) or next(
                (full for full in self.schemas if full.endswith(name)), None
            )
            if known is None:
                yield f"{where}: no schema {name}"
                continue
            yield from self._check(facet, {"$ref": f"{known}#{place}" if place else known}, where)

    def _check(self, value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
        validator = Draft202012Validator(
            schema, registry=self.registry, format_checker=FormatChecker()
        )
        for error in validator.iter_errors(value):
            yield f"{where}: {error.json_path}: {error.message[:200]}"


def facets_of(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every facet of an event, with where it stands."""
    holders = [("run", event["run"], "facets"), ("job", event["job"], "facets")]
    for side, own in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for dataset in event.get(side, []):
            name = f"{side} {dataset['name']}"
            holders += [(name, dataset, "facets"), (name, dataset, own)]
    for where, holder, kind in holders:
        for name, facet in holder.get(kind, {}).items():
            yield f"{where} {name}", facet


def specification() -> Specification:
    """The specification that the environment names; skips the test where it names none."""
    folder = os.environ.get(VARIABLE)
    if not folder or not (Path(folder) / "OpenLineage.json").is_file():
        pytest.skip(f"{VARIABLE} does not name the folder `spec` of a checkout of OpenLineage")
    return Specification(Path(folder))
