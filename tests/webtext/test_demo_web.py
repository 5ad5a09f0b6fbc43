"""The demo's web: same bytes each time, readable by standard tools, every planted case in place."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from warcio.archiveiterator import ArchiveIterator

from webtext.counts import Counts
from webtext.demo_planted import LARGE_PAGE_BYTES
from webtext.demo_site import change_words, place_page
from webtext.demo_web import DemoWebConfig, build_demo_web
from webtext.errors import SourceError
from webtext.links import LinksConfig, group_links_partition
from webtext.submissions import SubmissionsConfig, read_submissions_dump
from webtext.tables import read_part
from webtext.urls import NormalisedUrl, link_id, normalise_url

PAGES = 40
PARTITIONS = 4


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("web")
    counts = build_demo_web(
        destination=destination, config=DemoWebConfig(max_pages=PAGES, min_characters=100_000)
    )
    assert counts.facts["reference_pages"] == PAGES
    return destination


@pytest.fixture(scope="module")
def funnel(
    web: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Counts, Counts, dict[bytes, dict[str, Any]]]:
    """Counts of submissions, counts of links, and the links by key."""
    folder = tmp_path_factory.mktemp("funnel")
    read = read_submissions_dump(
        dump=web / "submissions" / "RS_2017-10.zst",
        partition=0,
        destination=folder,
        config=SubmissionsConfig(partitions=PARTITIONS),
    )
    parts = [
        group_links_partition(
            submissions=folder,
            partition=partition,
            destination=folder,
            config=LinksConfig(partitions=PARTITIONS),
        )
        for partition in range(PARTITIONS)
    ]
    links = {
        link["link_id"]: link
        for partition in range(PARTITIONS)
        for link in read_part(folder / "links", partition).to_pylist()
    }
    return read, Counts.total(parts), links


def _planted(web: Path, stage: str) -> list[dict[str, str]]:
    cases = json.loads((web / "planted.json").read_text(encoding="utf-8"))
    return [case for case in cases if case["stage"] == stage]


def _key(url: str) -> bytes:
    found = normalise_url(url.replace("&amp;", "&"))
    assert isinstance(found, NormalisedUrl), (url, found)
    return link_id(found.url)


def _archive(web: Path) -> dict[str, tuple[int, str | None, bytes]]:
    """Status, Location and body by address; as warcio reads them."""
    found = {}
    with (web / "web" / "pages.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file, check_digests="raise"):
            if record.rec_type == "response":
                status = int(record.http_headers.get_statuscode())
                location = record.http_headers.get_header("Location")
                body = record.raw_stream.read()
                found[record.rec_headers["WARC-Target-URI"]] = (status, location, body)
    return found


def _count_outcomes(cases: list[dict[str, str]]) -> dict[str, int]:
    outcomes = [case["outcome"] for case in cases]
    return {outcome: outcomes.count(outcome) for outcome in outcomes}


def test_rows_are_lost_exactly_as_planted(
    web: Path, funnel: tuple[Counts, Counts, dict[bytes, dict[str, Any]]]
) -> None:
    assert funnel[0].losses == _count_outcomes(_planted(web, "submissions"))


def test_links_are_lost_exactly_as_planted(
    web: Path, funnel: tuple[Counts, Counts, dict[bytes, dict[str, Any]]]
) -> None:
    _, counts, links = funnel
    expected = _count_outcomes(_planted(web, "links"))
    assert counts.losses["karma_below_minimum"] == expected["karma_below_minimum"]
    assert counts.losses["repeated_submission"] == expected["repeated_submission"]
    for case in _planted(web, "links"):
        assert (_key(case["url"]) in links) is (case["outcome"] != "karma_below_minimum"), case
    variants = [case for case in _planted(web, "links") if case["outcome"] == "same_link"]
    assert len({_key(case["url"]) for case in variants}) == 1
    link = links[_key(variants[0]["url"])]
    assert len(link["submissions"]) > len(variants)
    assert link["url"].startswith("https://")


def test_every_later_case_is_a_link(
    web: Path, funnel: tuple[Counts, Counts, dict[bytes, dict[str, Any]]]
) -> None:
    for stage in ("captures", "documents", "duplicates"):
        cases = _planted(web, stage)
        assert cases
        for case in cases:
            assert _key(case["url"]) in funnel[2], case


def test_the_archive_answers_as_planted(web: Path) -> None:
    archive = _archive(web)
    cases = {case["case"]: case["url"] for case in _planted(web, "captures")}
    assert archive[cases["404"]][0] == 404
    assert archive[cases["500"]][0] == 500
    assert archive[cases["empty body"]][2] == b""
    assert len(archive[cases["too large"]][2]) > LARGE_PAGE_BYTES - 100
    assert cases["never archived"] not in archive
    location = archive[cases["redirect to Wikipedia"]][1]
    assert location is not None
    assert location.startswith("https://en.wikipedia.org/")
    private = cases["disallowed by robots.txt"]
    robots = archive["https://members.oddmodules.example/robots.txt"][2]
    assert b"Disallow: /private/" in robots
    assert "/private/" in private


def test_mirrors_are_identical_and_near_copies_are_not(web: Path) -> None:
    archive = _archive(web)
    bodies = [body for _, _, body in archive.values()]
    cases = _planted(web, "duplicates")
    assert {case["outcome"] for case in cases} == {"exact", "near", "ok"}
    for case in cases:
        copies = bodies.count(archive[case["url"]][2])
        assert copies == (2 if case["outcome"] == "exact" else 1), case


@pytest.mark.parametrize(
    ("every", "low", "high"), [(150, 0.9, 0.97), (70, 0.82, 0.92), (8, 0, 0.35)]
)
def test_changed_words_give_the_similarity_they_claim(every: int, low: float, high: float) -> None:
    words = [f"word{number}" for number in range(3_000)]
    original = "<p>" + " ".join(words) + "</p>"
    changed = change_words(original, every)

    def shingles(text: str) -> set[tuple[str, ...]]:
        split = text.replace("<p>", "").replace("</p>", "").split()
        assert len(split) == len(words)
        return {tuple(split[start : start + 5]) for start in range(len(split) - 4)}

    one, other = shingles(original), shingles(changed)
    assert low < len(one & other) / len(one | other) < high


def test_the_dump_declares_the_window_of_the_published_ones(web: Path) -> None:
    frame = (web / "submissions" / "RS_2017-10.zst").read_bytes()
    assert zstandard.get_frame_parameters(frame).window_size == 2**31


def test_pages_name_nothing_of_this_machine(web: Path) -> None:
    for url, (_, _, body) in _archive(web).items():
        assert b" at 0x" not in body, url
        for place in {sys.prefix, sys.base_prefix, str(Path.cwd())}:
            assert place == "/usr" or place.encode() not in body, url


_BUILD = """
import sys
from pathlib import Path
from webtext.demo_web import DemoWebConfig, build_demo_web
build_demo_web(
    destination=Path(sys.argv[1]),
    config=DemoWebConfig(max_pages=int(sys.argv[2]), min_characters=0),
)
"""


def _build_apart(destination: Path, pages: int, hash_seed: str) -> dict[str, str]:
    """Digests of the files that a process of its own with this hash seed makes."""
    destination.mkdir()
    subprocess.run(
        [sys.executable, "-c", _BUILD, str(destination), str(pages)],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        cwd=Path(__file__).parents[2],
    )
    return _digests(destination)


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_another_process_makes_the_same_bytes(web: Path, tmp_path: Path) -> None:
    assert _build_apart(tmp_path / "apart", PAGES, "4242") == _digests(web)


@pytest.mark.slow
def test_all_pages_are_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    one = _build_apart(tmp_path / "one", 465, "1")
    other = _build_apart(tmp_path / "other", 465, "4242")
    assert one == other
    assert list(one) == ["planted.json", "submissions/RS_2017-10.zst", "web/pages.warc.gz"]


def test_too_little_documentation_is_refused(tmp_path: Path) -> None:
    config = DemoWebConfig(max_pages=8, min_characters=9_000_000)
    with pytest.raises(SourceError, match="lower min_characters"):
        build_demo_web(destination=tmp_path, config=config)
    assert list(tmp_path.iterdir()) == []


def test_every_page_has_an_address_of_its_own() -> None:
    from webtext.demo_reference import walk_reference

    pages = list(walk_reference())
    assert len({place_page(page) for page in pages}) == len(pages)
    assert len(pages) >= 400
    assert sum(page.characters for page in pages) >= 2_000_000


def test_pages_do_not_tell_where_python_lies() -> None:
    from webtext.demo_reference import walk_reference

    page = next(str(page) for page in walk_reference() if "platform" in page.title)
    assert "executable='/usr/bin/python3'" in page.replace("&#x27;", "'")
    assert sys.prefix not in page
