"""Fetching benchmarks from a real server on loopback, and from data sets that `datasets` loads."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval import fetch
from eval.cbt import read_questions
from eval.fetch import ORIGINS, Member, Origin, fetch_benchmarks
from eval.files import NAMES, find_file
from eval.hub_rows import HUB_SETS, HubSet, cbt_lines, write_from_hub
from eval.protocols import BENCHMARKS
from tests.eval.test_scores import cbt_file
from tests.file_server import serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    served = tmp_path / "served"
    served.mkdir()
    with serving(served) as address:
        yield address, served


def zip_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def tar_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"./{name.replace('__', '/')}.txt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def origin(address: str, content: bytes | None, *members: Member, most: int = 10**6) -> Origin:
    digest = hashlib.sha256(content).hexdigest() if content is not None else None
    return Origin((address,), digest, most, members)


PTB = Member("ptb", "lines", "", "ptb.test.txt")
TEXT8 = Member("text8", "bytes", "text8", "text8")


def fetched(folder: Path, *origins: Origin, **options: Any) -> list[tuple[str, str]]:
    found = fetch_benchmarks(folder, BENCHMARKS, lambda *_: None, origins=origins, **options)
    assert not list(folder.glob("**/.*"))
    return [(one.name, one.outcome) for one in found]


def test_files_and_members_are_put_where_they_are_looked_for(
    server: tuple[str, Path], tmp_path: Path, real_data: Path
) -> None:
    address, served = server
    ptb = (real_data / "benchmarks" / "ptb.test.txt").read_bytes()
    text8 = zip_of(text8=b" some words", other=b"x")
    cbt = tar_of(CBTest__data__cbtest_CN=cbt_file(2).encode(), CBTest__data__other=b"x")
    for name, content in (("ptb.test.txt", ptb), ("text8.zip", text8), ("cbt.tar.gz", cbt)):
        (served / name).write_bytes(content)
    question = Member("cbt_cn", "cbt", "CBTest/data/cbtest_CN.txt", NAMES["cbt_cn"]["cbt"][1])
    origins = [
        origin(f"{address}/ptb.test.txt", None, PTB),
        origin(f"{address}/text8.zip", text8, TEXT8),
        origin(f"{address}/cbt.tar.gz", cbt, question),
    ]
    folder = tmp_path / "benchmarks"
    assert fetched(folder, *origins) == [
        ("ptb.test.txt", "fetched"),
        ("text8", "fetched"),
        (question.name, "fetched"),
    ]
    _, data = find_file("ptb", ("lines",), folder)
    assert data.is_known
    assert (folder / "text8").read_bytes() == b" some words"
    assert len(read_questions(folder / question.name)) == 2
    (served / "ptb.test.txt").unlink()
    assert {outcome for _, outcome in fetched(folder, *origins)} == {"there already"}


def test_a_mirror_stands_in_for_every_address(server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    (served / "ptb.test.txt").write_bytes(b" a b \n")
    away = origin("http://example.invalid/data/ptb.test.txt", None, PTB)
    folder = tmp_path / "benchmarks"
    assert fetched(folder, away, mirror=f"{address}/") == [("ptb.test.txt", "fetched")]


def test_what_goes_wrong_is_told_and_the_rest_goes_on(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    address, served = server
    archive = zip_of(other=b"x")
    (served / "text8.zip").write_bytes(archive)
    (served / "broken.zip").write_bytes(b"no archive")
    (served / "cbt.tar.gz").write_bytes(tar_of(other=b"x"))
    (served / "ptb.test.txt").write_bytes(b" a b \n")
    question = Member("cbt_cn", "cbt", "missing.txt", "cbtest_CN_valid_2000ex.txt")
    folder = tmp_path / "benchmarks"
    outcomes = fetched(
        folder,
        origin(f"{address}/nowhere.zip", None, TEXT8),
        origin(f"{address}/text8.zip", archive, TEXT8),
        origin(f"{address}/text8.zip", b"another", TEXT8),
        origin(f"{address}/broken.zip", None, TEXT8),
        origin(f"{address}/text8.zip", archive, TEXT8, most=10),
        origin(f"{address}/cbt.tar.gz", None, question),
        origin("file:///etc/passwd", None, PTB),
        origin(f"{address}/ptb.test.txt", None, PTB),
    )
    for (_, outcome), says in zip(
        outcomes,
        [
            "HTTP Error 404",
            "it holds no text8, but other",
            "another file is at",
            "not a zip file",
            "longer than the 10 bytes",
            "it holds no missing.txt",
            "only http and https",
            "fetched",
        ],
        strict=True,
    ):
        assert says in outcome
    assert not (folder / "text8").exists()


def test_a_member_that_grows_without_end_is_cut(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = server
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", bytes(3_000_000))
    (served / "text8.zip").write_bytes(out.getvalue())
    monkeypatch.setattr(fetch, "MOST_BYTES", 2_000_000)
    bomb = origin(f"{address}/text8.zip", None, TEXT8)
    ((_, outcome),) = fetched(tmp_path / "benchmarks", bomb)
    assert "text8 is longer than 2,000,000 bytes" in outcome


def test_a_known_file_of_another_kind_is_fetched_anew(
    server: tuple[str, Path], tmp_path: Path, real_data: Path
) -> None:
    address, served = server
    (served / "ptb.test.txt").write_bytes(b" a b \n")
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    wrong = (real_data / "benchmarks" / "wikitext2.test.raw").read_bytes()
    (folder / "ptb.test.txt").write_bytes(wrong)
    assert fetched(folder, origin(f"{address}/ptb.test.txt", None, PTB)) == [
        ("ptb.test.txt", "fetched")
    ]


def test_every_benchmark_has_an_origin_and_a_name_that_is_looked_for() -> None:
    members = [member for origin in ORIGINS for member in origin.members]
    assert {member.benchmark for member in members} == set(BENCHMARKS)
    wanted = [(m.benchmark, m.kind, m.name) for m in members]
    wanted += [(found.benchmark, found.kind, found.name) for found in HUB_SETS]
    for benchmark, kind, name in wanted:
        assert name in NAMES[benchmark][kind]


def rows_of(benchmark: str, text: str) -> list[dict[str, Any]]:
    """The rows that a hub's data set makes of an original file."""
    lines = text.split("\n")[:-1]
    if benchmark == "ptb":
        return [{"sentence": line.strip()} for line in lines]
    return [{"text": f"{line}\n" if line.strip() else ""} for line in lines]


@pytest.mark.parametrize(
    ("benchmark", "kind", "file"),
    [
        ("lambada", "jsonl", "lambada_test.openai.jsonl"),
        ("ptb", "lines", "ptb.test.txt"),
        ("wikitext2", "tokens", "wikitext2.test.tokens"),
        ("wikitext2", "raw", "wikitext2.test.raw"),
        ("wikitext103", "tokens", "wikitext103.test.tokens"),
    ],
)
def test_hub_rows_give_the_original_file(
    real_data: Path, tmp_path: Path, benchmark: str, kind: str, file: str
) -> None:
    datasets = pytest.importorskip("datasets")
    original = real_data / "benchmarks" / file
    (found,) = [one for one in HUB_SETS if (one.benchmark, one.kind) == (benchmark, kind)]

    def load(path: str, config: str, **options: Any) -> Any:
        assert (path, config) == (found.path, found.config)
        if benchmark == "lambada":
            return datasets.load_dataset(
                "json", data_files=str(original), split="train", cache_dir=str(tmp_path / "cache")
            )
        return datasets.Dataset.from_list(rows_of(benchmark, original.read_text("utf-8")))

    (one,) = write_from_hub(tmp_path / "benchmarks", [benchmark], load, [found])
    assert (one.outcome, one.is_there) == ("fetched", True)
    written = (tmp_path / "benchmarks" / found.name).read_bytes()
    assert hashlib.sha256(written).digest() == hashlib.sha256(original.read_bytes()).digest()


def test_questions_come_back_from_rows(tmp_path: Path) -> None:
    path = tmp_path / "cbtest_CN_valid_2000ex.txt"
    path.write_text(cbt_file(2), "utf-8")
    rows = [
        {
            "sentences": list(question.context),
            "question": question.query,
            "answer": question.candidates[question.answer],
            "options": list(question.candidates),
        }
        for question in read_questions(path)
    ]
    assert cbt_lines(rows) == path.read_text("utf-8")


def test_a_hub_that_fails_is_told(tmp_path: Path) -> None:
    sets = [
        HubSet("ptb", "lines", "ptb.test.txt", path, "a", "test", "".join)
        for path in ("broken", "empty")
    ]

    def load(path: str, *_: Any, **__: Any) -> Any:
        if path == "broken":
            raise ConnectionError("no network")
        return []

    broken, empty = write_from_hub(tmp_path, ["ptb"], load, sets)
    assert broken.outcome == "broken (a): no network"
    assert empty.outcome == "empty (a): it has no rows"
    assert not (broken.is_there or empty.is_there)
    assert list(tmp_path.iterdir()) == []
