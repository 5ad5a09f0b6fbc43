"""The trainer's entry: `python -m model.train --spec FILE.json`.

Runs alone or under a launcher (`deepspeed`, `torchrun`); `model.launch` says how, and what the exit
codes mean. Signals and the supervisor's death are looked after before torch is imported, which
takes seconds.
"""

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path

from pydantic import ValidationError

from model.config import TrainSpec
from model.errors import ModelError
from model.launch import (
    EXIT_FINISHED,
    EXIT_MISTAKE,
    EXIT_STOPPED,
    Outcome,
    read_outcome,
    saved_step,
    write_outcome,
)
from model.watch import StopRequest, end_with_supervisor


def main(arguments: list[str] | None = None) -> int:
    """Train as the spec says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file with a TrainSpec")
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # deepspeed adds it
    path: Path = parser.parse_args(arguments).spec
    end_with_supervisor()
    stop = StopRequest()
    stop.listen()
    # DeepSpeed's calls of torch functions that are renamed: nothing that a user could mend.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        spec = TrainSpec.model_validate_json(path.read_text())
        return run(spec, stop)
    except (ModelError, ValidationError, OSError) as error:
        sys.stderr.write(f"training cannot go on: {error}\n")
        return EXIT_MISTAKE


def run(spec: TrainSpec, stop: StopRequest) -> int:
    """Train and leave `outcome.json` in the work folder, whatever happens."""
    first = os.environ.get("RANK", "0") == "0"
    spec.work.mkdir(parents=True, exist_ok=True)
    if first:
        write_outcome(spec.work, Outcome(state="running"))

    def leave() -> None:
        write_outcome(spec.work, Outcome(state="stopped", step=saved_step(spec.work)))

    stop.end_at_once(leave)
    os.environ["DS_ACCELERATOR"] = spec.device  # a launcher on another machine does not pass it on
    from model.trainer import train  # imports torch and deepspeed, which takes seconds

    try:
        outcome = train(spec, stop, leave)
    except BaseException as error:
        known = read_outcome(spec.work)
        if known is None or known.state == "running":  # else another rank told of its own error
            write_outcome(spec.work, Outcome(state="failed", message=str(error)))
        raise
    if first:
        write_outcome(spec.work, outcome)
    return EXIT_FINISHED if outcome.state == "finished" else EXIT_STOPPED


if __name__ == "__main__":
    sys.exit(main())
