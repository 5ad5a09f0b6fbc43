"""What every test may use: the folder of real data, where there is one."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pages, dumps and benchmarks; skips where there is none."""
    beside = Path(__file__).parents[1].parent / "shared"
    folder = Path(os.environ.get("WEBTEXT_REAL_DATA", beside))
    if not (folder / "real-web").is_dir():
        pytest.skip(f"no real data at {folder}; set WEBTEXT_REAL_DATA to its folder")
    return folder
