"""Takedown: pages put on the store's list of removals, and what that reaches in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import stages
from flows.removal_list import append_removals
from flows.removed import named_documents
from infra.errors import StoreError
from infra.lease import lease
from infra.lineage import input_of
from infra.lineage_tables import find_rows, read_columns
from infra.manifest import Manifest, Purge
from infra.parts import describe_file
from infra.store import REMOVALS_NAME, Artifact, Store, drop_work
from webtext.removals import Removal, RemovedPages, make_removal
from webtext.tables import part_name
from webtext.urls import link_partition
from webtext.warc_purge import is_tombstone, purge_record


@dataclass(frozen=True)
class Reached:
    """What removals reach in one corpus."""

    corpus: str
    documents: dict[bytes, str]
    """Removed documents of it, by key: their URLs."""
    copies: dict[bytes, tuple[str, str]]
    """Copies that would take their place, by key: URL, and URL of the removed document."""
    twins: dict[bytes, str]
    """Documents left in it that removed pages are copies of: their URLs."""


def read_requests(
    urls: Sequence[str], domains: Sequence[str], lists: Sequence[Path], date: str, reason: str
) -> list[Removal]:
    """The removals that a command line asks for.

    Args:
        urls: addresses of pages.
        domains: registrable domains or hosts.
        lists: files of both, one a line; a line with `://` is an address.
        date: YYYY-MM-DD.
        reason: why, for people.

    Raises:
        StoreError: a file cannot be read, or nothing is named.
        SourceError: a URL or domain is none.
    """
    named = [*(("url", url) for url in urls), *(("domain", domain) for domain in domains)]
    for path in lists:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the list {path} cannot be read: {error}; check the path") from error
        given = filter(None, (line.partition("#")[0].strip() for line in lines))
        named += [("url" if "://" in line else "domain", line) for line in given]
    if not named:
        raise StoreError("nothing is named; give --url, --domain or --list")
    return [
        make_removal(value, "url" if kind == "url" else "domain", date=date, reason=reason)
        for kind, value in named
    ]


def remove(store: Store, asked: Sequence[Removal], *, promote_copies: bool) -> list[Reached]:
    """Put removals on the list, and unless told otherwise the copies that would stand in for them.

    Gives what they reach in each corpus of the store.
    """
    corpora = _corpora(store)
    # A copy may be in a later month than the document that it was left out for.
    named: dict[bytes, str] = {}
    for corpus in corpora:
        named.update(_named(store, corpus, asked))
    reached = [reach(store, corpus, asked, named) for corpus in corpora]
    copies: list[Removal] = []
    if not promote_copies:
        found = {copy for each in reached for copy in each.copies.values()}
        copies = [
            Removal(url=url, copy_of=original, date=asked[0].date, reason=asked[0].reason)
            for url, original in sorted(found)
        ]
    with store.changing(REMOVALS_NAME):
        append_removals(store.root, [*asked, *copies])
    return reached


def reach(
    store: Store,
    corpus: Artifact,
    removals: Sequence[Removal],
    named: Mapping[bytes, str] | None = None,
) -> Reached:
    """What removals reach in a corpus.

    `named` are the documents of all corpora that are removed, by key: their URLs.
    """
    documents = input_of(store, corpus, stages.DOCUMENTS.name)
    duplicates = input_of(store, corpus, stages.DUPLICATES.name)
    store.bring(duplicates.path)
    found = _named(store, corpus, removals)
    removed = {**(named or {}), **found}
    table = read_columns(
        duplicates.path / "duplicates" / "duplicates.parquet", ["link_id", "survivor_link_id"]
    ).to_pylist()
    survivors = {row["link_id"]: row["survivor_link_id"] for row in table}
    kept = {key: url for key, url in found.items() if key not in survivors}
    copied = {key: of for key, of in survivors.items() if of in removed and key not in found}
    twins = {survivors[key] for key in found if key in survivors} - found.keys()
    urls = _urls(documents.path, [*copied, *twins])
    return Reached(
        corpus=corpus.label,
        documents=kept,
        copies={key: (urls[key], removed[of]) for key, of in copied.items()},
        twins={key: urls[key] for key in twins if key in urls},
    )


def _named(store: Store, corpus: Artifact, removals: Sequence[Removal]) -> dict[bytes, str]:
    documents = input_of(store, corpus, stages.DOCUMENTS.name)
    store.bring(documents.path)
    return dict(named_documents(documents.path / "documents", removals))


def purge(store: Store, removals: Sequence[Removal]) -> tuple[int, int]:
    """Overwrite the records of removed pages in all captures; how many, and how many are shared.

    A shared one has the body of a page that is not removed: it is left.

    Raises:
        StoreError: the store is in object storage, where nothing is overwritten in place.
    """
    if store.address is not None:
        raise StoreError(
            f"records in {store.place} cannot be overwritten in place; the pages are on the list "
            "and the next run leaves them out: then remove the old captures with webtext gc"
        )
    purged = shared = 0
    for artifact in store.finished():
        if artifact.stage == stages.CAPTURES.name:
            links = input_of(store, artifact, stages.LINKS.name)
            with lease(artifact.work, "purge"):
                done, left = _purge_captures(artifact, links.path, removals)
            drop_work(artifact)
            purged, shared = purged + done, shared + left
    return purged, shared


def _purge_captures(
    captures: Artifact, links: Path, removals: Sequence[Removal]
) -> tuple[int, int]:
    purges, files, shared = [], set[str](), 0
    count = len(list((links / "links").glob("part-*.parquet")))
    for partition in sorted({link_partition(one.site(), count) for one in removals}):
        removed = _asked(links, removals, partition)
        rows = read_columns(
            captures.path / "captures" / part_name(partition),
            ["link_id", "warc_file", "warc_offset", "warc_length", "payload_offset"],
        ).to_pylist()
        needed = {row["payload_offset"] for row in rows if row["link_id"] not in removed}
        for row in rows:
            if row["link_id"] not in removed or row["warc_file"] is None:
                continue
            files.add(row["warc_file"])
            if row["warc_offset"] in needed:
                shared += 1
                continue
            date, _, reason = removed[row["link_id"]].partition(": ")
            place = (captures.path / row["warc_file"], row["warc_offset"], row["warc_length"])
            if not is_tombstone(*place):
                purge_record(*place, date=date, reason=reason)
                purges.append(
                    Purge(
                        path=row["warc_file"],
                        offset=row["warc_offset"],
                        length=row["warc_length"],
                        date=date,
                        reason=reason,
                    )
                )
    _account(captures, purges, files)
    return len(purges), shared


def _account(captures: Artifact, purges: Sequence[Purge], touched: Collection[str]) -> None:
    """Tell the manifest of files that differ from it, and why.

    All that removed pages are in are hashed: a purge that was interrupted, or one of an artifact
    that shares the file, changed them without a word.
    """
    manifest = Manifest.read(captures.path)
    files = tuple(
        describe_file(captures.path, Path(file.path)) if file.path in touched else file
        for file in manifest.files
    )
    if files != manifest.files or purges:
        both = (*manifest.purges, *purges)
        manifest.model_copy(update={"files": files, "purges": both}).write(captures.path)


def _asked(links: Path, removals: Sequence[Removal], partition: int) -> dict[bytes, str]:
    """The removed links of a partition, with date and reason."""
    removed = RemovedPages.of(removals)
    rows = read_columns(links / "links" / part_name(partition), ["link_id", "host"]).to_pylist()
    found = {row["link_id"]: removed.find(row["link_id"], row["host"]) for row in rows}
    return {key: told for key, told in found.items() if told is not None}


def _urls(documents: Path, keys: Sequence[bytes]) -> dict[bytes, str]:
    return {
        row["link_id"]: row["url"]
        for path in sorted((documents / "documents").glob("part-*.parquet"))
        for row in find_rows(path, "link_id", keys, ["link_id", "url"])
    }


def _corpora(store: Store) -> list[Artifact]:
    return [artifact for artifact in store.finished() if artifact.stage == stages.CORPUS.name]
