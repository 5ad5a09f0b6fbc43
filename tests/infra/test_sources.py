"""What an outside thing is known by."""

from pathlib import Path

from infra.sources import describe_address, describe_by_size, describe_source, places_of


def test_an_address_is_known_by_its_text() -> None:
    one = describe_address("gateway", "https://a.example/web")
    assert (one.kind, one.name) == ("address", "https://a.example/web")
    assert one.fingerprint == describe_address("gateway", "https://a.example/web").fingerprint
    assert one.fingerprint != describe_address("gateway", "https://b.example/web").fingerprint


def test_a_file_too_large_to_hash_is_known_by_name_and_size(tmp_path: Path) -> None:
    path = tmp_path / "cdx-00000.gz"
    path.write_bytes(b"abc")
    before = describe_by_size("cdx-index", path)
    assert (before.kind, before.bytes) == ("file", 3)
    path.write_bytes(b"abcd")
    assert describe_by_size("cdx-index", path).fingerprint != before.fingerprint


def test_where_a_file_was_seen_is_kept_by_its_hash(tmp_path: Path) -> None:
    file, link = tmp_path / "blob", tmp_path / "model.safetensors"
    file.write_bytes(b"abc")
    link.symlink_to(file)
    seen = describe_source(tmp_path, "model", link)
    assert places_of(tmp_path, seen.fingerprint) == [link]  # by the name it was given
    before = seen.fingerprint
    link.unlink()
    link.write_bytes(b"other")
    describe_source(tmp_path, "model", link)
    assert places_of(tmp_path, before) == [link]
    assert places_of(tmp_path, "0" * 64) == []
