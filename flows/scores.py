"""The score table of a run, read back from its scores artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from eval.protocols import BENCHMARKS
from eval.scores import SCORES_NAME, Score, read_scores
from eval.table import TableRow, table_rows


def score_rows(
    scores: Iterable[Path], missing: Mapping[str, str], parameters: int
) -> list[TableRow]:
    """The ten columns, from folders of scores artifacts and the reasons for those not there."""
    return table_rows(all_scores(scores), missing=missing, parameters=parameters)


def all_scores(folders: Iterable[Path]) -> list[Score]:
    """The scores of several artifacts."""
    return [score for folder in folders for score in read_scores(folder / SCORES_NAME)]


def missing_benchmarks(folder: Path) -> dict[str, str]:
    """Why each benchmark without a file in `folder` has no score."""
    from eval.files import missing_reason

    reasons = {name: missing_reason(name, folder) for name in BENCHMARKS}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def find_scores(place: str | Path, reference: str) -> list[Path]:
    """Folders of the scores of a model: a folder that holds some, or the newest in the store.

    Raises:
        StoreError: there is no such model, or it was not scored.
    """
    from flows.models import ROLE, find_model
    from flows.running import store_of
    from infra.errors import StoreError
    from infra.manifest import Manifest

    folder = Path(reference)
    if (folder / SCORES_NAME).is_file():
        return [folder]
    below = (
        sorted(path.parent for path in folder.glob(f"*/{SCORES_NAME}")) if folder.is_dir() else []
    )
    if below:
        return below
    store = store_of(place)
    wanted = [record.fingerprint for record in find_model(store, reference).inputs]
    newest: dict[str, tuple[str, Path]] = {}
    for scores in store.folders():
        if scores.parent.name != "scores" or not (scores / "manifest.json").is_file():
            continue
        manifest = Manifest.read(scores)
        inputs = [record.fingerprint for record in manifest.identity.inputs if record.role == ROLE]
        key = str(manifest.identity.config["benchmark"])
        if inputs == wanted and manifest.maker.finished_at > newest.get(key, ("", scores))[0]:
            newest[key] = (manifest.maker.finished_at, scores)
    if not newest:
        raise StoreError(
            f"{store.place} holds no scores of {reference}; make them with: "
            f"webtext eval --store {store.place} {reference}"
        )
    return [store.bring(path) for _, path in newest.values()]
