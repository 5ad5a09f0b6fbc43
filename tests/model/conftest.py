"""One torch thread in tests, and one nursery for all trainers.

Two torch processes with two threads each, on two cores, slow each other down tenfold.
"""

import os
from collections.abc import Iterator

import pytest
import torch

from tests.model.nursery import Nursery, open_nursery

os.environ.setdefault("DS_ACCELERATOR", "cpu")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Importing DeepSpeed takes seconds: once for all."""
    with open_nursery(tmp_path_factory.mktemp("nursery") / "log") as nursery:
        yield nursery
