"""Cuts small benchmark files, in the original formats, from the demo's held-out documents.

The demo has no network, so it cannot have the real test sets. It makes a file for every benchmark
from documents that no model was trained on, with the same names and formats, so that scoring them
exercises the very code that scores the real ones. `demo.json` labels each by name and digest, and
the score table repeats the label: no demo score can pass for a real one.

The questions are made by plain rules: a LAMBADA passage ends in a word that occurred before; a
CBT question leaves out a capitalised name or a common word of its context. Same documents and
config give the same bytes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.cbt import BLANK
from eval.demo_text import (
    count_words,
    mark_rare,
    one_billion_line,
    prose_sentences,
    ptb_tokens,
    text8_text,
    wikitext_tokens,
)
from eval.errors import BenchmarkError
from eval.files import DEMO_LABELS
from eval.scorer import Progress
from eval.stop_words import STOP_WORDS

CONTEXT_LINES = 20
CANDIDATES = 10


class DemoBenchmarksConfig(BaseModel):
    """How large the demo's benchmark files are.

    By default some 20,000 tokens are scored in all, so that a tiny model takes seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    lambada_passages: int = Field(default=60, ge=1)
    """Passages of LAMBADA."""
    cbt_questions: int = Field(default=16, ge=1)
    """Questions in each of CBT-CN and CBT-NE."""
    wikitext_words: int = Field(default=1500, ge=1)
    """Words of WikiText-2 and of WikiText-103, the same text in both, as in the real ones."""
    ptb_words: int = Field(default=1500, ge=1)
    """Words of PTB."""
    enwik8_bytes: int = Field(default=10_000, ge=1000)
    """Bytes of enwik8, at most."""
    text8_characters: int = Field(default=10_000, ge=1000)
    """Characters of text8, at most."""
    one_billion_sentences: int = Field(default=60, ge=1)
    """Sentences of 1BW."""
    min_words: int = Field(default=6, ge=3)
    """Words of a sentence, at least."""
    max_words: int = Field(default=30, ge=3)
    """Words of a sentence, at most."""
    min_word_count: int = Field(default=2, ge=1)
    """A word that occurs less often in the documents is `<unk>` in WikiText-2 and PTB."""
    seed: int = Field(default=0, ge=0)
    """Draws the order of passages, questions, sentences and candidates."""


@dataclass(frozen=True)
class Page:
    """A held-out document: its title, its text and the sentences of prose in it."""

    title: str
    text: str
    sentences: tuple[str, ...]


def cut_demo_benchmarks(
    *, documents: Path, destination: Path, config: DemoBenchmarksConfig, progress: Progress
) -> dict[str, Any]:
    """Cut the files from the validation documents of a corpus artifact into `destination`.

    A document without two sentences of prose is left out and counted as `no_prose`. Raises
    BenchmarkError where there is no validation part or too little prose for a single question.
    """
    texts = _read_documents(documents)
    pages = [page for page in (_page(*row, config) for row in texts) if len(page.sentences) >= 2]
    sentences = [sentence for page in pages for sentence in page.sentences]
    if len(sentences) < 2 * CONTEXT_LINES:
        raise BenchmarkError(
            f"{documents} has {len(sentences)} sentences of prose in its validation documents; "
            f"the demo's benchmarks need {2 * CONTEXT_LINES}: hold out more documents"
        )
    files = _cut(pages, sentences, config)
    for done, (name, content) in enumerate(files.items(), 1):
        path = destination / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        progress(done, len(files))
    _write_labels(destination, files)
    return {
        "rows_in": len(texts),
        "rows_out": len(pages),
        "losses": {"no_prose": len(texts) - len(pages)} if len(texts) > len(pages) else {},
        "facts": {"files": len(files), "bytes": sum(len(content) for content in files.values())},
    }


def _read_documents(documents: Path) -> list[tuple[str, str]]:
    """Title and text of every validation document, in the order of the parts."""
    parts = sorted(documents.glob("validation/part-*.parquet"))
    if not parts:
        raise BenchmarkError(f"{documents} holds no validation/part-*.parquet; give a corpus")
    rows: list[tuple[str, str]] = []
    for part in parts:
        table = pq.read_table(part, columns=["title", "text"])
        rows += [(row["title"] or "", row["text"]) for row in table.to_pylist()]
    return rows


def _page(title: str, text: str, config: DemoBenchmarksConfig) -> Page:
    found = prose_sentences(text, min_words=config.min_words, max_words=config.max_words)
    # Reference pages repeat inherited methods; a sentence counts once.
    return Page(" ".join(title.split()), text, tuple(dict.fromkeys(found)))


def _cut(
    pages: Sequence[Page], sentences: Sequence[str], config: DemoBenchmarksConfig
) -> dict[str, bytes]:
    """Content of every file, by name."""
    unique = list(dict.fromkeys(sentences))
    files = {
        "lambada_test.jsonl": _lambada(unique, config),
        "cbtest_CN_valid_2000ex.txt": _cbt(unique, _common_words(unique), config),
        "cbtest_NE_valid_2000ex.txt": _cbt(unique, _names(unique), config),
        "wikitext-2/wiki.test.tokens": _wikitext(pages, config, config.min_word_count),
        "ptb.test.txt": _ptb(unique, config),
        "enwik8": _enwik8(pages, config.enwik8_bytes),
        "text8": _text8(pages, config.text8_characters),
        "wikitext-103/wiki.test.tokens": _wikitext(pages, config, 1),
        "news.en.heldout-00000-of-00050": _one_billion(unique, config),
    }
    return {name: text.encode("utf-8") for name, text in files.items() if text}


def _write_labels(destination: Path, files: dict[str, bytes]) -> None:
    labels = {
        name: {"label": "demo", "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }
    text = json.dumps({"files": labels}, indent=1)
    (destination / DEMO_LABELS).write_text(f"{text}\n", "utf-8")


def _order(count: int, seed: int) -> list[int]:
    return [int(index) for index in np.random.default_rng(seed).permutation(count)]


def _lambada(sentences: Sequence[str], config: DemoBenchmarksConfig) -> str:
    """Passages of five sentences whose last word, without its full stop, occurred before."""
    lines = []
    for last in _order(len(sentences), config.seed):
        word = sentences[last].split()[-1].rstrip(".")
        before = " ".join(sentences[last - 4 : last])
        known = {found.strip(".,;:()\"'").lower() for found in before.split()}
        if last >= 4 and word.isalpha() and len(word) > 2 and word.lower() in known:
            lines.append(json.dumps({"text": f"{before} {sentences[last].rstrip('.')}"}))
        if len(lines) == config.lambada_passages:
            break
    return "".join(f"{line}\n" for line in lines)


def _common_words(sentences: Sequence[str]) -> Counter[str]:
    """Lower-case words of four letters or more that are no function words."""
    words = (word for sentence in sentences for word in one_billion_line(sentence).split())
    return Counter(
        word
        for word in words
        if len(word) > 3 and word.isalpha() and word.islower() and word not in STOP_WORDS
    )


def _names(sentences: Sequence[str]) -> Counter[str]:
    """Capitalised words that do not begin a sentence and are never written small."""
    tokens = [one_billion_line(sentence).split() for sentence in sentences]
    small = {word for line in tokens for word in line if word.islower()}
    return Counter(
        word
        for line in tokens
        for word in line[1:]
        if word[0].isupper()
        and word.isalpha()
        and len(word) > 2
        and word.lower() not in small
        and word.lower() not in STOP_WORDS
    )


def _cbt(sentences: Sequence[str], kind: Counter[str], config: DemoBenchmarksConfig) -> str:
    """Questions in CBT's format about words of `kind`, each from 21 sentences in a row."""
    lines = [one_billion_line(sentence) for sentence in sentences]
    questions = []
    for query in _order(len(lines), config.seed):
        if query < CONTEXT_LINES:
            continue
        question = _question(lines[query - CONTEXT_LINES : query], lines[query], kind, query)
        questions += [question] if question else []
        if len(questions) == config.cbt_questions:
            break
    return "".join(questions)


def _question(context: Sequence[str], query: str, kind: Counter[str], seed: int) -> str | None:
    """One question about a word that the context has, too, if any is; None where none fits."""
    near = [word for line in context for word in line.split() if kind[word]]
    words = query.split()
    fitting = [i for i, word in enumerate(words) if i and kind[word]]
    places = [i for i in fitting if words[i] in near] or fitting
    if not places:
        return None
    place = max(places, key=lambda i: (kind[words[i]], i))
    answer = words[place]
    # The context's own words first, then the commonest of all documents.
    others = [word for word, _ in kind.most_common() if word != answer]
    pool = list(dict.fromkeys([*(word for word in near if word != answer), *others]))
    candidates = sorted([answer, *pool[: CANDIDATES - 1]])
    if len(candidates) < CANDIDATES:
        return None
    shuffled = "|".join(candidates[i] for i in _order(CANDIDATES, seed))
    blanked = " ".join([*words[:place], BLANK, *words[place + 1 :]])
    numbered = [f"{number} {line}" for number, line in enumerate(context, 1)]
    last = f"{CONTEXT_LINES + 1} {blanked}\t{answer}\t\t{shuffled}"
    return "\n".join([*numbered, last]) + "\n\n"


def _wikitext(pages: Sequence[Page], config: DemoBenchmarksConfig, least: int) -> str:
    """Articles with a heading and paragraphs of three sentences; `<unk>` for rarer words."""
    vocabulary = count_words(
        wikitext_tokens(sentence) for page in pages for sentence in page.sentences
    )
    lines: list[str] = []
    words = 0
    for page in pages:
        if words >= config.wikitext_words:
            break
        title = " ".join(wikitext_tokens(page.title)) or "Page"
        lines += [" \n", f" = {title} = \n", " \n"]
        for first in range(0, len(page.sentences), 3):
            marked = mark_rare(
                [wikitext_tokens(sentence) for sentence in page.sentences[first : first + 3]],
                vocabulary,
                least,
            )
            paragraph = [token for sentence in marked for token in sentence]
            lines.append(f" {' '.join(paragraph)} \n")
            words += len(paragraph)
            if words >= config.wikitext_words:
                break
    return "".join([*lines, " \n"])


def _ptb(sentences: Sequence[str], config: DemoBenchmarksConfig) -> str:
    lines = [ptb_tokens(sentence) for sentence in sentences]
    marked = mark_rare(lines, count_words(lines), config.min_word_count)
    taken: list[str] = []
    words = 0
    for line in marked:
        if words >= config.ptb_words:
            break
        taken.append(f" {' '.join(line)} \n")
        words += len(line)
    return "".join(taken)


def _enwik8(pages: Sequence[Page], most: int) -> str:
    """Pages in MediaWiki's export format, cut at `most` bytes as the real file is cut."""
    parts = ['<mediawiki xml:lang="en">\n']
    parts += list(_xml_pages(pages))
    return "".join(parts).encode("utf-8")[:most].decode("utf-8", "ignore")


def _xml_pages(pages: Sequence[Page]) -> Iterator[str]:
    for number, page in enumerate(pages, 1):
        yield (
            f"  <page>\n    <title>{escape(page.title)}</title>\n    <id>{number}</id>\n"
            f"    <revision>\n      <text xml:space=\"preserve\">'''{escape(page.title)}'''\n\n"
            f"{escape(' '.join(page.sentences))}</text>\n    </revision>\n  </page>\n"
        )


def _text8(pages: Sequence[Page], most: int) -> str:
    joined = text8_text(" " + " ".join(" ".join(page.sentences) for page in pages))
    return joined[:most]


def _one_billion(sentences: Sequence[str], config: DemoBenchmarksConfig) -> str:
    chosen = _order(len(sentences), config.seed)[: config.one_billion_sentences]
    return "".join(f"{one_billion_line(sentences[index])}\n" for index in chosen)
