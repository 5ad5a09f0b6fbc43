"""The metadata at the head of a model card, as Hugging Face's hub reads it (`model-index`).

Results are those of the score table, a result a column, with the data set and the file that it was
made on. No licence is named: whose the pages are is for their owners to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eval.protocols import Benchmark, Column, benchmark_of
from eval.table import TableRow
from infra.manifest import Manifest

_TAGS = ("gpt2", "text-generation", "webtext")
_DATA: dict[Benchmark, tuple[str, str, str | None]] = {
    "lambada": ("lambada", "LAMBADA", None),
    "cbt_cn": ("cbt", "Children's Book Test, common nouns", "CN"),
    "cbt_ne": ("cbt", "Children's Book Test, named entities", "NE"),
    "wikitext2": ("wikitext", "WikiText-2", "wikitext-2-v1"),
    "ptb": ("ptb_text_only", "Penn Treebank", None),
    "enwik8": ("enwik8", "enwik8", None),
    "text8": ("text8", "text8", None),
    "wikitext103": ("wikitext", "WikiText-103", "wikitext-103-v1"),
    "1bw": ("lm1b", "One Billion Word Benchmark", None),
}
"""Each benchmark's id on the hub, its name and configuration."""
_METRICS: dict[Column, str] = {
    "lambada_acc": "accuracy",
    "cbt_cn": "accuracy",
    "cbt_ne": "accuracy",
    "enwik8": "bits_per_byte",
    "text8": "bits_per_character",
}
"""The metric of a column; perplexity of the others."""

_NOT_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""What YAML 1.1 takes for something else."""


def front_matter(manifests: Mapping[str, Manifest], rows: Iterable[TableRow]) -> str:
    """The card's head in YAML, without the lines that bound it."""
    corpus = manifests["corpus"].fingerprint[:12]
    results: list[dict[str, Any]] = []
    for row in rows:
        if row.value is not None:
            _add_result(results, row)
    metrics = [metric["type"] for result in results for metric in result["metrics"]]
    value: dict[str, Any] = {
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": list(_TAGS),
        "datasets": [f"webtext-{corpus}"],
        "metrics": list(dict.fromkeys(metrics or ["perplexity"])),
    }
    if results:
        name = f"gpt2-webtext-{manifests['model'].fingerprint[:12]}"
        value["model-index"] = [{"name": name, "results": results}]
    return "\n".join(_yaml(value, 0))


def _add_result(results: list[dict[str, Any]], row: TableRow) -> None:
    """Add a column's score; the two of one file are metrics of one result."""
    kind, name, config = _DATA[benchmark_of(row.column)]
    data = {"name": f"{name} ({row.label})", "type": kind}
    data |= {} if config is None else {"config": config}
    facts = {"protocol": row.protocol, "low": row.low, "high": row.high, "items": row.items}
    metric = {
        "type": _METRICS.get(row.column, "perplexity"),
        "value": row.value,
        "name": row.title,
        "args": {key: fact for key, fact in facts.items() if fact is not None},
    }
    if results and results[-1]["dataset"] == data:
        results[-1]["metrics"].append(metric)
    else:
        task = {"type": "text-generation", "name": "Text generation"}
        results.append({"task": task, "dataset": data, "metrics": [metric]})


def _yaml(value: Any, depth: int) -> Iterator[str]:
    """Plain values as YAML; single ones as JSON, of which YAML is a superset."""
    space = "  " * depth
    if isinstance(value, dict):
        for key, one in value.items():
            if isinstance(one, dict | list):
                yield f"{space}{key}:"
                yield from _yaml(one, depth + isinstance(one, dict))
            else:
                yield f"{space}{key}: {_scalar(one)}"
    else:
        for one in value:
            lines = list(_yaml(one, depth + 1)) if isinstance(one, dict) else [_scalar(one)]
            yield f"{space}- {lines[0].strip()}"
            yield from lines[1:]


def _scalar(value: Any) -> str:
    word = value.replace("-", "").replace("_", "") if isinstance(value, str) else ""
    is_plain = word.isascii() and word.isalpha() and word.lower() not in _NOT_WORDS
    return value if is_plain else json.dumps(value, ensure_ascii=False)
