"""Small documents artifacts made of texts."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from webtext.tables import DOCUMENTS, part_name, write_table


def document_row(key: int, text: str, karma: int = 3, created: int = 1_500_000_000) -> dict:
    return {
        "link_id": key.to_bytes(16, "big"),
        "url": f"http://example.org/{key}",
        "domain": "example.org",
        "title": None,
        "date": None,
        "author": None,
        "language": "en",
        "karma": karma,
        "first_created_utc": created,
        "characters": len(text),
        "words": len(text.split()),
        "tokens": 1,
        "text": text,
    }


def write_part(artifact: Path, table: str, rows: Sequence[dict], partition: int = 0) -> Path:
    """Write rows of documents as a partition of `table` in the folder `artifact`."""
    ordered = sorted(rows, key=lambda row: row["link_id"])
    path = artifact / table / part_name(partition)
    write_table(path, pa.Table.from_pylist(ordered, schema=DOCUMENTS))
    return artifact
