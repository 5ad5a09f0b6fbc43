"""Parts: moved in as a whole, whenever a kill falls."""

import shutil
from pathlib import Path

import pytest

from infra import parts
from infra.call import PartRecord
from infra.parts import describe_file, finished_part, publish_part, scratch_folder


def scratch_with_files(work: Path) -> PartRecord:
    scratch = scratch_folder(work, "part-00001")
    (scratch / "links").mkdir(parents=True)
    (scratch / "links" / "part-00001.txt").write_text("a")
    (scratch / "rejected.txt").write_text("b")
    paths = [Path("links/part-00001.txt"), Path("rejected.txt")]
    return PartRecord(
        files=tuple(describe_file(scratch, path) for path in paths),
        counts={"rows_in": 1},
        seconds=1.0,
        cpu_seconds=1.0,
    )


def test_a_published_part_is_there_with_its_record(tmp_path: Path) -> None:
    work = tmp_path / ".work"
    record = scratch_with_files(work)
    assert finished_part(tmp_path, work, "part-00001") is None
    publish_part(tmp_path, work, "part-00001", record)
    assert finished_part(tmp_path, work, "part-00001") == record
    assert (tmp_path / "links" / "part-00001.txt").read_text() == "a"
    assert not scratch_folder(work, "part-00001").exists()


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_an_interrupted_move_is_completed(
    tmp_path: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / ".work"
    record = scratch_with_files(work)

    def die(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts, "_move", die)
        with pytest.raises(KeyboardInterrupt):
            publish_part(tmp_path, work, "part-00001", record)
    scratch = scratch_folder(work, "part-00001")
    for file in record.files[:moves]:
        target = tmp_path / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / file.path, target)
    assert finished_part(tmp_path, work, "part-00001") == record
    for file in record.files:
        assert describe_file(tmp_path, Path(file.path)) == file


def test_a_half_written_record_means_that_the_part_is_not_done(tmp_path: Path) -> None:
    work = tmp_path / ".work"
    work.mkdir()
    (work / "part-00001.json").write_text('{"files": [')
    assert finished_part(tmp_path, work, "part-00001") is None
