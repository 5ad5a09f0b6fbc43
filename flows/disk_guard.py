"""What a stage is expected to write, for the look at the disk before it begins.

The run's own estimate (`flows.plan`) where it has one; for a training the sizes of weights and
checkpoints; else the sizes of what the stage reads, times a share that this module states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from flows import stages
from flows.plan import Estimate, training_disk_bytes
from flows.session import Session
from flows.stages import Stage
from infra.files import folder_bytes
from infra.manifest import InputRecord
from infra.store import Artifact

_SHARES: Mapping[str, tuple[tuple[str, ...] | None, float]] = {
    # Of which roles (None: all), and how many times their bytes.
    stages.SUBMISSIONS.name: (("dump",), 1.0),
    stages.WARC_INDEX.name: (None, 0.02),
    # Bodies are copied with their records.
    stages.CAPTURES.name: (("replay",), 1.0),
    stages.PAGES.name: (("captures",), 0.3),
    stages.DATASET.name: (("corpus",), 1.0),
    stages.CARD.name: (("model",), 1.0),
    **dict.fromkeys(
        (
            stages.FIDELITY.name,
            stages.SCORES.name,
            stages.CLEAN_SCORES.name,
            stages.BIAS.name,
            stages.CURVES.name,
            stages.OVERLAP.name,
            stages.NGRAM_HITS.name,
        ),
        (None, 0.001),
    ),
}


def expected_bytes(
    session: Session,
    stage: Stage,
    artifact: Artifact,
    inputs: Mapping[str, Artifact | Sequence[InputRecord]],
) -> tuple[float, str]:
    """Bytes that making the artifact will still write, and where the figure comes from."""
    whole, source = _whole(session, stage, inputs)
    there = folder_bytes(artifact.path) if artifact.path.is_dir() else 0
    return max(0.0, whole - there), source


def _whole(
    session: Session, stage: Stage, inputs: Mapping[str, Artifact | Sequence[InputRecord]]
) -> tuple[float, str]:
    if stage == stages.MODEL:
        return training_disk_bytes(session.profile), "weights and the checkpoints that are kept"
    planned = _planned(session, stage)
    if planned is not None:
        return planned, "by the run's estimate"
    roles, share = _SHARES.get(stage.name, (None, 1.0))
    read = sum(_bytes(entry) for role, entry in inputs.items() if roles is None or role in roles)
    return share * read, f"{share:g} times what it reads"


def _planned(session: Session, stage: Stage) -> float | None:
    path = Path(session.store.root) / "plans" / f"{session.run.run_id}.json"
    try:
        estimate = Estimate.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    found = [one for one in estimate.stages if one.stage == stage.name]
    return found[0].disk_bytes + found[0].scratch_bytes if found else None


def _bytes(entry: Artifact | Sequence[InputRecord]) -> int:
    if isinstance(entry, Artifact):
        return entry.manifest().total_bytes
    return sum(record.bytes or 0 for record in entry)
