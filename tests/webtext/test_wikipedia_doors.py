"""Wikipedia's three doors, each in the stage that keeps it: link, redirect, canonical link."""

from pathlib import Path

import pytest

from tests.webtext.pages import WebPage
from tests.webtext.small_web import (
    gateway_running,
    link_id,
    read_captures,
    record,
    redirect,
    write_archive,
    write_links,
)
from tests.webtext.test_documents import run as filter_pages
from tests.webtext.test_pages import PROSE, html
from tests.webtext.test_pages import run as extract_pages
from tests.webtext.test_submissions import _read, _row
from webtext.crawl import crawl_partition
from webtext.crawl_config import CrawlConfig

WIKIPEDIA = [
    "https://en.wikipedia.org/wiki/A", "http://de.m.wikipedia.org/wiki/A",
    "//simple.wikipedia.org/", "http://zh-min-nan.zero.wikipedia.org./",
    "HTTP://WWW.WIKIPEDIA.COM:80", "https://wikipedia.org",
]  # fmt: skip
PROJECTS = [
    "https://commons.wikimedia.org/wiki/A",
    "http://en.m.wiktionary.org/",
    "https://w.wiki/4",
]
OTHERS = ["http://notwikipedia.org/", "http://wikipedia.org.example/", "http://en.wikia.com/"]


def is_stripped(url: str, strip: bool) -> bool:
    return url in WIKIPEDIA or (strip and url in PROJECTS)


@pytest.mark.parametrize("strip", [False, True])
def test_by_the_links_host(strip: bool, tmp_path: Path) -> None:
    urls = [url if url[0] != "/" else f"http:{url}" for url in WIKIPEDIA + PROJECTS + OTHERS]
    rows, counts = _read([_row(url=url) for url in urls], tmp_path, strip_wikimedia=strip)
    stripped = len(WIKIPEDIA) + (len(PROJECTS) if strip else 0)
    assert counts.losses == {"wikipedia": stripped}
    assert len(rows) == len(urls) - stripped


@pytest.mark.parametrize("strip", [False, True])
def test_by_the_address_after_redirects(strip: bool, tmp_path: Path) -> None:
    targets = WIKIPEDIA + PROJECTS + OTHERS
    urls = [f"http://a.example/{place}" for place in range(len(targets))]
    # The second of two hops leads there, and an archive would hold the page itself.
    hops = [redirect(url, url + "/hop") for url in urls]
    hops += [redirect(url + "/hop", target) for url, target in zip(urls, targets, strict=True)]
    pages = [record(url if url[0] != "/" else f"http:{url}") for url in targets]
    archive = write_archive(tmp_path / "web.warc.gz", [*hops, *pages])
    links = write_links(tmp_path / "links-artifact", urls)
    with gateway_running(archive) as address:
        crawl_partition(
            links=links, partition=0, destination=tmp_path / "out", gateway=address,
            config=CrawlConfig(strip_wikimedia=strip), host_delay_s=0.0,
        )  # fmt: skip
    captures = read_captures(tmp_path / "out")
    for url, target in zip(urls, targets, strict=True):
        expected = "wikipedia_redirect" if is_stripped(target, strip) else "ok"
        assert captures[link_id(url)]["outcome"] == expected, target


@pytest.mark.parametrize("strip", [False, True])
def test_by_the_pages_canonical_link(strip: bool, tmp_path: Path) -> None:
    targets = WIKIPEDIA + PROJECTS + OTHERS
    heads = [f"<link href='{target}' rel='alternate CANONICAL'>" for target in targets]
    pages = [WebPage(place, html(PROSE, head)) for place, head in enumerate(heads, 1)]
    named = "<meta property='og:url' content='https://en.wikipedia.org/wiki/A'>"
    pages.append(WebPage(len(pages) + 1, html(PROSE, named)))
    _, extracted = extract_pages(tmp_path / "pages", pages)
    _, documents, rejected, _ = filter_pages(
        tmp_path / "documents", list(extracted.values()), strip_wikimedia=strip
    )
    stripped = {place for place, url in enumerate(targets, 1) if is_stripped(url, strip)}
    assert {key for key, row in rejected.items() if row["reason"] == "wikipedia"} == stripped
    assert documents.keys() == set(range(1, len(pages) + 1)) - stripped
