"""Quality of the extracted text on real pages beside trafilatura, resiliparse and readability.

Token F1 against the gold text by source, and the share of segments found that must be, and kept
out that must not be (`tests.bench.gold_pages` says how both are measured). Pages/s are by CPU time
of one process, from bytes to text, the comparison left out; the extractors take turns page by page.
"""

import logging
import time
from collections.abc import Callable
from functools import partial

import lxml.html
import trafilatura
from lxml.html import HtmlElementClassLookup
from readability import Document
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from trafilatura.utils import HTML_PARSER

from tests.bench.gold_pages import GoldPage, Quality, digest, gold_pages, measure_quality
from tests.bench.real_texts import real_data
from webtext.extract import ExtractionConfig, extract_page
from webtext.main_text import use_plain_elements

Extract = Callable[[GoldPage], str | None]
OURS, BARE = "webtext (default)", "trafilatura"


def run() -> dict[str, object]:
    logging.disable(logging.CRITICAL)
    pages = gold_pages(real_data() / "real-web")
    print(f"{len(pages)} pages, digest {digest(pages)}")
    texts, seconds = _extract_all(pages)
    measured = {
        name: measure_quality(pages, lambda page, of=of: of[page]) for name, of in texts.items()
    }
    speeds = {name: len(pages) / spent for name, spent in seconds.items()}
    _print_tables(measured, speeds)
    ours, bare = measured[OURS].overall.f1, measured[BARE].overall.f1
    return {
        "name": f"token F1 beside bare trafilatura's {bare:.4f}",
        "measured": round(ours, 4),
        "goal": round(bare, 4),
        "unit": "F1",
        "reached": round(ours, 4) >= round(bare, 4),
    }


def _extractors() -> dict[str, Extract]:
    ours = {
        "webtext (default)": ExtractionConfig(),
        "webtext asking always": ExtractionConfig(second_opinion_share=1),
        "webtext asking seldom": ExtractionConfig(second_opinion_share=0),
        "webtext precision": ExtractionConfig(favor="precision"),
        "webtext recall": ExtractionConfig(favor="recall"),
        "webtext without tables": ExtractionConfig(tables=False),
    }
    return {
        **{name: partial(_webtext, config) for name, config in ours.items()},
        "trafilatura": partial(_trafilatura, {}),
        "trafilatura fast": partial(_trafilatura, {"fast": True}),
        "trafilatura with comments": partial(_trafilatura, {"include_comments": True}),
        "resiliparse": _resiliparse,
        "readability-lxml": _readability,
    }


def _extract_all(
    pages: list[GoldPage],
) -> tuple[dict[str, dict[GoldPage, str | None]], dict[str, float]]:
    extractors = _extractors()
    texts: dict[str, dict[GoldPage, str | None]] = {name: {} for name in extractors}
    seconds = dict.fromkeys(extractors, 0.0)
    for page in pages:
        for name, extract in extractors.items():
            if name.startswith("webtext"):
                use_plain_elements()
            else:
                HTML_PARSER.set_element_class_lookup(HtmlElementClassLookup())
            began = time.process_time()
            texts[name][page] = extract(page)
            seconds[name] += time.process_time() - began
    return texts, seconds


def _webtext(config: ExtractionConfig, page: GoldPage) -> str | None:
    return extract_page(
        page.body, url=page.url, media_type="text/html", charset=None, content_encoding=None,
        max_page_bytes=1 << 28, config=config,
    ).text  # fmt: skip


def _trafilatura(options: dict[str, bool], page: GoldPage) -> str | None:
    return trafilatura.extract(page.body, url=page.url, **({"include_comments": False} | options))


def _resiliparse(page: GoldPage) -> str | None:
    html = bytes_to_str(page.body, detect_encoding(page.body))
    return extract_plain_text(html, main_content=True, alt_texts=False)


def _readability(page: GoldPage) -> str | None:
    try:
        summary = Document(page.body.decode("utf-8", "replace")).summary()
        return lxml.html.fromstring(summary).text_content()
    except Exception:
        return None


def _print_tables(measured: dict[str, Quality], speeds: dict[str, float]) -> None:
    print(f"{'':26}{'F1':>8}{'prec.':>8}{'recall':>8}{'reviewed F1':>13}", end="")
    print(f"{'found':>8}{'kept out':>10}{'pages/s':>9}")
    for name, quality in measured.items():
        numbers = "".join(f"{value:8.4f}" for value in quality.overall)
        print(f"{name:26}{numbers}{quality.reviewed.f1:13.4f}", end="")
        print(f"{quality.found:8.4f}{quality.kept_out:10.4f}{speeds[name]:9.1f}")
    shown = (OURS, BARE, "trafilatura fast", "resiliparse", "readability-lxml")
    print(f"\n{'F1 by source':44}" + "".join(f"{name:>18}" for name in shown))
    for source in measured[OURS].sources:
        print(f"{source:44}", end="")
        print("".join(f"{measured[name].sources[source].f1:18.4f}" for name in shown))


if __name__ == "__main__":
    print(run())
