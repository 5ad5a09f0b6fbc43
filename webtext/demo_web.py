"""The demo's web: an archive and a dump of submissions, made from the Python installation's pages.

Writes, below the destination,

    web/pages.warc.gz               what the sites answered, WARC 1.1, one gzip member a record
    submissions/RS_2017-10.zst      the posts, as Pushshift gives them, with its 2 GiB window
    planted.json                    each planted case with the outcome that is expected of it

Pages are English documentation on made-up hosts; among them is planted what the pipeline must drop,
merge or survive. One installation of Python gives the same bytes every time.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.demo_planted import plant_everything
from webtext.demo_reference import ReferencePage, walk_reference
from webtext.demo_site import ArchivedResponse, DemoSite, lay_out, place_page
from webtext.errors import SourceError
from webtext.warc import response_member, warcinfo_member

_LEAST_PAGES = 6  # what the planted cases are made from
_WINDOW_DESCRIPTOR = 5  # its place in a zstd frame: after the magic number and one byte of flags
_WINDOW_2_GIB = (31 - 10) << 3  # RFC 8878, 3.1.1.1.2: exponent in the upper five bits


class DemoWebConfig(StageConfig):
    """How large the demo's web is."""

    max_pages: int = Field(default=600, ge=_LEAST_PAGES)
    """Most reference pages; copies and other planted pages come on top."""
    min_characters: int = Field(default=2_000_000, ge=0)
    """Least characters of text on them; an installation without its documentation has fewer."""
    seed: int = 2017
    """Draws karma, times and subreddits."""


def build_demo_web(
    *, destination: Path, config: DemoWebConfig, progress: Progress = silent
) -> Counts:
    """Build the demo's web in `destination`; rows are the responses archived.

    Imports the modules of the standard library. Raises SourceError where this installation of
    Python carries too little documentation.
    """
    pages = list(islice(walk_reference(), config.max_pages))
    characters = sum(page.characters for page in pages)
    _check_enough(pages, characters, config)
    progress(1, 3)
    site = DemoSite(config.seed)
    for page in pages:
        _publish(site, page)
    plant_everything(site, pages)
    progress(2, 3)
    _write_archive(destination / "web" / "pages.warc.gz", site.responses)
    rows = list(site.finish_posts())
    _write_dump(destination / "submissions" / "RS_2017-10.zst", rows)
    planted = [case._asdict() for case in site.planted]
    text = json.dumps(planted, indent=1, ensure_ascii=False) + "\n"
    (destination / "planted.json").write_text(text, encoding="utf-8")
    progress(3, 3)
    return Counts(
        rows_in=len(site.responses),
        rows_out=len(site.responses),
        facts={
            "characters": characters,
            "planted": len(planted),
            "reference_pages": len(pages),
            "submissions": len(rows),
        },
    )


def _check_enough(pages: list[ReferencePage], characters: int, config: DemoWebConfig) -> None:
    if len(pages) >= _LEAST_PAGES and characters >= config.min_characters:
        return
    raise SourceError(
        f"this Python installation documents itself in {len(pages)} pages of {characters:,} "
        f"characters, but the demo's web needs {config.min_characters:,}: install Python with its "
        "documentation strings (not -OO, with the package pydoc_data), or lower min_characters"
    )


def _publish(site: DemoSite, page: ReferencePage) -> None:
    """Put a page on its host and let somebody, now and then several, post it."""
    url = place_page(page)
    site.respond(url, lay_out(page.title, page.body, url))
    site.post(url)
    while site.random.random() < 0.15:
        site.post(url, karma=site.random.randint(0, 30))


def _write_archive(path: Path, responses: Iterable[ArchivedResponse]) -> None:
    path.parent.mkdir(parents=True)
    opening = warcinfo_member(
        filename=path.name,
        date=datetime(2017, 11, 5, tzinfo=UTC),
        fields=[("software", "webtext demo"), ("format", "WARC File Format 1.1")],
    )
    with path.open("wb") as file:
        file.write(opening.compressed)
        for number, response in enumerate(responses):
            member = response_member(
                url=response.url,
                date=response.date,
                status=response.status,
                reason=response.reason,
                headers=response.headers,
                payload=response.body,
                identity=number.to_bytes(4, "big"),
            )
            file.write(member.compressed)


def _write_dump(path: Path, rows: Iterable[dict[str, Any] | bytes]) -> None:
    encode = msgspec.json.Encoder().encode
    lines = (row if isinstance(row, bytes) else encode(row) for row in rows)
    text = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True)
    path.write_bytes(_pack_long(text))


def _pack_long(text: bytes) -> bytes:
    """A zstd frame that declares a window of 2 GiB as the published dumps do.

    The declaration is written into a frame of an ordinary window: to compress with the large one
    would take the compressor 2 GiB for nothing.
    """
    packer = zstandard.ZstdCompressor(level=9, write_checksum=True, write_content_size=False)
    stream = packer.compressobj()
    frame = bytearray(stream.compress(text) + stream.flush())
    frame[_WINDOW_DESCRIPTOR] = _WINDOW_2_GIB
    return bytes(frame)
