"""A revisit is given the body it refers to, and never that of another capture of the address."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from webtext.errors import SourceError
from webtext.warc import payload_digest, response_member, revisit_member
from webtext.warc_index import WarcIndex, read_place

URL = "http://a.example/"
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


def replayed(folder: Path, *members: bytes) -> bytes:
    """The body of the revisit of 9 January, which refers to the capture of the first."""
    revisit = revisit_member(
        member=response(9, MEANT),
        payload_digest=payload_digest(MEANT),
        refers_to=(URL, datetime(2020, 1, 1, tzinfo=UTC)),
        gzip_level=1,
    )
    path = folder / "archive.warc.gz"
    path.write_bytes(b"".join((*members, revisit)))
    index = WarcIndex.build([path])
    place = index.find(URL, 20200109000000)
    assert place is not None
    found = read_place(index, place, URL)
    assert found is not None
    return found.payload


def test_the_capture_referred_to_gives_the_body(tmp_path: Path) -> None:
    assert replayed(tmp_path, response(1, MEANT), response(5, OTHER)) == MEANT


@pytest.mark.parametrize("bodies", [(OTHER, MEANT), (MEANT, OTHER)])
def test_the_digest_decides_among_captures_of_one_second(
    tmp_path: Path, bodies: tuple[bytes, bytes]
) -> None:
    assert replayed(tmp_path, *(response(1, body) for body in bodies)) == MEANT


@pytest.mark.parametrize("day", [1, 5])
def test_another_body_does_not_stand_in_for_a_missing_one(tmp_path: Path, day: int) -> None:
    with pytest.raises(SourceError, match="refers to is missing"):
        replayed(tmp_path, response(day, OTHER))
