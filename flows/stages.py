"""The stages: what each is called, which function makes it, and what its numbers count.

A stage's version is raised when its bytes change for equal inputs and config, so that artifacts of
the older code are never taken for those of the newer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One box of the pipeline."""

    name: str
    """The folder of its artifacts in the store."""
    function: str
    """`module:function` of its work on one part."""
    rows: str
    """What its counts count, in the plural."""
    unit: str
    """What its progress counts, in the plural."""
    version: int = 1
    resumable: bool = False
    """Whether the function goes on from what a killed attempt left."""
    local: bool = False
    """Whether a part reads, of what is partitioned, its own partition alone."""
    reads: tuple[str, ...] | None = None
    """Patterns of the roles whose files it reads, and not manifests alone; None: all."""
    optional: tuple[str, ...] = ()
    """Roles in which a table without rows is the same to a part as none."""
    packages: tuple[str, ...] = ()
    """Packages whose versions show in what it makes (docs/upgrades.md says why these)."""


_TEXT = ("lxml", "py3langid", "tiktoken", "trafilatura")


DEMO_WEB = Stage("demo-web", "webtext.demo_web:build_demo_web", "pages", "pages")
SUBMISSIONS = Stage(
    "submissions",
    "webtext.submissions:read_submissions_dump",
    "rows",
    "bytes",
    version=3,
    packages=("tldextract",),
)
HUB = Stage("hub", "webtext.hub:download_files", "files", "bytes", resumable=True)
ROWS = Stage("rows", "webtext.rows:read_row_file", "rows", "bytes", packages=("tldextract",))
ROW_PAGES = Stage(
    "row-pages",
    "webtext.row_pages:make_row_pages_partition",
    "rows",
    "rows",
    local=True,
    optional=("removals",),
    packages=("py3langid", "tiktoken"),
)
LINKS = Stage("links", "webtext.links:group_links_partition", "submissions", "links")
REMOVALS = Stage("removals", "webtext.removals:deal_removals", "removals", "removals")
WARC_INDEX = Stage("warc-index", "webtext.warc_index:index_archives", "records", "files")
CAPTURES = Stage(
    "captures",
    "webtext.crawl:crawl_partition",
    "links",
    "links",
    version=4,
    resumable=True,
    local=True,
)
PAGES = Stage(
    "pages",
    "webtext.pages:extract_pages_partition",
    "pages",
    "pages",
    local=True,
    optional=("removals",),
    packages=_TEXT,
)
DOCUMENTS = Stage(
    "documents",
    "webtext.documents:filter_documents_partition",
    "pages",
    "pages",
    version=2,
    local=True,
    packages=("tiktoken",),
)
SIGNATURES = Stage(
    "signatures",
    "webtext.signatures:sign_documents_partition",
    "documents",
    "documents",
    version=2,
    local=True,
)
DUPLICATES = Stage(
    "duplicates", "webtext.duplicates:find_duplicates", "documents", "documents", version=2
)
CORPUS = Stage(
    "corpus", "webtext.corpus:select_corpus_partition", "documents", "documents", local=True
)
DATASET = Stage("dataset", "flows.dataset:write_dataset", "documents", "files", reads=("corpus",))
FIDELITY = Stage("fidelity", "webtext.domain_counts:measure_fidelity", "links", "tables")
SHARDS = Stage(
    "shards",
    "webtext.shards:pack_shards_partition",
    "documents",
    "documents",
    local=True,
    packages=("tiktoken",),
)
SERIES = Stage("series", "flows.series_stage:gather_series", "documents", "files")
MODEL = Stage(
    "model", "model.train:main", "steps", "steps", version=3, packages=("deepspeed", "torch")
)
DEMO_BENCHMARKS = Stage(
    "demo-benchmarks", "eval.demo_benchmarks:cut_demo_benchmarks", "documents", "files"
)
SCORES = Stage(
    "scores", "flows.scoring:score_benchmark_file", "items", "items", version=3, packages=("torch",)
)
NGRAM_FILTER = Stage(
    "ngram-filter",
    "eval.overlap_filter:build_filter_partition",
    "documents",
    "documents",
    local=True,
)
BENCHMARK_NGRAMS = Stage(
    "benchmark-ngrams", "flows.overlap_stage:list_benchmark_ngrams", "benchmarks", "benchmarks"
)
NGRAM_HITS = Stage(
    "ngram-hits", "eval.overlap_hits:find_hits_partition", "documents", "documents", local=True
)
OVERLAP = Stage("overlap", "eval.overlap_report:report_overlap", "variants", "variants")
CLEAN_SCORES = Stage(
    "clean-scores", "eval.overlap_scores:score_clean_items", "scores", "benchmarks"
)
BIAS = Stage("bias", "flows.bias_stage:probe_model", "continuations", "continuations", version=2)
CURVES = Stage("curves", "flows.curves:draw_curves_of", "models", "models")
CARD = Stage(
    "card",
    "flows.card:write_card",
    "artifacts",
    "artifacts",
    version=5,
    reads=("model", "scores/*", "fidelity", "corpus", "shards", "bias", "overlap", "clean-scores"),
)

FUNNEL = (
    SUBMISSIONS, LINKS, CAPTURES, PAGES, ROWS, ROW_PAGES, DOCUMENTS, DUPLICATES, CORPUS, SHARDS,
)  # fmt: skip
"""The stages whose counts follow one another to the shards' documents: from a dump's rows, or from
those of an existing corpus."""
