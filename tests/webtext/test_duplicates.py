"""Which documents are removed, and for which: exact, near, chained; whatever the order."""

import itertools
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webtext.corpora import document_row, write_part
from webtext import duplicates as module
from webtext import similarity as similarity_module
from webtext.counts import Counts, silent
from webtext.duplicates import DuplicatesConfig, find_duplicates
from webtext.errors import ConfigError, SourceError
from webtext.s_curve import collision_probability, s_curve_markdown, verified_probability
from webtext.shingles import shingles_of
from webtext.signatures import SignaturesConfig, digest_text, sign_texts
from webtext.tables import DUPLICATES, part_name, signatures_schema, write_table

SIGNATURES = SignaturesConfig()


def signature_row(key: int, text: str, karma: int = 3, created: int = 1000) -> dict:
    signature, shingles = sign_texts([text], SIGNATURES)
    return {
        "link_id": key.to_bytes(16, "big"),
        "karma": karma,
        "first_created_utc": created,
        "text_digest": digest_text(text),
        "shingles": int(shingles[0]),
        "signature": signature[0].tobytes(),
    }


def write_signatures(artifact: Path, partitions: list[list[dict]], permutations: int = 112) -> Path:
    for number, rows in enumerate(partitions):
        ordered = sorted(rows, key=lambda row: row["link_id"])
        table = pa.Table.from_pylist(ordered, schema=signatures_schema(permutations))
        write_table(artifact / "signatures" / part_name(number), table)
    return artifact


def find(
    folder: Path, partitions: list[list[dict]], **config: object
) -> tuple[Counts, dict[int, tuple[int, str, float]]]:
    signatures = write_signatures(folder / "in", partitions)
    counts = find_duplicates(
        signatures=signatures,
        destination=folder / "out",
        config=DuplicatesConfig(**config),
        progress=silent,
    )
    written = [path.name for path in (folder / "out").rglob("*") if path.is_file()]
    assert written == ["duplicates.parquet"]
    table = pq.read_table(folder / "out" / "duplicates" / "duplicates.parquet")
    assert table.schema == DUPLICATES
    keys = table["link_id"].to_pylist()
    assert keys == sorted(keys)
    return counts, {
        key_of(row["link_id"]): (key_of(row["survivor_link_id"]), row["kind"], row["similarity"])
        for row in table.to_pylist()
    }


def key_of(link_id: bytes) -> int:
    return int.from_bytes(link_id, "big")


def sentence(seed: int, words: int = 300) -> list[str]:
    chance = random.Random(seed)
    return [f"w{chance.randrange(10_000)}" for _ in range(words)]


def changed(words: list[str], places: range) -> str:
    return " ".join(f"new{i}" if i in places else word for i, word in enumerate(words))


def test_exact_near_and_different(tmp_path: Path) -> None:
    words = sentence(1)
    text = " ".join(words)
    rows = [
        signature_row(1, text, karma=5),
        signature_row(2, text.upper() + "\n", karma=9),
        signature_row(3, changed(words, range(5)), karma=5),
        signature_row(4, changed(words, range(0, 300, 3)), karma=99),
        signature_row(5, " ".join(sentence(2))),
    ]
    counts, removed = find(tmp_path, [rows[:2], [], rows[2:]])
    assert removed[1] == (2, "exact", 1.0)
    survivor, kind, similarity = removed[3]
    assert (survivor, kind) == (2, "near")
    assert similarity == pytest.approx(0.966, abs=0.05)
    assert sorted(removed) == [1, 3]
    assert (counts.rows_in, counts.rows_out) == (5, 3)
    assert counts.losses == {"exact_duplicate": 1, "near_duplicate": 1}


def test_the_survivor_has_the_highest_karma_then_is_earliest_then_smallest(tmp_path: Path) -> None:
    rows = [
        signature_row(9, "a b c d e f", karma=7, created=50),
        signature_row(4, "a b c d e f", karma=7, created=50),
        signature_row(3, "a b c d e f", karma=7, created=60),
        signature_row(2, "a b c d e f", karma=6, created=10),
        signature_row(2**127 + 1, "a b c d e f", karma=-3, created=1),
    ]
    _, removed = find(tmp_path, [rows])
    assert {survivor for survivor, _, _ in removed.values()} == {4}
    assert set(removed) == {9, 3, 2, 2**127 + 1}


def test_a_copy_of_a_near_copy_is_near(tmp_path: Path) -> None:
    words = sentence(3)
    near = changed(words, range(4))
    rows = [
        signature_row(1, " ".join(words), karma=9),
        signature_row(2, near, karma=5),
        signature_row(3, near, karma=4),
    ]
    _, removed = find(tmp_path, [rows])
    assert {key: value[:2] for key, value in removed.items()} == {2: (1, "near"), 3: (1, "near")}


def test_chains_are_one_cluster(tmp_path: Path) -> None:
    words = sentence(4)
    rows = [
        signature_row(step, changed(words, range(step * 12)), karma=100 - step) for step in range(6)
    ]
    _, removed = find(tmp_path, [rows])
    assert {survivor for survivor, _, _ in removed.values()} == {0}
    assert len(removed) == 5
    assert removed[5][2] < 0.75 < removed[1][2]


def test_candidates_below_the_similarity_stay(tmp_path: Path) -> None:
    words = sentence(5)
    rows = [signature_row(1, " ".join(words)), signature_row(2, changed(words, range(40)))]
    _, removed = find(tmp_path / "low", [rows], min_similarity=0.5, bands=56, rows=2)
    assert list(removed) == [2]
    _, removed = find(tmp_path / "high", [rows], min_similarity=0.95, bands=56, rows=2)
    assert not removed


def test_short_documents_are_not_lumped_together(tmp_path: Path) -> None:
    rows = [signature_row(key, text) for key, text in enumerate(["a b", "a c", "b", "!!", ""])]
    _, removed = find(tmp_path, [rows])
    assert not removed


def test_order_and_partitions_do_not_matter(tmp_path: Path) -> None:
    chance = random.Random(6)
    rows = []
    for key in range(60):
        words = sentence(100 + key % 15)
        text = changed(words, range(chance.randrange(12)))
        rows.append(signature_row(key, text, karma=chance.randrange(4)))
    _, removed = find(tmp_path / "one", [rows])
    chance.shuffle(rows)
    _, again = find(tmp_path / "many", [rows[:7], rows[7:30], [], rows[30:]])
    assert len(removed) > 30
    assert again == removed


def brute_force(minima: np.ndarray, config: DuplicatesConfig) -> list[int]:
    """The least member of each row's cluster, by comparing every pair."""
    cluster = list(range(len(minima)))
    for i, j in itertools.combinations(range(len(minima)), 2):
        equal = minima[i] == minima[j]
        bands = equal[: config.bands * config.rows].reshape(config.bands, config.rows)
        if bands.all(axis=1).any() and equal.mean() >= config.min_similarity - 1e-9:
            low, high = sorted((cluster[i], cluster[j]))
            cluster = [low if member == high else member for member in cluster]
    return cluster


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), copies=st.integers(2, 9), flips=st.integers(1, 9))
def test_small_buckets_give_the_clusters_of_all_pairs(
    tmp_path_factory: pytest.TempPathFactory, seed: int, copies: int, flips: int
) -> None:
    chance = np.random.default_rng(seed)
    minima = np.repeat(chance.integers(0, 2**32, (4, 112), dtype=np.uint32), copies, axis=0)
    for row in minima:
        row[chance.integers(0, 112, flips)] = chance.integers(0, 2**32, flips)
    rows = [
        {
            "link_id": key.to_bytes(16, "big"),
            "karma": 3,
            "first_created_utc": 0,
            "text_digest": key.to_bytes(16, "little"),
            "shingles": 1,
            "signature": row.tobytes(),
        }
        for key, row in enumerate(minima)
    ]
    config = DuplicatesConfig(min_similarity=0.9)
    _, removed = find(tmp_path_factory.mktemp("d"), [rows], min_similarity=0.9)
    found = [removed[key][0] if key in removed else key for key in range(len(rows))]
    assert found == brute_force(minima, config)


def test_crowds_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAIRS_A_JOIN", 7)
    monkeypatch.setattr(similarity_module, "PAIRS_A_CHUNK", 3)
    words = sentence(7)
    rows = [signature_row(key, changed(words, range(key, key + 1))) for key in range(60)]
    _, removed = find(tmp_path, [rows])
    assert len(removed) == 59


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    counts, removed = find(tmp_path, [[]])
    assert (counts.rows_in, removed) == (0, {})


def test_collision_probability() -> None:
    assert collision_probability(0.8, 14, 8) == pytest.approx(0.9236, abs=1e-4)
    assert collision_probability(0.0, 14, 8) == 0.0
    assert collision_probability(1.0, 1, 100) == 1.0


def test_the_verified_curve_is_what_sampling_gives() -> None:
    chance = np.random.default_rng(1)
    equal = chance.random((20_000, 112)) < 0.78
    banded = equal.reshape(-1, 14, 8).all(axis=2).any(axis=1)
    found = (banded & (equal.sum(axis=1) >= 84)).mean()
    assert verified_probability(0.78, 14, 8, 112, 0.75) == pytest.approx(found, abs=0.01)
    assert verified_probability(0.78, 14, 8, 112, 0.01) == pytest.approx(
        collision_probability(0.78, 14, 8)
    )
    assert "| 0.80 | 0.924 |" in s_curve_markdown(14, 8, 112, 0.75)


def jaccard(one: str, other: str) -> float:
    left, right = set(shingles_of(one, 5)), set(shingles_of(other, 5))
    return len(left & right) / len(left | right)


def test_candidates_are_judged_by_their_texts(tmp_path: Path) -> None:
    words = sentence(8)
    texts = [" ".join(words), *(changed(words, range(count)) for count in range(1, 60, 2))]
    texts += [texts[3].upper(), "", "!!", *(" ".join(sentence(seed)) for seed in range(20, 25))]
    rows = [signature_row(key, text) for key, text in enumerate(texts)]
    documents = [document_row(key, text) for key, text in enumerate(texts)]
    for number, part in enumerate((slice(0, 9), slice(9, None))):
        write_part(tmp_path / "d", "documents", documents[part], partition=number)
    write_signatures(tmp_path / "s", [rows[:9], rows[9:]])
    config = DuplicatesConfig(verify="jaccard", bands=56, rows=2, min_similarity=0.8)
    find_duplicates(
        signatures=tmp_path / "s",
        documents=tmp_path / "d",
        destination=tmp_path / "out",
        config=config,
        progress=silent,
    )
    table = pq.read_table(tmp_path / "out" / "duplicates" / "duplicates.parquet").to_pylist()
    found = {key_of(row["link_id"]): row for row in table}
    assert {key for key in range(1, 31) if jaccard(texts[0], texts[key]) >= 0.8} <= set(found)
    assert 31 in found
    for key, row in found.items():
        exact = jaccard(texts[key], texts[key_of(row["survivor_link_id"])])
        assert row["similarity"] == pytest.approx(exact, abs=1e-6)
    with pytest.raises(ConfigError, match="documents of all signatures"):
        find_duplicates(
            signatures=tmp_path / "s", destination=tmp_path / "o2", config=config, progress=silent
        )
    with pytest.raises(SourceError, match="does not hold the documents"):
        find_duplicates(
            signatures=tmp_path / "s",
            documents=write_part(tmp_path / "e", "documents", documents[:9]),
            destination=tmp_path / "o3",
            config=config,
            progress=silent,
        )


def months(seed: int) -> list[list[dict]]:
    """Documents of three months, with copies and near-copies within and across them."""
    chance = random.Random(seed)
    made = []
    for key in range(90):
        words = sentence(seed + key % 12)
        text = changed(words, range(chance.choice([0, 3, 10, 30, 60])))
        made.append(signature_row(key, text, karma=chance.randrange(9), created=key))
    chance.shuffle(made)
    return [made[:30], made[30:60], made[60:]]


@pytest.mark.parametrize("seed", [10, 50])
def test_each_month_is_judged_by_the_clusters_of_all_so_far(tmp_path: Path, seed: int) -> None:
    """A month loses every document whose cluster reaches an older one, and of others all but one.

    A joint run loses the same, but for clusters that keep a newer document for its karma. Where a
    newer document joined two old clusters, later ones name the old survivor that they are near.
    """
    monthly = months(seed)
    rank: dict[int, tuple[int, int, int]] = {}
    ever_removed: set[int] = set()
    signatures: list[Path] = []
    outcomes: list[Path] = []
    for number, rows in enumerate(monthly):
        folder = tmp_path / str(number)
        made = write_signatures(folder / "in", [rows])
        counts = find_duplicates(
            signatures=made,
            destination=folder / "out",
            config=DuplicatesConfig(),
            progress=silent,
            earlier_signatures=signatures,
            earlier_duplicates=outcomes,
        )
        table = pq.read_table(folder / "out" / "duplicates" / "duplicates.parquet").to_pylist()
        removed = {key_of(row["link_id"]): key_of(row["survivor_link_id"]) for row in table}
        assert (counts.rows_in, counts.rows_out) == (30, 30 - len(removed))
        assert counts.facts["earlier_documents"] == 30 * number
        signatures, outcomes = [*signatures, made], [*outcomes, folder / "out"]
        new = {key_of(row["link_id"]) for row in rows}
        rank |= {
            key_of(row["link_id"]): (number, -row["karma"], row["first_created_utc"])
            for row in rows
        }
        _, joint = find(folder / "joint", [[row for m in monthly[: number + 1] for row in m]])
        clusters: dict[int, set[int]] = {}
        for key in rank:
            clusters.setdefault(joint[key][0] if key in joint else key, set()).add(key)
        lost = 0
        for members in clusters.values():
            best = min(members, key=rank.__getitem__)
            gone = (members & new) - {best}
            assert gone == members & set(removed)
            survivors = {removed[key] for key in gone}
            if best in new:
                assert survivors <= {best}
            assert survivors <= members - new - ever_removed | {best}
            lost += len(gone)
        assert lost > 5
        ever_removed |= set(removed)


def test_the_older_survives_a_newer_of_higher_karma(tmp_path: Path) -> None:
    text = " ".join(sentence(3))
    old = write_signatures(tmp_path / "old", [[signature_row(7, text, karma=3)]])
    find_duplicates(
        signatures=old,
        destination=tmp_path / "old-out",
        config=DuplicatesConfig(),
        progress=silent,
    )
    new = [signature_row(1, text, karma=999), signature_row(7, text, karma=3)]
    find_duplicates(
        signatures=write_signatures(tmp_path / "new", [new]),
        destination=tmp_path / "out",
        config=DuplicatesConfig(),
        progress=silent,
        earlier_signatures=[old],
        earlier_duplicates=[tmp_path / "old-out"],
    )
    table = pq.read_table(tmp_path / "out" / "duplicates" / "duplicates.parquet")
    assert [key_of(key) for key in table["link_id"].to_pylist()] == [1, 7]
    assert [key_of(key) for key in table["survivor_link_id"].to_pylist()] == [7, 7]


def test_signatures_of_other_settings_are_refused(tmp_path: Path) -> None:
    for name, settings_given in (("a", '{"seed":1}'), ("b", '{"seed":2}')):
        table = signatures_schema(112, settings_given).empty_table()
        write_table(tmp_path / name / "signatures" / part_name(0), table)
    arguments = {"destination": tmp_path / "o", "config": DuplicatesConfig(), "progress": silent}
    with pytest.raises(ConfigError, match=r"different settings.*seed"):
        find_duplicates(
            signatures=tmp_path / "a",
            earlier_signatures=[tmp_path / "b"],
            earlier_duplicates=[tmp_path / "b"],
            **arguments,
        )
    with pytest.raises(ConfigError, match="1 earlier signatures but 0 earlier duplicates"):
        find_duplicates(signatures=tmp_path / "a", earlier_signatures=[tmp_path / "b"], **arguments)


def test_too_many_bands_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"15 bands of 8 rows need 120 .* have 112"):
        find(tmp_path, [[]], bands=15)


def test_missing_or_mixed_signatures_are_refused(tmp_path: Path) -> None:
    arguments = {"destination": tmp_path / "o", "config": DuplicatesConfig(), "progress": silent}
    with pytest.raises(SourceError, match="0 partitions"):
        find_duplicates(signatures=tmp_path, **arguments)
    write_signatures(tmp_path, [[], []])
    table = signatures_schema(16).empty_table()
    write_table(tmp_path / "signatures" / part_name(1), table)
    with pytest.raises(SourceError, match=r"\[16, 112\]"):
        find_duplicates(signatures=tmp_path, **arguments)


def test_what_does_not_fit_into_memory_is_not_begun(tmp_path: Path) -> None:
    signatures = write_signatures(tmp_path / "in", [[signature_row(1, "one text")]])
    arguments = {"signatures": signatures, "config": DuplicatesConfig(), "progress": silent}
    with pytest.raises(ConfigError, match=r"1 documents takes up to .*raise runtime\.memory_gib"):
        find_duplicates(**arguments, destination=tmp_path / "no", memory_bytes=100 << 20)
    assert not (tmp_path / "no" / "duplicates").exists()
    find_duplicates(**arguments, destination=tmp_path / "yes", memory_bytes=1 << 30)
    assert (tmp_path / "yes" / "duplicates").exists()
