"""Earlier corpora are found by their lineage, in the order given, and enter the fingerprint."""

from pathlib import Path

import pytest

from flows.cli import main
from flows.earlier import earlier_inputs
from infra.errors import StoreError
from infra.store import Artifact, Store
from tests.infra.test_store import made


def corpus_of(store: Store, month: int) -> dict[str, Artifact]:
    chain = {"documents": made(store, "documents", {"month": month})}
    for stage, roles in (
        ("signatures", ["documents"]),
        ("duplicates", ["signatures"]),
        ("corpus", ["documents", "duplicates"]),
    ):
        inputs = [chain[role].as_input(role) for role in roles]
        chain[stage] = made(store, stage, {"month": month}, inputs)
    return chain


def test_the_lineage_of_earlier_corpora_is_followed_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = corpus_of(store, 1), corpus_of(store, 2)
    references = [second["corpus"].label, first["duplicates"].label]
    inputs, arguments = earlier_inputs(store, references, with_texts=True)
    for role in ("signatures", "duplicates", "documents"):
        wanted = [second[role], first[role]]
        assert arguments[f"earlier_{role}"] == [str(artifact.path) for artifact in wanted]
        records = inputs[f"earlier_{role}"]
        assert [record.fingerprint for record in records] == [a.fingerprint for a in wanted]
    _, without = earlier_inputs(store, references, with_texts=False)
    assert sorted(without) == ["earlier_duplicates", "earlier_signatures"]
    assert earlier_inputs(store, [], with_texts=True) == ({}, {})


def test_other_artifacts_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    documents = corpus_of(store, 1)["documents"]
    with pytest.raises(StoreError, match="stage documents"):
        earlier_inputs(store, [documents.label], with_texts=False)


def test_the_s_curve_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["s-curve"]) == 0
    assert "| 0.80 | 0.924 | 0.870 |" in capsys.readouterr().out
