"""The corpus flow: from dumps of submissions to shards of tokens."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow

from flows import stages
from flows.dataset import DatasetConfig
from flows.earlier import earlier_inputs
from flows.existing import make_row_pages
from flows.fidelity import fidelity_markdown, read_fidelity
from flows.funnel import funnel_markdown, funnel_rows, publish_markdown
from flows.plan_store import estimate_dumps, keep_estimate
from flows.profile import Profile, as_profile
from flows.removals import removals_input
from flows.replay import replaying
from flows.session import Session, session
from flows.work import THREADS, Inputs, Part, make, partitions, planned, whole
from infra.call import GIB
from infra.errors import ProfileError
from infra.manifest import InputRecord
from infra.sources import describe_address, describe_by_size, describe_source
from infra.store import Artifact
from webtext.cdx import is_address
from webtext.domain_counts import FidelityConfig
from webtext.errors import SourceError
from webtext.warc_index import WarcIndexConfig

_LOG = logging.getLogger(__name__)

Month = Mapping[str, Artifact]
"""The artifacts of one month, by their stages."""


@dataclass(frozen=True)
class Sources:
    """Where submissions and pages come from: outside files, or the demo's web."""

    dumps: Sequence[Path]
    archives: Sequence[Path]
    dump_inputs: Sequence[InputRecord]
    archive_inputs: Sequence[InputRecord]


@flow(name="corpus", persist_result=False, task_runner=THREADS)
def corpus(profile: Profile | str) -> dict[str, str]:
    """Make the corpus of a profile; gives the artifact of each stage by its stage's name."""
    settings = as_profile(profile)
    with session("corpus", settings) as run:
        made = make_corpus(run)
        _publish_funnel(run, made)
        return made


def make_corpus(run: Session) -> dict[str, str]:
    """Make or find the artifacts from the dumps to the shards; their labels by stage."""
    return {artifact.stage: artifact.label for artifact in make_month(run)}


def make_month(
    run: Session,
    before: Sequence[Month] = (),
    captured: Sequence[Month] | None = None,
    kept: Month | None = None,
) -> Iterator[Artifact]:
    """Make or find the artifacts of a month, in the company of others or alone.

    Args:
        run: the session; its profile's inputs name the month's dumps.
        before: the months before it, the first first: of equal documents theirs is kept.
        captured: the months whose links are not crawled again; None where it is made alone.
        kept: what was crawled of the month already, if it was: `submissions`, `links`, `captures`.
    """
    profile, parts = run.profile, partitions(run.profile.partitions)
    made: dict[str, Artifact] = {}
    rows_given = kept is None and profile.inputs.documents
    for artifact in make_row_pages(run) if rows_given else _crawled_pages(run, captured, kept):
        made[artifact.stage] = artifact
        yield artifact
    rows = made.get(stages.ROW_PAGES.name)
    links, pages = (rows or made[stage.name] for stage in (stages.LINKS, stages.PAGES))
    documents = make(
        run, stages.DOCUMENTS, profile.documents, {"pages": pages, "links": links}, parts, {}
    )
    yield documents
    signatures = make(
        run, stages.SIGNATURES, profile.signatures, {"documents": documents}, parts, {}
    )
    yield signatures
    duplicates = _find_duplicates(run, documents, signatures, before)
    yield duplicates
    selected = make(
        run,
        stages.CORPUS,
        profile.corpus,
        {"documents": documents, "duplicates": duplicates},
        parts,
        {},
    )
    yield selected
    yield _describe(run, {**made, **{each.stage: each for each in (
        documents, signatures, duplicates, selected)}})  # fmt: skip
    captures = {role: made[role] for role in (stages.CAPTURES.name,) if role in made}
    compared = {"links": links, **captures, "documents": documents, "corpus": selected}
    yield make(run, stages.FIDELITY, FidelityConfig(), compared, whole(), {})
    yield make(run, stages.SHARDS, profile.shards, {"corpus": selected}, parts, {})


def _keep_estimate(run: Session, dumps: Sequence[Path]) -> None:
    """Write down what the run is expected to take, for `webtext plan RUN` to compare."""
    try:
        estimate = estimate_dumps(run.profile, dumps)
        run.store.share(keep_estimate(run.store.root, run.run.run_id, estimate))
    except SourceError:
        _LOG.info("no estimate: a dump cannot be read, as its stage will tell", exc_info=True)


def _describe(run: Session, made: Mapping[str, Artifact]) -> Artifact:
    """Make or find the corpus as a data set with its card."""
    return make(
        run,
        stages.DATASET,
        DatasetConfig(description=run.profile.description),
        {role: [artifact.as_input(role)] for role, artifact in sorted(made.items())},
        whole(),
        {"artifacts": {role: str(artifact.path) for role, artifact in made.items()}},
    )


def _crawled_pages(
    run: Session, captured: Sequence[Month] | None, kept: Month | None
) -> Iterator[Artifact]:
    """Make or find the artifacts from the dumps to the pages."""
    profile, parts = run.profile, partitions(run.profile.partitions)
    crawled: dict[str, Artifact] = {}
    for artifact in kept.values() if kept else _crawled(run, captured, parts):
        crawled[artifact.stage] = artifact
        yield artifact
    links, captures = (crawled[stage.name] for stage in (stages.LINKS, stages.CAPTURES))
    inputs: Inputs = {"captures": captures, **removals_input(run, links)}
    yield make(run, stages.PAGES, profile.pages, inputs, parts, {})


def _crawled(
    run: Session, captured: Sequence[Month] | None, parts: Sequence[Part]
) -> Iterator[Artifact]:
    """Make or find the artifacts from the dumps to the captures."""
    sources = _sources(run)
    if captured is None and not run.reuse_only:
        _keep_estimate(run, sources.dumps)
    submissions = _read_dumps(run, sources)
    yield submissions
    have = [month[stages.CAPTURES.name] for month in captured or ()]
    known: Inputs = {"earlier_captures": [each.as_input("earlier_captures") for each in have]}
    links = make(
        run,
        stages.LINKS,
        run.profile.links,
        {"submissions": submissions, **known},
        parts,
        {"earlier_captures": [str(each.path) for each in have]},
    )
    yield links
    yield _crawl(run, sources, links, parts)


def _find_duplicates(
    run: Session, documents: Artifact, signatures: Artifact, before: Sequence[Month]
) -> Artifact:
    config = run.profile.duplicates
    with_texts = config.verify == "jaccard"
    references = (
        *run.profile.inputs.earlier,
        *(month[stages.CORPUS.name].label for month in before),
    )
    earlier, arguments = earlier_inputs(run.store, references, with_texts=with_texts)
    arguments["memory_bytes"] = int(run.runtime.memory_gib * GIB)
    inputs: Inputs = {"signatures": signatures, **earlier}
    if with_texts:
        inputs = {**inputs, "documents": documents}
    return make(run, stages.DUPLICATES, config, inputs, whole(), arguments)


def _read_dumps(run: Session, sources: Sources) -> Artifact:
    given = run.profile.inputs
    lists = {"blocked_domains": given.blocked_domains, "allowed_domains": given.allowed_domains}
    listed = {
        role: [describe_source(run.store.root, role, file) for file in files]
        for role, files in lists.items()
        if files
    }
    inputs: Inputs = {"dump": sources.dump_inputs, **listed}
    parts = [
        Part(
            f"dump-{number:05d}",
            {"partition": number, "dump": str(dump.absolute())},
            # Of the demo's web, which is an artifact, there is one.
            sources.dump_inputs[number : number + 1],
        )
        for number, dump in enumerate(sources.dumps)
    ]
    arguments = {role: [str(file.absolute()) for file in files] for role, files in lists.items()}
    return make(run, stages.SUBMISSIONS, run.profile.submissions, inputs, parts, arguments)


def _crawl(run: Session, sources: Sources, links: Artifact, parts: Sequence[Part]) -> Artifact:
    profile, runtime = run.profile, run.runtime
    inputs: dict[str, Artifact | Sequence[InputRecord]] = {"links": links}
    arguments = {
        "concurrency": runtime.crawl_concurrency,
        "host_delay_s": runtime.crawl_host_delay_s,
        "archive_delay_s": runtime.archive_delay_s,
        "politeness": str(run.store.root / "crawl-hosts.bin"),
        **_archive(run, sources, inputs),
    }
    artifact = planned(run, stages.CAPTURES, profile.crawl, inputs)
    run.expect_work(artifact)
    served = sources.archives if profile.crawl.source == "gateway" else []
    with replaying(run, served, needed=not run.store.is_finished(artifact)) as gateway:
        if gateway is not None:
            arguments["gateway"] = gateway
        return make(run, stages.CAPTURES, profile.crawl, inputs, parts, arguments)


def _archive(
    run: Session, sources: Sources, inputs: dict[str, Artifact | Sequence[InputRecord]]
) -> dict[str, Any]:
    """The arguments of a crawl that name its archive; what it is made from goes to `inputs`."""
    given, source = run.profile.inputs, run.profile.crawl.source
    if source == "warc":
        replay: Inputs = {"replay": sources.archive_inputs}
        archives = [str(archive.absolute()) for archive in sources.archives]
        index_arguments = {"archives": archives}
        inputs["warc_index"] = make(
            run, stages.WARC_INDEX, WarcIndexConfig(), replay, whole(), index_arguments
        )
        return {"archives": archives}
    if source == "cdx":
        inputs["cdx-index"] = [
            *(describe_source(run.store.root, "cdx-index", path) for path in given.cdx_files()),
            *(describe_by_size("cdx-index", path) for path in given.cdx_blocks()),
            *(describe_address("cdx-index", index) for index in given.cdx if is_address(index)),
        ]
        if given.cdx_records is not None and is_address(given.cdx_records):
            inputs["cdx-records"] = [describe_address("cdx-records", given.cdx_records)]
        return {"cdx": {"indexes": list(given.cdx), "records": given.cdx_records}}
    inputs["replay"] = sources.archive_inputs
    if given.gateway is not None and source != "live":
        inputs["gateway"] = [describe_address("gateway", given.gateway)]
    return {"gateway": given.gateway} if source != "live" else {}


def _sources(run: Session) -> Sources:
    profile = run.profile
    if profile.inputs.submissions:
        dumps, archives = profile.inputs.dumps(), profile.inputs.archives()
        return Sources(
            dumps,
            archives,
            [describe_source(run.store.root, "dump", path) for path in dumps],
            [describe_source(run.store.root, "replay", path) for path in archives],
        )
    if profile.demo_web is None:
        raise ProfileError(
            f"the profile {profile.name} names no submissions; give dumps with --submissions, or "
            "an existing corpus with --documents"
        )
    web = make(run, stages.DEMO_WEB, profile.demo_web, {}, whole(), {})
    run.store.bring(web.path)
    dumps = sorted((web.path / "submissions").iterdir())
    archives = sorted((web.path / "web").iterdir())
    return Sources(dumps, archives, [web.as_input("dump")], [web.as_input("replay")])


def _publish_funnel(run: Session, made: Mapping[str, str]) -> None:
    counted = [
        (stage, run.store.find(made[stage.name]).manifest().counts)
        for stage in stages.FUNNEL
        if stage.name in made
    ]
    table = funnel_markdown(funnel_rows(counted))
    publish_markdown("funnel", f"## From submissions to shards\n\n{table}")
    figures = fidelity_markdown(read_fidelity(run.store.folder_of(made[stages.FIDELITY.name])))
    publish_markdown("fidelity", f"## The domains beside WebText's\n\n{figures}")
