"""What pages add up to, beside the same counted straight from the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from flows.impact import Impact, impact_of, read_wanted
from flows.trace import Desk
from infra.errors import StoreError
from infra.lineage_answers import ScoreTrace, StepTrace
from infra.lineage_build import Library
from infra.parts import describe_file
from infra.store import Store
from tests.end_to_end.conftest import Ended

TinyStore = tuple[Path, Ended]


def rows(store: Path, artifact: str, table: str) -> list[dict]:
    return pq.read_table(Store(store).find(artifact).path / table).to_pylist()


def ask(store: Path, *domains: str, urls: tuple[str, ...] = (), lists: tuple[Path, ...] = ()):
    library = Library(Store(store))
    wanted = read_wanted(domains, urls, lists)
    return impact_of(library, wanted, library.builds, 5, lambda *_: None)


def below(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def test_domains_hosts_urls_and_lists_are_counted_as_the_tables_hold_them(
    tiny_store: TinyStore, tmp_path: Path
) -> None:
    store = tiny_store[0]
    links = rows(store, "links", "links")
    domains = sorted({row["domain"] for row in links if row["domain"].endswith("example")})
    hosts = sorted({row["host"] for row in links if row["domain"] == domains[1]})
    alone = next(row for row in links if row["domain"] == domains[2])
    listed = tmp_path / "list.txt"
    listed.write_text(f"# to be taken down\n\n{hosts[0]}\n  {alone['url']}  \nnowhere.example\n")
    answer = ask(store, domains[0], urls=("http://nowhere.example/x",), lists=(listed,))
    [one] = answer.builds
    mine = {
        row["link_id"]
        for row in links
        if row["domain"] == domains[0] or below(row["host"], hosts[0]) or row is alone
    }
    kept = rows(store, "corpus", "train") + rows(store, "corpus", "validation")
    spans = [row for row in rows(store, "shards", "spans") if row["link_id"] in mine]
    assert one.fate.links == len(mine)
    assert one.fate.documents == sum(row["link_id"] in mine for row in kept)
    assert one.fate.tokens == sum(span["length"] for span in spans)
    assert set(one.fate.shards) == {span["shard"] for span in spans}
    assert one.fate.share_of_documents == one.fate.documents / len(kept)
    assert one.fate.submissions == sum(
        len(row["submissions"]) for row in links if row["link_id"] in mine
    )
    assert sorted(one.unknown_shown) == ["http://nowhere.example/x", "nowhere.example"]
    model = Store(store).find("model").label
    steps = Desk(Store(store), None, lambda *_: None).ask(f"{model}@1-6", limit=0)
    assert isinstance(steps, StepTrace)
    expected = sorted({d.step for d in steps.documents if bytes.fromhex(d.link_id) in mine})
    assert [list(reading.steps) for reading in one.fate.readings] == (
        [expected] if expected else []
    )
    assert bool(one.fate.scores) == bool(expected)


def test_everything_is_the_whole_corpus(tiny_store: TinyStore) -> None:
    links = rows(tiny_store[0], "links", "links")
    answer = ask(tiny_store[0], *{row["host"] for row in links})
    [one] = answer.builds
    assert one.fate.share_of_documents == one.fate.share_of_tokens == 1
    assert sum(one.fate.ends.values()) == one.fate.links == len(links)
    [reading] = one.fate.readings
    assert reading.steps == (1, 2, 3, 4, 5, 6)


def test_items_of_benchmarks_that_share_n_grams_are_named(copied_store: Path) -> None:
    """Artifacts of the overlap stages, made by hand in their documented form."""
    store = Store(copied_store)
    corpus = store.find("corpus")
    kept = rows(copied_store, "corpus", "train/part-00000.parquet")
    asked = store.artifact("benchmark-ngrams", 1, "tiny", {}, [])
    hits = store.artifact(
        "ngram-hits",
        1,
        "tiny",
        {},
        [corpus.as_input("corpus"), asked.as_input("benchmark_ngrams")],
    )
    occurrences = pa.table(
        {
            "ngram": pa.array([3, 3, 5, 7], pa.int32()),
            "first_item": pa.array([0, 4, 2, 9], pa.int32()),
            "last_item": pa.array([1, 4, 2, 9], pa.int32()),
        }
    )
    held = [
        {"link_id": row["link_id"], "url": row["url"], "ngram": number, "times": 1}
        for row, number in zip(kept[:3], (3, 5, 7), strict=True)
    ]
    schema = pa.schema(
        [("link_id", pa.binary(16)), ("url", pa.string()), ("ngram", pa.int32()),
         ("times", pa.int32())]
    )  # fmt: skip
    tables = [
        (
            asked,
            {
                "occurrences/ptb-paper.parquet": occurrences,
                "occurrences/ptb-raw-token.parquet": occurrences.slice(0, 0),
                # The fifth row of the table is what scores call item 0.
                "items/ptb-paper.parquet": pa.table(
                    {"item": pa.array([7, 1, 2, 3, 0], pa.int32())}
                ),
            },
        ),
        (
            hits,
            {
                f"hits/part-{number:05d}.parquet": pa.Table.from_pylist(
                    held if number == 0 else [], schema=schema
                )
                for number in range(2)
            },
        ),
    ]
    for artifact, files in tables:
        for name, table in files.items():
            (artifact.path / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, artifact.path / name)
        store.finish(
            artifact,
            files=[describe_file(artifact.path, Path(name)) for name in files],
            counts={}, partitions=[], measurements={}, run_id="by-hand",
            prefect_flow_run_id=None, started_at="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
    [one] = ask(copied_store, urls=tuple(row["url"] for row in kept[:2])).builds
    [shared] = one.overlaps
    assert (shared.benchmark, shared.items, shared.ngrams) == ("ptb-paper", (0, 1, 2, 7), 2)
    assert ask(copied_store, urls=(kept[3]["url"],)).builds[0].overlaps == ()
    desk = Desk(store, None, lambda *_: None)
    item = desk.ask("ptb#0")
    assert isinstance(item, ScoreTrace)
    [document] = item.overlaps
    assert (document.url, document.ngrams) == (kept[0]["url"], 1)
    assert document.link_id == kept[0]["link_id"].hex()
    assert desk.ask("ptb").model_dump()["overlaps"] == ()


def test_the_command_prints_a_tree_or_json(
    tiny_store: TinyStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = str(tiny_store[0])
    link = rows(tiny_store[0], "links", "links")[0]
    assert main(["impact", "--store", store, "--url", link["url"], "--domain", "nowhere.org"]) == 0
    told = capfd.readouterr().err
    assert "1 links of" in told
    assert "no link of nowhere.org" in told
    assert main(["impact", "--store", store, "--url", link["url"], "--json"]) == 0
    answer = Impact.model_validate(json.loads(capfd.readouterr().out))
    assert answer.builds[0].shown[0].link_id == link["link_id"].hex()
    broken = tmp_path / "list.txt"
    broken.write_text("fine.example\nftp://not.example/x\n")
    assert main(["impact", "--store", store, "--list", str(broken)]) == 1
    assert "line 2: 'ftp://not.example/x'" in capfd.readouterr().err
    with pytest.raises(StoreError, match="name some pages"):
        read_wanted((), (), ())


def test_runs_lists_what_can_be_asked_for(
    tiny_store: TinyStore, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tiny_store[0]
    assert main(["runs", "--store", str(store), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    run = found["runs"][-1]  # the newest first; other tests may have run since
    assert run["state"] == "finished"
    mine = [row for row in found["artifacts"] if row["run"] == run["run"]]
    assert len(mine) > 10
    assert run["bytes_made"] == sum(row["bytes"] for row in mine)
    assert main(["runs", "--store", str(store)]) == 0
    told = capfd.readouterr().err
    for row in found["artifacts"]:
        assert row["artifact"] in told
        assert main(["trace", "--store", str(store), row["artifact"]]) == 0
    assert "lambada_acc" in told
    capfd.readouterr()
