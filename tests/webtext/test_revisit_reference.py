"""A revisit is given the body it refers to, and never that of another capture of the address.

So read from WARC files, and so from an archive by its index.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from webtext.cdx import surt_key
from webtext.cdx_source import CdxAddresses, CdxSource
from webtext.crawl_config import CrawlConfig
from webtext.errors import SourceError
from webtext.fetch import Fetched, FetchError
from webtext.warc import index_warc, payload_digest, response_member, revisit_member
from webtext.warc_index import WarcIndex, read_place

URL = "http://a.example/"
NINTH = 20200109000000
MEANT = b"<p>the body that is meant" * 50
OTHER = b"<p>another body of the same address" * 50


def response(day: int, body: bytes) -> bytes:
    return response_member(
        url=URL,
        date=datetime(2020, 1, day, tzinfo=UTC),
        status=200,
        reason="OK",
        headers=(("Content-Type", "text/html"),),
        payload=body,
        identity=body[:16],
    ).compressed


def write_archive(folder: Path, *members: bytes) -> Path:
    """An archive that ends with a revisit of 9 January, referring to the capture of the first."""
    revisit = revisit_member(
        member=response(9, MEANT),
        payload_digest=payload_digest(MEANT),
        refers_to=(URL, datetime(2020, 1, 1, tzinfo=UTC)),
        gzip_level=1,
    )
    path = folder / "archive.warc.gz"
    path.write_bytes(b"".join((*members, revisit)))
    return path


def read_from_files(archive: Path) -> bytes:
    """The body of the revisit, by an index of the files themselves."""
    index = WarcIndex.build([archive])
    place = index.find(URL, NINTH)
    assert place is not None
    found = read_place(index, place, URL)
    assert found is not None
    return found.payload


def read_by_cdx(archive: Path) -> bytes:
    """The body of the revisit, by an index that names the archive's records."""
    lines = []
    for entry in index_warc(archive):
        fields = {
            "url": entry.url, "status": "-" if entry.timestamp == NINTH else "200",
            "filename": archive.name, "offset": str(entry.offset), "length": str(entry.length),
        }  # fmt: skip
        lines.append(f"{surt_key(URL)} {entry.timestamp} {json.dumps(fields)}\n")
    index = archive.with_name("index.cdxj")
    index.write_text("".join(sorted(lines)))
    addresses = CdxAddresses(indexes=(str(index),), records=str(archive.parent))
    return asyncio.run(_fetch(addresses)).body


async def _fetch(addresses: CdxAddresses) -> Fetched:
    source = CdxSource(CrawlConfig(source="cdx"), addresses, concurrency=1, delay_s=0.0)
    try:
        return await source.fetch(URL, NINTH, lambda *_: True)
    finally:
        await source.close()


Read = Callable[[Path], bytes]
both = pytest.mark.parametrize("read", [read_from_files, read_by_cdx])


@both
def test_the_capture_referred_to_gives_the_body(tmp_path: Path, read: Read) -> None:
    assert read(write_archive(tmp_path, response(1, MEANT), response(5, OTHER))) == MEANT


@both
@pytest.mark.parametrize("bodies", [(OTHER, MEANT), (MEANT, OTHER)])
def test_the_digest_decides_among_captures_of_one_second(
    tmp_path: Path, read: Read, bodies: tuple[bytes, bytes]
) -> None:
    assert read(write_archive(tmp_path, *(response(1, body) for body in bodies))) == MEANT


@pytest.mark.parametrize(
    ("read", "error"), [(read_from_files, SourceError), (read_by_cdx, FetchError)]
)
@pytest.mark.parametrize("day", [1, 5])
def test_another_body_does_not_stand_in_for_a_missing_one(
    tmp_path: Path, read: Read, error: type[Exception], day: int
) -> None:
    with pytest.raises(error, match="refers to is missing"):
        read(write_archive(tmp_path, response(day, OTHER)))
