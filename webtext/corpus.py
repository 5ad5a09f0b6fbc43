"""Corpus: the documents that are left after deduplication, parted into training and validation.

A document's split is decided by the hash of its cluster, that is of the key of the cluster's
survivor: near-duplicates never straddle the splits, and a document stays in its split when others
come and go. That holds for what deduplication found; pages less alike than its threshold, or
missed by its bands, may lie on both sides. New documents near one of an earlier corpus are removed,
so that an earlier cluster keeps its split.

The files open with `datasets.load_dataset("parquet", data_files=...)`.
"""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress
from webtext.tables import DOCUMENTS, part_name, read_table, write_table

SPLITS = ("train", "validation")


class CorpusConfig(StageConfig):
    """How documents are parted."""

    validation_share: float = Field(default=0.02, ge=0, lt=1)
    """Share of the clusters that go to validation. GPT-2's authors held out 5 % of WebText."""
    split_seed: int = Field(default=0, ge=0, lt=2**63)
    """Another seed, another choice of clusters."""


def select_corpus_partition(
    *,
    documents: Path,
    duplicates: Path,
    partition: int,
    destination: Path,
    config: CorpusConfig,
    progress: Progress,
) -> Counts:
    """Write one partition of train and validation from the documents and duplicates artifacts.

    Raises SourceError where a table cannot be read.
    """
    table = read_table(documents / "documents" / part_name(partition), DOCUMENTS.names)
    removed = read_table(duplicates / "duplicates" / "duplicates.parquet", ["link_id", "kind"])
    # index_in and not a join: duplicates of other partitions are most of the table.
    place = pc.index_in(table["link_id"], removed["link_id"].combine_chunks())
    kinds = removed["kind"].take(place.drop_null())
    kept = table.filter(pc.is_null(place))
    validation = np.array(
        [is_validation(key, config) for key in kept["link_id"].to_pylist()], dtype=np.bool_
    )
    facts: dict[str, int] = {}
    for split, chosen in zip(SPLITS, (~validation, validation), strict=True):
        part = kept.filter(pa.array(chosen)).cast(DOCUMENTS)
        write_table(destination / split / part_name(partition), part, row_group_rows=1_000)
        facts[f"{split}_documents"] = part.num_rows
        facts[f"{split}_tokens"] = int(np.sum(part["tokens"].to_numpy(), dtype=np.int64))
    progress(table.num_rows, table.num_rows)
    return Counts(
        rows_in=table.num_rows,
        rows_out=kept.num_rows,
        losses={f"{kind}_duplicate": pc.sum(pc.equal(kinds, kind)).as_py() or 0
                for kind in ("exact", "near")},
        facts=facts,
    )  # fmt: skip


def is_validation(survivor_link_id: bytes, config: CorpusConfig) -> bool:
    """Whether the cluster with this survivor is held out for validation."""
    seed = config.split_seed.to_bytes(8, "big")
    hashed = blake2b(survivor_link_id, digest_size=8, key=seed, person=b"split").digest()
    return int.from_bytes(hashed, "big") < config.validation_share * 2**64
