"""How a score was made, as a frozen value that travels with it.

A score without its protocol is not a score: no public project reproduces all ten columns, and
OpenAI released no evaluation code. Up to three variants a column are told apart:

`paper`      the best reading of Radford et al. 2019: likelihood of the de-tokenized text, divided
             by the original canonical units (words and ends of line, bytes, characters)
`lm-eval`    equal to EleutherAI's lm-evaluation-harness 0.4 (LAMBADA and WikiText-2)
`raw-token`  the file as it is, a BPE token the unit: what most reports quote

`id` is a digest of every field, so a change in any of them is another protocol.
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

Column = Literal[
    "lambada_ppl",
    "lambada_acc",
    "cbt_cn",
    "cbt_ne",
    "wikitext2",
    "ptb",
    "enwik8",
    "text8",
    "wikitext103",
    "1bw",
]
Variant = Literal["paper", "lm-eval", "raw-token"]
Measure = Literal["perplexity", "bits", "accuracy"]
Benchmark = Literal[
    "lambada", "cbt_cn", "cbt_ne", "wikitext2", "ptb", "enwik8", "text8", "wikitext103", "1bw"
]

BENCHMARKS: tuple[Benchmark, ...] = (
    "lambada",
    "cbt_cn",
    "cbt_ne",
    "wikitext2",
    "ptb",
    "enwik8",
    "text8",
    "wikitext103",
    "1bw",
)
"""Files to score, in the order of the published table's columns."""

COLUMNS: tuple[Column, ...] = (
    "lambada_ppl",
    "lambada_acc",
    "cbt_cn",
    "cbt_ne",
    "wikitext2",
    "ptb",
    "enwik8",
    "text8",
    "wikitext103",
    "1bw",
)
"""The ten columns in the order of the published table."""

VARIANTS: tuple[Variant, ...] = ("paper", "lm-eval", "raw-token")

BOUNDARY_FIRST = "<|endoftext|> before the text, never scored"
FIRST_NOT_SCORED = "no boundary: the first token of each window is not scored"
NEWLINE_FIRST = "a newline before the text, no <|endoftext|>"
NO_BOUNDARY = "nothing before the text"


def columns_of(benchmark: Benchmark) -> tuple[Column, ...]:
    """The columns that a benchmark's file fills: two for LAMBADA."""
    return ("lambada_ppl", "lambada_acc") if benchmark == "lambada" else (benchmark,)


def benchmark_of(column: Column) -> Benchmark:
    """The benchmark whose file fills `column`."""
    return next(benchmark for benchmark in BENCHMARKS if column in columns_of(benchmark))


class Protocol(BaseModel):
    """All that a score depends on beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: Column
    """Column of the published table."""
    variant: Variant
    """Which reading of the column."""
    measure: Measure
    """`perplexity`: exp(NLL / units); `bits`: NLL / ln 2 / units; `accuracy`: per cent."""
    unit: str
    """What the likelihood is divided by, or what is right or wrong."""
    scored: str
    """Which tokens count."""
    detokenizer: str
    """Name and version of the de-tokenizer, or "none"."""
    window: int
    """Most input tokens at once."""
    stride: int | None
    """Tokens from one window to the next; None where items stand alone."""
    last_window: str
    """How the last, shorter window of a text is filled, or what is cut from a long item."""
    first_token: str
    """What the first token is conditioned on."""
    ties: str
    """Which of equally likely answers is taken; "none" where nothing is chosen."""
    filter: str
    """Words left out of the argmax, or "none"."""
    sample: str | None
    """Which part of the file was scored; None: all of it."""
    dtype: str
    """Arithmetic of the model."""
    data_sha256: str
    """Of the benchmark's whole file."""
    data_split: str
    """Split that the file is, and the part of it that is scored."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def id(self) -> str:
        """`column/variant/` and eight hexadecimal digits of a digest of all fields."""
        content = self.model_dump_json(exclude={"id"})
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return f"{self.column}/{self.variant}/{digest}"
