"""The report's parts: plots, the pipeline's graph, the log of a training, search, traces, pages."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import html
from flows.report import render_report, without_run, write_report
from flows.report_corpus import Bin, _month_bins
from flows.report_duplicates import _bins
from flows.report_links import Links
from flows.report_search import Place, search_texts
from flows.report_source import report_source
from flows.report_svg import Curve, Mark, columns, loss_curve, score_range
from flows.report_tables import open_tables
from flows.report_trace import trace_page, trace_view
from flows.report_training import _read_log, _rises, _why
from infra.errors import CorruptArtifact, StoreError
from infra.lineage_answers import (
    ArtifactTrace,
    Capture,
    Document,
    Dropped,
    Kept,
    Link,
    LinkTrace,
    Reading,
    Span,
    Submission,
)
from infra.lineage_build import Known, Library
from infra.runs import Use, new_run, write_run
from infra.store import Store
from tests.bench.lineage_store import Shape, write_store
from tests.bench.report_scale import with_run

HOSTILE = "</style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
SHAPE = Shape(domains=40, partitions=4, dumps=2, steps=20, sequences_per_step=2, links_a_domain=50)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A synthetic build and a run that made its corpus."""
    root = tmp_path_factory.mktemp("synthetic") / "runs"
    write_store(root, SHAPE)
    with_run(Store(root))
    return Store(root)


def test_columns_are_as_high_as_their_counts() -> None:
    plot = ElementTree.fromstring(columns([Bin("a", 10), Bin(HOSTILE, 5), Bin("c", 0)], "name"))
    heights = [float(one.get("height", "")) for one in plot.iter("rect")]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2] == 0
    assert plot.get("aria-label") == "name"
    assert HOSTILE in "".join(plot.itertext())


def test_a_loss_curve_holds_its_values_and_links() -> None:
    line = [(float(step), 9.0 - step, 9.5 - step, 10.0 - step) for step in range(1, 6)]
    curve = Curve(5, line, [(5, 4.2)], [Mark(3, 6.5, "#step-3", HOSTILE)])
    plot = ElementTree.fromstring(loss_curve(curve, "loss"))
    [mark] = plot.iter("a")
    assert mark.get("href") == "#step-3"
    assert mark.get("aria-label") == HOSTILE
    downs = [float(place.split(",")[1]) for place in _points(plot, "polyline")]
    assert downs == sorted(downs)  # the loss falls, so the line goes down the page
    ground = max(float(one.get("y1", "")) for one in plot.iter("line"))
    assert all(0 < down < ground for down in downs)


def test_one_step_is_a_curve_too() -> None:
    plot = loss_curve(Curve(1, [(1.0, 3.0, 3.0, 3.0)], [], []), "loss")
    assert "nan" not in plot
    assert ElementTree.fromstring(plot) is not None


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.0, 0.0, 0.0), (35.13, None, None), (27_805.0, 7_870.0, 172_260.0)]
)
def test_scores_stand_on_the_scale_of_the_published(
    value: float, low: float | None, high: float | None
) -> None:
    plot = ElementTree.fromstring(score_range(value, low, high, [("124M", 35.13), ("355M", 15.6)]))
    places = [float(one.get("cx", "").rstrip("%")) for one in plot.iter("circle")]
    places += [float(one.get("x1", "").rstrip("%")) for one in plot.iter("line")]
    assert all(0 <= place <= 100 for place in places)


def test_a_long_log_takes_no_more_memory(tmp_path: Path) -> None:
    """Twenty thousand steps come to five hundred points; a rise is found among them."""
    path = tmp_path / "losses.jsonl"
    with path.open("w") as lines:
        for step in range(1, 20_001):
            loss = 9.0 if step == 17_000 else 3 + 8 / step
            lines.write(json.dumps({"step": step, "loss": loss}) + "\n")
    tracemalloc.start()
    log = _read_log(path, 20_000, set())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(log.buckets) == 500
    assert peak < 2_000_000
    assert next(iter(_rises(log))) == 17_000
    assert log.losses[17_000] == 9.0
    assert log.last == pytest.approx(3.0004)


def test_spikes_say_what_was_done() -> None:
    spike = {"step": 7, "kind": "loss", "z_loss": 6.54, "action": "rolled_back"}
    assert _why({**spike, "rolled_back_to": 4}) == (
        "the loss was 6.5 standard deviations above the steps before; rolled back to step 4"
    )
    assert _why({"step": 7, "kind": "non_finite", "action": "skipped"}) == (
        "a number was not finite; skipped"
    )


def test_many_months_become_years() -> None:
    few, unit = _month_bins({"2017-11": 2, "2018-02": 1})
    assert unit == "month"
    assert [(one.label, one.count) for one in few] == [
        ("2017-11", 2), ("2017-12", 0), ("2018-01", 0), ("2018-02", 1),
    ]  # fmt: skip
    many, unit = _month_bins({"2005-06": 1, "2017-01": 2, "2017-02": 3})
    assert unit == "year"
    assert (many[0].label, many[-1].label, many[-1].count) == ("2005", "2017", 5)


def test_clusters_are_counted_once_each() -> None:
    sizes = {2: 10, 3: 4, 8: 1, 9: 2, 16: 1, 17: 1, 1000: 1}
    bins = _bins(sizes)
    assert sum(one.count for one in bins) == sum(sizes.values())
    assert [one.label for one in bins[:9]] == ["2", "3", "4", "5", "6", "7", "8", "9–16", "17–32"]
    assert _bins({}) == []


def test_a_report_of_a_corpus_alone(store: Store) -> None:
    """What the run has not made is said; what it has is there, with numbers from the tables."""
    page = write_report(store).read_text()
    source = report_source(Library(store), "latest")
    corpus = next(known for known in source.artifacts if known.stage == "corpus")
    assert f">{corpus.manifest.counts['rows_out']:,}</a>" in page
    for missing in ("This run trained no model", "This run scored no model", "was not probed"):
        assert missing in page
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors <= set(re.findall(r'id="([^"]+)"', page))
    assert len(page) < 400_000
    assert without_run(page) != page


def test_the_served_report_links_to_lineage(store: Store) -> None:
    source = report_source(Library(store), "latest")
    links = Links(served=True)
    served, file = render_report(source, links.trace), render_report(source)
    assert 'href="/trace?q=' in served
    assert 'href="/' not in file
    assert "form-action &#39;none&#39;" in file


def test_latest_is_the_newest_whole_run(store: Store) -> None:
    library = Library(store)
    later = new_run("overlap", "synthetic", 1)
    later.uses = [Use(artifact=next(iter(library.known)), how="reused", seconds=0.0)]
    write_run(store.root, later)
    try:
        assert report_source(Library(store), "latest").run.flow == "pipeline"
        assert report_source(Library(store), later.run_id).run.flow == "overlap"
        with pytest.raises(StoreError, match="webtext runs"):
            report_source(Library(store), "19990101")
    finally:
        (store.root / "runs" / f"{later.run_id}.json").unlink()


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(b"PAR1 this is none")
    with open_tables() as tables, pytest.raises(CorruptArtifact, match="webtext verify"):
        tables.rows("SELECT count(*) FROM read_parquet($files)", [path])


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """In steps of two it finds what it finds at once, and a search without time says so."""
    documents = _documents(
        tmp_path, ["a Needle", "hay", "needle " * 3, HOSTILE, "NEEDLE", "needle"]
    )
    whole = search_texts(documents, "needle")
    assert (len(whole.hits), whole.stopped, whole.next) == (4, "", None)
    assert (whole.files, whole.files_read) == (2, 2)
    found, place = [], Place()
    for _ in range(5):
        part = search_texts(documents, "needle", Place.read(str(place)), most=2)
        found += part.hits
        if part.next is None:
            break
        assert "at once" in part.stopped
        place = part.next
    assert [hit.link_id for hit in found] == [hit.link_id for hit in whole.hits]
    hurried = search_texts(documents, "needle", limit_s=0.0)
    assert "seconds" in hurried.stopped
    assert hurried.next == Place()
    assert Place.read("nonsense") == Place()
    [hit] = search_texts(documents, "<SCRIPT>").hits
    assert (hit.before, hit.found) == ("</style>", "<script>")


def test_a_link_page_shows_its_whole_way() -> None:
    page = trace_page(_link_trace(), Links(served=True, run="model/m-1"), "text of the page")
    for told in ("r/python", "near, 0.88", "step 4", "train/shard-00000-000.npy @ 1,024"):
        assert told in page
    for subject in (
        "t3_6xyz",
        "model%2Fm-1%404",
        "shards%2Fs-1%3Atrain%2Fshard-00000-000.npy%401024",
    ):
        assert f"/trace?q={subject}&amp;run=model%2Fm-1" in page
    assert "text of the page" in page


def test_strangers_text_is_escaped() -> None:
    """Titles, addresses, texts and questions are shown as they are, and are no part of the page."""
    answer = _link_trace(title=HOSTILE)
    pages = [
        trace_page(answer, Links(served=True), HOSTILE),
        html.render("search.html.j2", served=True, q=HOSTILE, found=None, message=HOSTILE),
    ]
    for page in pages:
        assert HOSTILE not in page
        assert page.count("<script>") == 1
        assert "<img" not in page


def test_unknown_answers_and_fields_are_shown() -> None:
    """What tracing learns to tell later is on its page before anybody draws it."""

    class Newer(ArtifactTrace):
        marked_on: str

    answer = Newer(
        artifact="corpus/a-1", stage="corpus", made_from=(), made_of_it=(), scores=(), runs=(),
        made_by="r", prefect_flow_run_id=None,
        marked_on="2026-01-02",
    )  # fmt: skip
    stops = trace_view(answer, Links(served=False)).stops
    assert [(name, cell.text) for name, cell in stops[-1].facts] == [("marked on", "2026-01-02")]


def test_a_page_may_load_nothing_but_its_own() -> None:
    policy = html.page_policy(served=False)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def _points(plot: ElementTree.Element, name: str) -> list[str]:
    return next(plot.iter(name)).get("points", "").split()


def _documents(folder: Path, texts: list[str]) -> Known:
    (folder / "documents").mkdir()
    rows = [
        {"link_id": bytes([n] * 16), "url": f"http://a.example/{n}", "title": None, "text": text}
        for n, text in enumerate(texts)
    ]
    schema = pa.schema(
        {"link_id": pa.binary(16), "url": pa.string(), "title": pa.string(), "text": pa.string()}
    )
    files = []
    for number, part in enumerate((rows[:3], rows[3:])):
        path = f"documents/part-{number:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(part, schema=schema), folder / path)
        files.append(SimpleNamespace(path=path))
    return Known("documents/a-1", folder, SimpleNamespace(files=files))  # type: ignore[arg-type]


def _link_trace(title: str = "A page") -> LinkTrace:
    key = "ab" * 16
    kept = Kept(link_id=key, url=None, kind="near", similarity=0.88, artifact="documents/d-1")
    names = {**dict.fromkeys(Capture.model_fields), "outcome": "ok", "source": "live"}
    return LinkTrace(
        build={"shards": "shards/s-1"},
        link=Link(
            link_id=key, url="http://a.example/", domain="a.example", partition=0, karma=5,
            submissions=(Submission(id="6xyz", subreddit="python", karma=5, created_utc=1),),
        ),
        capture=Capture.model_validate(names),
        document=Document(
            title=title, date=None, language="en", characters=9, words=2, tokens=3, split="train"
        ),
        dropped=Dropped(stage="corpus", reason="near_duplicate", kept=kept),
        spans=(
            Span(
                link_id=key, split="train", shard="train/shard-00000-000.npy", start=1024, length=4,
                document_start=0,
            ),
        ),
        readings=(Reading(model="model/m-1", steps=(4,), of_steps=9, sequences=1),),
    )  # fmt: skip
