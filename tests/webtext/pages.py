"""Builds small links and captures artifacts out of pages, as the stages before would."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from webtext.tables import CAPTURES, LINKS, part_name, write_table
from webtext.warc import response_member

NOON = datetime.datetime(2017, 9, 1, 12, tzinfo=datetime.UTC)


class WebPage(NamedTuple):
    """A page as the crawl met it."""

    key: int
    body: bytes
    url: str = "http://example.org/page"
    outcome: str = "ok"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/html"),)
    media_type: str = "text/html"

    @property
    def link_id(self) -> bytes:
        return self.key.to_bytes(16, "big")


def write_artifacts(
    folder: Path, pages: Sequence[WebPage], partition: int = 0
) -> tuple[Path, Path]:
    """Write the captures and links artifacts of `pages`; return their folders."""
    captures, links = folder / "captures", folder / "links"
    name = f"warc/part-{partition:05d}.warc.gz"
    (captures / "warc").mkdir(parents=True, exist_ok=True)
    rows, offset = [], 0
    with (captures / name).open("wb") as file:
        for page in sorted(pages, key=lambda page: page.key):
            member = response_member(
                url=page.url, date=NOON, status=200, reason="OK", headers=page.headers,
                payload=page.body, identity=page.link_id,
            )  # fmt: skip
            file.write(member.compressed)
            rows.append(_capture_row(page, name, offset, len(member.compressed)))
            offset += len(member.compressed)
    write_table(
        captures / "captures" / part_name(partition), pa.Table.from_pylist(rows, schema=CAPTURES)
    )
    link_rows = [_link_row(page) for page in sorted(pages, key=lambda page: page.key)]
    write_table(
        links / "links" / part_name(partition), pa.Table.from_pylist(link_rows, schema=LINKS)
    )
    return captures, links


def _capture_row(page: WebPage, name: str, offset: int, length: int) -> dict[str, object]:
    return {
        "link_id": page.link_id,
        "outcome": page.outcome,
        "status": 200,
        "final_url": page.url,
        "redirects": 0,
        "content_type": page.media_type,
        "warc_file": name,
        "warc_offset": offset,
        "warc_length": length,
        "payload_offset": offset,
        "payload_length": length,
        "source": "gateway",
        "payload_bytes": len(page.body),
        "captured_at": NOON,
    }


def _link_row(page: WebPage) -> dict[str, object]:
    return {
        "link_id": page.link_id,
        "url": page.url,
        "host": "example.org",
        "domain": "example.org",
        "karma": 3 + page.key,
        "first_created_utc": 1_500_000_000 + page.key,
        "submissions": [],
    }
