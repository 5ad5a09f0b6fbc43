"""The tiny demo in object storage: equal bytes from any machine, after kills and on bad days."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.objects import Objects
from infra.place import cache_folder
from infra.shared_store import SharedStore
from tests.end_to_end.conftest import (
    ROOT,
    STAGES,
    TIMEOUT_S,
    TINY,
    Ended,
    command,
    digests,
    environment,
    last_run,
)
from tests.faulty_proxy import at_random, faulty
from tests.s3_server import BUCKET, KEYS, S3

pytest.importorskip("obstore")

CORPUS = ("corpus", "--profile", TINY)


class Machine:
    """A machine: its own folder of copies, and nothing else, between it and the storage."""

    def __init__(self, s3: S3, address: str, cache: Path, api_url: str, endpoint: str = "") -> None:
        self.address = address
        self.cache = cache
        self.environment = {
            **environment(api_url),
            **s3.environment(cache, endpoint or None),
            "PYTHONPATH": str(ROOT),
        }

    @property
    def root(self) -> Path:
        """The folder of its copies of this store."""
        return self.cache / cache_folder(self.address).name

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command(*arguments, "--store", self.address),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )

    def run(self, *arguments: object) -> Ended:
        began = time.monotonic()
        done = subprocess.run(
            command(*arguments, "--store", self.address),
            capture_output=True,
            text=True,
            timeout=2 * TIMEOUT_S,
            env=self.environment,
        )
        return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


@contextmanager
def keys_in_environment(s3: S3) -> Iterator[None]:
    """The test itself may look into the storage."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": s3.url}).items():
            patch.setenv(name, value)
        yield


def stored(s3: S3, address: str, folder: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of every file of every finished artifact, all fetched anew and compared."""
    with keys_in_environment(s3):
        store = SharedStore(folder, Objects(address))
        found = store.finished()
        for artifact in found:
            store.bring(artifact.path)
    return digests(folder)


@pytest.fixture
def address() -> str:
    return f"s3://{BUCKET}/run-{os.urandom(4).hex()}"


@pytest.fixture
def undisturbed(tiny_store: tuple[Path, Ended]) -> dict[str, dict[str, str]]:
    return digests(tiny_store[0])


def only_corpus(of: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    stages = STAGES[: STAGES.index("model")]
    return {label: files for label, files in of.items() if label.split("/")[0] in stages}


@pytest.mark.slow
def test_a_whole_run_gives_the_local_bytes_and_any_machine_reads_them(
    undisturbed: dict[str, dict[str, str]], s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    first = Machine(s3, address, tmp_path / "a", shared_api)
    done = first.run("run", "--profile", TINY)
    assert done.code == 0, done.err
    assert "Zero-shot scores" in done.err
    assert stored(s3, address, tmp_path / "again") == undisturbed

    reader = Machine(s3, address, tmp_path / "b", shared_api)
    again = reader.run("run", "--profile", TINY)
    assert again.code == 0, again.err
    assert last_run(reader.root)["state"] == "finished"
    assert {use["how"] for use in last_run(reader.root)["uses"]} == {"reused"}
    # It has read what it prints; tables and WARC files it had no use for.
    assert not list(reader.root.glob("captures/*/warc/*"))
    assert not list(reader.root.glob("pages/*/pages/*"))
    wanted = {
        ("runs",): "finished",
        ("lineage", "lambada_ppl"): "submissions/tiny-",
        ("trace", "lambada_ppl"): "captures",
        ("fidelity",): "links",
        ("generate", "The", "--tokens", "4"): "The",
        ("impact", "--domain", "docs.example"): "",
        ("verify",): "joins     shards/",
        ("copies",): "artifacts",
    }
    for arguments, words in wanted.items():
        seen = Machine(s3, address, tmp_path / f"c-{arguments[0]}", shared_api).run(*arguments)
        assert seen.code == 0 or arguments[0] == "impact", (arguments, seen.err)
        assert words in seen.out + seen.err, (arguments, seen.out, seen.err)
    brought = Machine(s3, address, tmp_path / "d", shared_api).run("bring", "shards", "card")
    assert brought.code == 0, brought.err
    folders = [Path(line) for line in brought.out.split()]
    assert all((folder / "manifest.json").is_file() for folder in folders)
    assert list(folders[0].glob("train/*.npy"))


@pytest.mark.slow
def test_two_machines_at_once_share_the_work(
    undisturbed: dict[str, dict[str, str]], s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    runs = [Machine(s3, address, tmp_path / name, shared_api).start(*CORPUS) for name in "ab"]
    try:
        for run in runs:
            _out, told = run.communicate(timeout=2 * TIMEOUT_S)
            assert run.returncode == 0, told.decode()
    finally:
        for run in runs:
            run.kill()
    assert stored(s3, address, tmp_path / "again") == only_corpus(undisturbed)
    with keys_in_environment(s3):
        uses = [
            (use.artifact, use.how)
            for run in SharedStore(tmp_path / "again", Objects(address)).runs()
            for use in run.uses
        ]
    made = [label for label, how in uses if how == "made"]
    assert sorted(made) == sorted(only_corpus(undisturbed)), "each artifact was made once"


@pytest.mark.slow
def test_another_machine_goes_on_after_a_kill(
    undisturbed: dict[str, dict[str, str]], s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    """Killed in the middle of stage after stage, each time on a machine that has nothing."""
    with keys_in_environment(s3):
        objects = Objects(address)
    for place, stage in enumerate(("links", "captures", "pages", "corpus")):
        machine = Machine(s3, address, tmp_path / str(place), shared_api)
        run = machine.start(*CORPUS)
        try:
            deadline = time.monotonic() + 2 * TIMEOUT_S
            # In its scratch is what a part has written; a part is uploaded.
            while not list(machine.root.glob(f"{stage}/*/.work/part-*")):
                assert run.poll() is None, run.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            os.kill(run.pid, signal.SIGKILL)
            run.communicate()
        finished = {label.split("/")[0] for label in digests(machine.root)}
        assert stage not in finished
    last = Machine(s3, address, tmp_path / "last", shared_api)
    done = last.run(*CORPUS)
    assert done.code == 0, done.err
    assert "= submissions" in done.err, "what was finished is not made again"
    assert stored(s3, address, tmp_path / "again") == only_corpus(undisturbed)
    assert not [key for key in objects.keys("") if "/.work/" in key]


@pytest.mark.slow
def test_bad_days_of_object_storage_cost_retries_and_no_byte(
    undisturbed: dict[str, dict[str, str]], s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    plan = at_random(
        7, refused=0.06, dropped=0.03, lost=0.03, truncated=0.04, stalled=0.01, dripping=0.1,
        stale=0.5,
    )  # fmt: skip
    options = ("--set", "runtime.store_timeout_s=1")
    with faulty(s3.url, plan) as proxy:
        machine = Machine(s3, address, tmp_path / "a", shared_api, endpoint=proxy.url)
        done = machine.run(*CORPUS, *options)
        assert done.code == 0, done.err
        record = last_run(machine.root)
        reader = Machine(s3, address, tmp_path / "b", shared_api, endpoint=proxy.url)
        verified = reader.run("verify")
        assert verified.code == 0, verified.err
        listed = reader.run("runs", "--json")
        assert listed.code == 0, listed.err
    assert stored(s3, address, tmp_path / "again") == only_corpus(undisturbed)
    assert set(proxy.faults) >= {"refused", "dropped", "lost", "truncated", "dripping", "stale"}
    # The last record is written before its own request is counted.
    requests = record["requests"]
    assert requests["retries"] >= 10, requests
    assert len(json.loads(listed.out)["artifacts"]) == len(only_corpus(undisturbed))


@pytest.mark.slow
def test_keys_of_a_block_are_used_and_written_nowhere(
    s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    machine = Machine(s3, address, tmp_path / "a", shared_api)
    keys = {name: machine.environment.pop(name) for name in KEYS}
    save = (
        "import json, sys; from prefect.blocks.system import Secret\n"
        "for name, key in json.load(sys.stdin).items():\n"
        "    Secret(value=key).save(name.lower().replace('_', '-'), overwrite=True)"
    )
    subprocess.run(
        [sys.executable, "-c", save],
        input=json.dumps(keys),
        text=True,
        check=True,
        capture_output=True,
        env=machine.environment,
    )
    blocks = ", ".join(f'{name}="{name.lower().replace("_", "-")}"' for name in KEYS)
    options = ("--set", f"runtime.secrets={{{blocks}}}")
    done = machine.run(*CORPUS, *options)
    assert done.code == 0, done.err
    secret = KEYS["AWS_SECRET_ACCESS_KEY"]
    assert secret not in done.out + done.err
    with keys_in_environment(s3):
        objects = Objects(address)
        stored = objects.keys("")
        assert any(key.startswith("shards/") for key in stored)
        for key in stored:
            found = objects.get(key)
            assert found is not None
            assert secret.encode() not in found.content, key
    for path in machine.root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
