"""What some links add up to: documents and tokens, the shards, the steps, the scores.

Every partition that holds one of the links is gone through once, so memory is that of a partition's
keys. Answers name what would be touched if the links were taken away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from infra.lineage_answers import Answer, Reading, ScoreLine, Span, plain
from infra.lineage_build import Build
from infra.lineage_steps import read_spans
from infra.lineage_tables import find_rows
from infra.lineage_trace import SPLITS, Tracer

Chosen = Mapping[int, Sequence[bytes]]
"""The keys of links by their partition."""


class ListedLink(Answer):
    """A link of many, and what became of it."""

    link_id: str
    url: str
    karma: int
    fate: str
    """`train`, `validation`, or the reason for which it was dropped."""
    tokens: int | None


class Fate(Answer):
    """What became of some links of a build."""

    links: int
    submissions: int
    ends: dict[str, int]
    """How many ended where: `train` and `validation`, or by the reason they were dropped for."""
    documents: int
    """In the corpus."""
    tokens: int
    """Of those documents in the shards, their ends included."""
    share_of_documents: float
    """Of the corpus."""
    share_of_tokens: float
    """Of the shards."""
    shards: dict[str, int]
    """Tokens of these links by the shard that holds them."""
    readings: tuple[Reading, ...]
    """What each training read of them."""
    scores: tuple[ScoreLine, ...]
    """Numbers that stand on the models that did."""


class DomainTrace(Answer):
    """A registrable domain, or a host of one with all below it, in a build."""

    build: dict[str, str]
    domain: str
    partition: int
    fate: Fate
    shown: tuple[ListedLink, ...]
    """The first links by their keys."""


@dataclass
class _Sum:
    """What is added up over partitions."""

    links: int = 0
    submissions: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    shards: Counter[str] = field(default_factory=Counter)
    readings: dict[str, Reading] = field(default_factory=dict)
    listed: list[ListedLink] = field(default_factory=list)


def trace_domain(tracer: Tracer, domain: str, host: str, partition: int, limit: int) -> DomainTrace:
    """What became of the links of a host of a registrable domain; `limit` of them are listed."""
    keys = list(links_of_host(tracer.build, partition, domain, host))
    fate, listed = sum_up(tracer, {partition: keys}, limit)
    return DomainTrace(
        build=tracer.build.labels(),
        domain=host,
        partition=partition,
        fate=fate,
        shown=tuple(listed),
    )


def links_of_host(build: Build, partition: int, domain: str, host: str) -> Iterator[bytes]:
    """The keys of the links of a registrable domain that are of a host, or of one below it."""
    path = build.need("links").part("links", partition)
    for row in find_rows(path, "domain", [domain], ["link_id", "host"]):
        if host in (domain, row["host"]) or row["host"].endswith(f".{host}"):
            yield row["link_id"]


def sum_up(tracer: Tracer, chosen: Chosen, limit: int) -> tuple[Fate, list[ListedLink]]:
    """What the chosen links add up to, and the first `limit` of them one by one."""
    total = _Sum()
    for partition, keys in sorted(chosen.items()):
        if keys:
            _add_partition(tracer, partition, sorted(set(keys)), total, limit)
    read = [reading for reading in total.readings.values() if reading.steps]
    shards = total.shards
    documents = total.ends["train"] + total.ends["validation"]
    return (
        Fate(
            links=total.links,
            submissions=total.submissions,
            ends=dict(sorted(total.ends.items(), key=lambda end: (-end[1], end[0]))),
            documents=documents,
            tokens=shards.total(),
            share_of_documents=_share(documents, _corpus_documents(tracer.build)),
            share_of_tokens=_share(shards.total(), _corpus_tokens(tracer.build)),
            shards=dict(sorted(shards.items())),
            readings=tuple(read),
            scores=tuple(line for one in read for line in tracer.scores_of(one.model)),
        ),
        total.listed,
    )


def _add_partition(
    tracer: Tracer, partition: int, keys: list[bytes], total: _Sum, limit: int
) -> None:
    build = tracer.build
    path = build.need("links").part("links", partition)
    links = list(find_rows(path, "link_id", keys, ["link_id", "url", "karma", "submissions"]))
    ends = fates(build, partition, keys)
    spans = _spans(build, partition, keys)
    tokens: Counter[str] = Counter()
    for span in spans:
        tokens[span.link_id] += span.length
    for link in links:
        end, key = ends.get(link["link_id"], "unknown"), link["link_id"].hex()
        total.links += 1
        total.submissions += len(link["submissions"] or ())
        total.ends[end] += 1
        if not limit or len(total.listed) < limit:
            shown = {name: link[name] for name in ("url", "karma")}
            line = ListedLink(link_id=key, fate=end, tokens=tokens.get(key), **shown)
            total.listed.append(line)
    for span in spans:
        total.shards[span.shard] += span.length
    # A shard is of one partition, so no row of one is counted twice.
    for order in tracer.orders if spans else ():
        reading = read_spans(order, spans)
        known = total.readings.get(order.model)
        total.readings[order.model] = reading if known is None else _together(known, reading)


def _together(first: Reading, second: Reading) -> Reading:
    return first.model_copy(
        update={
            "steps": tuple(sorted({*first.steps, *second.steps})),
            "without_update": tuple(sorted({*first.without_update, *second.without_update})),
            "sequences": first.sequences + second.sequences,
        }
    )


def fates(build: Build, partition: int, keys: Sequence[bytes]) -> dict[bytes, str]:
    """Where the way of each of these links ended: a split, or the reason it was dropped for."""
    found: dict[bytes, str] = {}
    for role, table, reason in (
        ("captures", "captures", "outcome"),
        ("documents", "rejected", "reason"),
        ("duplicates", "duplicates", "kind"),
    ):
        known = build.get(role)
        if known is None:
            continue
        of_all = role == "duplicates"
        path = known.file(f"{table}/{table}.parquet") if of_all else known.part(table, partition)
        for row in find_rows(path, "link_id", keys, ["link_id", reason]):
            end: str = row[reason]
            found[row["link_id"]] = _NAMES.get((role, end), end)
    corpus = build.get("corpus")
    if corpus is not None:
        for split in SPLITS:
            for row in find_rows(corpus.part(split, partition), "link_id", keys, ["link_id"]):
                found[row["link_id"]] = split
    return found


_NAMES = {
    ("captures", "ok"): "captured",
    ("duplicates", "exact"): "exact_duplicate",
    ("duplicates", "near"): "near_duplicate",
}


def _spans(build: Build, partition: int, keys: Sequence[bytes]) -> list[Span]:
    shards = build.get("shards")
    if shards is None:
        return []
    rows = find_rows(shards.part("spans", partition), "link_id", keys)
    return [Span(**{name: plain(value) for name, value in row.items()}) for row in rows]


def _corpus_documents(build: Build) -> int:
    corpus = build.get("corpus")
    return int(corpus.manifest.counts["rows_out"]) if corpus else 0


def _corpus_tokens(build: Build) -> int:
    shards = build.get("shards")
    facts = shards.manifest.counts["facts"] if shards else {}
    return sum(int(facts.get(f"{split}_tokens", 0)) for split in SPLITS)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
