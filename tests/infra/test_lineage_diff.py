"""What two runs' manifests and loss curves have apart."""

from __future__ import annotations

import json
from pathlib import Path

from infra.lineage_build import Known
from infra.lineage_diff import diff_curves, diff_stages
from infra.manifest import InputRecord
from infra.store import Artifact, Store
from tests.infra.test_store import made


def known(artifact: Artifact) -> Known:
    return Known(artifact.label, artifact.path, artifact.manifest())


def model(root: Path, name: str, losses: list[dict]) -> Known:
    found = known(made(Store(root / name), "model", {"name": name}))
    lines = "".join(json.dumps(line) + "\n" for line in losses)
    (found.folder / "losses.jsonl").write_text(lines)
    return found


def dump(digest: str) -> InputRecord:
    return InputRecord(role="dump", kind="file", name="RS.zst", fingerprint=digest * 64)


def test_stages_tell_causes_apart_from_what_follows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sides = []
    for digest, karma in (("a", 3), ("b", 4)):
        posts = made(store, "submissions", {"same": 1}, [dump(digest)])
        links = made(
            store, "links", {"min_karma": karma, "same": [1]}, [posts.as_input("submissions")]
        )
        sides.append({one.stage: known(one) for one in (posts, links)})
    extra = made(store, "fidelity", {})
    posts, links, fidelity = diff_stages(sides[0], {**sides[1], "fidelity": known(extra)})
    assert [one.what for one in posts.causes] == ["dump"]
    assert posts.follows == ()
    [cause] = links.causes
    assert (cause.what, cause.first, cause.second) == ("config.min_karma", 3, 4)
    assert links.follows == ("submissions",)
    assert not posts.same
    assert (fidelity.first, fidelity.second, fidelity.same) == (None, extra.label, False)
    assert all(stage.same for stage in diff_stages(sides[0], sides[0]))


def test_curves_part_where_their_losses_do(tmp_path: Path) -> None:
    one = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0, "validation_loss": 4.5}]
    two = [*one, {"step": 3, "loss": None}]
    three = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": None}, {"step": 3, "loss": 3.0}]
    models = [model(tmp_path, str(n), curve) for n, curve in enumerate((one, two, three))]
    longer = diff_curves(models[0], models[1])
    assert longer.first_different_step is None
    assert (longer.steps, longer.last_losses) == ((2, 3), (4.0, None))
    assert longer.validation_losses == (4.5, 4.5)
    assert (longer.largest_difference, longer.largest_at) == (0.0, None)
    spiked = diff_curves(models[1], models[2])
    assert spiked.first_different_step == 2
    assert spiked.validation_losses == (4.5, None)
