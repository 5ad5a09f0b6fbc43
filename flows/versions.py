"""What is there but was made with other versions: refused, taken with a mark, or remade beside it.

A stage names the packages whose versions show in what it makes. An artifact of it that is reused,
or lends a part, was made with those installed, or the run says what it does about that. So nothing
is mixed without a word, and nothing is made anew without need: docs/upgrades.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.session import Session
from flows.stages import Stage
from infra.environment import installed, other_versions
from infra.errors import OtherVersions
from infra.runs import Mark
from infra.store import Artifact

_GATE = "other_versions"


def settle(session: Session, stage: Stage, artifact: Artifact) -> Artifact:
    """The artifact that a run uses or makes for the one that it planned.

    That one itself, unless other versions have made it; then, if it is there or is asked for, the
    one that the installed versions make, whose identity names them.

    Raises:
        OtherVersions: it was made with others, and the run is not told what to do.
    """
    if not stage.packages or not session.store.is_finished(artifact):
        return artifact
    differing = other_versions(artifact.manifest().maker.packages, stage.packages)
    if not differing:
        return artifact
    wanted = artifact.identity
    remade = session.store.artifact(
        wanted.stage,
        wanted.version,
        artifact.name,
        wanted.config,
        wanted.inputs,
        installed(stage.packages),
    )
    if session.store.is_finished(remade) or session.runtime.other_versions == "remake":
        return remade
    _accept(session, artifact, differing, "make it again beside the old one with "
            "--set runtime.other_versions=remake")  # fmt: skip
    return artifact


def check_kept(session: Session, stage: Stage, artifact: Artifact) -> None:
    """See that what a month keeps for good was made as it would be made now.

    Raises:
        OtherVersions: it was not, and the run is not told to take it so.
    """
    differing = other_versions(artifact.manifest().maker.packages, stage.packages)
    if artifact.identity.version != stage.version:
        versions = (str(artifact.identity.version), str(stage.version))
        differing = {f"version of the stage {stage.name}:": versions, **differing}
    if differing:
        _accept(session, artifact, differing, "begin another series from the dumps with --anew")


def _accept(
    session: Session, artifact: Artifact, differing: Mapping[str, tuple[str, str]], other: str
) -> None:
    """Mark the run where it takes what others have made. Raises OtherVersions where not."""
    told = ", ".join(f"{name} {then} and not {now}" for name, (then, now) in differing.items())
    message = f"{artifact.label} was made with {told}"
    if session.runtime.other_versions != "accept":
        raise OtherVersions(
            f"{message}, which would be mixed with what is made now. Install that again, or take "
            f"it as it is with --set runtime.other_versions=accept, or {other}; docs/upgrades.md "
            "tells what each means"
        )
    session.record_mark(Mark(gate=_GATE, artifact=artifact.label, message=message))
