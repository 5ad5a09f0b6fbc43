"""The report of a real run and the lineage's pages, in a real browser."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest

from flows.report import without_run, write_report
from infra.store import Store
from tests.browser import DESKTOP, PHONE, Browser
from tests.end_to_end.conftest import Ended, command, environment, manifests, webtext

RESOURCES = "return performance.getEntriesByType('resource').map(one => one.name)"
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true; })"


@pytest.fixture(scope="module")
def store(tiny_store: tuple[Path, Ended]) -> Path:
    return tiny_store[0]


@pytest.fixture(scope="module")
def page(store: Path) -> Path:
    [found] = (store / "reports").glob("2*.html")
    return found


@pytest.fixture(scope="module")
def address(store: Path) -> Iterator[str]:
    """A server of the tiny run's reports and lineage."""
    server = subprocess.Popen(
        command("report", "serve", "--store", store, "--port", 0),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(None),
    )
    try:
        assert server.stdout is not None
        ready, where = server.stdout.readline().split()
        assert ready == "ready"
        yield where
    finally:
        server.terminate()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def ask(address: str, target: str, method: str = "GET", **headers: str) -> tuple[int, str, dict]:
    """The status, text and headers that a request gets."""
    host, _, port = address.removeprefix("http://").strip("/").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, headers=named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), dict(answer.headers)
    finally:
        connection.close()


def test_a_run_writes_its_report_and_says_where(tiny_store: tuple[Path, Ended], page: Path) -> None:
    told = re.sub(r"\s+", "", tiny_store[1].err)  # a terminal may wrap the path
    assert re.sub(r"\s+", "", f"Report{page}") in told
    assert page.stat().st_size < 2_000_000


@pytest.mark.slow
def test_equal_artifacts_give_an_equal_report(copied_store: Path) -> None:
    """Of a second run that reuses everything only the parts about the run differ."""
    [first] = (copied_store / "reports").glob("*.html")
    from tests.end_to_end.conftest import TINY

    ended = webtext("run", "--profile", TINY, "--store", copied_store)
    assert ended.code == 0, ended.err
    pages = {path.name: path.read_text() for path in (copied_store / "reports").glob("*.html")}
    assert len(pages) == 2
    assert len(set(pages.values())) == 2
    assert len({without_run(text) for text in pages.values()}) == 1
    # Written again, by its first letters, it has the same bytes.
    again = webtext("report", first.stem, "--store", copied_store)
    assert again.out.strip() == str(first)
    assert first.read_text() == pages[first.name]


def test_the_page_loads_nothing_and_complains_of_nothing(browser: Browser, page: Path) -> None:
    for dark in (False, True):
        browser.look(DESKTOP, dark=dark)
        browser.open(page)
        assert browser.run(RESOURCES) == []
        assert browser.complaints() == []
        browser.run(OPEN_ALL)
        assert browser.poor_contrasts() == []
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert browser.run(ground) == "rgb(21, 24, 27)"


def test_every_number_leads_to_an_artifact(browser: Browser, page: Path, store: Path) -> None:
    browser.look()
    browser.open(page)
    known = manifests(store)
    broken = browser.run(
        "return Array.from(document.querySelectorAll('a[href^=\"#\"]'))"
        ".map(a => a.getAttribute('href')).filter(h => !document.getElementById(h.slice(1)))"
    )
    assert broken == []
    artifacts = browser.run(
        "return Array.from(document.querySelectorAll('article h3')).map(h => h.textContent)"
    )
    assert sorted(artifacts) == sorted(known)
    # A click opens the section that the number is from, with its fingerprint in it.
    corpus = next(label for label in known if label.startswith("corpus/"))
    tile = "//dl[@class='tiles']//div[dt='documents in the corpus']//a"
    number = browser.driver.find_element("xpath", tile)
    assert number.text == f"{known[corpus].counts['rows_out']:,}"
    number.click()
    section = browser.driver.find_element("id", f"artifact-{corpus.replace('/', '-')}")
    assert section.find_element("tag name", "details").get_attribute("open")
    assert known[corpus].fingerprint in section.text
    assert known[corpus].files[0].sha256 in section.text
    # The link to the manifest leads from the page's folder to the store's own file.
    browser.follow(section.find_element("partial link text", "manifest.json"))
    assert known[corpus].fingerprint in browser.driver.page_source


def test_the_graph_names_every_loss(browser: Browser, page: Path, store: Path) -> None:
    browser.look()
    browser.open(page)
    graph = browser.run("return document.querySelector('svg.graph').textContent")
    for label, manifest in manifests(store).items():
        stage = label.partition("/")[0]
        assert stage in graph.replace("model card", "card")
        if stage not in ("duplicates", "fidelity", "ngram-hits"):  # at the corpus, or no losses
            for reason, rows in manifest.counts.get("losses", {}).items():
                if rows:
                    assert f"{rows:,}{reason.replace('_', ' ')}" in graph
    assert "What each stage was given" in browser.driver.page_source


def test_the_page_is_read_by_its_structure(browser: Browser, page: Path) -> None:
    """One heading of the first level, none left out below; landmarks, names of plots and tables."""
    browser.look()
    browser.open(page)
    levels = browser.run(
        "return Array.from(document.querySelectorAll('h1,h2,h3,h4'))"
        ".filter(h => h.checkVisibility()).map(h => +h.tagName[1])"
    )
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for name in ("header", "nav[aria-label]", "main", "footer"):
        assert browser.run("return document.querySelectorAll(arguments[0]).length", name) == 1
    nameless = {
        "plots": "svg:not(svg svg):not([aria-label]):not([aria-hidden])",
        "sections": "main > section:not([aria-labelledby])",
        "headings of tables": "thead th:not([scope])",
        "fields": "input:not([id])",
        "images": "img",
    }
    for what, selector in nameless.items():
        found = browser.run("return document.querySelectorAll(arguments[0]).length", selector)
        assert found == 0, what


def test_a_phone_shows_all_of_it(browser: Browser, page: Path) -> None:
    browser.look(PHONE)
    browser.open(page)
    assert browser.overflow() == 0
    browser.run(OPEN_ALL)
    assert browser.overflow() == 0
    small = browser.run(
        "return Array.from(document.querySelectorAll('body *')).filter(one => one.children.length"
        " === 0 && one.textContent.trim() && one.checkVisibility() &&"
        " parseFloat(getComputedStyle(one).fontSize) < 11).map(one => one.outerHTML.slice(0, 80))"
    )
    assert small == []


def test_it_is_used_by_keyboard(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.look()
    browser.open(page)
    assert browser.tab().get_attribute("class") == "skip"
    browser.press(Keys.ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "main"
    # Tab reaches what can be used, in the order of the page, each seen to have the focus.
    browser.open(page)
    for wanted in browser.focusable()[:25]:
        reached = browser.tab()
        assert reached == wanted
        outline = browser.run("return getComputedStyle(arguments[0]).outlineStyle", reached)
        assert outline != "none"
    # Enter opens what is folded, and the list of domains can be searched.
    summary = browser.driver.find_element("css selector", "#domains summary")
    browser.run("arguments[0].focus()", summary)
    browser.press(Keys.ENTER)
    browser.tab()
    browser.press(*"github")
    rows = browser.run(
        "return Array.from(document.querySelectorAll('#published tbody tr'))"
        ".filter(row => !row.hidden).map(row => row.cells[1].textContent)"
    )
    assert "github" in rows
    assert len(rows) < 10
    told = browser.driver.find_element("id", "published-told")
    assert told.text == f"{len(rows)} shown"


def test_it_prints(browser: Browser, page: Path) -> None:
    browser.look()
    browser.open(page)
    pdf = browser.print()
    assert pdf.startswith(b"%PDF")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20


def test_the_front_page_leads_everywhere(browser: Browser, address: str) -> None:
    """Ask for a domain and a step, then go from page to page: document, score, artifact, report."""
    browser.look()
    browser.open(address)
    browser.ask("inkandlogic.example")
    assert browser.find("h1").text == "inkandlogic.example"
    browser.follow(browser.find("ol.way td a"))
    assert "inkandlogic.example/" in browser.find("h1").text
    browser.ask("model@1")
    seen = []
    for stop, link in (
        ("Documents read", None),
        ("Training", None),
        ("Scores", None),
        ("Made from", "corpus/"),
        ("Made of it", "card/"),
    ):
        place = f"//li[h2='{stop}']"
        found = browser.driver.find_elements("xpath", f"{place}//td//a | {place}//ul//a")
        browser.follow(next(one for one in found if link is None or link in one.text))
        seen.append(browser.find(".eyebrow").text.split(" · ")[1])
        assert browser.complaints() == []
        assert browser.overflow() == 0
    assert seen == ["link", "training step", "score", "artifact", "artifact"]
    browser.follow(browser.driver.find_element("link text", "store"))
    browser.follow(browser.find("tbody th a"))
    assert "webtext report" in browser.find(".eyebrow").text
    assert browser.complaints() == []
    # In the served report what can be traced leads to its page.
    browser.follow(browser.driver.find_element("link text", "LAMBADA (PPL)"))
    assert browser.find("h1").text == "lambada_ppl"


def test_texts_are_searched(browser: Browser, address: str) -> None:
    browser.look(PHONE)
    browser.open(address)
    browser.find("#q").send_keys("Return a NEW array")
    browser.follow(browser.find("button[formaction='/search']"))
    marks = browser.driver.find_elements("tag name", "mark")
    assert marks
    assert all(mark.text.lower() == "return a new array" for mark in marks)
    assert "2 of 2 partitions were searched" in browser.driver.page_source
    assert browser.overflow() == 0
    browser.follow(browser.find("ol.plain a"))
    browser.follow(browser.driver.find_element("link text", "read it"))
    assert "Return a new array" in browser.find("pre").text
    assert browser.complaints() == []


def test_a_trace_is_used_by_keyboard(browser: Browser, address: str) -> None:
    browser.look()
    browser.open(f"{address}trace?q=lambada_acc")
    for wanted in browser.focusable():
        assert browser.tab() == wanted
    assert browser.poor_contrasts() == []


def test_submissions_links_and_documents_are_found(address: str, store: Path) -> None:
    _, text, _ = ask(address, "/trace?q=inkandlogic.example")
    url = re.search(r"https?://[^<\s]*inkandlogic[^<\s]*", text)
    assert url is not None
    _, text, _ = ask(address, f"/trace?q={quote(url[0], safe='')}")
    [submission, *_] = re.findall(r"q=(t3_\w+)", text)
    [link_id, *_] = re.findall(r"q=([0-9a-f]{32})", text)
    for subject in (submission, link_id):
        status, text, _ = ask(address, f"/trace?q={subject}")
        assert status == 200
        assert url[0] in text
    status, text, headers = ask(address, f"/capture?q={link_id}")
    assert status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in headers["Content-Security-Policy"]


def test_only_this_machine_is_answered(address: str) -> None:
    assert ask(address, "/", Host="evil.example")[0] == 421
    assert ask(address, "/", Host="evil.example:80")[0] == 421
    status, text, _ = ask(address, "/search?q=array", Sec_Fetch_Site="cross-site")
    assert (status, "mark" in text.partition("<main")[2]) == (403, False)
    assert ask(address, "/", "POST")[0] == 501
    status, _, headers = ask(address, "/")
    assert status == 200
    assert "Access-Control-Allow-Origin" not in headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    port = address.rstrip("/").rpartition(":")[2]
    assert ask(address, "/", Host=f"localhost:{port}")[0] == 200


def test_questions_have_limits(address: str) -> None:
    assert ask(address, "/trace?q=" + "a" * 2001)[0] == 414
    assert ask(address, "/trace?q=" + "a" * 5000)[0] == 414
    assert ask(address, "/search?q=" + "a" * 201)[0] == 400
    assert ask(address, "/trace?" + "&".join(f"a{n}=1" for n in range(20)))[0] == 400
    for path in ("/etc", "../..", "%2e%2e/x", "/"):
        assert ask(address, f"/trace?q={path}")[0] == 400, path
    for path in ("/manifest.json", "/../runs", "/report/../..", "/report/%2e%2e%2f"):
        assert ask(address, path)[0] == 404, path
    status, text, _ = ask(address, "/trace?q=no.such.example")
    assert status == 404
    assert "Search the texts for it" in text


def test_what_was_asked_is_shown_as_text(browser: Browser, address: str) -> None:
    """A question or a page's text that is HTML is shown, not run."""
    hostile = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
    for path in ("trace", "search"):
        browser.open(f"{address}{path}?q={quote(hostile)}")
        assert browser.driver.title != "run"
        assert browser.run("return document.images.length") == 0
        assert browser.run("return document.querySelectorAll('main script').length") == 0


@pytest.mark.slow
def test_trace_opens_its_page(browser: Browser, copied_store: Path, tmp_path: Path) -> None:
    """`--open` writes a page that stands by itself, and has a browser show it."""
    write_report(Store(copied_store))
    opened = tmp_path / "opened"
    opener = tmp_path / "opener"
    opener.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    opener.chmod(0o755)
    os.environ["BROWSER"] = str(opener)
    try:
        ended = webtext("trace", "lambada_acc", "--open", "--store", copied_store)
        report = webtext("report", "--open", "--store", copied_store)
    finally:
        del os.environ["BROWSER"]
    assert (ended.code, report.code) == (0, 0), ended.err + report.err
    assert opened.read_text().strip() == Path(report.out.strip()).as_uri()
    browser.look(PHONE)
    browser.open(Path(ended.out.strip()))
    assert browser.driver.find_element("tag name", "h1").text == "lambada_acc"
    assert browser.run(RESOURCES) == []
    assert browser.complaints() == []
    assert browser.overflow() == 0
