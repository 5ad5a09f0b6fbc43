"""What a score's artifacts were made with, beside what is installed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flows import stages
from infra.environment import git_commit, package_versions, python_version
from infra.lineage_answers import Answer
from infra.lineage_build import Known


class Difference(Answer):
    """Something that is not here what it was."""

    what: str
    """`stage documents`, `package torch`, `python` or `commit`."""
    made_with: str
    here: str
    stages: tuple[str, ...]
    """Of which stages it is told."""
    advice: str
    stands_in_the_way: bool
    """Whether the command cannot give the same artifacts as it is; else it may all the same."""


class MadeWith(Answer):
    """Code and packages of the makers."""

    commits: tuple[str, ...]
    """Git commits; one that ends in `+` had changes beside it."""
    pythons: tuple[str, ...]
    packages: dict[str, tuple[str, ...]]
    """Versions by package, several where the stages were made with several."""
    differences: tuple[Difference, ...]

    def obstacles(self) -> list[str]:
        """Differences that must be mended first."""
        return [
            f"{one.what}: {one.made_with}, here {one.here}; {one.advice}"
            for one in self.differences
            if one.stands_in_the_way
        ]


def made_with(chain: Sequence[Known]) -> MadeWith:
    """What the artifacts of a chain were made with, and what of it is different here."""
    makers = [known.manifest.maker for known in chain]
    packages = {
        name: tuple(sorted({maker.packages[name] for maker in makers if name in maker.packages}))
        for name in sorted({name for maker in makers for name in maker.packages})
    }
    return MadeWith(
        commits=_several(maker.git_commit for maker in makers if maker.git_commit),
        pythons=_several(maker.python for maker in makers),
        packages=packages,
        differences=(*_stages(chain), *_packages(chain), *_python(chain), *_commits(chain)),
    )


def _stages(chain: Sequence[Known]) -> Iterator[Difference]:
    versions = {
        stage.name: stage.version
        for stage in vars(stages).values()
        if isinstance(stage, stages.Stage)
    }
    for known in chain:
        here = versions.get(known.stage)
        if here != known.manifest.identity.version:
            commit = known.manifest.maker.git_commit
            yield Difference(
                what=f"stage {known.stage}",
                made_with=f"version {known.manifest.identity.version}",
                here="no such stage" if here is None else f"version {here}",
                stages=(known.stage,),
                advice=_check_out(commit),
                stands_in_the_way=True,
            )


def _packages(chain: Sequence[Known]) -> Iterator[Difference]:
    found: dict[tuple[str, str], list[str]] = {}
    for known in chain:
        for name, version in known.manifest.maker.packages.items():
            if version != package_versions().get(name, "not installed"):
                found.setdefault((name, version), []).append(known.stage)
    for (name, version), told in sorted(found.items()):
        yield Difference(
            what=f"package {name}",
            made_with=version,
            here=package_versions().get(name, "not installed"),
            stages=tuple(told),
            advice=f"pip install {name}=={version}" if version != "not installed" else "",
            stands_in_the_way=False,
        )


def _python(chain: Sequence[Known]) -> Iterator[Difference]:
    for python in _several(known.manifest.maker.python for known in chain):
        if python != python_version():
            yield Difference(
                what="python",
                made_with=python,
                here=python_version(),
                stages=tuple(k.stage for k in chain if k.manifest.maker.python == python),
                advice=f"run it with {python}",
                stands_in_the_way=False,
            )


def _commits(chain: Sequence[Known]) -> Iterator[Difference]:
    here = git_commit()
    for commit in _several(known.manifest.maker.git_commit for known in chain):
        if commit != here:
            yield Difference(
                what="commit",
                made_with=commit or "not known",
                here=here or "not known",
                stages=tuple(k.stage for k in chain if k.manifest.maker.git_commit == commit),
                advice=_check_out(commit),
                stands_in_the_way=False,
            )


def _check_out(commit: str | None) -> str:
    if commit is None:
        return "use the code that made it; which that was is not known"
    plain = commit.removesuffix("+")
    also = ", which had changes beside it that are not known" if commit != plain else ""
    return f"git checkout {plain}{also}"


def _several(values: Iterator[str] | Iterator[str | None]) -> tuple[str, ...]:
    """Each once, in the order of the chain."""
    return tuple(dict.fromkeys(value for value in values if value is not None))
