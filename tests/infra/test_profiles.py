"""Profiles and sources: clear errors for everything a user can get wrong."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import ProfileError, StoreError
from infra.profiles import as_toml, override, read_profile
from infra.sources import describe_source


def test_profiles_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert read_profile("demo")["name"] == "demo"
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"')
    assert read_profile(path) == {"name": "mine"}
    with pytest.raises(ProfileError, match="there is no profile nowhere.*demo.*laptop"):
        read_profile("nowhere")
    path.write_text("name = ")
    with pytest.raises(ProfileError, match="not valid TOML"):
        read_profile(path)


def test_assignments_are_toml_or_plain_text() -> None:
    settings = {"train": {"steps": 5}, "name": "x"}
    changed = override(
        settings, ["train.steps=7", "train.schedule=linear", "name='y'", "eval.columns=['ptb']"]
    )
    assert changed == {
        "train": {"steps": 7, "schedule": "linear"},
        "name": "y",
        "eval": {"columns": ["ptb"]},
    }
    assert settings["train"] == {"steps": 5}
    with pytest.raises(ProfileError, match=r"section\.key=value"):
        override(settings, ["train.steps"])
    with pytest.raises(ProfileError, match="name is not a section"):
        override(settings, ["name.x=1"])


def test_a_source_is_known_by_content(tmp_path: Path) -> None:
    file = tmp_path / "dump.zst"
    file.write_bytes(b"abc")
    first = describe_source(tmp_path / "store", "dump", file)
    assert (first.bytes, first.name) == (3, "dump.zst")
    assert first.fingerprint.startswith("ba7816bf")  # SHA-256 of "abc", FIPS 180-2 appendix B.1
    assert describe_source(tmp_path / "store", "dump", file) == first
    file.write_bytes(b"abcd")
    assert describe_source(tmp_path / "store", "dump", file).fingerprint != first.fingerprint
    with pytest.raises(StoreError, match="there is no dump file"):
        describe_source(tmp_path, "dump", tmp_path / "missing.zst")
    with pytest.raises(StoreError, match="is not a file"):
        describe_source(tmp_path, "dump", tmp_path)


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.booleans()
            | st.integers(-(2**53), 2**53)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_settings_written_as_toml_are_read_back(settings: dict) -> None:
    assert tomllib.loads(as_toml(settings)) == settings


def test_what_is_none_is_left_out_of_toml() -> None:
    assert as_toml({"a": None, "b": {"c": None, "d": 1e-05}}) == "[b]\nd = 1e-05\n"
