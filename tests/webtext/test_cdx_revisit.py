"""A revisit found by an index is given the body it refers to, or none."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.webtext.test_revisit_reference import MEANT, OTHER, URL, response
from webtext.cdx import surt_key
from webtext.cdx_source import CdxAddresses, CdxSource
from webtext.crawl_config import CrawlConfig
from webtext.fetch import Fetched, FetchError
from webtext.warc import index_warc, payload_digest, revisit_member


def replayed(folder: Path, *members: bytes) -> bytes:
    """The body of the revisit of 9 January, which refers to the capture of the first."""
    revisit = revisit_member(
        member=response(9, MEANT),
        payload_digest=payload_digest(MEANT),
        refers_to=(URL, datetime(2020, 1, 1, tzinfo=UTC)),
        gzip_level=1,
    )
    archive = folder / "archive.warc.gz"
    archive.write_bytes(b"".join((*members, revisit)))
    lines = []
    for entry in index_warc(archive):
        fields = {
            "url": entry.url, "status": "-" if entry.timestamp == 20200109000000 else "200",
            "filename": archive.name, "offset": str(entry.offset), "length": str(entry.length),
        }  # fmt: skip
        lines.append(f"{surt_key(URL)} {entry.timestamp} {json.dumps(fields)}\n")
    index = folder / "index.cdxj"
    index.write_text("".join(sorted(lines)))
    return asyncio.run(_fetch(CdxAddresses(indexes=(str(index),), records=str(folder)))).body


async def _fetch(addresses: CdxAddresses) -> Fetched:
    source = CdxSource(CrawlConfig(source="cdx"), addresses, concurrency=1, delay_s=0.0)
    try:
        return await source.fetch(URL, 20200109000000, lambda *_: True)
    finally:
        await source.close()


@pytest.mark.parametrize("bodies", [(OTHER, MEANT), (MEANT, OTHER)])
def test_the_digest_decides_among_captures_of_one_second(
    tmp_path: Path, bodies: tuple[bytes, bytes]
) -> None:
    assert replayed(tmp_path, *(response(1, body) for body in bodies)) == MEANT


@pytest.mark.parametrize("day", [1, 5])
def test_another_body_does_not_stand_in_for_a_missing_one(tmp_path: Path, day: int) -> None:
    with pytest.raises(FetchError, match="refers to is missing"):
        replayed(tmp_path, response(day, OTHER))
