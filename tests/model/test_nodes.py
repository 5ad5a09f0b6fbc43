"""Two machines: network namespaces joined by a cable, with host names of their own."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from model.config import TrainSpec
from model.errors import SettingsError
from model.launch import Launcher, Nodes, launch_command, read_outcome, saved_step
from model.trace import read_steps
from tests.model.nursery import wait_for_step
from tests.model.trainings import files_of, make_spec, run, write_spec

ADDRESSES = ("10.213.7.1", "10.213.7.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_make_networks() -> bool:
    if os.geteuid() or shutil.which("ip") is None or shutil.which("unshare") is None:
        return False
    probe = f"webtext-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        return False
    ip("netns", "delete", probe)
    return True


needs_networks = pytest.mark.skipif(
    not can_make_networks(), reason="network namespaces need root, iproute2 and util-linux"
)


@contextmanager
def two_machines() -> Iterator[tuple[str, str]]:
    """Names of two network namespaces with a cable between them."""
    names = (f"wt{os.getpid()}a", f"wt{os.getpid()}b")
    cables = (f"wv{os.getpid()}a", f"wv{os.getpid()}b")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, ADDRESSES, strict=True):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "link", "set", cable, "name", "eth0")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            kill_machine(name)
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)


def start_on(
    machine: str, number: int, spec: TrainSpec, launcher: Launcher
) -> subprocess.Popen[str]:
    """One machine's launcher, under a host name of its own."""
    hostfile = spec.work.parent / "hostfile"
    hostfile.parent.mkdir(parents=True, exist_ok=True)
    hostfile.write_text("".join(f"{address} slots=1\n" for address in ADDRESSES))
    nodes = Nodes(
        count=2,
        rank=number,
        rendezvous=f"{ADDRESSES[0]}:29517",
        hostfile=hostfile,
        interface="eth0",
    )
    command, additions = launch_command(write_spec(spec), 1, launcher, nodes)
    name = f"machine{number}"
    return subprocess.Popen(
        ["ip", "netns", "exec", machine, "unshare", "--uts", "sh", "-c",
         f'hostname {name}; exec "$@"', "sh", *command],
        env=os.environ | additions,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )  # fmt: skip


def kill_machine(machine: str) -> None:
    """Kill all that runs on a machine."""
    found = subprocess.run(["ip", "netns", "pids", machine], capture_output=True, text=True)
    for process in found.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


@needs_networks
@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_two_machines_train_as_one(tmp_path: Path, launcher: Launcher) -> None:
    """The losses and weights of two ranks on one machine."""
    alone = make_spec(tmp_path, "alone", zero_stage=1)
    code, output = run(alone, 2, "torchrun")
    assert code == 0, output
    spec = make_spec(tmp_path, "together", zero_stage=1)
    with two_machines() as machines:
        children = [start_on(name, n, spec, launcher) for n, name in enumerate(machines)]
        outputs = [child.communicate(timeout=240)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], "\n".join(outputs)
    assert files_of(spec.destination) == files_of(alone.destination)


@needs_networks
@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("how", ["kill", "unplug"])
def test_a_machine_that_dies_ends_the_other(tmp_path: Path, killed: int, how: str) -> None:
    spec = make_spec(tmp_path, steps=100_000)
    with two_machines() as machines:
        children = [start_on(name, n, spec, "torchrun") for n, name in enumerate(machines)]
        wait_for_step(spec, 5, timeout_s=120)
        began = time.monotonic()
        if how == "unplug":
            ip("-n", machines[killed], "link", "set", "eth0", "down")
        kill_machine(machines[killed])
        output, _ = children[1 - killed].communicate(timeout=60)
        took = time.monotonic() - began
        children[killed].communicate()
    assert children[1 - killed].returncode != 0
    assert took < 45
    outcome = read_outcome(spec.work)
    assert outcome is not None
    assert outcome.state == "broken", output
    assert f"the machine machine{killed} (rank {killed}) " in outcome.message
    assert f"goes on from step {saved_step(spec.work)}" in outcome.message
    assert f"training was broken off: the machine machine{killed}" in output
    assert saved_step(spec.work) >= 4
    assert len(read_steps(spec.work / "metrics.jsonl")) >= 5


def test_what_a_launcher_is_told(tmp_path: Path) -> None:
    path = write_spec(make_spec(tmp_path))
    nodes = Nodes(count=3, rank=2, rendezvous="[fd00::1]:29500", interface="ib0")
    command, environment = launch_command(path, 8, "torchrun", nodes)
    assert {"--nnodes=3", "--node-rank=2", "--nproc-per-node=8"} <= set(command)
    assert "--rdzv-endpoint=fd00::1:29500" in command
    assert environment["GLOO_SOCKET_IFNAME"] == environment["NCCL_SOCKET_IFNAME"] == "ib0"
    with pytest.raises(SettingsError, match="runtime.hostfile"):
        launch_command(path, 8, "deepspeed", nodes)
    by_ssh = nodes.model_copy(update={"hostfile": tmp_path / "hosts", "ssh": True})
    command, _ = launch_command(path, 8, "deepspeed", by_ssh)
    assert ["--hostfile", str(tmp_path / "hosts")] == command[2:4]
    assert "--no_ssh" not in command
    with pytest.raises(SettingsError, match="need launcher"):
        launch_command(path, 1, "direct", nodes)
    for wrong in ({"rendezvous": None}, {"rendezvous": "host"}, {"rank": 3}):
        with pytest.raises(SettingsError, match=r"rendezvous|none of 0 to 2"):
            launch_command(path, 8, "torchrun", nodes.model_copy(update=wrong))
