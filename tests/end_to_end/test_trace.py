"""Tracing on the tiny demo's store: every planted case, both ways, and what the command prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from flows.trace import Desk
from infra.errors import StoreError
from infra.lineage_answers import LinkTrace, PlaceTrace, ScoreTrace, StepTrace
from infra.lineage_impact import DomainTrace
from infra.store import Store
from tests.end_to_end.conftest import TINY, Ended, webtext
from webtext.urls import normalise_url

TinyStore = tuple[Path, Ended]


@pytest.fixture
def desk(tiny_store: TinyStore) -> Desk:
    return Desk(Store(tiny_store[0]), None, lambda *_: None)


def rows(store: Path, artifact: str, table: str) -> list[dict]:
    return pq.read_table(Store(store).find(artifact).path / table).to_pylist()


def test_every_planted_case_is_traced_to_where_it_ended(tiny_store: TinyStore, desk: Desk) -> None:
    store, _ended = tiny_store
    planted = json.loads((Store(store).find("demo-web").path / "planted.json").read_text())
    by_rule = {"media", "wikipedia", "blocked_domain"}
    checked = set()
    for case in planted:
        stage, outcome = case["stage"], case["outcome"]
        url = case["url"].replace("&amp;", "&")
        if stage == "submissions" and url and outcome != "self_post":
            with pytest.raises(StoreError, match=outcome):
                desk.url(url)
        elif outcome == "karma_below_minimum" or stage in ("captures", "documents", "duplicates"):
            end = desk.url(url).dropped
            if outcome == "ok":
                assert end is None or end.stage in ("documents", "corpus"), case
            else:
                assert end is not None, case
                assert outcome in end.reason, case
        elif stage == "links":
            # `same_link` and `repeated_submission` lose a row, but not the link.
            assert desk.url(url).link.karma is not None
        checked.add((stage, outcome))
    assert len(checked) > 25
    assert by_rule <= {outcome for _stage, outcome in checked}


def test_a_duplicate_names_what_was_kept_and_the_kept_one_names_it(
    tiny_store: TinyStore, desk: Desk
) -> None:
    removed = rows(tiny_store[0], "duplicates", "duplicates/duplicates.parquet")
    assert {row["kind"] for row in removed} == {"exact", "near"}
    for row in removed:
        found = desk.ask(row["link_id"].hex())
        assert isinstance(found, LinkTrace)
        assert found.dropped is not None
        assert found.dropped.kept is not None
        assert found.dropped.kept.link_id == row["survivor_link_id"].hex()
        assert not found.spans
        survivor = desk.url(found.dropped.kept.url or "")
        assert survivor.document is not None
        assert survivor.document.split is not None
        assert row["link_id"].hex() in {copy.link_id for copy in survivor.copies}


def test_every_submission_leads_to_its_link(tiny_store: TinyStore, desk: Desk) -> None:
    posts = rows(tiny_store[0], "submissions", "submissions/dump-00000.parquet")
    for row in posts[:: max(1, len(posts) // 40)]:
        found = desk.ask(f"t3_{row['id']}")
        assert isinstance(found, LinkTrace)
        assert found.link.link_id == row["link_id"].hex()
        assert row["id"] in {post.id for post in found.link.submissions}
        assert desk.ask(row["id"]) == found
    with pytest.raises(StoreError, match="no submission zzzzzz"):
        desk.ask("zzzzzz")


def test_every_token_of_the_shards_is_of_the_document_that_its_span_names(
    tiny_store: TinyStore, desk: Desk
) -> None:
    from webtext.vocabulary import gpt2_encoding

    shards = Store(tiny_store[0]).find("shards").path
    for path in sorted(shards.glob("*/*.npy")):
        tokens = np.load(path).reshape(-1)
        shard = f"{path.parent.name}/{path.name}"
        for offset in {0, len(tokens) // 2, len(tokens) - 1}:
            found = desk.ask(f"{shard}@{offset}")
            assert isinstance(found, PlaceTrace)
            if found.span is None:
                assert offset >= len(tokens) - 1024
                assert set(tokens[offset:]) == {50256}
                continue
            assert found.document is not None
            text = desk.text(found.document)
            encoded = [*gpt2_encoding().encode_ordinary(text), 50256]
            assert found.token_of_document is not None
            assert encoded[found.token_of_document] == tokens[offset]
        with pytest.raises(StoreError, match="no token"):
            desk.ask(f"{shard}@{len(tokens)}")
    with pytest.raises(StoreError, match="no shard"):
        desk.ask("train/shard-00009-000.npy@0")


def test_steps_and_documents_name_each_other(tiny_store: TinyStore, desk: Desk) -> None:
    """All steps of the training, read both ways: which step read which document."""
    model = Store(tiny_store[0]).find("model").label
    forth = desk.ask(f"{model}@1-6", limit=0)
    assert isinstance(forth, StepTrace)
    assert forth.sequences == forth.sequences_shown == forth.of_steps == 6
    assert [line["step"] for line in forth.losses] == [1, 2, 3, 4, 5, 6]
    read = {(document.link_id, document.step) for document in forth.documents}
    back = set()
    for row in rows(tiny_store[0], "shards", "spans"):
        found = desk.ask(row["link_id"].hex())
        assert isinstance(found, LinkTrace)
        [reading] = found.readings
        back |= {(found.link.link_id, step) for step in reading.steps}
        assert bool(found.scores) == bool(reading.steps)
    assert back == read
    with pytest.raises(StoreError, match="steps 1 to 6"):
        desk.ask(f"{model}@7")


def test_a_domain_adds_up(tiny_store: TinyStore, desk: Desk) -> None:
    links = rows(tiny_store[0], "links", "links")
    kept = rows(tiny_store[0], "corpus", "train") + rows(tiny_store[0], "corpus", "validation")
    for domain in {row["domain"] for row in links}:
        if domain.replace(".", "").isdigit():
            continue
        found = desk.ask(domain, limit=3)
        assert isinstance(found, DomainTrace)
        fate = found.fate
        assert fate.links == sum(fate.ends.values()) == sum(r["domain"] == domain for r in links)
        mine = [row for row in kept if row["domain"] == domain]
        assert fate.documents == len(mine)
        assert fate.tokens == sum(row["tokens"] + 1 for row in mine) == sum(fate.shards.values())
        assert len(found.shown) == min(3, fate.links)
    with pytest.raises(StoreError, match=r"no link to nowhere\.example"):
        desk.ask("nowhere.example")


def test_a_score_and_an_item_lead_up_to_the_dump(tiny_store: TinyStore, desk: Desk) -> None:
    found = desk.ask("lambada_acc")
    assert isinstance(found, ScoreTrace)
    assert [line.column for line in found.scores] == ["lambada_acc"]
    assert [made.stage for made in found.made_from] == [
        "shards", "corpus", "duplicates", "signatures", "documents", "pages", "captures", "links",
        "submissions",
    ]  # fmt: skip
    assert found.dumps == (Store(tiny_store[0]).find("demo-web").label,)
    item = desk.ask("lambada#2")
    assert isinstance(item, ScoreTrace)
    assert {row["item"] for row in item.items} == {2}
    assert desk.ask(f"{found.artifact}#2") == item
    with pytest.raises(StoreError, match="no item 99"):
        desk.ask("lambada#99")


def test_the_command_prints_trees_json_text_and_pages(
    tiny_store: TinyStore, capfd: pytest.CaptureFixture[str]
) -> None:
    store = str(tiny_store[0])
    kept = rows(tiny_store[0], "corpus", "train")[0]

    def trace(*arguments: str) -> tuple[int, str, str]:
        code = main(["trace", "--store", store, *arguments])
        return code, *capfd.readouterr()

    code, out, err = trace(kept["url"])
    assert (code, out) == (0, "")
    for shown in ("submission", "capture: ok 200", "warc/part-0000", "of train/shard-", "model/"):
        assert shown in err
    code, out, _err = trace(kept["url"], "--json")
    assert code == 0
    assert LinkTrace.model_validate_json(out).link.link_id == kept["link_id"].hex()
    assert trace(kept["url"], "--show", "text")[1] == kept["text"] + "\n"
    assert re.search("<html", trace(kept["url"], "--show", "page")[1])
    for subject in ("model", "lambada#1", kept["domain"], "pages", "train/shard-00000-000.npy@1"):
        assert trace(subject)[0] == 0, subject
    model = Store(tiny_store[0]).find("model").label
    assert "loss" in trace(f"{model}@2-3")[2]
    code, _out, err = trace("no such thing")
    assert code == 1
    assert "nothing that can be traced" in err


@pytest.mark.slow
def test_a_build_is_named_by_a_run_or_an_artifact(copied_store: Path, shared_api: str) -> None:
    """A second build on the same links: the newest answers, the older one when it is named."""
    done = webtext(
        "corpus", "--profile", TINY, "--store", copied_store, "--set", "documents.min_tokens=400",
        api_url=shared_api,
    )  # fmt: skip
    assert done.code == 0, done.err
    older, newer = sorted(path.stem for path in (copied_store / "runs").glob("*.json"))
    [dropped] = [
        row
        for row in rows(copied_store, _artifact(copied_store, "documents", newer), "rejected")
        if row["reason"] == "too_short" and (row["tokens"] or 0) >= 128
    ][:1]
    key = dropped["link_id"].hex()
    ask = {
        run: Desk(Store(copied_store), run, lambda *_: None).ask(key)
        for run in (older, newer, None)
    }
    assert ask[None] == ask[newer]
    assert isinstance(ask[newer], LinkTrace)
    assert ask[newer].dropped.reason == "too_short"
    assert ask[older].document is not None
    by_artifact = Desk(
        Store(copied_store), _artifact(copied_store, "shards", older), lambda *_: None
    )
    assert by_artifact.ask(key) == ask[older]


def _artifact(store: Path, stage: str, run: str) -> str:
    uses = json.loads((store / "runs" / f"{run}.json").read_text())["uses"]
    return next(use["artifact"] for use in uses if use["artifact"].startswith(f"{stage}/"))


def test_any_spelling_of_a_url_is_understood(tiny_store: TinyStore, desk: Desk) -> None:
    link = rows(tiny_store[0], "links", "links")[0]
    known = normalise_url(link["url"])
    assert not isinstance(known, str)
    spelled = link["url"].replace(known.host, known.host.upper()) + "#part"
    assert desk.ask(spelled) == desk.url(link["url"])
