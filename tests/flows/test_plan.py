"""Estimates: the arithmetic on figures, the look into dumps, and figures of earlier runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import plan_measure
from flows.cli import main
from flows.plan import ANSWER_S, Estimate, estimate_run
from flows.plan_rates import (
    ASSUMED,
    BUILT_IN_SECONDS,
    CORPUS_STAGES,
    REAL_SECONDS,
    Figure,
    Measurement,
    Observation,
    choose_figures,
    earlier_figures,
    figures_of,
    keep_measurement,
    measured_figures,
    read_measurement,
)
from flows.plan_sample import SAMPLE_TEXT_BYTES, Sample, sample_dumps
from flows.plan_show import comparison_cells, show_bytes, show_count, show_time
from flows.plan_store import Actual, compare_run, keep_estimate, plan_profile
from flows.profile import Profile, load_profile
from infra.errors import StoreError
from infra.runs import new_run, write_run
from infra.store import Store
from model.config import PRESETS
from model.speed import step_operations
from webtext.errors import SourceError

TINY = Path(__file__).parents[1] / "end_to_end" / "tiny.toml"
SAMPLE = Sample(
    dumps=12, file_bytes=10**10, text_bytes=1e11, rows=6e7, submissions=3e7, links=1e7,
    largest_domain=1e6, window_bytes=2**31, read_rows=50_000, whole=False,
)  # fmt: skip


def plan(profile: Profile, sample: Sample = SAMPLE, cores: int = 2) -> Estimate:
    return estimate_run(
        profile, sample, ASSUMED, cores=cores, host="here", made_at="2026-11-25T00:00:00"
    )


def webtext(*assignments: str, **runtime: object) -> Profile:
    settings = [f"runtime.{name}={value}" for name, value in runtime.items()]
    return load_profile(
        "webtext", ["crawl.user_agent='x/1 (+https://x.org/y)'", *assignments, *settings]
    )


def stage(estimate: Estimate, name: str) -> object:
    return next(one for one in estimate.stages if one.stage == name)


def test_rows_follow_the_yields_from_stage_to_stage() -> None:
    estimate = plan(webtext())
    pages = 1e7 * 20 / 45
    assert stage(estimate, "captures").rows_out == pytest.approx(pages)
    assert stage(estimate, "documents").rows_out == pytest.approx(pages * 0.5)
    assert stage(estimate, "shards").tokens == pytest.approx(pages * 0.5 * 0.8 * 1125)
    assert all(one.sources["time"] and one.sources["disk"] for one in estimate.stages)
    assert estimate.seconds == sum(one.seconds for one in estimate.stages)
    assert estimate.longest.stage == "model"


def test_cores_and_parts_bound_what_is_done_at_once() -> None:
    one = stage(plan(webtext(workers=1), cores=8), "pages")
    eight = stage(plan(webtext(workers=8), cores=8), "pages")
    bound = stage(plan(webtext(workers=8), cores=2), "pages")
    assert (one.parallel, eight.parallel, bound.parallel) == (1, 8, 2)
    assert one.seconds / eight.seconds == pytest.approx(8, rel=0.01)
    assert stage(plan(webtext(workers=64), cores=64), "submissions").parallel == SAMPLE.dumps
    assert stage(plan(webtext(workers=64), cores=64), "duplicates").parallel == 1


def test_a_live_crawl_takes_as_long_as_its_largest_domain() -> None:
    live = webtext("crawl.source=live", workers=16, crawl_host_delay_s=5)
    found = stage(plan(live), "captures")
    assert found.seconds == 1e6 * (5 + ANSWER_S["live"])
    assert found.bound_by == "politeness"
    assert "largest domain" in found.sources["time"]


def test_an_archive_is_bound_by_its_pause_or_its_answers() -> None:
    base = load_profile("webtext", ["inputs.gateway='http://127.0.0.1:9'", "runtime.workers=4"])
    paced = base.model_copy(
        update={"runtime": base.runtime.model_copy(update={"archive_delay_s": 1})}
    )
    assert stage(plan(paced), "captures").seconds == 1e7
    answers = stage(plan(base), "captures")
    assert answers.bound_by == "answers"
    assert answers.seconds == pytest.approx(1e7 / (64 * 4))


def test_memory_counts_the_window_and_stops_at_the_limit() -> None:
    submissions = stage(plan(webtext(workers=2)), "submissions")
    assert submissions.memory_bytes / 2 == 300 * 2**20 + 2**31 + 10**9
    assert "2,048 MiB" in submissions.sources["memory"]
    tight = stage(plan(webtext(workers=2, memory_gib=1)), "submissions")
    assert tight.memory_bytes == 2 * 2**30
    assert "runtime.memory_gib" in tight.sources["memory"]
    assert stage(plan(webtext()), "model").memory_bytes > 16 * PRESETS["124M"].parameters


def test_training_is_counted_in_operations() -> None:
    # 6 N tokens is the larger part for a network much wider than its context is long.
    network = PRESETS["1558M"]
    assert step_operations(network, 1) == pytest.approx(6 * network.parameters, rel=0.12)
    base = load_profile("laptop", ["train.validation_every_steps=0"])
    steps = base.model_copy(update={"train": base.train.model_copy(update={"steps": 400})})
    start = ASSUMED["training_start_s"].value
    once, twice = (stage(plan(one), "model").seconds - start for one in (base, steps))
    assert twice / once == pytest.approx(2)


def test_what_comes_after_the_model_is_estimated(tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_bytes(b" a line of words \n" * 1_000)
    (tmp_path / "ptb.train.txt").write_bytes(b" never scored \n" * 100_000)
    with (tmp_path / "enwik8").open("wb") as file:
        file.truncate(100_000_000)
    profile = webtext(f"inputs.benchmarks='{tmp_path}'", workers=2)
    estimate = plan(profile)
    names = [one.stage for one in estimate.stages]
    assert names[names.index("model") + 1 :] == [
        "scores", "bias", "benchmark-ngrams", "ngram-filter", "ngram-hits", "overlap",
        "clean-scores",
    ]  # fmt: skip
    # Of a whole enwik8 the last 5 MB are scored, and training sets beside not at all.
    assert stage(estimate, "benchmark-ngrams").rows_in == 5_018_000
    scan = stage(estimate, "ngram-filter")
    assert scan.parallel == 2
    assert scan.rows_in < stage(estimate, "shards").rows_in
    assert scan.memory_bytes <= 2 * (300 * 2**20 + 24 * profile.overlap.segment_ngrams)
    twice = profile.bias.model_copy(update={"samples": 2 * profile.bias.samples})
    start = ASSUMED["training_start_s"].value
    once, more = (
        stage(plan(one), "bias").seconds - start
        for one in (profile, profile.model_copy(update={"bias": twice}))
    )
    assert 1.5 < more / once < 2


def observed(rows_in: int, rows_out: int, seconds: float, size: int, **facts: int) -> Observation:
    counts = {"rows_in": rows_in, "rows_out": rows_out, "losses": {}, "facts": facts}
    return Observation(counts=counts, seconds=seconds, bytes=size, part_s=0.5, start_s=1.0)


STAGES = {
    "submissions": observed(200, 100, 0.2, 1_000, text_bytes=100_000),
    "links": observed(100, 80, 0.1, 800),
    "captures": observed(80, 60, 0.12, 6_000),
    "pages": observed(60, 60, 0.6, 1_200),
    "documents": observed(60, 40, 0.1, 2_000, tokens=10_000),
    "corpus": observed(40, 30, 0.1, 900, train_tokens=6_000, validation_tokens=1_000),
}
MEASURED = Measurement(
    host="here", measured_at="2026-11-25T00:00:00", cores=2, stages=STAGES, start_s=0.7,
    training_start_s=3.0, flops=1e10, threads=2, device="cpu",
)  # fmt: skip


def test_figures_are_quotients_of_what_was_observed() -> None:
    figures = figures_of(STAGES, "here")
    assert figures["pages_per_link"] == Figure(value=0.75, source="here")
    assert figures["tokens_per_kept"].value == pytest.approx(7_000 / 30)
    assert figures["submissions.seconds"].value == pytest.approx(2e-6)
    assert figures["captures.bytes"].value == 100
    assert figures["pages.part_s"].value == 0.5
    empty = {"submissions": observed(0, 0, 0.1, 10, text_bytes=0)}
    assert "submissions.seconds" not in figures_of(empty, "nothing read")


def test_a_real_web_takes_the_machines_speed_and_not_the_demos_pages() -> None:
    demo = measured_figures(MEASURED, built_in_web=True)
    real = measured_figures(MEASURED, built_in_web=False)
    assert demo["pages_per_link"].value == 0.75
    assert not {"pages_per_link", "tokens_per_document", "captures.bytes"} & set(real)
    slower = 0.01 / BUILT_IN_SECONDS["pages"]
    assert real["pages.seconds"].value == pytest.approx(REAL_SECONDS["pages"] * slower)
    assert "reference machine" in real["pages.seconds"].source
    chosen = choose_figures(real, ASSUMED)
    assert chosen["pages_per_link"] == ASSUMED["pages_per_link"]
    assert chosen["links.seconds"].source == MEASURED.source


def test_a_measurement_is_kept_and_a_ruined_one_is_measured_again(tmp_path: Path) -> None:
    assert read_measurement(tmp_path) is None
    keep_measurement(tmp_path, MEASURED)
    assert read_measurement(tmp_path) == MEASURED
    (tmp_path / "plans" / "rates.json").write_text("{")
    assert read_measurement(tmp_path) is None


def finish(store: Store, name: str, rows: int, seconds: float) -> None:
    artifact = store.artifact("links", 1, name, {"rows": rows}, [])
    with store.writing(artifact, "run"):
        counts = {"rows_in": 2 * rows, "rows_out": rows, "losses": {}, "facts": {}}
        store.finish(
            artifact, files=[], counts=counts, partitions=[counts, counts],
            measurements={"part_seconds": seconds}, run_id="run", prefect_flow_run_id=None,
            started_at="2026-11-25T00:00:00",
        )  # fmt: skip


def test_rates_of_long_parts_alone_are_believed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert earlier_figures(store, "mine") == {}
    finish(store, "other", 10, 1.0)
    assert earlier_figures(store, "mine") == {}
    finish(store, "mine", 5_000, 100.0)
    figures = earlier_figures(store, "mine")
    assert "links.bytes" in figures
    assert figures["links.bytes"].source.startswith("earlier run: links/mine-")
    assert "links.seconds" not in figures  # the number of submissions is not known


def row(number: int, **fields: object) -> str:
    given = {"id": f"a{number}", "url": f"http://s{number % 7}.org/{number}", "score": 5}
    return json.dumps({**given, "selftext": "x" * 500, "created_utc": 1, **fields})


def test_a_dump_is_judged_by_its_start(tmp_path: Path) -> None:
    dump = tmp_path / "RS_2017-01.jsonl"
    rows = 40_000
    dump.write_text("".join(row(n, score=n % 5) + "\n" for n in range(rows)))
    assert dump.stat().st_size > 2 * SAMPLE_TEXT_BYTES
    sample = sample_dumps([dump, dump], load_profile("demo"))
    assert not sample.whole
    assert sample.read_rows < rows
    assert sample.rows == pytest.approx(2 * rows, rel=0.05)
    assert sample.links == pytest.approx(2 * rows * 2 / 5, rel=0.05)  # karma 3 and 4
    assert sample.largest_domain == pytest.approx(sample.links / 7, rel=0.05)
    assert sample.window_bytes == 0


def test_a_dump_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="RS.zst"):
        sample_dumps([tmp_path / "RS.zst"], load_profile("demo"))
    broken = tmp_path / "RS.gz"
    broken.write_bytes(b"no gzip at all")
    with pytest.raises(SourceError, match="truncated or corrupt"):
        sample_dumps([broken], load_profile("demo"))


def test_a_run_is_found_and_compared_with_its_estimate(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="no run in"):
        compare_run(store, "latest")
    run = new_run("pipeline", "mine", 1)
    write_run(tmp_path, run)
    with pytest.raises(StoreError, match="has no estimate"):
        compare_run(store, run.run_id)
    with pytest.raises(StoreError, match="0 runs"):
        compare_run(store, "1999")
    keep_estimate(tmp_path, run.run_id, plan(webtext()))
    compared = compare_run(store, "latest")
    assert (compared.run_id, compared.actuals) == (run.run_id, {})
    assert compared.estimate == plan(webtext())


def test_what_was_taken_stands_beside_the_estimate() -> None:
    links = stage(plan(webtext()), "links")
    actual = Actual(
        stage="links", how="reused", rows_in=3e7, rows_out=5e6, seconds=2 * links.seconds,
        memory_bytes=None, disk_bytes=links.disk_bytes / 2, tokens=None,
    )  # fmt: skip
    cells = comparison_cells(links, actual)
    assert cells[:2] == ["links *", "10 M → 5.0 M"]
    assert (cells[3], cells[5]) == ("2.00", "0.50")
    assert cells[7].endswith("→ –")
    assert comparison_cells(links, None)[1] == "10 M → –"


def test_sizes_and_times_are_short() -> None:
    assert [show_time(t) for t in (4.23, 90, 600, 10_000, 1e6)] == [
        "4.2 s", "90 s", "10 min", "2.8 h", "12 days",
    ]  # fmt: skip
    assert [show_bytes(b) for b in (12, 1_500, 2.5e9)] == ["12 B", "1.5 kB", "2.5 GB"]
    assert [show_count(n) for n in (1_234, 4.5e7, 9e9)] == ["1,234", "45 M", "9.0 G"]


@pytest.mark.slow
def test_the_machine_is_measured_by_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_measure, "_LARGE_PAGES", 30)
    monkeypatch.setattr(plan_measure, "_COPIES", 20)
    profile = load_profile(TINY, [f"runtime.store='{tmp_path}'", "submissions.keep_going=true"])
    estimate = plan_profile(profile, measure=False)
    measured = read_measurement(tmp_path)
    assert measured is not None
    assert set(measured.stages) == set(CORPUS_STAGES)
    assert all(seen.seconds > 0 for seen in measured.stages.values())
    # A processor core does between a tenth and some hundreds of 10^9 operations a second.
    assert 1e8 < measured.flops < 1e12
    assert measured.training_start_s > 0.5
    assert estimate.sample.whole
    assert measured.source in stage(estimate, "pages").sources["time"]
    kept = (tmp_path / "plans" / "rates.json").read_bytes()
    assert plan_profile(profile, measure=False).stages == estimate.stages
    assert (tmp_path / "plans" / "rates.json").read_bytes() == kept


@pytest.mark.parametrize("name", ["laptop", "gpt2-124M", "gpt2-1558M"])
def test_without_dumps_training_alone_is_estimated(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_measurement(tmp_path, MEASURED)
    profile = load_profile(name, [f"runtime.store='{tmp_path}'"])
    estimate = plan_profile(profile, measure=False)
    (training,) = estimate.stages
    tokens = profile.train.steps * profile.train.sequences_per_step * 1024
    assert training.tokens == tokens
    assert training.seconds > 6 * profile.model.parameters * tokens / MEASURED.flops
    assert main(["plan", "--profile", name, "--store", str(tmp_path)]) == 0
    assert "training alone" in capsys.readouterr().err
