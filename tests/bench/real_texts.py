"""Real texts and pages that the benches measure on."""

import gzip
import json
import os
import random
from pathlib import Path

from webtext.warc import index_warc, read_response


def real_data() -> Path:
    """The folder of real data; WEBTEXT_REAL_DATA names another than the one beside the checkout."""
    beside = Path(__file__).parents[2].parent / "shared"
    folder = Path(os.environ.get("WEBTEXT_REAL_DATA", beside))
    if not (folder / "real-web").is_dir():
        raise SystemExit(f"no real data at {folder}; set WEBTEXT_REAL_DATA to its folder")
    return folder


def newsgroup_texts(most: int | None = None) -> list[str]:
    """Messages of 20 Newsgroups, in the order of the file."""
    texts: list[str] = []
    with gzip.open(real_data() / "text" / "20newsgroups.jsonl.gz", "rt") as lines:
        for line in lines:
            texts.append(json.loads(line)["text"])
            if len(texts) == most:
                break
    return texts


def real_pages(most: int, seed: int = 1) -> list[tuple[str, bytes]]:
    """URL and body of a random sample of the real pages, no URL twice."""
    path = real_data() / "real-web" / "pages.warc.gz"
    entries = list({entry.url: entry for entry in index_warc(path)}.values())
    random.Random(seed).shuffle(entries)
    return [
        (entry.url, read_response(path, entry.offset, entry.length, max_bytes=1 << 28).payload)
        for entry in entries[:most]
    ]
