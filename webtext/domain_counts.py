"""The fidelity stage: rows by published domain at four places of a build, compared with WebText.

Made from links, captures, documents and corpus, so that it shows where a domain is lost: at the
crawl, at extraction or at dedupe. Reads a partition at a time and counts only the published
domains, so memory does not grow with the build. Writes `fidelity.json`: under `tables` a
`webtext.fidelity.Fidelity` for each table, under `domains` the counts of each published domain.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.errors import SourceError
from webtext.fidelity import compare_domains, domain_name, published_domains
from webtext.tables import read_table

_PLACES = ("links", "captures", "documents", "corpus")

Domains = Iterator[pa.ChunkedArray]


class FidelityConfig(StageConfig):
    """The comparison has no settings."""


class _Tally:
    """Rows of one table: all of them, and by published domain."""

    def __init__(self) -> None:
        self.rows = 0
        self.by_name: Counter[str] = Counter()

    def add(self, domains: pa.ChunkedArray) -> None:
        published = published_domains()
        self.rows += len(domains)
        for pair in pc.value_counts(domains.combine_chunks()):
            name = domain_name(pair["values"].as_py())
            if name in published:
                self.by_name[name] += pair["counts"].as_py()


def measure_fidelity(
    *,
    links: Path,
    captures: Path | None = None,
    documents: Path,
    corpus: Path,
    destination: Path,
    config: FidelityConfig,  # noqa: ARG001  every stage is given one
    progress: Progress = silent,
) -> Counts:
    """Compare the domains of four artifacts with the published ones; write `fidelity.json`.

    An existing corpus has no captures. Links are rows in; those on published domains rows out.
    Raises SourceError where a table cannot be read or an artifact has none.
    """
    sources: dict[str, Callable[[], Domains]] = {
        "links": lambda: _read_domains(links, "links"),
        "documents": lambda: _read_domains(documents, "documents"),
        "corpus": lambda: _corpus_domains(corpus),
    }
    if captures is not None:
        crawled = captures
        sources["captures"] = lambda: _captured_domains(crawled, links)
    sources = {name: sources[name] for name in _PLACES if name in sources}
    tallies = {name: _Tally() for name in sources}
    for done, (name, read) in enumerate(sources.items()):
        progress(done, len(sources))
        for domains in read():
            tallies[name].add(domains)
    _write(destination / "fidelity.json", tallies)
    progress(len(sources), len(sources))
    rows, inside = tallies["links"].rows, tallies["links"].by_name.total()
    return Counts(rows_in=rows, rows_out=inside, losses={"not_published_domain": rows - inside})


def _write(path: Path, tallies: dict[str, _Tally]) -> None:
    published = published_domains()
    value = {
        "tables": {
            name: compare_domains(tally.by_name, tally.rows, published).model_dump()
            for name, tally in tallies.items()
        },
        "domains": [
            {"name": name, "published": number}
            | {table: tally.by_name[name] for table, tally in tallies.items()}
            for name, number in published.items()
        ],
    }
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _corpus_domains(corpus: Path) -> Domains:
    for split in ("train", "validation"):
        yield from _read_domains(corpus, split)


def _captured_domains(captures: Path, links: Path) -> Domains:
    """Domains of the links whose page was captured; partitions of both tables belong together."""
    for path in _parts(captures, "captures"):
        captured = read_table(path, ["link_id", "outcome"])
        ids = captured.filter(pc.equal(captured["outcome"], "ok"))["link_id"]
        linked = read_table(links / "links" / path.name, ["link_id", "domain"])
        known = pc.is_in(linked["link_id"], value_set=ids.combine_chunks())
        yield linked.filter(known)["domain"]


def _read_domains(artifact: Path, table: str) -> Domains:
    for path in _parts(artifact, table):
        yield read_table(path, ["domain"])["domain"]


def _parts(artifact: Path, table: str) -> list[Path]:
    parts = sorted((artifact / table).glob("part-*.parquet"))
    if not parts:
        raise SourceError(f"there are no {table}/part-*.parquet in {artifact}: make it again")
    return parts
