"""What every test may use: real data, where there is some, a browser, and an S3 API server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.s3_server import S3, s3_server

if TYPE_CHECKING:
    from tests.browser import Browser


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pages, dumps and benchmarks; skips where there is none."""
    beside = Path(__file__).parents[1].parent / "shared"
    folder = Path(os.environ.get("WEBTEXT_REAL_DATA", beside))
    if not (folder / "real-web").is_dir():
        pytest.skip(f"no real data at {folder}; set WEBTEXT_REAL_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium for the session; skips where there is none."""
    from tests.browser import start_browser

    yield from start_browser(tmp_path_factory.mktemp("chromium"))


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A server for the session; each test has a prefix of its own."""
    with s3_server() as server:
        yield server
