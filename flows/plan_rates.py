"""Figures that an estimate is made from, each with where it comes from.

A figure is a rate (seconds or bytes for one unit of a stage's work) or a yield (pages of a link,
tokens of a document). It is taken from the first of these that has it:

1. an earlier run's manifests in the store: the real web, this machine;
2. the measurement on this machine (`flows.plan_measure`), kept in the store;
3. an assumption: what was measured on two shared cores in November 2026, or WebText as published.

Nothing here imports Prefect or reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import CorruptArtifact
from infra.files import write_atomic
from infra.manifest import Manifest
from infra.store import Store

RATES_PATH = Path("plans") / "rates.json"
"""Where a store keeps what was measured; a runtime file, no artifact depends on it."""

LEAST_PART_SECONDS = 10.0
"""Parts of an earlier run that took less say more of their start than of their work."""
LEAST_LINKS = 1_000
"""An earlier run of fewer links tells the yields of its own profile alone."""


class Figure(BaseModel):
    """A number and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    source: str


Figures = dict[str, Figure]
"""By name: `STAGE.seconds` and `STAGE.bytes` for a unit of the stage's driver, and the yields."""


class Observation(BaseModel):
    """What one stage did: of a measurement, or by a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: dict[str, Any]
    seconds: float
    """Of all its parts together; of a measurement, of the rows alone."""
    parts: int = 1
    part_s: float | None = None
    """Seconds that a part takes besides its rows, where that was measured."""
    start_s: float | None = None
    """Seconds until a worker is ready for its first part, where that was measured."""
    bytes: int
    """Of its files."""


class Measurement(BaseModel):
    """What was measured on a machine: the stages on built-in pages, starts, and FLOP/s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    measured_at: str
    cores: int
    stages: dict[str, Observation]
    start_s: float
    """From starting a worker to its first row."""
    training_start_s: float
    """The same of the trainer: torch and DeepSpeed."""
    flops: float
    """Floating-point operations a second of a training step."""
    threads: int
    """Threads that the step had."""
    device: str
    """`cpu` or `cuda`: the profile's where the machine has it."""

    @property
    def source(self) -> str:
        """What a figure of it says of itself."""
        return f"measured on {self.host}, {self.measured_at[:10]}, on the built-in pages"


TIME_DRIVERS = {
    "submissions": "text_bytes",
    "links": "submissions",
    "captures": "links",
    "pages": "pages",
    "documents": "document_tokens",
    "signatures": "document_tokens",
    "duplicates": "documents",
    "corpus": "document_tokens",
    "fidelity": "links",
    "shards": "kept_tokens",
    "ngram-filter": "kept_tokens",
    "ngram-hits": "kept_tokens",
}
"""The quantity that a stage's time grows with."""

SCAN_STAGES = ("ngram-filter", "ngram-hits")
"""Stages that go through the corpus again, after the model."""
CORPUS_STAGES = tuple(stage for stage in TIME_DRIVERS if stage not in SCAN_STAGES)
"""Stages from the dumps to the shards."""

DISK_DRIVERS = {
    "submissions": "submissions",
    "links": "links",
    "captures": "pages",
    "pages": "document_tokens",
    "documents": "document_tokens",
    "signatures": "documents",
    "duplicates": "documents",
    "corpus": "kept_tokens",
    "fidelity": "once",
    "shards": "kept_tokens",
    "ngram-filter": "kept_tokens",
    "ngram-hits": "kept_tokens",
}
"""The quantity that the bytes of a stage's artifact grow with."""

YIELDS = {
    "links_per_submission": ("links", "submissions"),
    "pages_per_link": ("pages", "links"),
    "documents_per_page": ("documents", "pages"),
    "tokens_per_document": ("document_tokens", "documents"),
    "kept_per_document": ("kept", "documents"),
    "tokens_per_kept": ("kept_tokens", "kept"),
    "text_bytes_per_row": ("text_bytes", "rows"),
    "submissions_per_row": ("submissions", "rows"),
}
"""Each a quotient of two quantities."""

_TWO_CORES = "assumed: two shared cores, November 2026, on the built-in pages"
_WEBTEXT = "assumed: WebText's size, 45 M links to 20 M pages, 8 M documents and 9 G tokens"
_REAL_PAGES = "assumed: pages of 150 KB, a quarter of it when compressed"

ASSUMED: Figures = {
    "pages_per_link": Figure(value=20 / 45, source=_WEBTEXT),
    "documents_per_page": Figure(value=0.5, source=_WEBTEXT + "; half of the pages pass"),
    "tokens_per_document": Figure(value=9e9 / 8e6, source=_WEBTEXT),
    "kept_per_document": Figure(value=0.8, source=_WEBTEXT + "; four of five are no copies"),
    "tokens_per_kept": Figure(value=9e9 / 8e6, source=_WEBTEXT),
    "captures.bytes": Figure(value=37_500, source=_REAL_PAGES),
    "start_s": Figure(value=0.6, source=_TWO_CORES),
    "training_start_s": Figure(value=5.0, source=_TWO_CORES),
    "flops": Figure(value=1.6e10, source=_TWO_CORES),
    "weights_read": Figure(value=5e9, source=_TWO_CORES + ": bytes a second, one token at a time"),
    **{
        f"{stage}.seconds": Figure(value=seconds, source=_TWO_CORES)
        for stage, seconds in {
            "submissions": 1e-8,
            "links": 4.5e-6,
            "captures": 1 / 347,
            "pages": 0.015,
            "documents": 6e-8,
            "signatures": 9e-8,
            "duplicates": 7e-6,
            "corpus": 3e-8,
            "fidelity": 6e-6,
            "shards": 3.6e-7,
            "ngram-filter": 1.1e-7,
            "ngram-hits": 1.3e-7,
            "benchmark-ngrams": 1.4e-6,
            "overlap": 3.3e-7,
        }.items()
    },
    **{
        f"{stage}.bytes": Figure(value=size, source=_TWO_CORES)
        for stage, size in {
            "submissions": 56,
            "links": 72,
            "pages": 1.05,
            "documents": 1.1,
            "signatures": 430,
            "duplicates": 12.6,
            "corpus": 1.25,
            "fidelity": 123_000,
            "shards": 2.05,
            "ngram-filter": 5.3,
            "ngram-hits": 0.05,
            "benchmark-ngrams": 3.3,
            "overlap": 0.01,
        }.items()
    },
}
"""What is taken where neither a run nor a measurement is there."""

REAL_SECONDS = {"captures": 1 / 347, "pages": 0.023}
"""A page of the real web on the reference machine (two shared cores, November 2026):
`python -m tests.bench crawl_speed`; and 25.5 ms of bare trafilatura, our share of it by
`extract_speed`."""
BUILT_IN_SECONDS = {"captures": 0.0009, "pages": 0.0073}
"""A built-in page on the same machine: the quotient of this and what was measured here is how much
slower or faster this machine is."""


def quantities_of(stages: Mapping[str, Observation]) -> dict[str, float]:
    """The quantities that rates are for, of those stages that were observed."""
    found: dict[str, float] = {"once": 1.0}
    names = {
        "submissions": {"rows": "rows_in", "submissions": "rows_out"},
        "links": {"links": "rows_out"},
        "captures": {"pages": "rows_out"},
        "documents": {"documents": "rows_out"},
        "corpus": {"kept": "rows_out"},
    }
    for stage, seen in stages.items():
        found |= {name: float(seen.counts[key]) for name, key in names.get(stage, {}).items()}
    if "submissions" in stages:
        found["text_bytes"] = float(stages["submissions"].counts["facts"]["text_bytes"])
    if "documents" in stages:
        found["document_tokens"] = float(stages["documents"].counts["facts"]["tokens"])
    if "corpus" in stages:
        facts = stages["corpus"].counts["facts"]
        tokens = (value for name, value in facts.items() if name.endswith("_tokens"))
        found["kept_tokens"] = float(sum(tokens))
    return found


def figures_of(stages: Mapping[str, Observation], source: str) -> Figures:
    """The rates and yields that observed stages show; what has nothing to divide by is left out."""
    amounts = quantities_of(stages)
    found = {}
    for name, (above, below) in YIELDS.items():
        if above in amounts and amounts.get(below):
            found[name] = Figure(value=amounts[above] / amounts[below], source=source)
    for stage, seen in stages.items():
        if amounts.get(TIME_DRIVERS[stage]):
            value = seen.seconds / amounts[TIME_DRIVERS[stage]]
            found[f"{stage}.seconds"] = Figure(value=value, source=source)
        if amounts.get(DISK_DRIVERS[stage]):
            value = seen.bytes / amounts[DISK_DRIVERS[stage]]
            found[f"{stage}.bytes"] = Figure(value=value, source=source)
        for name in ("part_s", "start_s"):
            if (value := getattr(seen, name)) is not None:
                found[f"{stage}.{name}"] = Figure(value=value, source=source)
    return found


def measured_figures(measured: Measurement, *, built_in_web: bool) -> Figures:
    """What a measurement tells of a run: all of it for the demo's web, speeds alone for another.

    The cost of a real page is that of the reference machine, times how much longer this one takes
    for the built-in pages.
    """
    found = figures_of(measured.stages, measured.source)
    if not built_in_web:
        found = {name: figure for name, figure in found.items() if name not in YIELDS}
        found.pop("captures.bytes", None)
        for stage, seconds in REAL_SECONDS.items():
            factor = found.pop(f"{stage}.seconds").value / BUILT_IN_SECONDS[stage]
            found[f"{stage}.seconds"] = Figure(
                value=seconds * factor,
                source=f"{seconds * 1e3:.1f} ms for a real page on the reference machine × "
                f"{factor:.2f}, {measured.source}",
            )
    threads = f"{measured.source}, on its {measured.device} with {measured.threads} threads"
    return found | {
        "start_s": Figure(value=measured.start_s, source=measured.source),
        "training_start_s": Figure(value=measured.training_start_s, source=measured.source),
        "flops": Figure(value=measured.flops, source=threads),
    }


def earlier_figures(store: Store, profile: str) -> Figures:
    """What the newest finished artifact of each stage tells.

    Rates of parts shorter than `LEAST_PART_SECONDS` are left out, and so are yields of fewer than
    `LEAST_LINKS` links unless they are of the profile itself.
    """
    newest = _newest(store, profile)
    stages = {name: _observed(manifest) for name, manifest in newest.items()}
    if not stages:
        return {}
    labels = {
        name: f"earlier run: {name}/{manifest.name}-{manifest.fingerprint[:12]}"
        for name, manifest in newest.items()
    }
    names = ", ".join(sorted({manifest.name for manifest in newest.values()}))
    same = all(manifest.name == profile for manifest in newest.values())
    enough = same or quantities_of(stages).get("links", 0.0) >= LEAST_LINKS
    found = {}
    for name, figure in figures_of(stages, f"earlier runs in the store, {names}").items():
        stage = name.partition(".")[0]
        if stage in stages:
            seen = stages[stage]
            timed = name.endswith(".seconds")
            if timed and seen.seconds < LEAST_PART_SECONDS * seen.parts:
                continue
            if not timed and not enough:
                continue
            found[name] = figure.model_copy(update={"source": labels[stage]})
        elif enough:
            found[name] = figure
    return found


def choose_figures(*layers: Figures) -> Figures:
    """For each name the figure of the first layer that has it."""
    chosen: Figures = {}
    for layer in reversed(layers):
        chosen |= layer
    return chosen


def read_measurement(root: Path) -> Measurement | None:
    """What was measured before and is kept in the store, or None."""
    try:
        return Measurement.model_validate_json((root / RATES_PATH).read_bytes())
    except (OSError, ValidationError):
        return None


def keep_measurement(root: Path, measured: Measurement) -> None:
    """Keep it for the next estimate."""
    write_atomic(root / RATES_PATH, (measured.model_dump_json(indent=1) + "\n").encode())


def _newest(store: Store, profile: str) -> dict[str, Manifest]:
    """The newest manifest of each stage, of the profile's own where there are any."""
    found: dict[str, Manifest] = {}
    for manifest in sorted(_manifests(store), key=lambda one: one.maker.finished_at):
        stage = manifest.identity.stage
        held = found.get(stage)
        if held is None or manifest.name == profile or held.name != profile:
            found[stage] = manifest
    return found


def _manifests(store: Store) -> Iterable[Manifest]:
    for folder in store.folders():
        if folder.parent.name not in TIME_DRIVERS:
            continue
        try:
            manifest = Manifest.read(folder)
        except CorruptArtifact:
            continue  # unfinished, or for `webtext verify` to tell of
        if "lent_parts" not in manifest.measurements:  # those took no time
            yield manifest


def _observed(manifest: Manifest) -> Observation:
    return Observation(
        counts=manifest.counts,
        seconds=manifest.measurements.get("part_seconds", 0.0),
        parts=max(1, len(manifest.partitions)),
        bytes=manifest.total_bytes,
    )
