"""Tensor files: what safetensors reads, hashed as it is written."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.errors import CheckpointError
from model.tensor_file import hash_file, reading_tensors, write_tensors

TENSORS = {
    "b": torch.arange(12, dtype=torch.float32).view(3, 4).t(),
    "a": torch.tensor([-0.0, float("inf"), float("nan"), 1e-45]),
    "empty": torch.zeros(0, 4),
    "count": torch.tensor(2**40),
}


def test_safetensors_reads_it(tmp_path: Path) -> None:
    record = write_tensors(tmp_path / "x", TENSORS)
    assert record is not None
    content = (tmp_path / "x").read_bytes()
    assert record.bytes == len(content)
    assert record.sha256 == hashlib.sha256(content).hexdigest() == hash_file(tmp_path / "x")
    theirs = load_file(tmp_path / "x")
    assert theirs.keys() == TENSORS.keys()
    with reading_tensors(tmp_path / "x") as ours:
        assert list(ours) == sorted(TENSORS)
        assert len(ours) == 4
        assert "a" in ours
        assert "c" not in ours
        for name, tensor in TENSORS.items():
            for back in (theirs[name], ours[name]):
                assert back.dtype == tensor.dtype
                assert back.shape == tensor.shape
                assert back.numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def test_a_slow_reader_slows_a_write_that_can_still_be_given_up(tmp_path: Path) -> None:
    """A pipe that is emptied slowly, as a slow disk would be: 10 MB would take it 20 seconds."""
    slow = tmp_path / "pipe"
    os.mkfifo(slow)
    reader = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, time\n"
         "with open(sys.argv[1], 'rb', buffering=0) as pipe:\n"
         "    while pipe.read(1 << 16): time.sleep(1 / 8)\n", str(slow)]
    )  # fmt: skip
    began = time.monotonic()
    tensors = {str(number): torch.ones(1 << 18) for number in range(10)}  # 1 MiB each
    try:
        record = write_tensors(slow, tensors, lambda: time.monotonic() - began > 1)
    finally:
        reader.kill()
        reader.wait()
    assert record is None
    assert 1 < time.monotonic() - began < 6


@pytest.mark.parametrize("kept", [0, 4, 60])
def test_a_torn_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="cannot be read"), reading_tensors(path):
        pass
