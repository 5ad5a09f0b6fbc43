"""What a fidelity artifact says, for the model card, Prefect's pages and the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from flows import stages
from infra.errors import StoreError
from infra.runs import read_runs
from infra.store import Artifact, Store
from webtext.fidelity import Fidelity

HEADINGS = (
    "rows of", "rows", "on published domains", "published domains found", "covered mass",
    "Spearman", "Kendall τ-b", "divergence (bits)",
)  # fmt: skip


def find_fidelity(store: Store, reference: str) -> Artifact:
    """The fidelity artifact of a run's id, or the one that a reference names.

    Raises:
        StoreError: nothing answers to it, or it is another kind of artifact.
    """
    for run in read_runs(store.root):
        if run.run_id == reference:
            for use in run.uses:
                if use.artifact.startswith(f"{stages.FIDELITY.name}/"):
                    return store.find(use.artifact)
            raise StoreError(f"the run {reference} came to no fidelity figure; run it again")
    found = store.find(reference)
    if found.stage != stages.FIDELITY.name:
        raise StoreError(f"{found.label} holds no fidelity figure; name a run or a fidelity/...")
    return found


def read_fidelity(folder: Path) -> dict[str, Fidelity]:
    """The figures by table, in the order of the pipeline."""
    tables = json.loads((folder / "fidelity.json").read_bytes())["tables"]
    return {name: Fidelity.model_validate(figures) for name, figures in tables.items()}


def fidelity_cells(table: str, figures: Fidelity) -> tuple[str, ...]:
    """One table's figures as text, in the order of `HEADINGS`."""
    share = "–" if figures.published_share is None else f"{figures.published_share:.1%}"
    numbers = (figures.spearman, figures.kendall, figures.divergence)
    return (
        table,
        f"{figures.rows:,}",
        share,
        f"{figures.shared_domains:,}",
        f"{figures.covered_mass:.1%}",
        *("–" if number is None else f"{number:.3f}" for number in numbers),
    )


def fidelity_notes(tables: Mapping[str, Fidelity]) -> list[str]:
    """The warnings, each with its table."""
    return [f"{name}: {figures.note}" for name, figures in tables.items() if figures.note]


def fidelity_markdown(tables: Mapping[str, Fidelity]) -> str:
    """The figures as a Markdown table, warnings below it."""
    rows = [HEADINGS, ("---", *("---:" for _ in HEADINGS[1:]))]
    rows += [fidelity_cells(name, figures) for name, figures in tables.items()]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    notes = "; ".join(fidelity_notes(tables))
    return f"{text}\n\nNote: {notes}." if notes else text
