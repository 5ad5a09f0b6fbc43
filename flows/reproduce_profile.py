"""The profile that gives a score again, read back from the manifests of what it was made from.

A manifest holds the whole identity config of its stage, so the settings are those that were used,
whichever runs, profiles and `--set` options they came from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from flows import stages
from flows.profile import Profile
from infra.errors import StoreError
from infra.lineage_build import Known, Library
from infra.profiles import as_toml

_SECTIONS = {
    stages.DEMO_WEB.name: "demo_web",
    stages.SUBMISSIONS.name: "submissions",
    stages.LINKS.name: "links",
    stages.CAPTURES.name: "crawl",
    stages.PAGES.name: "pages",
    stages.ROWS.name: "rows",
    stages.DOCUMENTS.name: "documents",
    stages.SIGNATURES.name: "signatures",
    stages.DUPLICATES.name: "duplicates",
    stages.CORPUS.name: "corpus",
    stages.SHARDS.name: "shards",
    stages.DEMO_BENCHMARKS.name: "demo_benchmarks",
    stages.BIAS.name: "bias",
}
"""Stages whose config is a section of a profile."""
EARLIER = "earlier_"
"""How the roles begin of what belongs to builds before; they are read as they are."""


def chain_of(library: Library, scores: Known) -> list[Known]:
    """Everything that scores were made from and themselves, inputs before what is made of them.

    Builds of earlier corpora are left out.

    Raises:
        StoreError: a part of the chain is no longer in the store.
    """
    found: dict[str, Known] = {}

    def gather(known: Known) -> None:
        if known.label in found:
            return
        for entry in known.manifest.identity.inputs:
            if entry.kind != "artifact" or entry.role.startswith(EARLIER):
                continue
            above = library.known.get(entry.name)
            if above is None:
                raise StoreError(
                    f"{known.label} was made from {entry.name}, which is no longer in the store: "
                    "with it went the settings that would give the score again"
                )
            gather(above)
        found[known.label] = known

    gather(scores)
    return list(found.values())


def profile_settings(
    chain: Mapping[str, Known], inputs: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """A profile's settings from the artifacts of a chain, by stage, and the inputs it reads."""
    settings: dict[str, Any] = {"name": name}
    partitions = next(
        (
            chain[stage.name].manifest.identity.config["partitions"]
            for stage in (stages.LINKS, stages.ROWS)
            if stage.name in chain
        ),
        None,
    )
    settings |= {} if partitions is None else {"partitions": partitions}
    settings["inputs"] = dict(inputs)
    for stage, section in _SECTIONS.items():
        if stage in chain:
            settings[section] = chain[stage].manifest.identity.config
    if stages.MODEL.name in chain:
        settings |= _training_settings(chain[stages.MODEL.name].manifest.identity.config)
    settings["eval"] = chain[stages.SCORES.name].manifest.identity.config["evaluation"]
    return settings


def _training_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a profile that a model's identity is made of."""
    ranks = config["ranks"]
    device = {"device": config["device"]} if "device" in config else {}
    launcher = {"launcher": "direct"} if ranks == 1 else {}
    settings = {
        "model": config["network"],
        "train": config["training"],
        "runtime": {"ranks": ranks, **launcher, **device},
    }
    if "milestones" in config:
        kept = config["milestones"]
        settings["checkpoints"] = {"milestones": kept["steps"], "keep_milestones": kept["as"]}
    if "zero_shot" in config:
        settings["zero_shot"] = config["zero_shot"]
    return settings


def profile_toml(settings: Mapping[str, Any], commit: str | None) -> str:
    """The settings as a profile's TOML, read back to be sure that nothing is lost in it.

    Raises:
        StoreError: this version of the code has other settings.
    """
    text = as_toml(settings)
    where = f"check out the commit that made it, {commit}" if commit else "use the code of then"
    try:
        profile = Profile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise StoreError(
            f"its settings are not those of this version of the code ({place}: "
            f"{problem['msg']}); {where}"
        ) from error
    lost = list(_differing(settings, profile.model_dump(mode="json")))
    if lost:
        raise StoreError(f"a profile cannot hold its settings {', '.join(lost)}; {where}")
    return text


def _differing(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> Iterator[str]:
    """Names of settings of the stages that are not what they were."""
    for section, values in wanted.items():
        if isinstance(values, dict) and section not in ("inputs", "runtime", "checkpoints"):
            for name in {*values, *(got[section] or {})}:
                if values.get(name) != (got[section] or {}).get(name):
                    yield f"{section}.{name}"
