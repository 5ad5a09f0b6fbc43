"""Child processes: answers, limits, deaths, and that none outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infra.call import Call
from infra.children import Children
from infra.errors import ChildDied, StageFailed, Stopped
from infra.orphans import is_alive

MODULE = "tests.infra.stage_functions"


def call(name: str, scratch: Path, **options: object) -> Call:
    return Call(function=f"{MODULE}:{name}", scratch=scratch, **{"arguments": {}, **options})


def run(name: str, folder: Path, **options: object):
    seen: list[tuple[int, int | None, dict[str, float]]] = []
    children = Children(folder / "logs")
    try:
        record = children.run(call(name, folder / "scratch", **options), lambda *e: seen.append(e))
    finally:
        children.stop()
    return record, seen


def test_a_call_answers_with_its_files_counts_and_progress(tmp_path: Path) -> None:
    record, seen = run("count", tmp_path, arguments={"number": 40, "source": "/tmp"})
    assert [(file.path, file.bytes) for file in record.files] == [("table/letters.txt", 40)]
    assert record.counts["rows_out"] == 40
    assert seen[-1] == (40, 40, {"loss": 0.5})
    [log] = (tmp_path / "logs").iterdir()
    assert "a library prints" in log.read_text()


def test_scratch_is_emptied_unless_the_stage_is_resumable(tmp_path: Path) -> None:
    with pytest.raises(ChildDied):
        run("go_on", tmp_path, resumable=True)
    record, _seen = run("go_on", tmp_path, resumable=True)
    assert record.counts["facts"]["attempts"] == 2
    with pytest.raises(ChildDied):
        run("go_on", tmp_path, resumable=False)


def test_a_child_serves_one_call_after_another_until_it_is_retired(tmp_path: Path) -> None:
    children = Children(tmp_path / "logs")
    processes = set()
    for number in range(3):
        record = children.run(call("whoami", tmp_path / f"scratch-{number}"), lambda *_: None)
        processes.add(record.counts["facts"]["process"])
    [process] = processes
    assert is_alive(process)
    children.retire(f"{MODULE}:whoami")
    assert not is_alive(process)
    record = children.run(call("whoami", tmp_path / "scratch"), lambda *_: None)
    assert record.counts["facts"]["process"] not in processes
    children.stop()


def test_a_killed_child_is_told_with_its_signal_and_last_words(tmp_path: Path) -> None:
    with pytest.raises(ChildDied, match=r"SIGKILL[\s\S]*last words"):
        run("die", tmp_path)


def test_memory_beyond_the_limit_ends_the_part_alone(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="memory"):
        run("hoard", tmp_path, memory_bytes=1 << 30)


def test_a_child_out_of_time_is_killed(tmp_path: Path) -> None:
    with pytest.raises(ChildDied, match="after its 1 s"):
        run("sleep", tmp_path, timeout_s=1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refuse", "^the dump x.zst ends at byte 7; get it again$"),
        ("fill_disk", "the disk is full: .*big could not be written; free some space"),
        ("stumble", "ZeroDivisionError.*\n.*a fault of the program"),
    ],
)
def test_failures_say_what_was_wrong(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(StageFailed, match=message):
        run(name, tmp_path)


def test_stop_ends_running_children_and_refuses_new_ones(tmp_path: Path) -> None:
    children = Children(tmp_path / "logs")
    raised: list[BaseException] = []
    started = threading.Event()

    def work() -> None:
        try:
            children.run(call("sleep", tmp_path / "s"), lambda *_: started.set())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(30)
    children.stop()
    thread.join(30)
    assert isinstance(raised[0], Stopped)
    assert not is_alive(int((tmp_path / "s" / "pid").read_text()))
    with pytest.raises(Stopped):
        children.run(call("count", tmp_path / "s"), lambda *_: None)


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from infra.children import Children\n"
        "from infra.call import Call\n"
        f"scratch = Path({str(tmp_path)!r})\n"
        f"call = Call(function='{MODULE}:sleep', arguments={{}}, scratch=scratch / 's')\n"
        "Children(scratch / 'logs').run(call, lambda *_: None)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    pid_file = tmp_path / "s" / "pid"
    deadline = time.monotonic() + 30
    while not (pid_file.is_file() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int(pid_file.read_text())
    assert is_alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)
