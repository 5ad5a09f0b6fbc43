"""The stage of the benchmarks' n-grams: the evaluation room and GPT-2's vocabulary joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.overlap_benchmarks import BenchmarkNgramsConfig, list_ngrams
from webtext.counts import Progress


def list_benchmark_ngrams(
    *, folder: Path, config: BenchmarkNgramsConfig, destination: Path, progress: Progress
) -> dict[str, Any]:
    """List the n-grams of the benchmarks in a folder."""
    from webtext.vocabulary import gpt2_encoding

    encoding = gpt2_encoding()
    return list_ngrams(
        folder=folder,
        encode=encoding.encode_ordinary,
        decode=encoding.decode_bytes,
        destination=destination,
        config=config,
        progress=progress,
    )
