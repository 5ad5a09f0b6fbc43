"""`webtext doctor`: whether everything that a run needs is there, and what to do where it is not.

Each check gives findings: `ok`, `note` (worth knowing, nothing is broken), `error` (a run will
fail, with what mends it). Checks change nothing; none waits for more than some seconds.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

from flows.doctor_server import check_server
from flows.doctor_store import check_store
from flows.finding import Finding, error, note, ok

if TYPE_CHECKING:
    from flows.profile import Profile

_DISTRIBUTION = "webtext-pipeline"
_CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
_EXTENSIONS = {
    "webtext._rows": "dumps are read a third as fast",
    "webtext._minhash": "signatures take several times as long",
    "eval._ngrams": "overlap takes many times as long",
}
_CONNECT_S = 5.0


def examine(load: Callable[[], Profile], store: Path) -> list[Finding]:
    """All findings, in the order in which they are best mended.

    Args:
        load: gives the profile; what is wrong with it is a finding.
        store: the store's folder.
    """
    findings = [*_installation()]
    profile: Profile | None = None
    try:
        profile = load()
        findings.append(ok("profile", f"{profile.name} can be used"))
    except Exception as problem:  # noqa: BLE001  whatever it is, it is the finding
        findings.append(error("profile", str(problem), "mend the profile, or give another"))
    floor = profile.runtime.disk_floor_gib if profile is not None else 0.5
    findings += check_store(store, floor)
    findings += check_server(store)
    findings += _gpu(profile)
    findings += _network(profile)
    return findings


def _installation() -> Iterator[Finding]:
    area = "installation"
    yield from _requirements(area)
    yield from _pins(area)
    for name, cost in _EXTENSIONS.items():
        if find_spec(name) is None:
            yield note(
                area, f"{name} is not compiled: {cost}", "install a C compiler and reinstall"
            )
    if all(find_spec(name) for name in _EXTENSIONS):
        yield ok(area, f"{len(_EXTENSIONS)} C extensions")
    from webtext.errors import WebtextError
    from webtext.vocabulary import vocabulary_folder

    try:
        yield ok(area, f"GPT-2's vocabulary in {vocabulary_folder()}")
    except WebtextError as problem:
        yield error(area, str(problem), "reinstall the package: its vocabulary files are damaged")


def _requirements(area: str) -> Iterator[Finding]:
    """Whether what the package asks for is installed in versions that it works with."""
    from packaging.requirements import Requirement

    try:
        stated = [Requirement(text) for text in requires(_DISTRIBUTION) or []]
    except PackageNotFoundError:
        yield note(area, f"{_DISTRIBUTION} runs from its source, not installed", "make run")
        return
    wanted = [each for each in stated if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = 0
    for each in wanted:
        found = _installed(each.name)
        if found is None or not each.specifier.contains(found, prereleases=True):
            wrong += 1
            mend = f"pip install -c constraints.txt '{each.name}{each.specifier}'"
            yield error(area, f"{each.name} {found or 'is missing'}, wanted {each.specifier}", mend)
    if not wrong:
        yield ok(area, f"{len(wanted)} packages in versions that work")


def _pins(area: str) -> Iterator[Finding]:
    """Whether versions are those that the project was tested with, where its list is at hand."""
    if not _CONSTRAINTS.is_file():
        return
    pins = dict(
        line.strip().split("==") for line in _CONSTRAINTS.read_text().splitlines() if "==" in line
    )
    differing = [
        f"{name} {found} (tested: {pin})"
        for name, pin in sorted(pins.items())
        if (found := _installed(name)) is not None and found.split("+")[0] != pin
    ]
    if differing:
        shown = ", ".join(differing[:6]) + (", ..." if len(differing) > 6 else "")
        mend = "pip install -c constraints.txt -e . gives the tested versions and their bytes"
        yield note(area, f"{len(differing)} packages differ from constraints.txt: {shown}", mend)
    else:
        yield ok(area, "versions are those of constraints.txt")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu(profile: Profile | None) -> Iterator[Finding]:
    area = "gpu"
    wanted = profile is not None and profile.runtime.device.startswith("cuda")
    cards = _cards()
    if not cards:
        if wanted:
            mend = "install the driver, or set runtime.device=cpu"
            yield error(area, "runtime.device is cuda, but there is no NVIDIA GPU", mend)
        else:
            yield ok(area, "none; the CPU trains and scores")
        return
    yield ok(area, ", ".join(cards))
    import torch

    if not torch.cuda.is_available():
        build = torch.version.cuda or "CPU-only"
        mend = "install the PyTorch build for CUDA, and set DS_ACCELERATOR=cuda"
        told = f"PyTorch {torch.__version__} ({build}) does not see it"
        yield error(area, told, mend) if wanted else note(area, told, mend)


def _cards() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _network(profile: Profile | None) -> Iterator[Finding]:
    area = "network"
    needed = sorted(_addresses(profile)) if profile is not None else []
    if not needed:
        yield ok(area, "not needed by this profile")
    for host, port in needed:
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_S):
                yield ok(area, f"{host}:{port} answers")
        except OSError as problem:
            mend = "check the network, its proxy and the address in the profile"
            yield error(area, f"{host}:{port} cannot be reached ({problem})", mend)


def _addresses(profile: Profile) -> Iterator[tuple[str, int]]:
    """Where a run of the profile connects to; a live crawl's sites are as many as its links."""
    given = profile.inputs
    texts = [given.gateway, given.cdx_records, *given.cdx]
    if any(text.startswith("hf://") for text in given.documents):
        texts.append("https://huggingface.co")
    if profile.crawl.is_live:
        texts.append("https://example.org")
    for text in texts:
        parts = urlsplit(text or "")
        if parts.scheme in ("http", "https") and parts.hostname:
            yield parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


_MARKS = {"ok": "[green]✓[/]", "note": "[yellow]•[/]", "error": "[red]✗[/]"}


def print_findings(out: Console, findings: Iterable[Finding]) -> None:
    """A line a finding, and below it what to do."""
    broken = 0
    for each in findings:
        broken += each.state == "error"
        out.print(f"{_MARKS[each.state]} {each.area:<13} {escape(each.told)}", highlight=False)
        if each.mend is not None:
            out.print(f"  {'':<13} → {escape(each.mend)}", highlight=False)
    out.print(f"\n{broken} to mend" if broken else "\nAll that a run needs is there.")


def findings_json(findings: Iterable[Finding]) -> str:
    """The findings as JSON."""
    return json.dumps([each.model_dump() for each in findings], indent=2, ensure_ascii=False)
