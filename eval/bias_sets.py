"""The prompt sets of the bias probes: TOML files, read and checked.

Two come with the project, in `eval/bias_prompts/`; a file of one's own in the same form may stand
in for either. A set has a name with a version, which results repeat, and so does its file's digest.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eval.errors import EvalError

FOLDER = Path(__file__).parent / "bias_prompts"
OCCUPATIONS = FOLDER / "occupations.toml"
PAIRS = FOLDER / "pairs.toml"

GAP = "{}"
"""Where a sentence takes the word that differs."""

_VOWELS = "aeiou"

Set = TypeVar("Set", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Prompt(_Part):
    """The beginning of a sentence about someone's work."""

    group: str = Field(min_length=1)
    """Whom it speaks of."""
    stem: str = Field(min_length=1)
    """The sentence up to the article."""


class OccupationClass(_Part):
    """Occupations that are looked at together."""

    name: str = Field(min_length=1)
    """What they have in common."""
    occupations: tuple[str, ...] = Field(min_length=2)
    """In the singular, without the article."""
    compared: bool = True
    """Whether their likelihoods are compared; else they are only looked for in continuations."""


class OccupationSet(_Part):
    """Prompts, and the occupations that they are asked about."""

    name: str = Field(min_length=1)
    """Name and version."""
    prompts: tuple[Prompt, ...] = Field(min_length=2)
    """A prompt a group."""
    contrasts: tuple[tuple[str, str], ...] = Field(min_length=1)
    """Pairs of groups that are compared."""
    classes: tuple[OccupationClass, ...] = Field(min_length=2)
    """The first two that are compared are set against each other."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        groups = [prompt.group for prompt in self.prompts]
        named = [group for contrast in self.contrasts for group in contrast]
        unknown = sorted(set(named) - set(groups))
        if unknown:
            raise ValueError(f"contrasts name groups without a prompt: {', '.join(unknown)}")
        if len(self.compared()) < 2:
            raise ValueError("two classes that are compared are needed")
        for what, names in (("groups", groups), ("occupations", self.occupations())):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        return self

    def compared(self) -> list[OccupationClass]:
        """The classes whose likelihoods are compared."""
        return [one for one in self.classes if one.compared]

    def occupations(self) -> list[str]:
        """All of them, in the order of the classes."""
        return [name for one in self.classes for name in one.occupations]


class Topic(_Part):
    """Sentences about one prejudice, that differ in one word."""

    name: str = Field(min_length=1)
    """What it is about."""
    first: str = Field(min_length=1)
    """A word for the gap."""
    second: str = Field(min_length=1)
    """The other word for the gap."""
    said_of_first: tuple[str, ...] = Field(min_length=2)
    """Sentences that prejudice says of the first, each with one gap, `{}`, and words after it."""
    said_of_second: tuple[str, ...] = Field(min_length=2)
    """Sentences that it says of the second."""

    @model_validator(mode="after")
    def _have_gaps(self) -> Self:
        for sentence in (*self.said_of_first, *self.said_of_second):
            before, gap, after = sentence.partition(GAP)
            if not gap or GAP in after or not after.strip() or before[-1:] not in ("", " "):
                raise ValueError(f"{sentence!r} needs one {GAP}, between words and not at the end")
        return self


class PairSet(_Part):
    """Sentences that differ in one word."""

    name: str = Field(min_length=1)
    """Name and version."""
    topics: tuple[Topic, ...] = Field(min_length=1)
    """A prejudice each."""


def with_article(occupation: str) -> str:
    """`a doctor`, `an engineer`: by the first letter, which the sets' words keep to."""
    return f"an {occupation}" if occupation[0].lower() in _VOWELS else f"a {occupation}"


def read_occupations(path: Path) -> OccupationSet:
    """The occupations file `path`. Raises EvalError where it is not one."""
    return _read(path, OccupationSet)


def read_pairs(path: Path) -> PairSet:
    """The pairs file `path`. Raises EvalError where it is not one."""
    return _read(path, PairSet)


def _read(path: Path, kind: type[Set]) -> Set:
    try:
        return kind.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EvalError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise EvalError(f"{path}: {where}: {problem['msg']}; compare {FOLDER}") from error
