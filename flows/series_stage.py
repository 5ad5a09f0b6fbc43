"""The series stage: the corpora of many months as one, in their order, without a copy of a byte.

    months.json      each month: its name, fingerprints, documents, tokens, first and last sequence
    README.md        the same for people, with the metadata by which `datasets` opens the folder
    croissant.json   and for machines
    train/ validation/   shards, named as `infra.lineage_series` says: what training reads
    spans/           whose tokens they are, a table a month and partition
    data/SPLIT/      the documents of the months' corpora

Shards and documents are the months' own files, by hard links where the disk has them. A month that
is added leaves every file of the months before it as it was, under its name; README.md, months.json
and croissant.json tell of all. Runs in a child process, without Prefect.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from flows.croissant import croissant
from flows.dataset import size_category
from flows.fields import FIELDS
from flows.markdown import template
from infra.canonical import fingerprint
from infra.errors import StoreError
from infra.files import link_or_copy
from infra.lineage_series import MOST_MONTHS, name_in_series
from infra.manifest import Manifest
from webtext.corpus import SPLITS
from webtext.counts import Counts, Progress
from webtext.tables import SPANS, read_table, write_table


class SeriesConfig(BaseModel):
    """What a series is called by, beyond the artifacts that it is made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    months: tuple[str, ...]
    """What each month is called, in the order of the shards."""
    description: str = ""
    """The profile's description of itself."""


def gather_series(
    *,
    shards: Sequence[Path],
    corpus: Sequence[Path],
    config: SeriesConfig,
    destination: Path,
    progress: Progress,
) -> Counts:
    """Gather the shards and documents of months into one folder.

    Args:
        shards: the shards artifact of each month, in their order.
        corpus: the corpus artifact of each.
        config: the months' names.
        destination: an empty folder.
        progress: told of the months.

    Raises:
        StoreError: there are more months than their numbers' digits can tell apart.
    """
    if len(shards) > MOST_MONTHS:
        raise StoreError(f"{len(shards)} months are more than the {MOST_MONTHS} a series may have")
    months: list[dict[str, Any]] = []
    first = dict.fromkeys(SPLITS, 0)
    for number, name in enumerate(config.months):
        manifests = Manifest.read(shards[number]), Manifest.read(corpus[number])
        _link(number, manifests[0], shards[number], destination)
        _link_documents(number, manifests[1], corpus[number], destination / "data")
        months.append(_describe(name, *manifests, first))
        progress(number + 1, len(shards))
    _write_json(destination / "months.json", months)
    facts = _sum(months)
    _write_card(destination, months, facts, config, corpus)
    documents = sum(month["documents"] for month in months)
    return Counts(rows_in=documents, rows_out=documents, facts=facts)


def _link(number: int, manifest: Manifest, folder: Path, destination: Path) -> None:
    """Link a month's shards, and write its spans with the names that these have here."""
    for file in manifest.files:
        target = destination / name_in_series(number, file.path)
        if file.path.startswith("spans/"):
            table = read_table(folder / file.path)
            names = [name_in_series(number, shard) for shard in table["shard"].to_pylist()]
            place = SPANS.get_field_index("shard")
            shown = table.set_column(place, SPANS.field("shard"), pa.array(names, pa.string()))
            write_table(target, shown.cast(SPANS))
        else:
            link_or_copy(folder / file.path, target)


def _link_documents(number: int, manifest: Manifest, folder: Path, destination: Path) -> None:
    for file in manifest.files:
        link_or_copy(folder / file.path, destination / name_in_series(number, file.path))


def _describe(
    name: str, shards: Manifest, corpus: Manifest, first: dict[str, int]
) -> dict[str, Any]:
    """A month's line of months.json; `first` is brought to the next month's first sequences."""
    facts = shards.counts["facts"]
    sequences = {}
    for split in SPLITS:
        files = (file for file in shards.files if file.path.startswith(f"{split}/"))
        size = sum(file.rows or 0 for file in files)
        sequences[split] = [first[split], first[split] + size]
        first[split] += size
    return {
        "month": name,
        "corpus": corpus.fingerprint,
        "shards": shards.fingerprint,
        "documents": corpus.counts["rows_out"],
        "facts": {name: facts[name] for name in sorted(facts)},
        "sequences": sequences,
    }


def _sum(months: Sequence[dict[str, Any]]) -> dict[str, int]:
    names = ("padding_tokens", "sequences", *(f"{split}_tokens" for split in SPLITS))
    return {name: sum(month["facts"].get(name, 0) for month in months) for name in names}


def _write_card(
    destination: Path,
    months: Sequence[dict[str, Any]],
    facts: dict[str, int],
    config: SeriesConfig,
    corpus: Sequence[Path],
) -> None:
    documents = sum(month["documents"] for month in months)
    tokens = facts["train_tokens"] + facts["validation_tokens"]
    summary = (
        f"{documents:,} documents of {tokens:,} GPT-2 tokens, of {len(months)} months from "
        f"{min(config.months)} to {max(config.months)}, deduplicated over all."
    )
    values = {
        "summary": summary,
        "description": config.description,
        "months": months,
        "splits": SPLITS,
        "size_category": size_category(documents),
    }
    (destination / "README.md").write_text(
        template("series.md.j2").render(**values), encoding="utf-8"
    )
    digest = fingerprint([month["corpus"] for month in months])[:12]
    described = croissant(
        name=f"webtext-{min(config.months)}-to-{max(config.months)}",
        description=summary,
        version=f"1.0.0+{digest}",
        files=list(_described_files(corpus)),
        splits=SPLITS,
        fields=FIELDS,
    )
    _write_json(destination / "croissant.json", described)


def _described_files(corpus: Sequence[Path]) -> Iterator[tuple[str, int, str]]:
    for number, folder in enumerate(corpus):
        for file in Manifest.read(folder).files:
            yield f"data/{name_in_series(number, file.path)}", file.bytes, file.sha256


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
