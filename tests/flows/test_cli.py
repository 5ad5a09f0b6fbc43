"""The command line: help, quick and worth reading, and one clear message for each mistake."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from flows.cli import app, main
from flows.profile import load_profile
from flows.progress import Reporter
from flows.reuse import reuse_pipeline
from infra.errors import ProfileError

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "end_to_end" / "tiny.toml"
COMMANDS = (
    "run", "corpus", "train", "eval", "lineage", "fidelity", "verify", "gc", "runs", "replay",
    "trace", "impact",
    "generate", "features", "serve", "overlap", "bias",
    "deploy", "automations", "retention", "doctor",
)  # fmt: skip


def webtext(*arguments: object, cwd: Path = ROOT, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


def assert_one_clear_message(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "not foreseen" not in done.stderr
    told = " ".join(done.stderr.split())
    for word in words:
        assert word in told, told


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"webtext {name}" in shown
    assert len(shown.splitlines()) > 5
    command = app[name].default_command
    assert command is not None
    assert command.__doc__


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from flows.cli import main; main(['--help']);"
        "heavy = {'torch', 'prefect', 'pyarrow', 'duckdb', 'trafilatura', 'numpy', 'pydantic'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert webtext("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time: the wall's depends on who else uses the machine.
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 0.5


def test_a_wrong_key_is_named_with_the_right_one(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(TINY.read_text().replace("retries = 1", "retrys = 1"))
    done = webtext("run", "--profile", profile, "--store", tmp_path / "runs")
    assert_one_clear_message(done, "mine.toml", "crawl.retrys", "did you mean retries?")
    done = webtext("run", "--profile", TINY, "--set", "links.min_karma=many")
    assert_one_clear_message(done, "links.min_karma", "valid integer", "'many'")
    done = webtext("run", "--profile", "no-such")
    assert_one_clear_message(done, "there is no profile no-such", "demo, gpt2-124M", "laptop")


def test_a_missing_dump_is_named(tmp_path: Path) -> None:
    done = webtext(
        "corpus", "--profile", TINY, "--submissions", tmp_path / "RS.zst",
        "--store", tmp_path / "runs",
    )  # fmt: skip
    assert_one_clear_message(done, "there is no dump file", "RS.zst")


def test_an_unwritable_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = webtext("run", "--profile", TINY, "--store", tmp_path / "file" / "runs")
    assert_one_clear_message(done, "cannot be written", "--store")


def test_an_unknown_artifact_is_answered_with_those_there_are(tmp_path: Path) -> None:
    done = webtext("lineage", "--store", tmp_path, "card")
    assert_one_clear_message(done, "no finished artifact", "the store is empty")
    done = webtext("verify", "--store", tmp_path / "nowhere")
    assert_one_clear_message(done, "there is no store")


def test_a_wrong_command_line_exits_with_two() -> None:
    done = webtext("run", "--no-such-option")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_replay_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    import signal
    import urllib.error
    import urllib.request

    from tests.webtext.small_web import page, record, write_archive

    url, body = "http://example.com/page", page("replayed")
    archive = write_archive(tmp_path / "pages.warc.gz", [record(url, body)])
    serving = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "replay", "--port", "0", str(archive)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert serving.stdout is not None
    try:
        ready, address, _records = serving.stdout.readline().split()
        assert ready == b"ready"
        with urllib.request.urlopen(f"{address.decode()}/20170901000000id_/{url}") as answer:
            assert answer.read() == body
    finally:
        serving.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert serving.wait(10) == 0
        assert time.monotonic() - began < 5
        serving.stdout.close()


def _never() -> Reporter:
    raise AssertionError("nothing is there to be shown")


def test_the_webtext_profile_has_webtexts_rules_and_wants_dumps(tmp_path: Path) -> None:
    settings = load_profile("webtext")
    assert (settings.links.min_karma, settings.links.karma_rule) == (3, "any")
    assert settings.submissions.created_to == date(2017, 12, 31)
    assert settings.submissions.created_from is None
    assert settings.crawl.source == "gateway"
    assert settings.model.layers == 12
    sections = (settings.submissions, settings.crawl, settings.documents)
    assert not any(section.strip_wikimedia for section in sections)
    assert 45_000_000 / settings.partitions < 100_000
    runtime = settings.runtime.model_copy(update={"store": tmp_path / "runs"})
    with pytest.raises(ProfileError, match="webtext names no submissions; .* --submissions"):
        reuse_pipeline(settings.model_copy(update={"runtime": runtime}), _never)
