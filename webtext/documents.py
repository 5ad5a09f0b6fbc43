"""Documents: the pages that pass the filters, and why the others do not.

Made from pages and links, a partition at a time. Every row of pages comes out exactly once: as a
row of `documents` or, with its reason, as a row of `rejected`. What was measured of an extracted
page, rejected or not, is a row of `attributes`. No page is extracted here, so a changed filter
costs a read of the texts; the texts of rejected pages are in pages.

The filters in their order: Wikipedia by canonical link, what extraction said, fewer tokens than
`min_tokens`, another language, then the rule sets that are switched on (Gopher, C4, FineWeb). Of
what is kept, C4 drops lines, and addresses are masked where that is asked for.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from pydantic import Field

from webtext.config import StageConfig
from webtext.counts import Counts, Progress
from webtext.errors import SourceError
from webtext.masking import mask_addresses
from webtext.quality import Measures, RuleSet
from webtext.quality_c4 import C4Quality
from webtext.quality_fineweb import FineWebQuality
from webtext.quality_gopher import GopherQuality
from webtext.quality_repetition import GopherRepetition
from webtext.quality_sets import RULE_SETS
from webtext.tables import ATTRIBUTES, DOCUMENTS, REJECTED, RowWriter, part_name, reading
from webtext.vocabulary import count_tokens
from webtext.wikimedia import is_wikipedia

_LINK_COLUMNS = ["link_id", "url", "domain", "karma", "first_created_utc"]
_PAGES_A_BATCH = 500


class DocumentsConfig(StageConfig):
    """Which pages become documents."""

    min_tokens: int = Field(default=128, ge=1)
    """Fewest GPT-2 tokens of a document: `too_short` below. OpenWebText's number."""
    languages: tuple[str, ...] = ("en",)
    """Languages to keep, as ISO 639-1 codes: `language` for the others. Empty keeps all."""
    min_language_probability: float = Field(default=0.0, ge=0, le=1)
    """How sure the identifier must be of one of `languages`, else `language`. FineWeb asks 0.65 of
    another identifier."""
    strip_wikimedia: bool = False
    """Whether a page whose canonical link leads to any Wikimedia project is stripped, and not to
    Wikipedia alone."""
    gopher_quality: GopherQuality | None = None
    """Gopher's quality rules, where this section is given (`{}` takes the published numbers)."""
    gopher_repetition: GopherRepetition | None = None
    """Gopher's repetition rules, where this section is given."""
    c4: C4Quality | None = None
    """C4's rules, where this section is given. They drop lines of documents too."""
    fineweb: FineWebQuality | None = None
    """FineWeb's own rules, where this section is given."""
    mask_emails: bool = False
    """Replace e-mail addresses by `person1@example.com`, numbered within the document."""
    mask_ips: bool = False
    """Replace public IP addresses by addresses for documentation, numbered within the document."""

    def rule_sets(self) -> list[RuleSet]:
        """The rule sets that are switched on, in their order."""
        given = (getattr(self, name) for name in RULE_SETS)
        return [rules for rules in given if rules is not None]


class Verdict(NamedTuple):
    """What became of a page: the reason to reject it with a detail, or its text as a document."""

    reason: str | None
    detail: str | None = None
    text: str = ""
    tokens: int = 0
    emails_masked: int = 0
    ips_masked: int = 0


def filter_documents_partition(
    *,
    pages: Path,
    links: Path,
    partition: int,
    destination: Path,
    config: DocumentsConfig,
    progress: Progress,
) -> Counts:
    """Make one partition of documents, rejected and attributes from the pages and links artifacts.

    Raises SourceError where a table cannot be read or the two do not belong together.
    """
    facts_of_link = _read_links(links, partition)
    source = _open(pages / "pages" / part_name(partition))
    total, done = source.metadata.num_rows, 0
    kept, losses = _zeros(), dict[str, int]()
    with ExitStack() as stack:
        documents, rejected, attributes = (
            stack.enter_context(RowWriter(destination / name / part_name(partition), schema))
            for name, schema in (
                ("documents", DOCUMENTS), ("rejected", REJECTED), ("attributes", ATTRIBUTES),
            )
        )  # fmt: skip
        for done, page in enumerate(_read_rows(source), 1):
            measured = measure_page(page, config)
            if page["text"] is not None:
                attributes.write(_attributes_row(page, measured))
            verdict = judge_page(page, measured, config)
            if verdict.reason is None:
                row = _document_row(_link_of(page, facts_of_link), page, verdict)
                documents.write(row)
                _add(kept, row, verdict)
            else:
                rejected.write(_rejected_row(page, verdict))
                losses[verdict.reason] = losses.get(verdict.reason, 0) + 1
            if done % _PAGES_A_BATCH == 0:
                progress(done, total, documents=kept["documents"])
    progress(total, total, documents=kept["documents"])
    return Counts(
        rows_in=done,
        rows_out=kept.pop("documents"),
        losses=dict(sorted(losses.items())),
        facts=kept,
    )


def measure_page(page: dict[str, Any], config: DocumentsConfig) -> Measures:
    """What the rule sets that are switched on measure of a page's text."""
    measured: Measures = {}
    for rules in config.rule_sets() if page["text"] else ():
        measured |= rules.measure(page["text"])
    return measured


def judge_page(page: dict[str, Any], measured: Measures, config: DocumentsConfig) -> Verdict:
    """Reject a page for the first reason there is, or give its text as a document."""
    host = page["canonical_host"]
    if host and is_wikipedia(host, all_projects=config.strip_wikimedia):
        return Verdict("wikipedia", f"canonical link to {host[:200]}")
    if page["reason"] is not None:
        return Verdict(page["reason"], page["detail"])
    if page["tokens"] < config.min_tokens:
        return _too_short(page["tokens"], config)
    language, probability = page["language"], page["language_probability"]
    if config.languages and language not in config.languages:
        return Verdict("language", f"{language}, wanted {' '.join(config.languages)}")
    if config.languages and probability < config.min_language_probability:
        least = config.min_language_probability
        return Verdict("language", f"{language} with {probability:.4f}, {least} wanted")
    for rules in config.rule_sets():
        reason, detail = rules.judge(measured)
        if reason is not None:
            return Verdict(reason, detail)
    return _finish_text(page, config)


def _finish_text(page: dict[str, Any], config: DocumentsConfig) -> Verdict:
    """Drop C4's lines and mask addresses; a text that gets too short by it is rejected."""
    text = page["text"] if config.c4 is None else config.c4.keep_lines(page["text"])
    masked = mask_addresses(text, emails=config.mask_emails, ips=config.mask_ips)
    tokens = page["tokens"] if masked.text == page["text"] else count_tokens(masked.text)
    if tokens < config.min_tokens:
        return _too_short(tokens, config)
    return Verdict(None, None, masked.text, tokens, masked.emails, masked.ips)


def _too_short(tokens: int, config: DocumentsConfig) -> Verdict:
    return Verdict("too_short", f"{tokens} tokens, at least {config.min_tokens} wanted")


def _read_rows(source: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    for batch in source.iter_batches(batch_size=_PAGES_A_BATCH):
        yield from batch.to_pylist()


def _read_links(links: Path, partition: int) -> dict[bytes, dict[str, Any]]:
    table = _open(links / "links" / part_name(partition)).read(_LINK_COLUMNS)
    return {row["link_id"]: row for row in table.to_pylist()}


def _open(path: Path) -> pq.ParquetFile:
    with reading(path):
        return pq.ParquetFile(path)


def _link_of(page: dict[str, Any], links: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    try:
        return links[page["link_id"]]
    except KeyError:
        raise SourceError(
            f"pages hold the link {page['link_id'].hex()}, but the links artifact does not: "
            f"they do not belong together. Give the links that the pages were made from."
        ) from None


def _document_row(link: dict[str, Any], page: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    return {
        **link,
        **{name: page[name] for name in ("title", "date", "author", "language")},
        "characters": len(verdict.text),
        "words": len(verdict.text.split()),
        "tokens": verdict.tokens,
        "text": verdict.text,
    }


def _rejected_row(page: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    return {
        "link_id": page["link_id"],
        "reason": verdict.reason,
        "detail": verdict.detail,
        "language": page["language"],
        "tokens": page["tokens"],
    }


def _attributes_row(page: dict[str, Any], measured: Measures) -> dict[str, Any]:
    given = {name: page[name] for name in ATTRIBUTES.names if name in page}
    return given | {name: float(value) for name, value in measured.items()}


def _zeros() -> dict[str, int]:
    return dict.fromkeys(("documents", "characters", "tokens", "emails_masked", "ips_masked"), 0)


def _add(kept: dict[str, int], row: dict[str, Any], verdict: Verdict) -> None:
    kept["documents"] += 1
    kept["characters"] += row["characters"]
    kept["tokens"] += row["tokens"]
    kept["emails_masked"] += verdict.emails_masked
    kept["ips_masked"] += verdict.ips_masked
