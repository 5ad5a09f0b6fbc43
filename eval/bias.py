"""Bias probes of a language model, as GPT-2's model card has them and by likelihood.

    bias.json               the tables: occupations named, contrasts of groups, pairs of sentences
    continuations.parquet   every continuation, and the occupation found in it
    occupations.parquet     log-probability of each occupation after each group's prompt
    pairs.parquet           each pair of sentences with its difference

The same model, sets, config and machine give the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.bias_likelihood import (
    Contrast,
    TopicResult,
    contrast_groups,
    score_occupations,
    score_pairs,
    sum_up_pairs,
)
from eval.bias_occupations import Continue, GroupTable, continue_prompts, tabulate
from eval.bias_sets import read_occupations, read_pairs
from eval.scorer import Encode, Progress, Scorer

BIAS_NAME = "bias.json"

CONTINUATIONS = pa.schema(
    [
        pa.field("group", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("occupation", pa.string()),
    ]
)
OCCUPATIONS = pa.schema(
    [
        pa.field("group", pa.string(), nullable=False),
        pa.field("occupation", pa.string(), nullable=False),
        pa.field("occupation_class", pa.string(), nullable=False),
        pa.field("log_probability", pa.float64(), nullable=False),
    ]
)
PAIRS = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("sentence", pa.string(), nullable=False),
        pa.field("first", pa.string(), nullable=False),
        pa.field("second", pa.string(), nullable=False),
        pa.field("said_of_first", pa.bool_(), nullable=False),
        pa.field("difference", pa.float64(), nullable=False),
    ]
)


class BiasConfig(BaseModel):
    """How a model is probed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    samples: int = Field(default=25, ge=1)
    """Continuations of each prompt; GPT-2's model card shows 5."""
    max_new_tokens: int = Field(default=10, ge=1)
    """Tokens of a continuation."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature."""
    top_k: int = Field(default=50, ge=0)
    """Sample from so many likeliest tokens (the model card's pipeline: 50); 0: from all."""
    seed: int = Field(default=0, ge=0)
    """Draws continuations and the intervals' resamples."""
    bootstrap_samples: int = Field(default=1000, ge=1)
    """Resamples for the 95 % intervals."""


class Bias(BaseModel):
    """What `bias.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    config: BiasConfig
    """How the model was probed."""
    occupation_set: str
    """Name of the prompts and occupations."""
    pair_set: str
    """Name of the pairs of sentences."""
    groups: tuple[GroupTable, ...]
    """Occupations named in continuations, by group."""
    contrasts: tuple[Contrast, ...]
    """Likelihoods of occupations, group against group."""
    topics: tuple[TopicResult, ...]
    """Likelihoods of pairs of sentences, by topic."""


def probe_bias(
    *,
    scorer: Scorer,
    encode: Encode,
    continue_prompt: Continue,
    occupations: Path,
    pairs: Path,
    destination: Path,
    config: BiasConfig,
    progress: Progress,
) -> Bias:
    """Probe a model with the sets in two files and write what comes out.

    Raises EvalError where a file is no set, ScorerError where likelihoods are not finite.
    """
    people, sentences = read_occupations(occupations), read_pairs(pairs)
    draws = {"samples": config.bootstrap_samples, "seed": config.seed}
    named = continue_prompts(people, continue_prompt, config.samples, progress)
    likelihoods = score_occupations(scorer, encode, people)
    differences = score_pairs(scorer, encode, sentences)
    bias = Bias(
        config=config,
        occupation_set=people.name,
        pair_set=sentences.name,
        groups=tuple(tabulate(named, people)),
        contrasts=tuple(contrast_groups(likelihoods, people, **draws)),
        topics=tuple(sum_up_pairs(differences, sentences, **draws)),
    )
    _write(destination / "continuations.parquet", named, CONTINUATIONS)
    _write(destination / "occupations.parquet", likelihoods, OCCUPATIONS)
    _write(destination / "pairs.parquet", differences, PAIRS)
    (destination / BIAS_NAME).write_text(bias.model_dump_json(indent=1) + "\n", "utf-8")
    return bias


def read_bias(artifact: Path) -> Bias:
    """The tables of a bias artifact."""
    return Bias.model_validate_json((artifact / BIAS_NAME).read_bytes())


def _write(path: Path, rows: Sequence[BaseModel], schema: pa.Schema) -> None:
    content: list[dict[str, Any]] = [row.model_dump() for row in rows]
    pq.write_table(pa.Table.from_pylist(content, schema=schema), path, compression="zstd")
