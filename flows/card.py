"""The card stage: a model card whose every number is read from the artifacts it was made from.

Writes `README.md` beside a copy of the exported model, `scores.json` with every score and its
protocol, and `lineage.json` with the tree of everything the model and its scores were made from.
Runs in a child process, without Prefect.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.bias import read_bias
from eval.overlap_report import read_report
from eval.overlap_scores import read_clean_scores
from eval.scores import read_scores
from eval.table import notes, table_rows
from flows import stages
from flows.bias_show import bias_markdown
from flows.fidelity import fidelity_markdown, read_fidelity
from flows.funnel import funnel_rows
from flows.markdown import template
from flows.model_index import front_matter
from flows.models import MILESTONES
from flows.overlap_show import clean_markdown, overlap_markdown
from flows.takedowns import Takedown
from infra.files import link_or_copy
from infra.lineage import upstream
from infra.manifest import Manifest
from infra.store import Store, open_artifact
from model.config import VOCABULARY, ModelConfig, TrainConfig
from webtext.counts import Progress
from webtext.s_curve import s_curve_markdown

_TOP_DOMAINS = 20


class CardConfig(BaseModel):
    """What a card says beyond the artifacts it is made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    missing: dict[str, str] = {}
    """Why a benchmark has no score, by benchmark."""
    description: str = ""
    """The profile's description of itself."""
    removed: tuple[Takedown, ...] = ()
    """What was taken down since of the text that it was trained on."""
    marks: tuple[str, ...] = ()
    """Expectations of the profile that the run did not meet, for people to read."""


def write_card(
    *,
    store: Path,
    artifacts: dict[str, Path],
    config: CardConfig,
    destination: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write the card of one model.

    Args:
        store: the store's root, for the lineage.
        artifacts: folders by role: `submissions` ... `shards`, `model`, `scores/BENCHMARK`, `bias`,
            `overlap`, `clean-scores`.
        config: what else it says.
        destination: an empty folder.
        progress: told once it is done.

    Returns:
        How many artifacts it was made from.
    """
    manifests = {role: Manifest.read(folder) for role, folder in sorted(artifacts.items())}
    _copy_model(artifacts["model"], destination)
    scores = [
        score
        for role, folder in sorted(artifacts.items())
        if role.startswith("scores/")
        for score in read_scores(folder / "scores.json")
    ]
    values = _training(manifests["model"], artifacts["model"])
    network: ModelConfig = values["network"]
    rows = table_rows(scores, missing=config.missing, parameters=network.parameters)
    text = template("card.md.j2").render(
        **values,
        **_corpus(manifests, artifacts),
        front_matter=front_matter(manifests, rows),
        rows=rows,
        notes=notes(rows),
        description=config.description,
        bias=_bias(artifacts),
        overlap=_overlap(artifacts),
        clean=_clean(artifacts, {row.protocol for row in rows}),
        removed=config.removed,
        marks=config.marks,
        fingerprints={role: manifest.fingerprint[:12] for role, manifest in manifests.items()},
    )
    (destination / "README.md").write_text(text, encoding="utf-8")
    _write_json(destination / "scores.json", [score.model_dump(mode="json") for score in scores])
    tree = [
        upstream(Store(store), open_artifact(folder)).as_dict(with_maker=False)
        for role, folder in sorted(artifacts.items())
        if role == "model" or role.startswith("scores/")
    ]
    _write_json(destination / "lineage.json", tree)
    progress(len(artifacts), len(artifacts))
    return {"artifacts": len(artifacts)}


def top_domains(corpus: Path) -> list[tuple[str, int, int]]:
    """The domains with the most documents in a corpus artifact: name, documents, tokens."""
    with duckdb.connect() as connection:
        return connection.execute(
            "SELECT domain, count(*), sum(tokens)::BIGINT FROM read_parquet($files) "
            "GROUP BY domain ORDER BY count(*) DESC, domain LIMIT $limit",
            {"files": [str(corpus / "*" / "part-*.parquet")], "limit": _TOP_DOMAINS},
        ).fetchall()


def unigram_entropy(shards: Path) -> float:
    """Entropy in nats of the token frequencies of the training shards: H = −Σ p ln p."""
    counts = np.zeros(VOCABULARY, np.int64)
    for path in sorted((shards / "train").glob("*.npy")):
        rows = np.load(path, mmap_mode="r")
        for start in range(0, len(rows), 4096):
            block = np.asarray(rows[start : start + 4096]).ravel()
            counts += np.bincount(block, minlength=VOCABULARY)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _training(manifest: Manifest, folder: Path) -> dict[str, Any]:
    identity = manifest.identity.config
    losses = [
        json.loads(line) for line in (folder / "losses.jsonl").read_text("utf-8").splitlines()
    ]
    validation = [line["validation_loss"] for line in losses if "validation_loss" in line]
    return {
        "network": ModelConfig.model_validate(identity["network"]),
        "training": TrainConfig.model_validate(identity["training"]),
        "training_tokens": manifest.counts["tokens"],
        "loss": next(line["loss"] for line in reversed(losses) if line["loss"] is not None),
        "validation_loss": validation[-1] if validation else None,
        "perplexity": math.exp(validation[-1]) if validation else None,
        "packages": {
            name: manifest.maker.packages[name]
            for name in ("deepspeed", "torch")
            if name in manifest.maker.packages
        },
    }


def _corpus(manifests: Mapping[str, Manifest], artifacts: Mapping[str, Path]) -> dict[str, Any]:
    counted = [
        (stage, manifests[stage.name].counts) for stage in stages.FUNNEL if stage.name in manifests
    ]
    configs = {role: manifest.identity.config for role, manifest in manifests.items()}
    found = configs["duplicates"]
    return {
        "funnel": funnel_rows(counted),
        "s_curve": s_curve_markdown(
            found["bands"],
            found["rows"],
            configs["signatures"]["permutations"],
            found["min_similarity"],
        ),
        "configs": configs,
        "fidelity": fidelity_markdown(read_fidelity(artifacts["fidelity"])),
        "domains": top_domains(artifacts["corpus"]),
        "documents": manifests["corpus"].counts["rows_out"],
        "facts": manifests["shards"].counts["facts"],
        "entropy": unigram_entropy(artifacts["shards"]),
    }


def _bias(artifacts: Mapping[str, Path]) -> str | None:
    """The bias probes in Markdown; None where the model was not probed."""
    folder = artifacts.get(stages.BIAS.name)
    return None if folder is None else bias_markdown(read_bias(folder))


def _overlap(artifacts: Mapping[str, Path]) -> str | None:
    """The overlap with the training text in Markdown; None where it was not looked for."""
    folder = artifacts.get(stages.OVERLAP.name)
    return None if folder is None else overlap_markdown(read_report(folder))


def _clean(artifacts: Mapping[str, Path], protocols: Collection[str | None]) -> str | None:
    """The scores that the table shows, on the clean items; None where there are none."""
    folder = artifacts.get(stages.CLEAN_SCORES.name)
    rows = [] if folder is None else read_clean_scores(folder)
    shown = [row for row in rows if row.protocol in protocols]
    return clean_markdown(shown) if shown else None


def _copy_model(model: Path, destination: Path) -> None:
    for record in Manifest.read(model).files:
        if record.path.startswith(f"{MILESTONES}/"):
            continue  # they stay with the artifact
        link_or_copy(model / record.path, destination / record.path)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
