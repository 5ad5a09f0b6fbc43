"""Floors of the extraction's quality, pinned with the digest of the pages they were measured on."""

from pathlib import Path

import pytest

from tests.bench.gold_pages import GoldPage, Quality, digest, gold_pages, measure_quality
from webtext.extract import ExtractionConfig, extract_page

SAMPLE_EVERY = 24
SAMPLE_DIGEST = "8dd2941fbb8e4dea3273aea8e54ce49ca362862c22b76b0a66d042d1f4244acc"
SAMPLE_FLOORS = {"f1": 0.932, "found": 0.962, "kept_out": 0.946}
WHOLE_DIGEST = "e1982c138dcc6e1c3cf5e4a3c8c881e32225f324ba126bc5426d1a7574e34b3a"
WHOLE_FLOORS = {"f1": 0.93, "found": 0.95, "kept_out": 0.905}


def quality(pages: list[GoldPage]) -> Quality:
    return measure_quality(pages, extract)


def extract(page: GoldPage) -> str | None:
    return extract_page(
        page.body, url=page.url, media_type="text/html", charset=None, content_encoding=None,
        max_page_bytes=1 << 28, config=ExtractionConfig(),
    ).text  # fmt: skip


def check(pages: list[GoldPage], expected: str, floors: dict[str, float]) -> None:
    assert digest(pages) == expected, "other pages: measure the floors anew"
    found = quality(pages)
    measured = {"f1": found.overall.f1, "found": found.found, "kept_out": found.kept_out}
    assert all(measured[name] >= floor for name, floor in floors.items()), measured


@pytest.fixture(scope="module")
def pages(real_data: Path) -> list[GoldPage]:
    return gold_pages(real_data / "real-web")


def test_a_sample_of_real_pages(pages: list[GoldPage]) -> None:
    check(pages[::SAMPLE_EVERY], SAMPLE_DIGEST, SAMPLE_FLOORS)


@pytest.mark.slow
def test_all_real_pages(pages: list[GoldPage]) -> None:
    check(pages, WHOLE_DIGEST, WHOLE_FLOORS)
