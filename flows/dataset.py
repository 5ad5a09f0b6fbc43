"""The dataset stage: the corpus as a folder that `datasets` opens, with a card that describes it.

    README.md         the card, with the metadata that a hub reads
    croissant.json    the same for machines: Croissant 1.0 (mlcommons.org/croissant), in JSON-LD
    data/SPLIT/part-NNNNN.parquet    the corpus's own files, by hard links where the disk has them

Everything is read from manifests, so every number can be followed; nothing depends on when, where
or from which paths it was made. Runs in a child process, without Prefect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from flows import stages
from flows.card import top_domains
from flows.croissant import croissant
from flows.fields import FIELDS
from flows.funnel import funnel_rows
from flows.markdown import template
from infra.files import link_or_copy
from infra.manifest import Manifest
from webtext.corpus import SPLITS
from webtext.counts import Progress
from webtext.s_curve import s_curve_markdown


class DatasetConfig(BaseModel):
    """What the card says beyond the artifacts it is made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    description: str = ""
    """The profile's description of itself."""


def write_dataset(
    *,
    artifacts: dict[str, Path],
    config: DatasetConfig,
    destination: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write the card of a corpus and link its files beside it.

    Args:
        artifacts: folders by stage, `submissions` ... `corpus`; an existing corpus has others.
        config: what else it says.
        destination: an empty folder.
        progress: told of the files.

    Returns:
        How many documents it has.
    """
    manifests = {role: Manifest.read(folder) for role, folder in sorted(artifacts.items())}
    corpus = manifests[stages.CORPUS.name]
    for done, record in enumerate(corpus.files, 1):
        link_or_copy(
            artifacts[stages.CORPUS.name] / record.path, destination / "data" / record.path
        )
        progress(done, len(corpus.files))
    values = _values(manifests, artifacts[stages.CORPUS.name], config)
    (destination / "README.md").write_text(
        template("dataset.md.j2").render(**values), encoding="utf-8"
    )
    described = croissant(
        name=f"webtext-{corpus.fingerprint[:12]}",
        description=values["summary"],
        version=f"1.0.0+{corpus.fingerprint[:12]}",
        files=[(f"data/{file.path}", file.bytes, file.sha256) for file in corpus.files],
        splits=SPLITS,
        fields=FIELDS,
    )
    text = json.dumps(described, indent=2, ensure_ascii=False)
    (destination / "croissant.json").write_text(text + "\n", encoding="utf-8")
    return {"documents": corpus.counts["rows_out"]}


def _values(
    manifests: Mapping[str, Manifest], corpus: Path, config: DatasetConfig
) -> dict[str, Any]:
    counts = manifests[stages.CORPUS.name].counts
    configs = {role: manifest.identity.config for role, manifest in manifests.items()}
    counted = [
        (stage, manifests[stage.name].counts) for stage in stages.FUNNEL if stage.name in manifests
    ]
    found = configs["duplicates"]
    facts = counts["facts"]
    bytes_of = {
        split: sum(
            file.bytes
            for file in manifests[stages.CORPUS.name].files
            if file.path.startswith(f"{split}/")
        )
        for split in SPLITS
    }
    return {
        "summary": _summary(counts["rows_out"], facts, configs),
        "description": config.description,
        "documents": counts["rows_out"],
        "facts": facts,
        "splits": SPLITS,
        "bytes_of": bytes_of,
        "size_category": size_category(counts["rows_out"]),
        "languages": configs["documents"]["languages"],
        "configs": configs,
        "funnel": funnel_rows(counted),
        "fields": FIELDS,
        "domains": top_domains(corpus),
        "sources": _sources(manifests),
        "fingerprints": {role: manifest.fingerprint for role, manifest in manifests.items()},
        "s_curve": s_curve_markdown(
            found["bands"],
            found["rows"],
            configs["signatures"]["permutations"],
            found["min_similarity"],
        ),
    }


def _summary(documents: int, facts: Mapping[str, int], configs: Mapping[str, Any]) -> str:
    origin = (
        f"pages that Reddit submissions with a karma of at least {configs['links']['min_karma']} "
        "link to"
        if "links" in configs
        else "rows of an existing corpus"
    )
    tokens = facts["train_tokens"] + facts["validation_tokens"]
    return f"{documents:,} documents of {tokens:,} GPT-2 tokens from {origin}, deduplicated."


def _sources(manifests: Mapping[str, Manifest]) -> list[tuple[str, str, str]]:
    """What came from outside: role, what it is, and its hash or commit."""
    found = []
    for manifest in manifests.values():
        if manifest.identity.stage == stages.HUB.name:
            config = manifest.identity.config
            found.append(("data set on a hub", config["repository"], config["revision"]))
        for entry in manifest.identity.inputs:
            # A file's name is no part of what the bytes depend on, an address is.
            if entry.kind == "file":
                found.append((entry.role, "file", entry.fingerprint))
            elif entry.kind == "address":
                found.append((entry.role, entry.name, entry.fingerprint))
            elif entry.role in ("dump", "replay"):
                found.append((entry.role, "the built-in demo's web", entry.fingerprint))
    return list(dict.fromkeys(found))


def size_category(documents: int) -> str:
    """The hub's name for a number of rows: `n<1K`, `1K<n<10K`, ..., `n>1T`."""
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    for place, name in enumerate(names):
        if documents < 1000 * 10**place:
            return f"n<{name}" if place == 0 else f"{names[place - 1]}<n<{name}"
    return "n>1T"
