"""Templates of trainings on many machines: they parse, fit their schemas, and name settings."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.profile import load_profile

FOLDER = Path(__file__).parents[2] / "infra" / "training"


def settings_in(text: str) -> list[str]:
    """The settings that a template passes on, with their shell variables filled in."""
    found = re.findall(r"""--set ['"]?(runtime\.\w+)=(.*?)['"]?(?: \\)?$""", text, re.MULTILINE)
    assert len(found) == 6
    values = {"$RENDEZVOUS": "node-0:29500", "$SLURM_NODEID": "1", "$JOB_COMPLETION_INDEX": "1"}
    filled = [
        (name, re.sub(r"\$\w+", lambda m: values.get(m[0], "2"), value.replace('\\"', '"')))
        for name, value in found
    ]
    return [f"{name}={value}" for name, value in filled]


@pytest.mark.parametrize("name", ["train.sbatch", "job.yaml"])
def test_settings_exist(name: str) -> None:
    runtime = load_profile("gpt2-1558M", settings_in((FOLDER / name).read_text())).runtime
    assert runtime.launcher == "torchrun"
    assert runtime.training_nodes().address()


def test_the_script_is_bash() -> None:
    text = (FOLDER / "train.sbatch").read_text()
    subprocess.run(["bash", "-n", str(FOLDER / "train.sbatch")], check=True)
    inner = text[text.index("bash -c '") + len("bash -c '") :].rstrip().removesuffix("'")
    subprocess.run(["bash", "-n", "-c", inner], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(FOLDER / "train.sbatch")], check=True)
    assert "#SBATCH --ntasks-per-node=1" in text


def test_the_job_fits_kubernetes() -> None:
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all((FOLDER / "job.yaml").read_text())
    validate = pytest.importorskip("kubernetes_validate")
    for resource in (service, job):
        validate.validate(resource, "1.31", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    assert pod["subdomain"] == service["metadata"]["name"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    (script,) = pod["containers"][0]["args"]
    subprocess.run(["bash", "-n", "-c", script], check=True)
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == volumes


def test_the_hostfile_is_deepspeeds() -> None:
    from deepspeed.launcher.runner import fetch_hostfile

    assert fetch_hostfile(str(FOLDER / "hostfile")) == {"node-0": 8, "node-1": 8}
