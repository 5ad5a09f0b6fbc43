"""Fidelity: names, figures against hand-made and plain references, and where a domain is lost."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webtext.domain_counts import FidelityConfig, measure_fidelity
from webtext.errors import SourceError
from webtext.fidelity import compare_domains, domain_name, published_domains
from webtext.tables import part_name, write_table

PUBLISHED = {"google": 50, "bbc": 30, "cnn": 20}


def test_the_published_list_is_whole() -> None:
    published = published_domains()
    assert len(published) == 999
    assert published["google"] == 1_542_261
    assert published["bbc"] > published["twitch"] > 4_000
    assert list(published.values()) == sorted(published.values(), reverse=True)
    assert sum(published.values()) == 21_793_666 - 20_068  # the nameless entry


def test_the_published_list_is_that_of_the_real_data(real_data: Path) -> None:
    lines = (real_data / "real-web" / "webtext_domains_top1000.txt").read_text().splitlines()
    named = dict(reversed(line.lower().split()) for line in lines if len(line.split()) == 2)
    assert {name: int(links) for name, links in named.items()} == published_domains()


@pytest.mark.parametrize(
    ("domain", "name"),
    [("bbc.co.uk", "bbc"), ("news.bbc.com", "bbc"), ("me.github.io", "github"), ("goo.gl", "goo"),
     ("a.blogspot.com.au", "blogspot"), ("163.com", "163"), ("163.0.0.1", "163.0.0.1"),
     ("::1", "::1"), ("localhost", "localhost")],
)  # fmt: skip
def test_domains_are_named_as_published(domain: str, name: str) -> None:
    assert domain_name(domain) == name


def test_an_equal_mix_is_perfect_and_another_is_not() -> None:
    same = compare_domains({"google": 5, "bbc": 3, "cnn": 2}, 20, PUBLISHED)
    assert (same.spearman, same.kendall, same.covered_mass) == pytest.approx((1, 1, 1))
    assert same.divergence == pytest.approx(0)
    assert (same.published_rows, same.published_share, same.shared_domains) == (10, 0.5, 3)
    assert same.note == "3 domains are too few for a rank correlation that means much"
    turned = compare_domains({"google": 2, "bbc": 3, "cnn": 5, "other": 9}, 19, PUBLISHED)
    assert (turned.spearman, turned.kendall) == pytest.approx((-1, -1))
    assert turned.published_rows == 10
    part = compare_domains({"bbc": 4}, 4, PUBLISHED)
    assert (part.covered_mass, part.spearman, part.kendall) == (0.3, None, None)
    # All of ours on a domain that has 0.3 of theirs: (log2(1/.65) + .3 log2(.3/.65) + .7) / 2.
    assert part.divergence == pytest.approx(
        (math.log2(1 / 0.65) + 0.3 * math.log2(0.3 / 0.65) + 0.7) / 2
    )
    none = compare_domains({}, 0, PUBLISHED)
    assert (none.published_share, none.divergence, none.covered_mass) == (None, None, 0)
    assert compare_domains(dict.fromkeys(PUBLISHED, 1), 3, PUBLISHED).spearman is None


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=12))
def test_rank_correlations_are_those_of_the_definitions(pairs: list[tuple[int, int]]) -> None:
    ours = {f"d{place}": one for place, (one, _) in enumerate(pairs)}
    theirs = {f"d{place}": other for place, (_, other) in enumerate(pairs)}
    found = compare_domains(ours, 1, theirs)
    assert found.divergence is not None
    assert -1e-9 <= found.divergence <= 1
    if len(set(ours.values())) == 1 or len(set(theirs.values())) == 1:
        assert found.spearman is None
        return
    assert found.kendall == pytest.approx(_tau_b(pairs))
    ranks = [_ranks([pair[side] for pair in pairs]) for side in (0, 1)]
    assert found.spearman == pytest.approx(_pearson(*ranks))


def _tau_b(pairs: list[tuple[int, int]]) -> float:
    signs = [
        (_sign(a[0] - b[0]), _sign(a[1] - b[1])) for at, a in enumerate(pairs) for b in pairs[:at]
    ]
    untied = [sum(1 for sign in signs if sign[side]) for side in (0, 1)]
    return sum(one * other for one, other in signs) / math.sqrt(untied[0] * untied[1])


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _ranks(values: list[int]) -> list[float]:
    """The mean rank of equal values."""
    return [sum(v < value for v in values) + (values.count(value) + 1) / 2 for value in values]


def _pearson(one: list[float], other: list[float]) -> float:
    means = sum(one) / len(one), sum(other) / len(other)
    a, b = [x - means[0] for x in one], [y - means[1] for y in other]
    top = sum(x * y for x, y in zip(a, b, strict=True))
    return top / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def _write(folder: Path, table: str, part: int, columns: dict[str, list[object]]) -> None:
    rows = dict(columns)
    if "link_id" in rows:
        rows["link_id"] = pa.array(rows["link_id"], pa.binary(16))  # type: ignore[assignment]
    write_table(folder / table / part_name(part), pa.table(rows))


def _key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _build(folder: Path) -> None:
    """Two partitions: bbc and its twin, a blog, github and an unpublished domain."""
    domains = [["bbc.co.uk", "bbc.com", "bbc.com"], ["github.io", "blogspot.com", "odd.example"]]
    for part, names in enumerate(domains):
        ids = [_key(3 * part + place) for place in range(3)]
        _write(folder, "links", part, {"link_id": ids, "domain": names})
        outcomes = ["ok", "ok", "not_found"]
        _write(folder, "captures", part, {"link_id": ids, "outcome": outcomes})
        _write(folder, "documents", part, {"domain": names[:1]})
        _write(folder, "train", part, {"domain": names[: 1 - part]})
        _write(folder, "validation", part, {"domain": pa.array([], pa.string())})


def _measure(folder: Path) -> tuple[dict[str, object], object]:
    counts = measure_fidelity(
        links=folder, captures=folder, documents=folder, corpus=folder,
        destination=folder, config=FidelityConfig(),
    )  # fmt: skip
    return json.loads((folder / "fidelity.json").read_text()), counts


def test_the_tables_show_where_a_domain_is_lost(tmp_path: Path) -> None:
    _build(tmp_path)
    written, counts = _measure(tmp_path)
    rows = {row["name"]: row for row in written["domains"]}
    assert len(rows) == 999
    stages = ("links", "captures", "documents", "corpus")
    assert [rows["bbc"][stage] for stage in stages] == [3, 2, 1, 1]
    assert [rows["github"][stage] for stage in stages] == [1, 1, 1, 0]
    assert [rows["blogspot"][stage] for stage in stages] == [1, 1, 0, 0]
    tables = written["tables"]
    assert [tables[stage]["rows"] for stage in stages] == [6, 4, 2, 1]
    assert [tables[stage]["published_rows"] for stage in stages] == [5, 4, 2, 1]
    assert counts.model_dump()["losses"] == {"not_published_domain": 1}
    again = (tmp_path / "fidelity.json").read_bytes()
    _measure(tmp_path)
    assert (tmp_path / "fidelity.json").read_bytes() == again


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    _build(tmp_path)
    (tmp_path / "links" / part_name(1)).unlink()
    with pytest.raises(SourceError, match="part-00001"):
        _measure(tmp_path)
    for part in (0, 1):
        (tmp_path / "documents" / part_name(part)).unlink()
    (tmp_path / "captures" / part_name(1)).unlink()
    with pytest.raises(SourceError, match=r"no documents/part-\*"):
        _measure(tmp_path)
