"""An estimate of a run: rows, time, memory, disk and tokens of each stage, before it is begun.

Pure arithmetic on figures (`flows.plan_rates`) and a sample of the dumps (`flows.plan_sample`):

    seconds = start + parts / parallel × (a part's seconds) + units × (a unit's) / parallel

where `parallel` is the least of workers, parts and cores; a crawl takes at least as long as
politeness demands. Memory is what the stage is bounded by, of all its workers together.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from flows.plan_rates import DISK_DRIVERS, TIME_DRIVERS, Figure, Figures
from flows.plan_sample import Sample
from flows.profile import Profile
from model.speed import step_operations
from webtext.extract_worker import WorkerConfig

GIB = 1 << 30
PROCESS_BYTES = 300 * 2**20
"""A worker with pyarrow and DuckDB imported, idle; measured."""
SORTER_BYTES = 10**9
"""DuckDB's budget (`webtext.sorting.MEMORY_LIMIT`)."""
DOCUMENT_BYTES = 64
"""Of each document while duplicates are found (`webtext.duplicates`)."""
PARAMETER_BYTES = 16
"""fp32 weight, gradient and two AdamW moments (Rajbhandari et al. 2020, section 3.1)."""
ANSWER_S = {"live": 2.0, "live-then-gateway": 2.0, "gateway": 1.0, "cdx": 1.0}
"""Mean time of an answer, as in docs/crawl-month.md: assumed."""
_BYTES_A_TOKEN = 4.5  # English text in GPT-2's vocabulary
_DEMO_BENCHMARK_BYTES = 20_000
_CHECKPOINT_BYTES = 12  # weight and two moments of each parameter
_VOCABULARY_BYTES = 3_300_000  # tokenizer files beside the weights
_SCRATCH_BYTES_A_DOCUMENT = 560  # of duplicates, at 14 × 8 (docs/decisions.md)


class StageEstimate(BaseModel):
    """What one stage is expected to take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    rows_in: float
    rows_out: float | None
    """None where no such rows are foreseen."""
    parallel: int
    """Parts worked on at once."""
    seconds: float
    memory_bytes: float
    disk_bytes: float
    """Of its artifact."""
    scratch_bytes: float = 0.0
    """Of what it needs on disk besides, until it is done."""
    tokens: float | None = None
    """Tokens of what it makes, where that has tokens; for the model, tokens trained on."""
    bound_by: Literal["work", "start", "politeness", "answers"] = "work"
    """What most of its time is."""
    sources: dict[str, str]
    """Where `time` (of its work), `start`, `memory`, `disk` and `rows` come from."""


class Estimate(BaseModel):
    """A run's estimate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str
    made_at: str
    host: str
    workers: int
    cores: int
    sample: Sample | None
    """None where there are no dumps, and training alone is estimated."""
    stages: tuple[StageEstimate, ...]

    @property
    def seconds(self) -> float:
        """Of all stages, one after the other."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def disk_bytes(self) -> float:
        """Of all artifacts."""
        return sum(stage.disk_bytes for stage in self.stages)

    @property
    def scratch_bytes(self) -> float:
        """Of the stage that needs most disk besides."""
        return max(stage.scratch_bytes for stage in self.stages)

    @property
    def memory_bytes(self) -> float:
        """Of the stage that needs most."""
        return max(stage.memory_bytes for stage in self.stages)

    @property
    def longest(self) -> StageEstimate:
        """The stage that takes most of the time."""
        return max(self.stages, key=lambda stage: stage.seconds)


def estimate_run(
    profile: Profile, sample: Sample, figures: Figures, *, cores: int, host: str, made_at: str
) -> Estimate:
    """Estimate every stage of a profile's run on the dumps that were sampled."""
    planner = _Planner(profile, sample, figures, cores)
    stages = [planner.corpus_stage(name) for name in TIME_DRIVERS]
    stages.append(planner.training())
    if (scoring := planner.scoring()) is not None:
        stages.append(scoring)
    return Estimate(
        profile=profile.name,
        made_at=made_at,
        host=host,
        workers=profile.runtime.workers,
        cores=cores,
        sample=sample,
        stages=tuple(stages),
    )


def estimate_training(
    profile: Profile, figures: Figures, *, cores: int, host: str, made_at: str
) -> Estimate:
    """Estimate a profile's training alone, on shards that are there."""
    return Estimate(
        profile=profile.name,
        made_at=made_at,
        host=host,
        workers=profile.runtime.workers,
        cores=cores,
        sample=None,
        stages=(training_stage(profile, figures, math.inf),),
    )


def training_stage(profile: Profile, figures: Figures, held_out_tokens: float) -> StageEstimate:
    """The trainer: its steps, and the validation between them at a third of their cost.

    Args:
        profile: has the steps.
        figures: has the machine's speed.
        held_out_tokens: tokens of the validation split.
    """
    network, training = profile.model, profile.train
    tokens = training.steps * training.sequences_per_step * network.context
    validations = 0
    if every := training.validation_every_steps:
        validations = training.steps // every + (training.steps % every > 0)
    sequences = min(training.validation_sequences, held_out_tokens / network.context)
    validated = validations * sequences * network.context
    flops, start = figures["flops"], figures["training_start_s"]
    busy = step_operations(network, 1) * (tokens + validated / 3) / flops.value
    logits = training.micro_batch * network.context * network.padded_vocabulary * 4
    kept = kept_checkpoints(profile)
    parameters, ranks = network.parameters, profile.runtime.ranks
    return StageEstimate(
        stage="model",
        rows_in=training.steps,
        rows_out=training.steps,
        parallel=ranks,
        seconds=start.value + busy,
        memory_bytes=ranks * (PROCESS_BYTES * 2 + PARAMETER_BYTES * parameters + logits),
        disk_bytes=parameters * 4 + _VOCABULARY_BYTES,
        scratch_bytes=parameters * _CHECKPOINT_BYTES * kept,
        tokens=tokens,
        bound_by="work" if busy > start.value else "start",
        sources={
            "time": f"(6 N + 12 L C T) operations a token; {flops.source}",
            "start": start.source,
            "memory": f"{PARAMETER_BYTES} bytes a parameter and a micro-batch's logits",
            "disk": f"weights and vocabulary; while it trains {kept} checkpoints besides",
            "rows": "the profile's steps",
        },
    )


def kept_checkpoints(profile: Profile) -> int:
    """Checkpoints that lie on the disk while a profile trains."""
    return profile.checkpoints.keep_last + len(profile.checkpoints.milestones)


def training_disk_bytes(profile: Profile) -> float:
    """What training writes: the weights, and besides them its checkpoints and the next one."""
    kept = kept_checkpoints(profile) + 1
    return profile.model.parameters * (4 + _CHECKPOINT_BYTES * kept) + _VOCABULARY_BYTES


class _Planner:
    """The quantities of one run, and what each stage makes of them."""

    def __init__(self, profile: Profile, sample: Sample, figures: Figures, cores: int) -> None:
        self._profile = profile
        self._sample = sample
        self._figures = figures
        self._cores = cores
        self.amounts = expected_amounts(sample, figures)

    def corpus_stage(self, name: str) -> StageEstimate:
        """One stage from the dumps to the shards."""
        parallel, parts = self._parallel(name)
        start, part = self._start(name)
        work = self._figures[f"{name}.seconds"]
        units = self.amounts[TIME_DRIVERS[name]]
        busy = units * work.value / parallel
        waits = start.value + math.ceil(parts / parallel) * part
        seconds, bound, why = waits + busy, "work" if busy > waits else "start", work.source
        if name == "captures":
            least, least_bound, least_why = self._politeness()
            if least > seconds:
                seconds, bound, why = least, least_bound, least_why
        rows_in, rows_out, rows_why = self._rows(name)
        memory, memory_why = self._memory(name, parallel)
        disk = self._figures[f"{name}.bytes"]
        return StageEstimate(
            stage=name,
            rows_in=rows_in,
            rows_out=rows_out,
            parallel=parallel,
            seconds=seconds,
            memory_bytes=memory,
            disk_bytes=self.amounts[DISK_DRIVERS[name]] * disk.value,
            scratch_bytes=self._scratch(name),
            tokens=self._tokens(name),
            bound_by=bound,  # type: ignore[arg-type]
            sources={
                "time": why,
                "start": start.source,
                "memory": memory_why,
                "disk": disk.source,
                "rows": rows_why,
            },
        )

    def training(self) -> StageEstimate:
        """The trainer."""
        held_out = self.amounts["kept_tokens"] * self._profile.corpus.validation_share
        return training_stage(self._profile, self._figures, held_out)

    def scoring(self) -> StageEstimate | None:
        """All benchmarks, or None where there are none to score."""
        size = self._benchmark_bytes()
        if size is None:
            return None
        network = self._profile.model
        flops, start = self._figures["flops"], self._figures["training_start_s"]
        tokens = size / _BYTES_A_TOKEN
        busy = step_operations(network, 1) / 3 * tokens / flops.value
        parallel = min(self._profile.runtime.workers, self._cores)
        return StageEstimate(
            stage="scores",
            rows_in=tokens,
            rows_out=None,
            parallel=parallel,
            seconds=start.value + busy,
            memory_bytes=parallel * (PROCESS_BYTES * 2 + 4 * network.parameters),
            disk_bytes=9 * 4_000,
            bound_by="work" if busy > start.value else "start",
            sources={
                "time": f"a third of training's operations a token, each read once (a context that "
                f"is read again is not in it); {flops.source}",
                "start": start.source,
                "memory": "4 bytes a parameter in each worker",
                "disk": "nine files of scores",
                "rows": f"the benchmarks' bytes at {_BYTES_A_TOKEN} a token, assumed",
            },
        )

    def _benchmark_bytes(self) -> float | None:
        folder = self._profile.inputs.benchmarks
        if folder is not None:
            return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
        return _DEMO_BENCHMARK_BYTES if self._profile.demo_benchmarks is not None else None

    def _parallel(self, name: str) -> tuple[int, int]:
        parts = {"submissions": self._sample.dumps, "duplicates": 1, "fidelity": 1}
        count = max(1, parts.get(name, self._profile.partitions))
        workers = self._profile.runtime.workers
        # Crawling workers wait more than they work.
        limit = workers if name == "captures" else min(workers, self._cores)
        return max(1, min(limit, count)), count

    def _start(self, name: str) -> tuple[Figure, float]:
        start = self._figures.get(f"{name}.start_s", self._figures["start_s"])
        part = self._figures.get(f"{name}.part_s")
        return start, part.value if part is not None else 0.0

    def _politeness(self) -> tuple[float, str, str]:
        """The least seconds of a crawl: its largest domain's turns, or the requests' answers."""
        crawl, runtime = self._profile.crawl, self._profile.runtime
        if crawl.source == "warc" or (crawl.source == "gateway" and self._is_own_web):
            return 0.0, "work", ""
        links, answer = self.amounts["links"], ANSWER_S[crawl.source]
        at_once = runtime.crawl_concurrency * self._parallel("captures")[0]
        answers = links * answer / at_once
        if crawl.is_live:
            delay, queue = runtime.crawl_host_delay_s + answer, self.amounts["largest_domain"]
            who = f"{queue:,.0f} links of the largest domain"
        else:
            delay, queue = runtime.archive_delay_s, links
            who = "requests to the archive"
        if queue * delay > answers:
            return queue * delay, "politeness", f"{who}, {delay:g} s from one to the next"
        why = f"{at_once:,} requests at once, {answer:g} s each (assumed: docs/crawl-month.md)"
        return answers, "answers", why

    @property
    def _is_own_web(self) -> bool:
        given = self._profile.inputs
        return given.gateway is None and not given.cdx

    def _rows(self, name: str) -> tuple[float, float | None, str]:
        a = self.amounts
        links = "the dumps' sample"
        rows: dict[str, tuple[float, float | None, str]] = {
            "submissions": (a["rows"], a["submissions"], links),
            "links": (a["submissions"], a["links"], links),
            "captures": (a["links"], a["pages"], self._figures["pages_per_link"].source),
            "pages": (a["pages"], a["pages"], self._figures["pages_per_link"].source),
            "documents": (a["pages"], a["documents"], self._figures["documents_per_page"].source),
            "corpus": (a["documents"], a["kept"], self._figures["kept_per_document"].source),
            "duplicates": (a["documents"], a["kept"], self._figures["kept_per_document"].source),
            "shards": (a["kept"], a["kept"], self._figures["kept_per_document"].source),
            "fidelity": (a["links"], None, links),
        }
        documents = self._figures["documents_per_page"].source
        return rows.get(name, (a["documents"], a["documents"], documents))

    def _tokens(self, name: str) -> float | None:
        names = {"documents": "document_tokens", "corpus": "kept_tokens", "shards": "kept_tokens"}
        return self.amounts[names[name]] if name in names else None

    def _scratch(self, name: str) -> float:
        return _SCRATCH_BYTES_A_DOCUMENT * self.amounts["documents"] if name == "duplicates" else 0

    def _memory(self, name: str, parallel: int) -> tuple[float, str]:
        """The bound of all workers together, no more than `runtime.memory_gib` lets each have."""
        runtime = self._profile.runtime
        sorter = f"{SORTER_BYTES / 1e9:g} GB of DuckDB"
        extra: dict[str, tuple[float, str]] = {
            "submissions": (
                self._sample.window_bytes + SORTER_BYTES,
                f"zstd window of {self._sample.window_bytes / 2**20:,.0f} MiB, {sorter}",
            ),
            "links": (SORTER_BYTES, sorter),
            "captures": (
                runtime.crawl_concurrency * self._profile.crawl.max_body_bytes,
                f"{runtime.crawl_concurrency} bodies of crawl.max_body_bytes, at the very most",
            ),
            "pages": (
                _worker_bytes(self._profile.pages),
                "pages.memory_limit_mb of the extraction's worker",
            ),
            "duplicates": (
                DOCUMENT_BYTES * self.amounts["documents"],
                f"{DOCUMENT_BYTES} bytes a document",
            ),
        }
        more, why = extra.get(name, (0.0, "row groups"))
        limit = runtime.memory_gib * GIB
        own = min(PROCESS_BYTES + more, limit)
        told = f"{parallel} × ({PROCESS_BYTES / 2**20:.0f} MiB, {why})"
        return parallel * own, told + (", cut at runtime.memory_gib" if own == limit else "")


def expected_amounts(sample: Sample, figures: Figures) -> dict[str, float]:
    """The quantities that stages' costs are in, from the dumps' bytes to the shards' tokens."""
    links = sample.links
    pages = links * figures["pages_per_link"].value
    documents = pages * figures["documents_per_page"].value
    kept = documents * figures["kept_per_document"].value
    return {
        "once": 1.0,
        "text_bytes": sample.text_bytes,
        "rows": sample.rows,
        "submissions": sample.submissions,
        "links": links,
        "largest_domain": sample.largest_domain,
        "pages": pages,
        "documents": documents,
        "document_tokens": documents * figures["tokens_per_document"].value,
        "kept": kept,
        "kept_tokens": kept * figures["tokens_per_kept"].value,
    }


def _worker_bytes(config: WorkerConfig) -> float:
    return config.memory_limit_mb * 2.0**20
