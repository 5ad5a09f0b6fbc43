"""Which documents came, went and changed between two corpora, and why.

Keys are compared a partition at a time where both have the same number of partitions, else as a
whole: 32 bytes a document. Why a document is in one corpus alone is what the other build made of
its link. Texts are compared by the digests in signatures, so none is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.lineage_answers import Answer
from infra.lineage_build import Build
from infra.lineage_impact import fates
from infra.lineage_index import Indexing, KeyIndex, link_key, open_links
from infra.lineage_joins import Keys, key_hex, keys_of
from infra.lineage_tables import find_row, read_columns, whole_numbers
from infra.lineage_trace import SPLITS

ABSENT = "not linked"
"""What became of a link that the other build does not have."""


class Document(Answer):
    """One document that came, went or changed."""

    link_id: str
    url: str | None
    why: str
    """What the build without it made of its link; `text` or `split` where it changed."""


class Domain(Answer):
    """A registrable domain's share of the tokens in two corpora."""

    domain: str
    first: float
    second: float
    first_documents: int
    second_documents: int


class DocumentsDiff(Answer):
    """Two corpora."""

    documents: tuple[int, int]
    tokens: tuple[int, int]
    added: int
    added_why: dict[str, int]
    """By what the first build made of their links."""
    removed: int
    removed_why: dict[str, int]
    """By what the second build made of their links."""
    changed: dict[str, int]
    """In both, with another `text`, or in another `split`."""
    examples: tuple[Document, ...]
    domains: tuple[Domain, ...]
    """Those whose shares moved most."""


def diff_documents(first: Build, second: Build, limit: int, told: Indexing) -> DocumentsDiff:
    """What came, went and changed from the first build's corpus to the second's."""
    sides = (_Side(first, told), _Side(second, told))
    added, removed, changed = _Found(limit), _Found(limit), _Found(limit)
    for mine, theirs in _portions(*sides):
        changed_here = _changed(mine, theirs)
        added.add(sides[1], sides[0].why(theirs.only(mine)))
        removed.add(sides[0], sides[1].why(mine.only(theirs)))
        changed.add(sides[1], changed_here)
    return DocumentsDiff(
        documents=(sides[0].documents, sides[1].documents),
        tokens=(sides[0].tokens, sides[1].tokens),
        added=added.why.total(),
        added_why=dict(added.why.most_common()),
        removed=removed.why.total(),
        removed_why=dict(removed.why.most_common()),
        changed=dict(changed.why.most_common()),
        examples=(*added.examples, *removed.examples, *changed.examples),
        domains=tuple(_domains(*sides, limit)),
    )


class _Portion:
    """The documents of a corpus, or of a partition of it: sorted keys, splits and digests."""

    def __init__(self, keys: Keys, splits: NDArray[np.int8], digests: Keys | None) -> None:
        self.keys, self.splits, self.digests = keys, splits, digests

    def only(self, other: _Portion) -> list[bytes]:
        """The keys that the other does not have."""
        return [_bytes(key) for key in self.keys[~np.isin(self.keys, other.keys)]]


class _Side:
    """One of the two corpora."""

    def __init__(self, build: Build, told: Indexing) -> None:
        self.build, self._told = build, told
        self.documents = self.tokens = 0
        self.by_domain: Counter[str] = Counter()
        self.tokens_by_domain: Counter[str] = Counter()
        self._index: KeyIndex | None = None

    def portion(self, partitions: Sequence[int]) -> _Portion:
        """Some of its partitions; what is counted over all of them is added up."""
        corpus = self.build.need("corpus")
        keys, splits = [], []
        for partition in partitions:
            for number, split in enumerate(SPLITS):
                path = corpus.part(split, partition)
                table = read_columns(path, ["link_id", "domain", "tokens"])
                self._count(table)
                keys.append(keys_of(table["link_id"]))
                splits.append(np.full(table.num_rows, number, np.int8))
        found, places = np.concatenate(keys), np.concatenate(splits)
        order = np.argsort(found)
        return _Portion(found[order], places[order], self._digests(partitions, found[order]))

    def why(self, keys: list[bytes]) -> dict[bytes, str]:
        """What this build made of links that are not in its corpus."""
        by_partition: dict[int, list[bytes]] = {}
        for key in keys:
            by_partition.setdefault(self.partition_of(key), []).append(key)
        found = dict.fromkeys(keys, ABSENT)
        for partition, some in by_partition.items():
            if partition >= 0:
                found |= fates(self.build, partition, sorted(some))
        return found

    def url(self, key: bytes) -> str | None:
        """The URL of one of its documents."""
        documents, partition = self.build.get("documents"), self.partition_of(key)
        if documents is None or partition < 0:
            return None
        row = find_row(documents.part("documents", partition), "link_id", key, ["url"])
        return row["url"] if row else None

    def partition_of(self, key: bytes) -> int:
        """The partition of a link; -1 where the build does not have it."""
        if self._index is None:
            root = self.build.tip.folder.parent.parent
            self._index = open_links(root, self.build.need("links"), self._told)
        places = self._index.find(link_key(key))
        return places[0].partition if places else -1

    def _count(self, table: pa.Table) -> None:
        tokens = whole_numbers(table["tokens"])
        self.documents += table.num_rows
        self.tokens += int(tokens.sum())
        domains = table["domain"].to_pylist()
        self.by_domain.update(domains)
        for domain, number in zip(domains, tokens.tolist(), strict=True):
            self.tokens_by_domain[domain] += number

    def _digests(self, partitions: Sequence[int], keys: Keys) -> Keys | None:
        signatures = self.build.get("signatures")
        if signatures is None:
            return None
        tables = [
            read_columns(signatures.part("signatures", partition), ["link_id", "text_digest"])
            for partition in partitions
        ]
        signed = np.concatenate([keys_of(table["link_id"]) for table in tables])
        digests = np.concatenate([keys_of(table["text_digest"]) for table in tables])
        order = np.argsort(signed)
        places = order[np.searchsorted(signed[order], keys)]
        return digests[places]


class _Found:
    """Documents of one kind: how many for which reason, and the first of them."""

    def __init__(self, limit: int) -> None:
        self.why: Counter[str] = Counter()
        self.examples: list[Document] = []
        self._limit = limit

    def add(self, side: _Side, reasons: dict[bytes, str]) -> None:
        self.why.update(reasons.values())
        for key, reason in reasons.items():
            if len(self.examples) >= self._limit:
                return
            self.examples.append(Document(link_id=key.hex(), url=side.url(key), why=reason))


def _portions(first: _Side, second: _Side) -> Iterator[tuple[_Portion, _Portion]]:
    counts = [side.build.partitions for side in (first, second)]
    if counts[0] == counts[1]:
        for partition in range(counts[0]):
            yield first.portion([partition]), second.portion([partition])
    else:
        yield first.portion(range(counts[0])), second.portion(range(counts[1]))


def _changed(first: _Portion, second: _Portion) -> dict[bytes, str]:
    _common, mine, theirs = np.intersect1d(first.keys, second.keys, True, return_indices=True)
    found: dict[bytes, str] = {}
    for at in np.flatnonzero(first.splits[mine] != second.splits[theirs]):
        found[_bytes(first.keys[mine[at]])] = "split"
    if first.digests is not None and second.digests is not None:
        for at in np.flatnonzero(first.digests[mine] != second.digests[theirs]):
            found[_bytes(first.keys[mine[at]])] = "text"
    return found


def _domains(first: _Side, second: _Side, limit: int) -> Iterator[Domain]:
    def share(side: _Side, domain: str) -> float:
        return side.tokens_by_domain[domain] / side.tokens if side.tokens else 0.0

    names = {*first.tokens_by_domain, *second.tokens_by_domain}
    moved = {name: share(second, name) - share(first, name) for name in names}
    for name in sorted(names, key=lambda name: (-abs(moved[name]), name))[:limit]:
        if moved[name]:
            yield Domain(
                domain=name,
                first=share(first, name),
                second=share(second, name),
                first_documents=first.by_domain[name],
                second_documents=second.by_domain[name],
            )


def _bytes(key: np.bytes_) -> bytes:
    return bytes.fromhex(key_hex(key))
