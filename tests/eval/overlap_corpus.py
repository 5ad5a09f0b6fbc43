"""A small corpus and benchmarks that overlap in known places, and the stages run over them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eval.overlap_benchmarks import BenchmarkNgramsConfig, list_ngrams
from eval.overlap_filter import PartitionedFilterConfig, build_filter_partition
from eval.overlap_hits import HitsConfig, find_hits_partition
from eval.overlap_report import ReportConfig, report_overlap
from webtext.vocabulary import gpt2_encoding

DOCUMENTS = pa.schema(
    [
        pa.field("link_id", pa.binary(16), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)


def silent(*_: object, **__: float) -> None:
    """Progress that nobody follows."""


def link_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def write_corpus(folder: Path, partitions: Sequence[Sequence[str]]) -> Path:
    """A corpus artifact of texts; document i of partition p has the key 1000 p + i."""
    for partition, texts in enumerate(partitions):
        rows = [
            {"link_id": link_id(1000 * partition + i), "url": f"http://p{partition}.org/{i}"}
            | {"text": text}
            for i, text in enumerate(texts)
        ]
        path = folder / "train" / f"part-{partition:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), path)
    return folder


def write_lambada(folder: Path, passages: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"text": passage}) + "\n" for passage in passages)
    (folder / "lambada_test.jsonl").write_text(lines, "utf-8")
    return folder


def make_filter(corpus: Path, to: Path, order: Sequence[int], **settings: float) -> list[dict]:
    """Make the filter's partitions in some order; their counts in that of the partitions."""
    config = PartitionedFilterConfig.model_validate({"partitions": len(order), **settings})
    counts = {
        partition: build_filter_partition(
            corpus=corpus, partition=partition, destination=to, config=config, progress=silent
        )
        for partition in order
    }
    return [counts[partition] for partition in sorted(order)]


def make_ngrams(benchmarks: Path, to: Path, **settings: int) -> dict:
    to.mkdir(parents=True, exist_ok=True)
    encoding = gpt2_encoding()
    return list_ngrams(
        folder=benchmarks,
        encode=encoding.encode_ordinary,
        decode=encoding.decode_bytes,
        destination=to,
        config=BenchmarkNgramsConfig.model_validate(settings),
        progress=silent,
    )


def make_overlap(
    corpus: Path, benchmarks: Path, work: Path, partitions: int, n: int = 8, **settings: float
) -> Path:
    """All stages; gives the overlap artifact."""
    make_filter(corpus, work / "filter", range(partitions), ngram_words=n, **settings)
    make_ngrams(benchmarks, work / "ngrams", ngram_words=n)
    for partition in range(partitions):
        find_hits_partition(
            corpus=corpus,
            ngram_filter=work / "filter",
            benchmark_ngrams=work / "ngrams",
            partition=partition,
            destination=work / "hits",
            config=HitsConfig(ngram_words=n),
            progress=silent,
        )
    (work / "overlap").mkdir(parents=True, exist_ok=True)
    report_overlap(
        ngram_filter=work / "filter",
        benchmark_ngrams=work / "ngrams",
        ngram_hits=work / "hits",
        destination=work / "overlap",
        config=ReportConfig(ngram_words=n),
        progress=silent,
    )
    return work / "overlap"
