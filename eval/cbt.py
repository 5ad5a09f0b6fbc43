"""The Children's Book Test: which of ten words was left out of a sentence.

A question is 20 numbered lines of context and a 21st with XXXXX in place of a word, a tab, the
answer, two tabs, and ten candidates joined by `|`; a blank line follows. A candidate's score is
the log-probability of the candidate and the rest of the sentence, given the context and the words
before the blank. The ten share one context, cut from the left where it is too long. Scored on
the validation files: one of the test books is in WebText (Radford et al. 2019, section 3.2).

`paper`: de-tokenized, log-probabilities summed. `raw-token`: the file's words as they are, and the
mean log-probability of a BPE token decides, so that a longer candidate is at no disadvantage.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eval.detokenize import CBT, RAW_LINE, Rewrite
from eval.errors import BenchmarkError
from eval.files import DataFile, find_file, read_lines_text
from eval.items import Item, MakeTask, Request, Source, Task, boundary_and, continuation
from eval.protocols import BOUNDARY_FIRST, Benchmark, Column, Protocol, Variant

BLANK = "XXXXX"


@dataclass(frozen=True, slots=True)
class Question:
    """One question, tokenised as in the file."""

    context: tuple[str, ...]
    query: str
    answer: int
    """Index of the right candidate."""
    candidates: tuple[str, ...]


def cbt_tasks(source: Source, benchmark: Benchmark, column: Column) -> list[Task]:
    """`paper` and `raw-token` of CBT-CN or CBT-NE."""
    path, data = find_file(benchmark, ("cbt",), source.folder)
    questions = read_questions(path)
    chosen = source.limits.choose(len(questions), "questions")

    def task(variant: Variant, join: Rewrite, untouched: MakeTask | None = None) -> Task:
        items = (make_item(source, index, questions[index], join) for index in chosen)
        return Task(
            variant,
            (_protocol(source, data, column, variant, len(questions)),),
            data,
            source.limits.stop(items),
            len(chosen),
            unit_is_token=variant == "raw-token",
            untouched=untouched,
        )

    return [
        task("paper", _join, untouched=lambda: task("paper", str)),
        task("raw-token", str),
    ]


def read_questions(path: Path) -> list[Question]:
    """The questions of a CBT file; raises BenchmarkError naming the line that is not as told."""
    questions = []
    context: list[str] = []
    for number, line in enumerate(read_lines_text(path).split("\n"), 1):
        if not line.strip():
            if context:
                raise _broken(path, number, "a blank line before the line with the blank")
            continue
        _, _, sentence = line.partition(" ")
        if "\t" in sentence:
            questions.append(_question(path, number, context, sentence))
            context = []
        else:
            context.append(sentence)
    if context or not questions:
        raise _broken(path, number, "the file ends within a question")
    return questions


def make_item(source: Source, index: int, question: Question, join: Rewrite) -> Item:
    """A request a candidate, all with the same context; `join` de-tokenizes a line."""
    lines = [join(line) for line in (*question.context, question.query)]
    before, _, after = " ".join(lines).partition(BLANK)
    kept = before.rstrip(" ")
    context = boundary_and(source.tokens(kept))
    ends = [
        source.tokens(before[len(kept) :] + candidate + after.replace(BLANK, candidate))
        for candidate in question.candidates
    ]
    room = max(1, source.window + 1 - max(len(end) for end in ends))
    requests: Iterator[Request] = (
        continuation(context[-room:], end, source.window) for end in ends
    )
    return Item(index, tuple(requests), 1, question.answer)


def _join(line: str) -> str:
    return CBT.detokenize(line).removeprefix(RAW_LINE)


def _question(path: Path, number: int, context: list[str], sentence: str) -> Question:
    query, *rest = sentence.split("\t")
    fields = [field for field in rest if field]
    if len(fields) != 2 or BLANK not in query or not context:
        raise _broken(path, number, f"{len(fields)} fields after the query {query[:40]!r}")
    answer, candidates = fields[0].strip(), [word.strip() for word in fields[1].split("|")]
    if answer not in candidates:
        raise _broken(path, number, f"the answer {answer!r} is not among {candidates}")
    return Question(tuple(context), query, candidates.index(answer), tuple(candidates))


def _broken(path: Path, number: int, found: str) -> BenchmarkError:
    return BenchmarkError(
        f"{path}, line {number}: {found}; expected 20 numbered lines, then a line with {BLANK}, "
        "a tab, the answer, two tabs and the candidates joined by |"
    )


def _protocol(
    source: Source, data: DataFile, column: Column, variant: Variant, total: int
) -> Protocol:
    reduced = "averaged over BPE tokens" if variant == "raw-token" else "summed"
    return Protocol(
        column=column,
        variant=variant,
        measure="accuracy",
        unit="question",
        scored=f"the candidate and the rest of the sentence, log-probabilities {reduced}",
        detokenizer=CBT.name if variant == "paper" else "none",
        window=source.window,
        stride=None,
        last_window="context cut from the left, alike for all candidates",
        first_token=BOUNDARY_FIRST,
        ties="within 1e-9 nats, the first in the file's order",
        filter="none",
        sample=source.limits.describe(total, "questions"),
        dtype=source.dtype,
        data_sha256=data.sha256,
        data_split=data.split,
    )
