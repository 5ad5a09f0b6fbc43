"""Duplicates: which documents are copies or near-copies of another, and which one is kept.

Made from all partitions of signatures. Two documents are duplicates when their normalised texts are
equal, or when their signatures agree in a band (`rows` minima in succession, `bands` bands) and
they are then verified to be `min_similarity` alike. Duplicates of duplicates belong together:
clusters are the connected components. Of each, the document with the highest karma is kept, then
the earliest submitted, then the smallest key; so the result is a function of the set of documents,
not of their order or partitions.

With earlier signatures and their duplicates, only the new documents are judged. A document of an
earlier artifact is never removed: it outranks all later ones, whatever the karma, and pairs of
earlier documents are not compared again but joined as their duplicates tables say.

Built for millions: signatures go to scratch files; a pass holds one band in memory and, besides,
less than 64 bytes a document. No Python object is made for a document.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress
from webtext.errors import ConfigError, SourceError
from webtext.ranked import Ranked, count_documents, rank_documents
from webtext.s_curve import SIMILARITIES, verified_probability
from webtext.shingles import MAX_SHINGLE_WORDS
from webtext.similarity import Ranks, Similarity, by_jaccard, by_signature
from webtext.tables import DUPLICATES, LINK_ID, read_table, write_table

NEIGHBOURS = 8
"""Within a bucket, each document is compared with the best-ranked one and with so many before it.
Buckets of up to ten are compared in full. In a larger one of documents that are not alike, two that
are alike may be missed in this band, and are found in another with the probability of that."""

BASE_BYTES = 384 << 20
"""Of the process with its libraries and one batch; 180 to 330 MB were measured."""

DOCUMENT_BYTES = 64
"""Most that is held of a document; 50 were measured (`python -m tests.bench dedupe_scale`)."""

PAIRS_A_JOIN = 1 << 20
"""Pairs joined at a time, at some hundred bytes each."""


class DuplicatesConfig(StageConfig):
    """What counts as a duplicate."""

    bands: int = Field(default=14, ge=1)
    """Bands of the signature that are looked up, each by itself."""
    rows: int = Field(default=8, ge=1)
    """Minima in a band. A pair of similarity s becomes a candidate with probability
    1 - (1 - s^rows)^bands: at 14 × 8, 0.77 for s = 0.75 and 0.92 for s = 0.8."""
    min_similarity: float = Field(default=0.75, gt=0, le=1)
    """Least Jaccard similarity of a near-duplicate, estimated or counted as `verify` says."""
    verify: Literal["signature", "jaccard"] = "signature"
    """Judge candidates by the share of equal minima, or by the Jaccard similarity counted from
    their texts, which are read once more."""
    shingle_words: int = Field(default=5, ge=1, le=MAX_SHINGLE_WORDS)
    """Words of a shingle where `verify` is `jaccard`; give that of signatures."""


def find_duplicates(
    *,
    signatures: Path,
    destination: Path,
    config: DuplicatesConfig,
    progress: Progress,
    documents: Path | None = None,
    memory_bytes: int | None = None,
    earlier_signatures: Sequence[Path] = (),
    earlier_duplicates: Sequence[Path] = (),
    earlier_documents: Sequence[Path] = (),
) -> Counts:
    """Write `duplicates/duplicates.parquet` for all partitions of the signatures artifact.

    Args:
        signatures: the signatures artifact whose documents are judged.
        destination: where the table is written.
        config: what counts as a duplicate.
        progress: told of the bands.
        documents: the documents artifact, needed to verify by Jaccard similarity.
        memory_bytes: what the process may use. Nothing is begun that would need more.
        earlier_signatures: signatures artifacts to match against, the oldest first.
        earlier_duplicates: the duplicates artifact of each of these.
        earlier_documents: the documents artifact of each, to verify by Jaccard similarity.

    Raises:
        SourceError: no partition is there, or one cannot be read.
        ConfigError: the signatures are shorter than `bands` × `rows`, were made with settings that
            differ, an artifact that is needed is not given, or `memory_bytes` are too few.
    """
    texts = [*earlier_documents, *([documents] if documents else [])]
    _check_given(config, earlier_signatures, earlier_duplicates, texts)
    scratch = destination / "scratch"
    scratch.mkdir(parents=True)
    try:
        artifacts = [*earlier_signatures, signatures]
        if memory_bytes is not None:
            _check_memory(count_documents(artifacts), memory_bytes)
        ranked = rank_documents(artifacts, scratch, config.bands, config.rows)
        survivors = ranked.originals.copy()
        _join_earlier(ranked, survivors, earlier_duplicates)
        similarity = _similarity(ranked, survivors, texts, config)
        for band in range(config.bands):
            progress(band, config.bands)
            _join_band(ranked, survivors, band, similarity, config.min_similarity)
        progress(config.bands, config.bands)
        table, losses, of_earlier = _name_duplicates(ranked, survivors, similarity)
    finally:
        shutil.rmtree(scratch)
    write_table(destination / "duplicates" / "duplicates.parquet", table)
    total = ranked.places.size - ranked.old
    facts = {
        "earlier_documents": ranked.old,
        "duplicates_of_earlier": of_earlier,
        **_promised(config, ranked.permutations),
    }
    return Counts(rows_in=total, rows_out=total - table.num_rows, losses=losses, facts=facts)


def _check_given(
    config: DuplicatesConfig,
    signatures: Sequence[Path],
    duplicates: Sequence[Path],
    texts: Sequence[Path],
) -> None:
    if len(signatures) != len(duplicates):
        raise ConfigError(
            f"{len(signatures)} earlier signatures but {len(duplicates)} earlier duplicates are "
            f"given; each signatures artifact needs its duplicates artifact"
        )
    if config.verify == "jaccard" and len(texts) != len(signatures) + 1:
        raise ConfigError(
            "to verify by Jaccard similarity, the documents of all signatures are needed, also of "
            'earlier ones; give them, or set verify to "signature"'
        )


def _check_memory(documents: int, memory_bytes: int) -> None:
    needed = BASE_BYTES + DOCUMENT_BYTES * documents
    if needed > memory_bytes:
        raise ConfigError(
            f"to find the duplicates of {documents:,} documents takes up to "
            f"{needed / 2**30:.1f} GiB, but a worker may use {memory_bytes / 2**30:.1f}; "
            "raise runtime.memory_gib"
        )


def _promised(config: DuplicatesConfig, permutations: int) -> dict[str, int]:
    """The S-curve for the manifest: of a thousand pairs of each similarity, how many are found."""
    banding = (config.bands, config.rows, permutations, config.min_similarity)
    return {
        f"found_per_mille_at_{similarity:.2f}": round(
            1000 * verified_probability(similarity, *banding)
        )
        for similarity in SIMILARITIES
    }


def _join_earlier(ranked: Ranked, survivors: Ranks, tables: Sequence[Path]) -> None:
    """Join earlier documents with their survivors.

    Where a link is in several earlier artifacts, its oldest document stands for the survivor.
    """
    if not tables:
        return
    ranks = np.empty(ranked.places.size, dtype=np.int32)
    ranks[ranked.places] = np.arange(ranks.size, dtype=np.int32)
    keys = ranked.keys()
    for number, artifact in enumerate(tables):
        path = artifact / "duplicates" / "duplicates.parquet"
        table = read_table(path, ["link_id", "survivor_link_id"]).combine_chunks()
        start, end = ranked.bounds[number : number + 2]
        removed = pc.index_in(table["link_id"], value_set=_link_ids(keys[start:end]))
        kept = pc.index_in(table["survivor_link_id"], value_set=_link_ids(keys[:end]))
        if removed.null_count or kept.null_count:
            raise SourceError(f"{path} names documents that its signatures lack")
        left = ranks[removed.to_numpy().astype(np.int64) + start]
        _join_pairs(survivors, left, ranks[kept.to_numpy()])


def _similarity(
    ranked: Ranked, survivors: Ranks, texts: Sequence[Path], config: DuplicatesConfig
) -> Similarity:
    if config.verify == "signature":
        return by_signature(ranked)
    wanted = np.zeros(survivors.size, dtype=np.bool_)
    wanted[ranked.originals[survivors[ranked.originals[survivors] != ranked.originals]]] = True
    for band in range(config.bands):
        wanted[ranked.crowded(band)[0]] = True
    return by_jaccard(ranked, wanted, texts, config.shingle_words)


def _join_band(
    ranked: Ranked, survivors: Ranks, band: int, similarity: Similarity, least: float
) -> None:
    """Join, in `survivors`, the similar documents of every bucket of one band."""
    members, starts = ranked.crowded(band)
    new = np.flatnonzero(members >= ranked.old)
    for distance in range(1, NEIGHBOURS + 1):
        later = new[new - distance >= starts[new]]
        _join_similar(survivors, members[later - distance], members[later], similarity, least)
    later = new[new - NEIGHBOURS > starts[new]]
    _join_similar(survivors, members[starts[later]], members[later], similarity, least)


def _join_similar(
    survivors: Ranks, left: Ranks, right: Ranks, similarity: Similarity, least: float
) -> None:
    """Join the pairs that are not yet joined and alike."""
    apart = survivors[left] != survivors[right]
    left, right = left[apart], right[apart]
    for start in range(0, left.size, PAIRS_A_JOIN):
        one, other = left[start : start + PAIRS_A_JOIN], right[start : start + PAIRS_A_JOIN]
        alike = similarity(one, other) >= least - 1e-9
        _join_pairs(survivors, one[alike], other[alike])


def _join_pairs(survivors: Ranks, left: Ranks, right: Ranks) -> None:
    """Join the clusters of each pair; a cluster's survivor is its least rank."""
    if left.size == 0:
        return
    # Imported here: half a second that whoever reads the config alone need not spend.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    clusters, inverse = np.unique(
        np.concatenate((survivors[left], survivors[right])), return_inverse=True
    )
    pairs = (np.ones(left.size, dtype=np.int8), (inverse[: left.size], inverse[left.size :]))
    graph = coo_array(pairs, shape=(clusters.size, clusters.size))
    count, component = connected_components(graph, directed=False)
    best = np.full(count, np.iinfo(np.int32).max, dtype=np.int32)
    np.minimum.at(best, component, clusters)
    joined = np.arange(survivors.size, dtype=np.int32)
    joined[clusters] = best[component]
    survivors[:] = joined[survivors]


def _name_duplicates(
    ranked: Ranked, survivors: Ranks, similarity: Similarity
) -> tuple[pa.Table, dict[str, int], int]:
    """The duplicates table, the losses by kind, and how many are lost to an earlier document."""
    removed = np.flatnonzero(survivors != np.arange(survivors.size, dtype=np.int32))
    removed = removed[removed >= ranked.old].astype(np.int32)
    stored = ranked.keys()
    keys = stored[ranked.places[removed]]
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    removed, keys = removed[order], keys[order]
    kept = survivors[removed]
    exact = ranked.originals[removed] == ranked.originals[kept]
    alike = np.ones(removed.size, dtype=np.float32)
    near = ~exact
    alike[near] = similarity(ranked.originals[removed[near]], ranked.originals[kept[near]])
    columns = [
        _link_ids(keys),
        _link_ids(stored[ranked.places[kept]]),
        pa.array(np.where(exact, "exact", "near"), pa.string()),
        pa.array(alike),
    ]
    losses = {
        "exact_duplicate": int(np.count_nonzero(exact)),
        "near_duplicate": int(np.count_nonzero(~exact)),
    }
    of_earlier = int(np.count_nonzero(kept < ranked.old))
    return pa.Table.from_arrays(columns, schema=DUPLICATES), losses, of_earlier


def _link_ids(keys: NDArray[np.uint64]) -> pa.FixedSizeBinaryArray:
    data = pa.py_buffer(np.ascontiguousarray(keys.astype(">u8")).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(LINK_ID, len(keys), [None, data])
