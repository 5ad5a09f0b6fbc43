"""Months added to a corpus: only what is new is done, and the bytes are those of a back-fill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.removal_list import append_removals
from flows.takedowns import takedowns_of
from infra.lineage_series import is_name_in_series
from infra.store import Artifact, Store
from model.sequences import Shards
from tests.end_to_end.conftest import (
    ROOT,
    TINY,
    Ended,
    command,
    digests,
    environment,
    last_run,
    webtext,
)
from tests.end_to_end.two_months import TwoMonths, build_two_months
from webtext.removals import make_removal

pytestmark = pytest.mark.slow
MONTH_STAGES = (
    "submissions", "links", "captures", "pages", "documents", "signatures", "duplicates", "corpus",
    "shards",
)  # fmt: skip


@dataclass(frozen=True)
class Grown:
    """A store to which two months were added by two commands."""

    store: Path
    months: TwoMonths
    api: str
    first: Ended
    second: Ended


def refresh(
    store: Path, months: TwoMonths, *more: object, dumps: tuple[Path, ...] = (), api: str
) -> Ended:
    given = ["--submissions", *dumps, "--replay", months.pages] if dumps else []
    return webtext("refresh", "--profile", TINY, "--store", store, *given, *more, api_url=api)


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> TwoMonths:
    return build_two_months(tmp_path_factory.mktemp("months"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, months: TwoMonths, shared_api: str) -> Grown:
    store = tmp_path_factory.mktemp("grown") / "runs"
    first = refresh(store, months, dumps=(months.first,), api=shared_api)
    assert first.code == 0, first.err
    second = refresh(store, months, "--json", dumps=(months.second,), api=shared_api)
    assert second.code == 0, second.err
    return Grown(store, months, shared_api, first, second)


@pytest.fixture
def copied(grown: Grown, tmp_path: Path) -> Path:
    shutil.copytree(grown.store, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory, months: TwoMonths, shared_api: str) -> Path:
    """A corpus of both dumps at once, by the ordinary command."""
    store = tmp_path_factory.mktemp("rebuilt") / "runs"
    ended = webtext(
        "corpus", "--profile", TINY, "--store", store, "--replay", months.pages,
        "--submissions", months.first, months.second, api_url=shared_api,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return store


def one_of(store: Path, stage: str, month: str) -> Artifact:
    (found,) = [
        artifact
        for artifact in Store(store).finished()
        if artifact.stage == stage and artifact.name == f"tiny-{month}"
    ]
    return found


def series_of(store: Path, months: int) -> list[Artifact]:
    found = [artifact for artifact in Store(store).finished() if artifact.stage == "series"]
    return [one for one in found if len(one.identity.config["months"]) == months]


def rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / table).glob("*.parquet")):
        yield from pq.read_table(path).to_pylist()


def table_of(store: Path, stage: str, table: str) -> dict[bytes, dict[str, Any]]:
    """The rows of a table of all artifacts of a stage, by key; no key is there twice."""
    found: dict[bytes, dict[str, Any]] = {}
    for artifact in Store(store).finished():
        for row in rows(artifact.path, table) if artifact.stage == stage else ():
            assert row["link_id"] not in found
            found[row["link_id"]] = row
    return found


def test_only_new_links_are_crawled_and_known_ones_told(grown: Grown) -> None:
    before, after = (one_of(grown.store, "captures", f"2017-{m}") for m in ("09", "10"))
    old = {row["link_id"]: row for row in rows(before.path, "captures")}
    new = {row["link_id"] for row in rows(after.path, "captures")}
    assert not new & old.keys()
    known = list(rows(one_of(grown.store, "links", "2017-10").path, "known"))
    assert known
    for row in known:
        capture = old[row["link_id"]]
        assert row["month"] == 0
        assert (row["outcome"], row["captured_at"]) == (capture["outcome"], capture["captured_at"])
        assert len(row["submissions"]) >= 1
    made = json.loads(grown.second.out)
    assert [month["is_new"] for month in made["months"]] == [False, True]
    assert made["months"][1]["links_known"] == len(known)
    assert made["months"][1]["copies_of_older"] > 0
    assert made["months"][1]["links_new"] == len(new)


def test_old_shards_are_not_rewritten_and_new_ones_follow(grown: Grown) -> None:
    (one,), (two,) = series_of(grown.store, 1), series_of(grown.store, 2)
    files = [digests(grown.store)[one.label], digests(grown.store)[two.label]]
    kept = {path for path in files[0] if "/" in path}
    assert {path: files[1][path] for path in kept} == {path: files[0][path] for path in kept}
    old, new = Shards(one.path, "train", 1024), Shards(two.path, "train", 1024)
    indices = np.arange(old.sequences)
    assert new.sequences > old.sequences
    assert np.array_equal(old.read(indices)[0], new.read(indices)[0])
    shard = next((one.path / "train").iterdir())
    assert shard.stat().st_nlink >= 3  # in shards/ and both series: one file


def test_a_back_fill_killed_and_given_in_any_order_has_the_same_bytes(
    grown: Grown, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    given = [
        "refresh", "--profile", TINY, "--store", store, "--submissions", grown.months.second,
        grown.months.first, "--replay", grown.months.pages,
    ]  # fmt: skip
    env = environment(grown.api) | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command(*given), cwd=ROOT, env=env, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not list(store.glob("links/tiny-2017-10-*")):  # in the midst of the second month
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = webtext(*given, api_url=grown.api)
    assert again.code == 0, again.err
    mine, grew = digests(store), digests(grown.store)
    (of_one,) = series_of(grown.store, 1)
    assert mine == {label: files for label, files in grew.items() if label != of_one.label}


def test_every_table_holds_the_rows_of_a_full_rebuild(grown: Grown, rebuilt: Path) -> None:
    """But for what docs/refresh.md names: links of both months, survivors, and places in files."""
    (joint,) = [a for a in Store(rebuilt).finished() if a.stage == "submissions"]
    files = digests(rebuilt)[joint.label]
    for number, month in enumerate(("09", "10")):
        mine = digests(grown.store)[one_of(grown.store, "submissions", f"2017-{month}").label]
        assert (
            mine["submissions/dump-00000.parquet"]
            == files[f"submissions/dump-{number:05d}.parquet"]
        )
    known = {row["link_id"] for row in rows(one_of(grown.store, "links", "2017-10").path, "known")}
    posted = {"karma", "first_created_utc", "submissions"}
    places = {"warc_offset", "warc_length", "payload_offset", "payload_length"}
    for stage, table, of_both, of_all in (
        ("links", "links", posted | {"url"}, set()),
        ("captures", "captures", {"final_url"}, places),
        ("pages", "pages", set(), set()),
        ("documents", "documents", posted | {"url"}, set()),
        ("documents", "rejected", set(), set()),
        ("signatures", "signatures", posted, set()),
    ):
        mine, whole = (table_of(store, stage, table) for store in (grown.store, rebuilt))
        assert mine.keys() == whole.keys(), table
        for key, row in whole.items():
            left_out = of_all | (of_both if key in known else set())
            assert {n: v for n, v in mine[key].items() if n not in left_out} == {
                n: v for n, v in row.items() if n not in left_out
            }, table


def test_as_many_documents_are_kept_and_each_lost_one_has_its_like(
    grown: Grown, rebuilt: Path
) -> None:
    mine, whole = (
        {**table_of(store, "corpus", "train"), **table_of(store, "corpus", "validation")}
        for store in (grown.store, rebuilt)
    )
    removed = {}
    for artifact in Store(grown.store).finished():
        if artifact.stage == "duplicates":
            for row in rows(artifact.path, "duplicates"):
                removed[row["link_id"]] = row["survivor_link_id"]
    assert len(mine) == len(whole)
    for key in whole.keys() - mine.keys():
        assert removed[key] in mine


def test_nothing_is_done_twice(grown: Grown, copied: Path) -> None:
    before = digests(copied)
    ended = refresh(
        copied, grown.months, "--json", dumps=(grown.months.second, grown.months.first),
        api=grown.api,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert digests(copied) == before
    assert {use["how"] for use in last_run(copied)["uses"]} == {"reused"}  # type: ignore[attr-defined]
    assert not any(month["is_new"] for month in json.loads(ended.out)["months"])


def test_a_takedown_reaches_the_old_months_without_a_new_crawl(grown: Grown, copied: Path) -> None:
    copies = rows(one_of(copied, "duplicates", "2017-10").path, "duplicates")
    first = {row["link_id"]: row for row in rows(one_of(copied, "corpus", "2017-09").path, "train")}
    copy, of = next(
        (row["link_id"], row["survivor_link_id"])
        for row in copies
        if row["survivor_link_id"] in first
    )
    url = first[of]["url"]
    ended = webtext("remove", "--url", url, "--reason", "asked", "--store", copied)
    assert ended.code == 0, ended.err
    ended = refresh(copied, grown.months, "--json", api=grown.api)
    assert ended.code == 0, ended.err
    made = Store(copied).find(json.loads(ended.out)["series"])
    assert not {row["link_id"] for row in rows(made.path / "data", "train")} & {copy, of}
    assert len(list(copied.glob("captures/*/manifest.json"))) == 2


def test_an_older_month_that_comes_late_goes_behind_or_by_wish_before(
    months: TwoMonths, shared_api: str, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    for dump in (months.second, months.first):
        ended = refresh(store, months, dumps=(dump,), api=shared_api)
        assert ended.code == 0, ended.err
    (late,) = series_of(store, 2)
    assert late.identity.config["months"] == ["2017-10", "2017-09"]
    pages = sorted(path.name for path in (store / "pages").iterdir())
    ended = refresh(store, months, "--by-month", api=shared_api)
    assert ended.code == 0, ended.err
    orders = [one.identity.config["months"] for one in series_of(store, 2)]
    assert sorted(orders) == [["2017-09", "2017-10"], ["2017-10", "2017-09"]]
    assert sorted(path.name for path in (store / "pages").iterdir()) == pages
    assert webtext("verify", "--store", store).code == 0


def test_months_of_other_rules_and_replaced_dumps_are_refused(
    grown: Grown, copied: Path, tmp_path: Path
) -> None:
    ended = refresh(copied, grown.months, "--set", "links.min_karma=1", api=grown.api)
    assert ended.code == 1
    assert "month 2017-09 was made with other rules of links: min_karma 3 and not 1" in ended.err
    changed = tmp_path / "RS_2017-10.jsonl"
    changed.write_bytes(grown.months.first.read_bytes())
    ended = refresh(copied, grown.months, dumps=(changed,), api=grown.api)
    assert ended.code == 1
    assert "the series has the month 2017-10 already" in ended.err


def test_a_model_of_the_series_is_traced_to_both_months(grown: Grown, copied: Path) -> None:
    ended = webtext("train", "series", "--profile", TINY, "--store", copied, api_url=grown.api)
    assert ended.code == 0, ended.err
    assert webtext("verify", "--store", copied).code == 0
    model = Store(copied).find("model")
    (series,) = series_of(copied, 2)
    assert model.identity.inputs[0].name == series.label
    steps = webtext("trace", f"{model.label}@1-6", "--limit", "0", "--json", "--store", copied)
    read = {document["shard"] for document in json.loads(steps.out)["documents"]}
    assert read
    assert all(is_name_in_series(name) for name in read)
    for month in ("09", "10"):
        row = next(rows(one_of(copied, "corpus", f"2017-{month}").path, "train"))
        found = webtext("trace", row["url"], "--json", "--store", copied)
        told = json.loads(found.out)
        assert told["build"]["corpus"].startswith(f"corpus/tiny-2017-{month}")
        assert told["readings"][0]["model"] == model.label
    shard = webtext("trace", "train/shard-00100000-000.npy@0", "--json", "--store", copied)
    told = json.loads(shard.out)
    assert told["build"]["shards"].startswith("shards/tiny-2017-10")
    assert told["span"]["link_id"] == told["document"]["link"]["link_id"]
    tokens = np.load(series.path / "train" / "shard-00100000-000.npy").reshape(-1)
    assert tokens[told["span"]["start"] + told["span"]["length"] - 1] == 50256
    removals, tokens_of = [], 0
    for month in ("09", "10"):
        row = next(rows(one_of(copied, "corpus", f"2017-{month}").path, "train"))
        removals.append(make_removal(row["url"], "url", date="2026-01-01", reason="asked"))
        tokens_of += row["tokens"] + 1
    append_removals(copied, removals)
    (takedown,) = takedowns_of(Store(copied), model)
    assert (takedown.documents, takedown.tokens) == (2, tokens_of)


def test_a_known_links_later_submission_is_traced_to_its_capture(grown: Grown) -> None:
    known = next(rows(one_of(grown.store, "links", "2017-10").path, "known"))
    post = f"t3_{known['submissions'][0]['id']}"
    found = webtext("trace", post, "--json", "--store", grown.store)
    told = json.loads(found.out)
    assert told["build"]["captures"].startswith("captures/tiny-2017-09")
    only = webtext("trace", post, "--json", "--store", grown.store, "--run",
                   one_of(grown.store, "shards", "2017-10").label)  # fmt: skip
    dropped = json.loads(only.out)["dropped"]
    assert dropped["reason"] == "known_link"
    assert "captures/tiny-2017-09" in dropped["detail"]


def test_a_closed_gate_stops_a_month_before_the_next_stage(
    months: TwoMonths, shared_api: str, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    gate = 'gates.crawl_yield={stage="captures", figure="rows_out", per="rows_in", least=0.99}'
    ended = refresh(store, months, "--set", gate, dumps=(months.first,), api=shared_api)
    assert ended.code == 1
    assert "the gate crawl_yield is closed: captures rows_out / rows_in is 0.8" in ended.err
    assert len(list(store.glob("captures/*/manifest.json"))) == 1
    assert not (store / "pages").exists()
    assert last_run(store)["state"] == "stopped"
    ended = refresh(
        store, months, "--set", gate, "--set", "gates.crawl_yield.action=mark",
        dumps=(months.first,), api=shared_api,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    (mark,) = last_run(store)["marks"]  # type: ignore[misc]
    assert mark["gate"] == "crawl_yield"
    listed = webtext("runs", "--store", store)
    assert "(marked)" in listed.out + listed.err
    assert "at least 0.99 is expected" in " ".join((listed.out + listed.err).split())


def test_a_loss_that_does_not_fall_stops_the_training(grown: Grown, copied: Path) -> None:
    train = ["train", "series", "--profile", TINY, "--store", copied, "--set"]
    gate = 'gates.learns={stage="model", figure="loss", step=2, most=1.0}'
    ended = webtext(*train, gate, api_url=grown.api)
    assert ended.code == 1
    assert "model loss at step 2 is 10." in ended.err
    assert not list(copied.glob("model/*/manifest.json"))
    gate = gate.replace("1.0", "20.0")
    assert webtext(*train, gate, api_url=grown.api).code == 0


def test_pages_of_another_trafilatura_are_not_mixed(grown: Grown, copied: Path) -> None:
    path = one_of(copied, "pages", "2017-09").path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["maker"]["packages"]["trafilatura"] = "1.0.0"
    path.write_text(json.dumps(manifest))
    ended = refresh(copied, grown.months, api=grown.api)
    assert ended.code == 1
    assert "was made with trafilatura 1.0.0 and not" in ended.err
    taken = refresh(
        copied, grown.months, "--set", "runtime.other_versions=accept", "--json", api=grown.api
    )
    assert taken.code == 0, taken.err
    assert "trafilatura 1.0.0" in last_run(copied)["marks"][0]["message"]  # type: ignore[index]
    (old,) = series_of(copied, 2)
    assert json.loads(taken.out)["series"] == old.label
    remade = refresh(
        copied, grown.months, "--set", "runtime.other_versions=remake", "--json", api=grown.api
    )
    assert remade.code == 0, remade.err
    assert json.loads(remade.out)["series"] != old.label
    again = refresh(copied, grown.months, "--json", api=grown.api)
    assert json.loads(again.out)["series"] == json.loads(remade.out)["series"]
