"""The train flow: shards to a GPT-2, by the DeepSpeed trainer in a process group of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from eval.files import missing_reason
from flows import stages
from flows.evaluate import find_benchmarks
from flows.funnel import publish_markdown
from flows.gates import step_gates
from flows.months import find_trainable
from flows.part_spec import PartSpec, is_transient
from flows.profile import Profile, as_profile
from flows.session import Session, session, session_of
from flows.work import make, planned, whole
from flows.zero_shot import FUNCTION, LOG_NAME, draw_on_the_way, on_the_way_markdown
from infra.call import PartRecord
from infra.children import log_tail, signal_group
from infra.environment import other_versions
from infra.errors import ChildDied, OtherVersions, ProfileError, StageFailed
from infra.files import files_below, write_atomic
from infra.parts import describe_file
from infra.store import Artifact
from model.config import CheckpointConfig, MonitorConfig, ProbeSpec, TrainSpec
from model.device import choose_device
from model.launch import EXIT_MISTAKE, Launcher, launch_command, read_outcome
from model.trace import read_steps
from webtext.vocabulary import vocabulary_folder

TRAINING = "training"
"""Folder of a training in its artifact's work."""
SPEC_NAME = "spec.json"
_POLL_S = 0.2
_SAVE_GRACE_S = 120.0
"""Longest wait for the checkpoint of a training that was asked to stop."""


@flow(name="train", persist_result=False)
def train(profile: Profile | str, shards: str) -> dict[str, str]:
    """Train the profile's model on a shards artifact; gives the model's label."""
    settings = as_profile(profile)
    with session("train", settings) as run:
        made = make_model(run, shards)
        model = run.store.find(made[stages.MODEL.name])
        run.store.bring(model.path, {"losses.jsonl", LOG_NAME}.__contains__)
        _publish_losses(model)
        return made


def make_model(run: Session, shards: str) -> dict[str, str]:
    """Train or find the profile's model; its label by its stage's name."""
    profile = run.profile
    config, inputs, probe = _model_plan(run, find_trainable(run.store, shards, profile.name))
    model = make(
        run,
        stages.MODEL,
        config,
        inputs,
        whole(),
        {},
        run=lambda spec: train_model(spec, profile.checkpoints, profile.monitors, probe),
    )
    return {stages.MODEL.name: model.label}


def planned_model(run: Session, shards: str) -> tuple[Artifact, Path]:
    """The model that `make_model` would make, and the file of its trainer's spec meanwhile."""
    config, inputs, _ = _model_plan(run, find_trainable(run.store, shards, run.profile.name))
    model = planned(run, stages.MODEL, config, inputs)
    return model, model.work / TRAINING / SPEC_NAME


def _model_plan(
    run: Session, shards: Artifact
) -> tuple[dict[str, Any], dict[str, Any], ProbeSpec | None]:
    """The model's identity config, its inputs, and what looks at it while it trains."""
    profile, runtime = run.profile, run.runtime
    looked_at, probe, files = _zero_shot(run, shards)
    config = {
        **_kept_milestones(profile),
        **looked_at,
        "network": profile.model.model_dump(mode="json"),
        "training": profile.train.model_dump(mode="json"),
        "ranks": runtime.ranks * runtime.nodes,  # sums are split among them
        "device": choose_device(runtime.device, runtime.ranks),
    }
    return config, {"shards": shards, **files}, probe


def _kept_milestones(profile: Profile) -> dict[str, Any]:
    """What the model's identity says of milestones; nothing where there are none."""
    steps = profile.checkpoints.milestones_until(profile.train.steps)
    kept = {"steps": steps, "as": profile.checkpoints.keep_milestones}
    return {"milestones": kept} if steps else {}


def _zero_shot(
    run: Session, shards: Artifact
) -> tuple[dict[str, Any], ProbeSpec | None, dict[str, Any]]:
    """What the model's identity says of scores on the way, the trainer's probe, and the files."""
    config = run.profile.zero_shot
    if not config.every_steps:
        return {}, None, {}
    corpus = next((e.name for e in shards.identity.inputs if e.role == "corpus"), None)
    files = find_benchmarks(run, corpus)
    wanted = config.benchmarks()
    for benchmark in wanted:
        reason = missing_reason(benchmark, files.folder)
        if reason is not None:
            raise ProfileError(f"zero_shot.columns cannot be scored while training: {reason}")
    plain = config.model_dump(mode="json")
    probe = ProbeSpec(
        function=FUNCTION,
        every_steps=config.every_steps,
        arguments={"config": plain, "folder": str(files.folder.resolve())},
    )
    records = {record.fingerprint: record for b in wanted for record in files.inputs_of(run, b)}
    return {"zero_shot": plain}, probe, {"benchmark": list(records.values())}


@task(
    name="train-model",
    retries=2,
    retry_delay_seconds=1,
    retry_condition_fn=lambda _task, _run, state: is_transient(state),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def train_model(
    spec: PartSpec,
    checkpoints: CheckpointConfig,
    monitors: MonitorConfig,
    probe: ProbeSpec | None = None,
) -> dict[str, Any]:
    """Run the launcher to its end, going on from the last checkpoint, and publish the model."""
    run = session_of(spec.run_id)
    assert run is not None
    run.store.bring_needs(spec.needs)
    began = time.monotonic()
    accepted = run.runtime.other_versions == "accept"
    if checkpoints.copy_to is not None:  # a folder for each model there
        place = f"{checkpoints.copy_to.rstrip('/')}/{spec.artifact.name}"
        checkpoints = checkpoints.model_copy(update={"copy_to": place})
    training = _training_spec(
        spec, checkpoints, monitors, probe, run.runtime.shards_cache, accepted=accepted
    )
    _launch(run, spec, training)
    if probe is not None:
        draw_on_the_way(training.destination, training.network.parameters)
    losses = read_steps(training.destination / "losses.jsonl")
    counts = {
        "steps": training.training.steps,
        "tokens": training.training.steps
        * training.training.sequences_per_step
        * training.network.context,
        "parameters": training.network.parameters,
        "spikes": len(read_steps(training.destination / "spikes.jsonl")),
        "loss": losses[-1]["loss"],
        "validation_loss": _last_validation(losses),
    }
    files = tuple(
        describe_file(training.destination, path) for path in files_below(training.destination)
    )
    seconds = time.monotonic() - began
    record = PartRecord(
        files=files, counts=counts, seconds=seconds, cpu_seconds=0.0, packages=spec.packages
    )
    run.store.publish_part(spec.artifact, spec.part, record)
    return counts


def _training_spec(
    spec: PartSpec,
    checkpoints: CheckpointConfig,
    monitors: MonitorConfig,
    probe: ProbeSpec | None,
    shards_cache: Path | None,
    *,
    accepted: bool,
) -> TrainSpec:
    training = TrainSpec.model_validate(
        {
            "shards": spec.call.arguments["shards"],
            "shards_cache": shards_cache,
            "work": spec.work / TRAINING,
            "destination": spec.call.scratch,
            "vocabulary": vocabulary_folder(),
            "network": spec.call.arguments["config"]["network"],
            "training": spec.call.arguments["config"]["training"],
            "checkpoints": checkpoints,
            "monitors": monitors,
            "probe": probe,
            "device": spec.call.arguments["config"]["device"],
        }
    )
    training.work.mkdir(parents=True, exist_ok=True)
    _check_begun(training.work, spec.packages, accepted=accepted)
    training.destination.mkdir(parents=True, exist_ok=True)
    (training.work / SPEC_NAME).write_text(training.model_dump_json(indent=2))
    return training


def _check_begun(work: Path, packages: Mapping[str, str], *, accepted: bool) -> None:
    """See that a training goes on with the versions that it was begun with.

    Raises:
        OtherVersions: it does not, and nobody has accepted that.
    """
    record = work / "packages.json"
    begun = json.loads(record.read_bytes()) if record.is_file() else {}
    differing = other_versions(begun, packages)
    if differing and not accepted:
        told = ", ".join(f"{name} {then} and not {now}" for name, (then, now) in differing.items())
        raise OtherVersions(
            f"the training in {work} was begun with {told}; install that again to go on, accept it "
            f"with --set runtime.other_versions=accept, or remove {work} to begin anew"
        )
    write_atomic(record, json.dumps(begun or packages, indent=1).encode())


def _launch(run: Session, spec: PartSpec, training: TrainSpec) -> None:
    launcher: Launcher = run.runtime.launcher
    nodes = run.runtime.training_nodes()
    command, extra = launch_command(training.work / SPEC_NAME, run.runtime.ranks, launcher, nodes)
    guard = [sys.executable, "-m", "infra.orphans", str(os.getpid()), "--"]
    log = training.work / "train.log"
    with (
        log.open("ab") as output,
        run.children.started(
            [*guard, *command],
            errors=output,
            output=output,
            environment={**os.environ, **extra},
        ) as launched,
    ):
        try:
            _follow(run, spec, training, launched)
        except BaseException:  # a cancelled flow run, above all: let it save before it is ended
            signal_group(launched, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                launched.wait(_SAVE_GRACE_S)
            raise
    run.children.check()
    outcome = read_outcome(training.work)
    if outcome is not None and outcome.state == "finished":
        return
    if outcome is not None and outcome.state == "stopped":
        # Not by this run, or `check` would have raised: trying again goes on.
        raise ChildDied(f"the trainer was stopped from outside at step {outcome.step}")
    if outcome is not None and outcome.state == "broken":
        raise ChildDied(outcome.message)
    if launched.returncode == EXIT_MISTAKE or (outcome and outcome.state == "failed"):
        message = (outcome.message if outcome else "") or log_tail(log)
        raise StageFailed(f"training failed: {message}\nIts log is {log}")
    raise ChildDied(
        f"the trainer died (code {launched.returncode}); its log ends:\n{log_tail(log)}"
    )


def _follow(
    run: Session, spec: PartSpec, training: TrainSpec, launched: subprocess.Popen[bytes]
) -> None:
    """Report each step until the launcher ends; a stop leaves it time to save."""
    deadline = None
    facts: dict[str, float] = {}
    judge = step_gates(run, f"{spec.artifact.parent.name}/{spec.artifact.name}")
    while launched.poll() is None:
        judge(training.work / "metrics.jsonl", _report(run, spec, training, facts))
        if run.children.is_stopping and deadline is None:
            deadline = time.monotonic() + _SAVE_GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)
    _report(run, spec, training, facts)


def _report(run: Session, spec: PartSpec, training: TrainSpec, facts: dict[str, float]) -> int:
    """Report the last step and give its number; `facts` keeps what is measured now and then."""
    line = _last_line(training.work / "metrics.jsonl")
    if line is not None:
        shown = ("loss", "validation_loss", "tokens_per_second", "mfu")
        looks = [name for name in line if name.startswith("zero_shot/")]
        facts |= {
            name: line[name] for name in (*shown, *looks) if isinstance(line.get(name), int | float)
        }
        run.reporter.progress(spec.title, spec.part, line["step"], training.training.steps, facts)
    return int(line["step"]) if line is not None else 0


def _last_line(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            whole_lines = file.read().splitlines(keepends=True)
        for line in reversed(whole_lines):
            if line.endswith(b"\n"):
                value: dict[str, Any] = json.loads(line)
                return value
    except (OSError, ValueError):
        return None
    return None


def _last_validation(losses: list[dict[str, Any]]) -> float | None:
    measured = [line["validation_loss"] for line in losses if "validation_loss" in line]
    return measured[-1] if measured else None


def _publish_losses(model: Artifact) -> None:
    """Show the loss curve on Prefect's pages: a line of bars and a table of some steps."""
    losses = read_steps(model.path / "losses.jsonl")
    every = max(1, len(losses) // 20)
    rows = [line for line in losses if line["step"] % every == 0 or "validation_loss" in line]
    table = ["| step | loss | validation loss |", "|---:|---:|---:|"]
    for line in rows:
        validation = line.get("validation_loss")
        table.append(f"| {line['step']} | {_shown(line['loss'])} | {_shown(validation)} |")
    curve = sparkline([line["loss"] for line in losses if line["loss"] is not None])
    text = f"## Loss of `{model.label}`\n\n{curve}\n\n" + "\n".join(table)
    scores = on_the_way_markdown(model.path / LOG_NAME)
    if scores:
        text += f"\n\n## Zero-shot scores on the way\n\n{scores}"
    publish_markdown("loss-curve", text)


def _shown(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"


def sparkline(values: list[float], width: int = 60) -> str:
    """A curve of block characters, `width` wide, each the mean of its share of the values."""
    if not values:
        return ""
    width = min(width, len(values))
    means = []
    for column in range(width):
        first, last = column * len(values) // width, (column + 1) * len(values) // width
        means.append(sum(values[first:last]) / (last - first))
    low, high = min(means), max(means)
    scale = 7 / (high - low) if high > low else 0.0
    return "".join("▁▂▃▄▅▆▇█"[round((mean - low) * scale)] for mean in means)
