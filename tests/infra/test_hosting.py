"""Files for engines that need not be here: containers and Kubernetes, checked as far as it goes.

No engine runs in these tests. The compose file is read by compose itself where it is installed (it
needs no engine for that), Kubernetes' manifest is rendered as Prefect's worker renders it and
validated by the API's own schemas, the Dockerfile is held to rules.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "infra" / "compose.yaml"
POOLS = sorted((ROOT / "infra" / "work_pools").glob("*.json"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PASSWORDS = {"POSTGRES_PASSWORD": "one", "OBJECTS_KEY": "two", "OBJECTS_SECRET": "three"}


def compose_command() -> list[str]:
    """Compose as Docker's plugin or as a program of its own; skips where there is neither."""
    if shutil.which("docker") is not None:
        there = subprocess.run(["docker", "compose", "version"], capture_output=True)
        if there.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose") is not None:
        return ["docker-compose"]
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


def compose(*arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    keep = {name: value for name, value in os.environ.items() if name not in PASSWORDS}
    return subprocess.run(
        [*compose_command(), "--file", str(COMPOSE), *arguments],
        capture_output=True, text=True, env=keep | given, cwd=ROOT,
    )  # fmt: skip


def test_compose_reads_its_file_and_asks_for_passwords() -> None:
    done = compose("config", **PASSWORDS)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {"postgres", "server", "deploy", "worker", "objects"} <= set(services)
    assert services["server"]["environment"]["PREFECT_SERVER_DATABASE_PASSWORD"] == "one"
    without = compose("config", **{**PASSWORDS, "OBJECTS_SECRET": ""})
    assert without.returncode != 0
    assert "OBJECTS_SECRET" in without.stderr


def test_services_are_pinned_private_and_restarted() -> None:
    services: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    for name, service in services.items():
        assert re.search(r":[\w.-]*\d|WEBTEXT_IMAGE", service["image"]), name
        assert "restart" in service, name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[other]
    assert services["marquez"]["profiles"] == ["lineage"]
    assert "read_only" not in services["worker"]
    vacuum = services["server"]["environment"]
    assert "flow_runs" in vacuum["PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"]


def test_no_file_holds_a_password() -> None:
    for path in [COMPOSE, *POOLS, ROOT / "infra" / "env.example", ROOT / "Dockerfile"]:
        for line in path.read_text().splitlines():
            found = re.search(r"(?:PASSWORD|SECRET|TOKEN|KEY)\w*[\"']?\s*[:=]\s*(\S.*)", line)
            if found and "deploy" not in line:
                assert found[1].startswith(("${", "{{", "$")), (path.name, line)


def rendered(pool: Path) -> dict[str, Any]:
    """The job configuration that a worker makes of a pool's template and its defaults."""
    from prefect.utilities.templating import apply_values

    template = json.loads(pool.read_text())
    properties = template["variables"]["properties"]
    values = {name: one["default"] for name, one in properties.items() if "default" in one}
    values |= {
        "name": "quick-hare",
        "command": ["python", "-m", "prefect.engine"],
        "labels": {"prefect.io/flow-run-id": "0000"},
        "env": [{"name": name, "value": value} for name, value in values["env"].items()],
    }
    found: dict[str, Any] = apply_values(template["job_configuration"], values, remove_notset=True)
    return found


@pytest.mark.parametrize("pool", POOLS, ids=lambda path: path.stem)
def test_every_placeholder_of_a_pool_is_a_described_variable(pool: Path) -> None:
    template = json.loads(pool.read_text())
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    properties = template["variables"]["properties"]
    assert used == set(properties)
    assert all(one["description"] for one in properties.values())
    assert properties["env"]["default"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


def test_the_kubernetes_job_is_valid() -> None:
    import kubernetes_validate

    job = rendered(ROOT / "infra" / "work_pools" / "kubernetes.json")["job_manifest"]
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    pod = job["spec"]["template"]["spec"]
    assert job["spec"]["backoffLimit"] == 0  # the store and the automations begin it again
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["containers"][0]["envFrom"][0]["secretRef"]["name"] == "webtext-secrets"
    broken = json.loads(json.dumps(job))
    broken["spec"]["template"]["spec"]["restartPolicie"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def test_the_dockerfile_keeps_the_rules() -> None:
    """Those of linters: pinned bases, lists cleaned up, no root, programs as lists, no secrets."""
    steps = instructions()
    bases = [value for name, value in steps if name == "FROM"]
    assert all(re.search(r":\d[\w.-]+", base) for base in bases)
    for name, value in steps:
        assert name in {"FROM", "RUN", "ENV", "WORKDIR", "ARG", "COPY", "USER", "VOLUME", "CMD"}
        if name == "RUN" and "apt-get install" in value:
            assert "--no-install-recommends" in value
            assert "rm -rf /var/lib/apt/lists/*" in value
        if name == "RUN":
            assert "sudo" not in value
            assert " cd " not in value
        if name == "CMD":
            assert json.loads(value)
        if name in {"ENV", "ARG"}:
            assert not re.search(r"TOKEN|SECRET|PASSWORD", value)
    names = [name for name, _value in steps]
    last_user = [value for name, value in steps if name == "USER"][-1]
    assert last_user == "10001"
    assert names.index("USER") > names.index("FROM", 1)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs", "infra/.env"} <= set(ignored)


def test_make_up_says_what_is_missing(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    for name in ("sh", "test", "echo"):
        (tmp_path / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    done = subprocess.run(
        [make, "up"], capture_output=True, text=True, cwd=ROOT, env={"PATH": str(tmp_path)}
    )
    assert done.returncode != 0
    assert "needs Docker, which is not installed" in done.stderr
    assert "webtext serve" in done.stderr
    (tmp_path / "docker").write_text("#!/bin/sh\n[ $1 != info ]\n")
    (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(
        [make, "up"], capture_output=True, text=True, cwd=ROOT, env={"PATH": str(tmp_path)}
    )
    assert "needs a running Docker engine" in done.stderr
