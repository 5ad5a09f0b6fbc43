"""The tiny demo's corpus on a real Ray cluster: local bytes, also when a node dies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import TIMEOUT_S, Ended, digests, last_run
from tests.end_to_end.test_shared_store import CORPUS, Machine, only_corpus, stored
from tests.ray_cluster import Cluster, ray_cluster
from tests.s3_server import S3

pytest.importorskip("ray")
pytest.importorskip("prefect_ray")

ON_RAY = (*CORPUS, "--engine", "ray")


def of_stages(cluster: Cluster, number: int) -> set[str]:
    """The stages that a node has copies of files of."""
    return {path.parts[-4] for path in cluster.cache(number).glob("*/*/*/*/part-*")}


@pytest.fixture
def address() -> str:
    return f"s3://corpora/ray-{time.time_ns()}"


@pytest.mark.slow
def test_the_bytes_are_those_of_one_machine(
    tiny_store: tuple[Path, Ended], s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    driver = Machine(s3, address, tmp_path / "driver", shared_api)
    with ray_cluster(tmp_path, driver.environment) as cluster:
        driver.environment["RAY_ADDRESS"] = cluster.address
        done = driver.run(*ON_RAY)
    assert done.code == 0, done.err
    assert stored(s3, address, tmp_path / "again") == only_corpus(digests(tiny_store[0]))
    # Both have worked; what the flow's own machine has, it brought to print it.
    assert of_stages(cluster, 0) & of_stages(cluster, 1) >= {"pages", "documents", "corpus"}
    assert not list(driver.root.glob("pages/*/pages/*"))
    assert "pages" in done.err
    assert last_run(driver.root)["state"] == "finished"


@pytest.mark.slow
def test_a_node_that_dies_costs_retries_and_no_byte(
    tiny_store: tuple[Path, Ended], s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    driver = Machine(s3, address, tmp_path / "driver", shared_api)
    with ray_cluster(tmp_path, driver.environment) as cluster:
        driver.environment["RAY_ADDRESS"] = cluster.address
        run = driver.start(*ON_RAY)
        try:
            deadline = time.monotonic() + 2 * TIMEOUT_S
            doomed: list[Path] = []
            while not doomed:
                assert run.poll() is None, run.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.005)
                doomed = list(cluster.cache(1).glob("*/pages/*/.work/part-*"))
            cluster.kill(1)
            _out, told = run.communicate(timeout=2 * TIMEOUT_S)
            assert run.returncode == 0, told.decode()
        finally:
            run.kill()
    [part] = [path.name for path in doomed if path.is_dir()]
    assert stored(s3, address, tmp_path / "again") == only_corpus(digests(tiny_store[0]))
    # The node had begun the part and never recorded it; the other has made it.
    assert list(cluster.cache(0).glob(f"*/pages/*/pages/{part}.parquet"))
    assert not list(cluster.cache(1).glob("*/documents/*/documents/part-*"))


@pytest.mark.slow
def test_what_a_part_on_a_node_fails_of_is_told_with_its_node(
    s3: S3, shared_api: str, address: str, tmp_path: Path
) -> None:
    driver = Machine(s3, address, tmp_path / "driver", shared_api)
    no_cluster = driver.run(*ON_RAY)
    assert no_cluster.code == 1
    assert "no Ray cluster is named" in no_cluster.err
    damaged = tmp_path / "RS_2017-10.zst"
    damaged.write_bytes(b"no such format")
    with ray_cluster(tmp_path, driver.environment, nodes=1) as cluster:
        driver.environment["RAY_ADDRESS"] = cluster.address
        failed = driver.run(*ON_RAY, "--submissions", damaged, "--replay", damaged)
    assert failed.code == 1, failed.err
    assert "on " in failed.err
    assert "RS_2017-10.zst" in failed.err, "the dump itself was brought to the node"
    assert "Traceback" not in failed.err
