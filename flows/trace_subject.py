"""What a person may ask `webtext trace` for, told apart by how it is written.

Each form and what it means:

    https://example.com/page            a URL, in any spelling
    example.com                         a domain
    t3_6xyzab, 6xyzab                   a submission
    0f1e...                             32 hexadecimal digits: a `link_id`, so a link or document
    train/shard-00003-000.npy@5120      a token of a shard (SHARDS:train/... names the artifact), or
                                        with three digits more, of a series
    model/demo-3f9c@17, ...@17-20       steps of a training
    lambada#5, scores/demo-...#5        an item of a benchmark, counted from 0
    lambada_acc, scores/demo-...        a score (scores/demo-...:lambada_acc: one column of it)
    pages/demo-3f9c...                  any other artifact
    20260102-030405-3f9c2a              a run, or the id of the Prefect flow run that it was
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from eval.protocols import BENCHMARKS, COLUMNS, benchmark_of
from infra.errors import StoreError
from infra.store import Store

Kind = Literal["url", "domain", "submission", "link", "place", "steps", "score", "artifact", "run"]

_STEPS = re.compile(r"(.+)@([0-9]{1,12})(?:-([0-9]{1,12}))?")
_PLACE = re.compile(
    r"(?:(.+):)?((?:train|validation)/shard-(?:[0-9]{3})?[0-9]{5}-[0-9]{3,}\.npy)@([0-9]{1,15})"
)
_ITEM = re.compile(r"(.+)#([0-9]{1,9})")
_LINK_ID = re.compile(r"[0-9a-f]{32}")
_SUBMISSION = re.compile(r"t3_([0-9a-z]{1,12})")
_RUN = re.compile(r"[0-9]{8}-[0-9a-f-]*|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LABEL_DIGITS = re.compile(r"[0-9a-f]{12,64}")
_BARE_SUBMISSION = re.compile(r"[0-9a-z]{1,12}")
_DOMAIN = re.compile(r"[^\s/@#]+\.[^\s/@#.]+\.?|\[[0-9a-fA-F:.]+\]")


class Subject(NamedTuple):
    """What is asked for."""

    kind: Kind
    name: str
    """The URL, domain, id, shard, benchmark or artifact."""
    artifact: str | None = None
    """The shards or scores that are meant, where they were named."""
    first: int | None = None
    """Token, first step or item."""
    last: int | None = None
    column: str | None = None
    """Column of the score table, where one was named."""


def read_subject(store: Store, text: str) -> Subject:
    """Tell what `text` is.

    Raises:
        StoreError: it is nothing that can be asked for.
    """
    text = text.strip()
    if "://" in text:
        return Subject("url", text)
    if _RUN.fullmatch(text):
        return Subject("run", text)
    if _LINK_ID.fullmatch(text.lower()):
        return Subject("link", text.lower())
    if found := _PLACE.fullmatch(text):
        return Subject("place", found[2], found[1], int(found[3]))
    if found := _SUBMISSION.fullmatch(text):
        return Subject("submission", found[1])
    if (found := _ITEM.fullmatch(text)) and (score := _score(store, found[1])):
        return score._replace(first=int(found[2]))
    if score := _score(store, text):
        return score
    if (found := _STEPS.fullmatch(text)) and (label := _artifact(store, found[1])):
        return Subject("steps", label, None, int(found[2]), int(found[3] or found[2]))
    if label := _artifact(store, text):
        return Subject("artifact", label)
    if "/" not in text and _DOMAIN.fullmatch(text):
        return Subject("domain", text)
    if _BARE_SUBMISSION.fullmatch(text):
        return Subject("submission", text)
    raise StoreError(
        f"{text!r} is nothing that can be traced: give a URL, a domain, a submission's id, a "
        "link_id, SHARD@TOKEN, MODEL@STEP, MODEL@FIRST-LAST, BENCHMARK#ITEM, a column of the score "
        "table, an artifact or a run (`webtext runs` lists them)"
    )


def _score(store: Store, text: str) -> Subject | None:
    if text in COLUMNS:
        return Subject("score", benchmark_of(text), column=text)
    if text in BENCHMARKS:
        return Subject("score", text)
    name, _colon, last = text.rpartition(":")
    name, column = (name, last) if last in COLUMNS else (text, None)
    if name.startswith("scores/") or column or _LABEL_DIGITS.fullmatch(name):
        label = _artifact(store, name)
        if label is not None and label.startswith("scores/"):
            return Subject("score", "", label, column=column)
    return None


def _artifact(store: Store, text: str) -> str | None:
    """The label of the one artifact that answers to a name; None where none does.

    Raises:
        StoreError: several do.
    """
    try:
        return store.find(text).label
    except StoreError as error:
        if "may mean any of" in str(error):
            raise
        return None
