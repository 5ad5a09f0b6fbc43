"""How a training is started from outside, and how it tells how it ended. Imports no torch.

A caller (a flow) writes a `TrainSpec` to a file, starts `launch_command` in a process group of its
own, follows `work/metrics.jsonl`, and forwards SIGTERM to the group. Exit codes of
`python -m model.train`: 0 finished, 75 stopped at a checkpoint (the same command goes on from
there), 65 a mistake that the user can mend (one line on stderr), 70 the supervisor died, 71 another
rank died (the same command goes on), others: a bug or a kill. Launchers with several ranks have
exit codes of their own, so `work/outcome.json` tells the same: read it with `read_outcome`.
"""

import json
import os
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Literal

from model.config import Settings, TrainSpec
from model.errors import SettingsError

EXIT_FINISHED = 0
EXIT_MISTAKE = 65  # EX_DATAERR
EXIT_ORPHANED = 70  # EX_SOFTWARE
EXIT_PEER_DIED = 71  # EX_OSERR
EXIT_STOPPED = 75  # EX_TEMPFAIL: run the same command again

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in the work folder."""
CHECKPOINT_NAME = re.compile(r"step-(\d{8,})")

SUPERVISOR_PID = "WEBTEXT_SUPERVISOR_PID"
"""Environment variable: when the process of this id is gone, every rank ends within two seconds."""

Launcher = Literal["deepspeed", "torchrun", "direct"]


class Nodes(Settings):
    """The machines of a training, and which of them this is."""

    count: int = 1
    rank: int = 0
    rendezvous: str | None = None
    """HOST:PORT of machine 0, as the others reach it; the port is free there."""
    hostfile: Path | None = None
    """DeepSpeed's list of machines, a line `HOST slots=RANKS` each."""
    ssh: bool = False
    """Machine 0 starts the others by ssh (DeepSpeed's launcher); else each is started by itself."""
    interface: str | None = None
    """Network interface that they talk over; found by the host's name where not set."""

    def address(self) -> tuple[str, str]:
        """Host and port of the rendezvous.

        Raises:
            SettingsError: it is missing or malformed.
        """
        host, colon, port = (self.rendezvous or "").rpartition(":")
        if not (host and colon and port.isdigit()):
            raise SettingsError(
                f"{self.count} machines need a rendezvous HOST:PORT on machine 0, found "
                f"{self.rendezvous!r}; set runtime.rendezvous"
            )
        if not 0 <= self.rank < self.count:
            raise SettingsError(f"machine {self.rank} is none of 0 to {self.count - 1}")
        return host.strip("[]"), port


ONE_MACHINE = Nodes()


class Outcome(Settings):
    """How a training ended, as one of its ranks wrote it into the work folder."""

    state: Literal["running", "stopped", "finished", "failed", "broken"]
    """`broken`: a rank died, the same command goes on. `running` in a file nobody updates any more
    means that all were killed."""
    step: int = 0
    """Steps that are done and saved."""
    message: str = ""
    """What went wrong, for people."""


def launch_command(
    spec_path: Path,
    ranks: int = 1,
    launcher: Launcher = "direct",
    nodes: Nodes = ONE_MACHINE,
) -> tuple[list[str], dict[str, str]]:
    """The command line of a training on this machine, and what to add to its environment.

    `direct` is one rank without a launcher: quickest to start, and its exit code is the trainer's.

    Args:
        spec_path: the spec's file.
        ranks: processes on this machine.
        launcher: what starts them.
        nodes: the machines.

    Raises:
        SettingsError: launcher and machines do not go together.
    """
    spec = TrainSpec.model_validate_json(spec_path.read_text())
    module = ["model.train", "--spec", str(spec_path)]
    environment = {
        "DS_ACCELERATOR": spec.device,
        "OMP_NUM_THREADS": str(spec.training.cpu_threads),
        # Threads that spin while they wait make two threads three times as slow as one wherever
        # another process wants the core (measured); asleep they cost a tenth when alone.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        SUPERVISOR_PID: str(os.getpid()),
    }
    if nodes.interface is not None:
        environment |= {f"{name}_SOCKET_IFNAME": nodes.interface for name in ("GLOO", "NCCL")}
    if launcher == "direct":
        if ranks != 1 or nodes.count != 1:
            where = f" on {nodes.count} machines" if nodes.count > 1 else ""
            raise SettingsError(f"{ranks} ranks{where} need launcher 'torchrun' or 'deepspeed'")
        return [sys.executable, "-m", *module], environment
    if launcher == "torchrun":
        flags = [f"--nproc-per-node={ranks}", "--max-restarts=0", "-m"]
        command = [sys.executable, "-m", "torch.distributed.run", *_torchrun_nodes(nodes)]
        return [*command, *flags, *module], environment
    flags = _deepspeed_nodes(nodes, ranks)
    return [sys.executable, _deepspeed_script(), *flags, "--module", *module], environment


def _torchrun_nodes(nodes: Nodes) -> list[str]:
    if nodes.count == 1:
        return ["--standalone"]
    host, port = nodes.address()
    return [
        f"--nnodes={nodes.count}",
        f"--node-rank={nodes.rank}",
        "--rdzv-backend=static",
        f"--rdzv-endpoint={host}:{port}",
    ]


def _deepspeed_nodes(nodes: Nodes, ranks: int) -> list[str]:
    if nodes.count == 1:
        return [f"--num_gpus={ranks}", "--master_port", str(free_port())]
    if nodes.hostfile is None:
        raise SettingsError(
            "launcher 'deepspeed' needs runtime.hostfile to know several machines; write one line "
            "'HOST slots=RANKS' for each, or use launcher 'torchrun'"
        )
    host, port = nodes.address()
    flags = ["--hostfile", str(nodes.hostfile), "--master_addr", host, "--master_port", port]
    return flags if nodes.ssh else [*flags, "--no_ssh", f"--node_rank={nodes.rank}"]


def _deepspeed_script() -> str:
    beside = Path(sys.executable).with_name("deepspeed")
    found = str(beside) if beside.is_file() else shutil.which("deepspeed")
    if found is None:
        raise SettingsError("the deepspeed launcher is not installed; use launcher 'torchrun'")
    return found


def free_port() -> int:
    """A TCP port of this machine that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_outcome(work: Path, outcome: Outcome) -> None:
    """Tell, atomically, how the training stands."""
    aside = work / f".outcome-{socket.gethostname()}-{os.getpid()}.json"
    aside.write_text(json.dumps(outcome.model_dump()) + "\n")
    aside.replace(work / "outcome.json")


def read_outcome(work: Path) -> Outcome | None:
    """How the last training in `work` stands; None where there was none."""
    path = work / "outcome.json"
    return Outcome.model_validate_json(path.read_text()) if path.is_file() else None


def checkpoint_name(step: int) -> str:
    """Name of the folder of a checkpoint."""
    return f"step-{step:08d}"


def saved_steps(checkpoints: Path) -> list[int]:
    """Steps of the checkpoints in a folder, in numeric order."""
    if not checkpoints.is_dir():
        return []
    names = (CHECKPOINT_NAME.fullmatch(path.name) for path in checkpoints.iterdir())
    return sorted(int(match[1]) for match in names if match)


def saved_step(work: Path) -> int:
    """The step that a training in `work` would go on from; 0 where nothing is saved."""
    return max(saved_steps(work / CHECKPOINTS), default=0)
