"""The benchmarks' original files, written from data sets that `datasets` loads.

Hubs keep the same texts as rows; each writer below puts the rows of one data set back into the form
of the original file. Where the original is known by its digest, that tells whether it is the same
to the byte; tests see to it on the real files. enwik8, text8 and 1BW are left to `eval.fetch`: no
data set of theirs loads without running code.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import FetchError
from eval.fetch import Fetched
from eval.files import find_file

Rows = Iterable[Mapping[str, Any]]
Load = Callable[..., Rows]
"""`datasets.load_dataset`, or what takes the same arguments."""


def lambada_lines(rows: Rows) -> str:
    """OpenAI's form: a JSON object a line."""
    return "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows)


def wikitext_lines(rows: Rows) -> str:
    """Rows are lines with their ends; a line of one space is an empty row."""
    return "".join(row["text"] or " \n" for row in rows)


def ptb_lines(rows: Rows) -> str:
    """Rows are lines without the spaces at either end."""
    return "".join(f" {row['sentence'].strip()} \n" for row in rows)


def cbt_lines(rows: Rows) -> str:
    """Rows are questions: 20 sentences, a query, the answer and the candidates."""
    return "".join(_question(row) for row in rows)


def _question(row: Mapping[str, Any]) -> str:
    lines = [*row["sentences"], row["question"]]
    numbered = "\n".join(f"{number} {line}" for number, line in enumerate(lines, 1))
    return f"{numbered}\t{row['answer']}\t\t{'|'.join(row['options'])}\n\n"


@dataclass(frozen=True)
class HubSet:
    """A data set that holds a benchmark."""

    benchmark: str
    kind: str
    name: str
    """The file that is written, below the benchmarks folder."""
    path: str
    """The data set's name."""
    config: str
    split: str
    write: Callable[[Rows], str]
    revision: str | None = None


HUB_SETS: tuple[HubSet, ...] = (
    HubSet(
        "lambada",
        "jsonl",
        "lambada_test.jsonl",
        "EleutherAI/lambada_openai",
        "default",
        "test",
        lambada_lines,
    ),
    *(
        HubSet(
            f"cbt_{name.lower()}",
            "cbt",
            f"cbtest_{name}_valid_2000ex.txt",
            "cam-cst/cbt",
            name,
            "validation",
            cbt_lines,
        )
        for name in ("CN", "NE")
    ),
    *(
        HubSet(
            benchmark,
            kind,
            f"{folder}/wiki.test.{kind}",
            "Salesforce/wikitext",
            f"{folder}-v1",
            "test",
            wikitext_lines,
        )
        for benchmark, kind, folder in (
            ("wikitext2", "tokens", "wikitext-2"),
            ("wikitext2", "raw", "wikitext-2-raw"),
            ("wikitext103", "tokens", "wikitext-103"),
        )
    ),
    HubSet(
        "ptb",
        "lines",
        "ptb.test.txt",
        "ptb-text-only/ptb_text_only",
        "penn_treebank",
        "test",
        ptb_lines,
        "refs/convert/parquet",
    ),
)
"""As the hub names them."""


def write_from_hub(
    folder: Path, wanted: Iterable[str], load: Load, sets: Iterable[HubSet] = HUB_SETS
) -> list[Fetched]:
    """Write the files of the wanted benchmarks from their data sets; one may fail alone."""
    names = set(wanted)
    return [_write(folder, found, load) for found in sets if found.benchmark in names]


def _write(folder: Path, found: HubSet, load: Load) -> Fetched:
    path = folder / found.name
    outcome = "there already"
    if not path.is_file():
        try:
            rows = load(found.path, found.config, split=found.split, revision=found.revision)
            text = found.write(rows)
            if not text.strip():
                raise FetchError("it has no rows")
        except Exception as error:  # noqa: BLE001  a hub fails in any way; each is told, none hides
            reason = f"{found.path} ({found.config}): {error}"
            return Fetched(found.benchmark, found.name, reason, "", False)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".fetching-{path.name}")
        aside.write_text(text, "utf-8", newline="\n")
        aside.replace(path)
        outcome = "fetched"
    _, data = find_file(found.benchmark, (found.kind,), folder)
    return Fetched(found.benchmark, found.name, outcome, data.label, True)
