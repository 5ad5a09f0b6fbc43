"""Which device is used: nothing heavy is imported to choose, and what is missing is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.device import choose_device, why_no_gpu
from model.errors import SettingsError
from model.launch import EXIT_MISTAKE, launch_command, read_outcome
from tests.model.trainings import make_spec, start, write_spec

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@WITHOUT_GPU
def test_without_a_gpu() -> None:
    assert choose_device("auto") == choose_device("cpu", ranks=8) == "cpu"
    assert why_no_gpu()
    with pytest.raises(SettingsError, match=r"'cuda' was asked for, but .*runtime.device"):
        choose_device("cuda")


def test_choosing_imports_no_torch() -> None:
    code = (
        "import sys, model.device as d; d.choose_device('auto'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def choose_with(folder: Path, version: str, gpus: int, wanted: str, ranks: int) -> str:
    """What is chosen where another torch is installed: a package that tells of `gpus` GPUs."""
    package = folder / "torch"
    package.mkdir()
    (package / "version.py").write_text(version)
    (package / "__init__.py").write_text("from torch import cuda\n")
    (package / "cuda.py").write_text(
        f"def is_available(): return {gpus} > 0\ndef device_count(): return {gpus}\n"
    )
    (folder / "driver").touch()
    code = (
        "import sys, model.device as d; from model.errors import SettingsError\n"
        "d._DRIVERS = (sys.argv[3],)\n"
        "try: print(d.choose_device(sys.argv[1], int(sys.argv[2])))\n"
        "except SettingsError as error: print(error)"
    )
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    command = [sys.executable, "-c", code, wanted, str(ranks), str(folder / "driver")]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


CUDA = (
    "from typing import Optional\n__version__ = '2.9'\ncuda: Optional[str] = '12.8'\nhip = None\n"
)


@pytest.mark.parametrize(
    ("version", "gpus", "wanted", "ranks", "expected"),
    [
        (CUDA, 2, "auto", 2, "cuda"),
        (CUDA, 2, "cuda", 1, "cuda"),
        (CUDA, 0, "auto", 1, "cpu"),
        (CUDA, 0, "cuda", 1, "torch sees no GPU"),
        (CUDA, 2, "auto", 4, "torch sees 2; set runtime.ranks to 2"),
        (CUDA.replace("'12.8'", "None"), 2, "auto", 1, "cpu"),
        (CUDA.replace("'12.8'", "None"), 2, "cuda", 1, "built for processors alone"),
    ],
)
def test_with_gpus(
    tmp_path: Path, version: str, gpus: int, wanted: str, ranks: int, expected: str
) -> None:
    found = choose_with(tmp_path, version, gpus, wanted, ranks)
    assert found == expected if expected in ("cpu", "cuda") else expected in found


def test_the_spec_decides_the_trainers_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "xpu")
    spec = make_spec(tmp_path)
    assert launch_command(write_spec(spec))[1]["DS_ACCELERATOR"] == "cpu"
    spec = spec.model_copy(update={"device": "cuda"})
    assert launch_command(write_spec(spec))[1]["DS_ACCELERATOR"] == "cuda"


@WITHOUT_GPU
@pytest.mark.slow
def test_a_trainer_without_its_gpu_says_so(tmp_path: Path) -> None:
    spec = make_spec(tmp_path).model_copy(update={"device": "cuda"})
    child = start(spec)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == EXIT_MISTAKE, output
    outcome = read_outcome(spec.work)
    assert outcome is not None
    assert outcome.state == "failed"
    assert "device 'cuda' was asked for" in outcome.message
    assert "sees 0 GPUs" in outcome.message
