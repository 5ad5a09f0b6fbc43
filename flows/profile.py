"""A profile: every stage's config, what to read, and how to run, as one frozen value.

Profiles are TOML files, a section a stage. They are also the flows' parameters, so Prefect's pages
show them as forms. What the bytes depend on (the stages' sections) is kept apart from how a run is
done (`runtime`), which never changes a fingerprint.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from eval.bias import BiasConfig
from eval.demo_benchmarks import DemoBenchmarksConfig
from eval.scores import EvalConfig
from flows.gates_config import Gate
from flows.inputs import Inputs
from flows.overlap_config import OverlapConfig
from flows.zero_shot import ZeroShotConfig
from infra.errors import ProfileError
from infra.place import folder_of, is_address, open_store, plain_address
from infra.profiles import override, read_profile
from infra.secrets import require_no_password
from infra.store import Store
from model.config import CheckpointConfig, ModelConfig, MonitorConfig, TrainConfig
from model.device import WantedDevice
from model.launch import Launcher, Nodes
from webtext.corpus import CorpusConfig
from webtext.crawl_config import CrawlConfig
from webtext.demo_web import DemoWebConfig
from webtext.documents import DocumentsConfig
from webtext.duplicates import DuplicatesConfig
from webtext.links import LinksConfig
from webtext.pages import PagesConfig
from webtext.row_config import RowsConfig
from webtext.shards import ShardsConfig
from webtext.signatures import SignaturesConfig
from webtext.submission_rules import SubmissionsConfig


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )


class Runtime(_Section):
    """How a run is done. But for a model's `ranks` and `device`, no byte depends on it."""

    store: Path = Path("runs")
    """Folder of artifacts, run records and Prefect's database; or the address of a store in object
    storage (`s3://bucket/prefix`), whose copies on this machine are in the folder of
    WEBTEXT_CACHE."""
    shared: str | None = None
    """The store's address, where `store` was given as one."""
    store_timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for object storage to answer, or to go on answering."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Partitions worked on at once."""
    memory_gib: float = Field(default=8.0, gt=0)
    """Limit on the memory of each child process."""
    part_timeout_s: float = Field(default=24 * 3600.0, gt=0)
    """Longest time that one part of a stage may take."""
    engine: Literal["local", "ray"] = "local"
    """Where parts are worked on: by children of this machine, or on a Ray cluster."""
    ray_address: str | None = None
    """The cluster: `HOST:6379`, `ray://HOST:10001`, or `auto` for the one that this machine is a
    node of. Default: RAY_ADDRESS."""
    crawl_concurrency: int = Field(default=64, ge=1)
    """Hosts that one worker asks at once."""
    crawl_host_delay_s: float = Field(default=1.0, ge=0)
    """Least pause between two requests to one site."""
    archive_delay_s: float = Field(default=0.0, ge=0)
    """Pause between the starts of two requests to a gateway, an index server or an archive; public
    ones want a second or more."""
    ranks: int = Field(default=1, ge=1)
    """Training processes on each machine."""
    nodes: int = Field(default=1, ge=1)
    """Machines that train together; docs/training-at-scale.md tells how they are started."""
    node_rank: int = Field(default=0, ge=0)
    """Which of them this is; machine 0 runs the flow, the others `webtext join`."""
    rendezvous: str | None = None
    """HOST:PORT of machine 0, as the others reach it."""
    hostfile: Path | None = None
    """DeepSpeed's list of machines, for launcher `deepspeed`: a line `HOST slots=RANKS` each."""
    launch_by_ssh: bool = False
    """Have DeepSpeed's launcher on machine 0 start the others by ssh, without `webtext join`."""
    network_interface: str | None = None
    """Network interface that the machines talk over; found by their names where not set."""
    shards_cache: Path | None = None
    """Folder on a disk of each machine's own that training copies its shards to first, checked
    against their hashes at every start."""
    launcher: Launcher = "deepspeed"
    """What starts them: `deepspeed`, `torchrun`, or `direct` for one process."""
    other_versions: Literal["refuse", "accept", "remake"] = "refuse"
    """What to do with an artifact that other versions of packages have made than are installed:
    stop and say so, take it and mark the run, or make another beside it (docs/upgrades.md)."""
    openlineage_url: str | None = None
    """Server that OpenLineage events are sent to, besides the store's folder `events`; the
    environment's OPENLINEAGE_URL by default."""
    device: WantedDevice = "auto"
    """What trains and scores: `cpu`, `cuda`, or `auto` for a GPU where torch sees one. It is part
    of a model's identity, since another device gives other last bits."""

    disk_floor_gib: float = Field(default=0.5, ge=0)
    """Room that stays free on the store's disk: a stage that is not expected to leave it is not
    begun, and a run is stopped, to go on later, when less is left. 0 for no floor."""
    log_json: Path | None = None
    """File to which each event and message is appended as a line of JSON."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port on loopback at which the run's figures are served in Prometheus' form; 0 takes one."""
    metrics_file: Path | None = None
    """File that is rewritten with the same figures, for the node exporter's textfile collector."""
    secrets: dict[str, str] = Field(default_factory=dict)
    """Prefect secret blocks by the environment variable that gets what they hold, for settings
    that say `${NAME}`."""

    def training_nodes(self) -> Nodes:
        """The machines that train together."""
        return Nodes(
            count=self.nodes,
            rank=self.node_rank,
            rendezvous=self.rendezvous,
            hostfile=self.hostfile,
            ssh=self.launch_by_ssh,
            interface=self.network_interface,
        )

    @property
    def is_watched(self) -> bool:
        """Whether a log or metrics are asked for."""
        asked = (self.log_json, self.metrics_port, self.metrics_file)
        return any(each is not None for each in asked)

    @field_validator("openlineage_url")
    @classmethod
    def _hold_no_password(cls, value: str | None) -> str | None:
        require_no_password("runtime.openlineage_url", value or "")
        return value

    @model_validator(mode="before")
    @classmethod
    def _place(cls, value: Any) -> Any:
        """The folder of an address follows from this machine, whoever wrote the profile down."""
        if not isinstance(value, dict):
            return value
        address = value["store"] if is_address(value.get("store")) else value.get("shared")
        if not address:
            return value
        return {**value, "store": folder_of(address), "shared": plain_address(address)}

    def open_store(self) -> Store:
        """The store, in its folder or behind its address."""
        return open_store(self.shared or self.store, self.store_timeout_s)


_PARTITIONED = ("submissions", "links", "rows")
"""Sections that have the number of partitions."""


class Profile(_Section):
    """Everything a pipeline needs to know."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    """The readable part of the artifacts' names."""
    description: str = ""
    """What the profile is for; the model card repeats it."""
    partitions: int = Field(default=8, ge=1, le=65536)
    """Partitions of the corpus, fixed for its life; the sections that need it take it from here."""
    inputs: Inputs = Inputs()
    demo_web: DemoWebConfig | None = None
    """Make a small web to read, where no submissions are given."""
    submissions: SubmissionsConfig = SubmissionsConfig()
    links: LinksConfig = LinksConfig()
    crawl: CrawlConfig = CrawlConfig()
    pages: PagesConfig = PagesConfig()
    rows: RowsConfig = RowsConfig()
    """Which columns of an existing corpus hold what."""
    documents: DocumentsConfig = DocumentsConfig()
    signatures: SignaturesConfig = SignaturesConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    corpus: CorpusConfig = CorpusConfig()
    shards: ShardsConfig = ShardsConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig(steps=100, sequences_per_step=2)
    checkpoints: CheckpointConfig = CheckpointConfig()
    """How often training is saved; no part of what is trained."""
    monitors: MonitorConfig = MonitorConfig()
    """Where training's metrics go beside its log; no part of what is trained."""
    zero_shot: ZeroShotConfig = ZeroShotConfig()
    demo_benchmarks: DemoBenchmarksConfig | None = None
    """Cut small benchmark files from held-out documents, where no benchmarks are given."""
    eval: EvalConfig = EvalConfig()
    overlap: OverlapConfig = OverlapConfig()
    bias: BiasConfig = BiasConfig()
    gates: dict[str, Gate] = {}
    """Expectations that stop or mark a run right after a stage; no part of what is made."""
    runtime: Runtime = Runtime()
    """How the run is done."""

    @model_validator(mode="before")
    @classmethod
    def _share_partitions(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "partitions" not in value:
            return value
        shared = {"partitions": value["partitions"]}
        sections = {name: {**shared, **value.get(name, {})} for name in _PARTITIONED}
        return {**value, **sections}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name in _PARTITIONED:
            section = getattr(self, name)
            if section.partitions != self.partitions:
                raise ValueError(
                    f"{name}.partitions is {section.partitions}, but partitions is "
                    f"{self.partitions}; leave the former out"
                )
        return self


def load_profile(reference: str | Path, assignments: Sequence[str] = ()) -> Profile:
    """Read a profile and apply assignments such as `train.steps=20`.

    Raises:
        ProfileError: it is missing, malformed, or a key or value is wrong; the message names it.
    """
    settings = override(read_profile(reference), assignments)
    try:
        return Profile.model_validate(settings)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise ProfileError(f"the profile {reference} cannot be used:\n{problems}") from error


def as_profile(value: Profile | str | Path) -> Profile:
    """A flow's `profile` parameter: the value itself, or the name or path of one."""
    return value if isinstance(value, Profile) else load_profile(value)


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(known)}"
        return f"{where}: there is no such key{hint}"
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']} (found {problem['input']!r})"


def _fields_at(location: Sequence[Any]) -> list[str]:
    model: Any = Profile
    for part in location:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), None)
        if model is None:
            return []
    return sorted(model.model_fields)
