"""Lists of domains from files."""

import gzip
from pathlib import Path

import pytest

from webtext.domain_lists import DomainList, read_domain_lists
from webtext.errors import SourceError


def test_all_common_forms_of_a_line_are_read(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    plain.write_text("# comment\nExample.COM.\n*.ads.example # tail\n0.0.0.0 x.org\n::1 y.org\n\n")
    packed.write_bytes(gzip.compress("bücher.example\r\nexample.com\n".encode()))
    found = read_domain_lists([plain, packed])
    assert len(found) == 5
    for name in ("example.com", "ads.example", "x.org", "y.org", "xn--bcher-kva.example"):
        assert found.holds_any([name])
    assert not found.holds_any(["com", "notexample.com", ""])


@pytest.mark.parametrize(
    "line", ["http://x.org/", "two words", "x.org:8080", "a@b.org", "x..y", "x" * 2000]
)
def test_a_line_that_is_no_domain_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"good.org\n{line}\n")
    with pytest.raises(SourceError, match=r"list.txt, line 2: .* is no domain"):
        read_domain_lists([path])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_domain_lists([tmp_path / "none.txt"])
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(SourceError, match="bad.gz cannot be read"):
        read_domain_lists([tmp_path / "bad.gz"])


def test_an_empty_list_holds_nothing() -> None:
    assert not DomainList().holds_any(["example.com"])
