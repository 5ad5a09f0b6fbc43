"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from flows.profile import Profile, load_profile
from flows.reference import configuration_markdown
from infra.profiles import FOLDER
from webtext import tables

ROOT = Path(__file__).parents[2]
TABLES = (ROOT / "docs" / "reference" / "tables.md").read_text()
SCHEMAS = {
    "submissions": tables.SUBMISSIONS,
    "links": tables.LINKS,
    "known": tables.KNOWN,
    "captures": tables.CAPTURES,
    "pages": tables.PAGES,
    "rows": tables.ROWS,
    "removals": tables.REMOVALS,
    "documents": tables.DOCUMENTS,
    "attributes": tables.ATTRIBUTES,
    "signatures": tables.signatures_schema(112),
    "duplicates": tables.DUPLICATES,
    "shards": tables.SPANS,
}
TYPES = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "large_string": pa.large_string(),
    "binary(16)": pa.binary(16),
    "binary(4 × permutations)": pa.binary(4 * 112),
    "timestamp(ms, UTC)": pa.timestamp("ms", tz="UTC"),
    "list of struct(id, subreddit, karma, created_utc)": tables.LINKS.field("submissions").type,
}


def section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", TABLES, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def documented(text: str) -> dict[str, str]:
    """Columns of the section's first table, with their types as written."""
    first = re.search(r"^\| column \|.*?(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    assert first
    columns: dict[str, str] = {}
    for line in first[0].splitlines()[2:]:
        names, types, _meaning = (cell.strip() for cell in line.strip("|").split("|", 2))
        spelled = [name.strip() for name in names.split(",")]
        kinds = [types] * len(spelled) if types in TYPES else [k.strip() for k in types.split(",")]
        if len(kinds) < len(spelled):
            kinds = kinds * len(spelled)
        columns |= dict(zip(spelled, kinds, strict=True))
    return columns


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_tables_are_as_documented(name: str) -> None:
    columns = documented(section(name))
    schema = SCHEMAS[name]
    assert list(columns) == schema.names
    for column, kind in columns.items():
        if kind != "as above":
            assert TYPES[kind] == schema.field(column).type, column


def test_the_settings_are_as_documented() -> None:
    written = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    assert written == configuration_markdown(), (
        "run python -m flows.reference > docs/reference/configuration.md"
    )


def test_every_setting_says_what_it_means() -> None:
    rows = re.findall(r"^\| `\w+` \|.*\|(.*)\|$", configuration_markdown(), re.MULTILINE)
    assert len(rows) > 80
    assert all(row.strip() for row in rows)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_profile_that_comes_along_can_be_used(path: Path) -> None:
    profile = load_profile(path)
    assert isinstance(profile, Profile)
    assert profile.description


def test_the_readmes_commands_and_links_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    from flows.cli import app

    for name in set(re.findall(r"^\s*webtext (\w+)", readme, re.MULTILINE)):
        assert app[name]
    for target in re.findall(r"\]\(([\w./-]+)\)", readme):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (\w[\w-]*)`", readme)):
        assert f"\n{target}:" in makefile
    assert "@" not in re.sub(r"[\w.+-]+@[\w.-]+", "", readme), "a figure is missing"
