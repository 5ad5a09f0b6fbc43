"""`webtext impact`: what some pages add up to in every build, down to the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flows.trace_order import orders_of
from infra.errors import StoreError
from infra.lineage_answers import Answer
from infra.lineage_build import Build, Library
from infra.lineage_impact import Fate, ListedLink, links_of_host, sum_up
from infra.lineage_index import Indexing
from infra.lineage_overlap import SharedItems, shared_items
from infra.lineage_tables import find_rows
from infra.lineage_trace import Tracer
from webtext.urls import link_id, link_partition, normalise_url

_MOST_UNKNOWN = 20


class Wanted(Answer):
    """What an impact is asked of, in the spelling that links have."""

    hosts: tuple[tuple[str, str], ...]
    """Hosts, with the registrable domain of each; hosts below them are meant too."""
    urls: tuple[tuple[str, str], ...]
    """URLs, with the registrable domain of each."""


class BuildImpact(Answer):
    """What the pages are to one build."""

    build: dict[str, str]
    fate: Fate
    overlaps: tuple[SharedItems, ...]
    """Items of benchmarks that share n-grams with them, where the overlap was looked for."""
    shown: tuple[ListedLink, ...]
    """The first links by partition and key."""
    unknown: int
    """URLs and hosts asked for that no link of the build is of."""
    unknown_shown: tuple[str, ...]
    """The first of them."""


class Impact(Answer):
    """What the pages are to each build of a store, that of the newest run first."""

    hosts: int
    urls: int
    builds: tuple[BuildImpact, ...]


def read_wanted(domains: Iterable[str], urls: Iterable[str], lists: Iterable[Path]) -> Wanted:
    """What is asked for, with the lines of lists: a URL, a domain or a host each.

    Raises:
        StoreError: one of them is none, or a list cannot be read.
    """
    hosts: dict[str, str] = {}
    pages: dict[str, str] = {}
    for text, where in (*((text, "") for text in (*domains, *urls)), *_lines(lists)):
        known = normalise_url(text if "://" in text else f"http://{text.strip('.')}/")
        if isinstance(known, str):
            raise StoreError(f"{where}{text!r} is no URL and no domain: {known}")
        if "://" in text:
            pages[known.url] = known.domain
        else:
            hosts[known.host] = known.domain
    if not hosts and not pages:
        raise StoreError("name some pages: --domain, --url or --list")
    return Wanted(hosts=tuple(hosts.items()), urls=tuple(pages.items()))


def impact_of(
    library: Library, wanted: Wanted, builds: Sequence[Build], limit: int, told: Indexing
) -> Impact:
    """What the wanted pages are to some builds."""
    return Impact(
        hosts=len(wanted.hosts),
        urls=len(wanted.urls),
        builds=tuple(_build_impact(library, wanted, build, limit, told) for build in builds),
    )


def _build_impact(
    library: Library, wanted: Wanted, build: Build, limit: int, told: Indexing
) -> BuildImpact:
    chosen, unknown = _choose(build, wanted)
    fate, shown = sum_up(Tracer(build, orders_of(library, build), told), chosen, limit)
    return BuildImpact(
        build=build.labels(),
        fate=fate,
        overlaps=tuple(shared_items(library, build, chosen)),
        shown=tuple(shown),
        unknown=len(unknown),
        unknown_shown=tuple(unknown[:_MOST_UNKNOWN]),
    )


def _choose(build: Build, wanted: Wanted) -> tuple[dict[int, list[bytes]], list[str]]:
    """The keys of the wanted links by partition, and what there is no link of."""
    chosen: dict[int, list[bytes]] = {}
    unknown: list[str] = []
    for host, domain in wanted.hosts:
        partition = link_partition(domain, build.partitions)
        keys = list(links_of_host(build, partition, domain, host))
        chosen.setdefault(partition, []).extend(keys)
        unknown += [] if keys else [host]
    by_partition: dict[int, dict[bytes, str]] = {}
    for url, domain in wanted.urls:
        partition = link_partition(domain, build.partitions)
        by_partition.setdefault(partition, {})[link_id(url)] = url
    for partition, urls in sorted(by_partition.items()):
        path = build.need("links").part("links", partition)
        found = [row["link_id"] for row in find_rows(path, "link_id", [*urls], ["link_id"])]
        chosen.setdefault(partition, []).extend(found)
        known = set(found)
        unknown += [url for key, url in urls.items() if key not in known]
    return chosen, unknown


def _lines(lists: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """The lines of text files that are neither empty nor begin with `#`, and where they stand."""
    for path in lists:
        try:
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    text = line.strip()
                    if text and not text.startswith("#"):
                        yield text, f"{path} line {number}: "
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the list {path} cannot be read: {error}") from error
