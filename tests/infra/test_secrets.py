"""Secrets: put in where they are needed, masked where something is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.inputs import parse_inputs
from infra import secrets
from infra.errors import ProfileError
from infra.secrets import MASK, know, mask, names_in, require_no_password, reveal


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_referred", set())
    monkeypatch.setenv("ARCHIVE_DOOR", "p@ss/w:rd 1")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")


def test_a_reference_is_replaced_wherever_it_stands() -> None:
    given = {"gateway": "https://me:${ARCHIVE_DOOR}@a.example/web", "plain": "${ARCHIVE_DOOR}"}
    assert names_in({"a": [given, 3], "b": ("${OTHER}",)}) == {"ARCHIVE_DOOR", "OTHER"}
    assert reveal(given) == {
        # As an address holds it.
        "gateway": "https://me:p%40ss%2Fw%3Ard%201@a.example/web",
        "plain": "p@ss/w:rd 1",
    }
    assert reveal([1, None, "no ${", "$HOME"]) == [1, None, "no ${", "$HOME"]
    with pytest.raises(ProfileError, match="no MISSING; set it"):
        reveal("${MISSING}")


def test_what_is_known_is_masked() -> None:
    assert mask("key 0123456789abcdef.") == f"key {MASK}."
    assert "p@ss" in mask("the words p@ss/w:rd 1")  # nothing says that this is a secret
    know({"gateway": "${ARCHIVE_DOOR}"})
    assert (
        mask("GET https://me:p%40ss%2Fw%3Ard%201@a/ p@ss/w:rd 1")
        == f"GET https://me:{MASK}@a/ {MASK}"
    )
    assert (
        mask("postgresql+asyncpg://prefect:hunter2@db/x")
        == f"postgresql+asyncpg://prefect:{MASK}@db/x"
    )
    untouched = "https://a.example/x?y=1 https://me:${ARCHIVE_DOOR}@a/ 12:30 TOKENIZERS"
    assert mask(untouched) == untouched


def test_a_setting_with_a_password_of_its_own_is_refused_and_not_repeated() -> None:
    require_no_password("inputs.gateway", "https://me:${NAME}@a.example/")
    require_no_password("inputs.gateway", "https://me@a.example/")
    with pytest.raises(ProfileError, match="gateway: the address of a.example holds") as told:
        parse_inputs({"gateway": "https://me:hunter2@a.example/"})
    assert "hunter2" not in str(told.value)
    with pytest.raises(ProfileError, match="inputs.cdx: .* write \\$\\{NAME\\}"):
        parse_inputs({"cdx": ["a.cdxj", "http://u:p2345678@index/"]})


def test_a_childs_errors_and_log_are_masked(tmp_path: Path) -> None:
    """What a stage says of an address with a password reaches its parent, and the disk, masked."""
    from infra.call import Call
    from infra.children import Children
    from infra.errors import StageFailed

    children = Children(tmp_path / "logs")
    call = Call(
        function="tests.infra.stage_functions:tell_address",
        arguments={"address": "http://me:${ARCHIVE_DOOR}@a/"},
        scratch=tmp_path / "scratch",
    )
    with pytest.raises(StageFailed) as told:
        children.run(call, lambda *_: None)
    children.stop()
    assert f"http://me:{MASK}@a/" in str(told.value)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"ValueError" in written
    assert b"p@ss" not in written
    assert b"p%40ss" not in written


def test_the_command_line_refuses_a_password(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "corpus", "--gateway", "http://me:hunter2@a/",
         "--store", str(tmp_path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode == 1
    assert "holds a password" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert json.dumps([str(p) for p in tmp_path.rglob("*hunter2*")]) == "[]"
