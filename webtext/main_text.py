"""The main text of a page: trafilatura's steps in its order, without those that cannot matter.

`trafilatura.extract` asks two more algorithms (readability, jusText) about nearly every page and
copies the tree four times for it. Here its public building blocks are called one by one, and a
step is left out where its outcome is known beforehand:

* scripts, styles and drawings are cut once from the raw tree instead of from every copy of it
  (JSON-LD stays: trafilatura reads article bodies and forum posts from it);
* a prune is skipped where none of the words that its pattern needs stands in the page;
* the second opinion is asked only where the first is unsure: it is short, has no paragraphs or
  more tables than paragraphs, holds elements that text does not, or covers less than a
  `second_opinion_share` of the page. Readability replaces a first result only when it is twice as
  long, so at a share of a half the answer would be trafilatura's own, and measured on real pages it
  still is at a quarter;
* the recall retry needs the length of the cleaned page; an upper bound of it mostly settles that.

Nothing here remembers pages. The building blocks are those of trafilatura 2.3.
"""

import re
from copy import copy
from typing import Literal

from lxml import etree  # type: ignore[import-untyped]
from lxml.html import HtmlElement, fromstring  # type: ignore[import-untyped]
from pydantic import Field
from trafilatura.baseline import baseline, html2txt
from trafilatura.external import SANITIZED_XPATH, compare_extraction, justext_rescue
from trafilatura.htmlprocessing import convert_tags, prune_unwanted_nodes, tree_cleaning
from trafilatura.main_extractor import extract_content
from trafilatura.settings import Extractor
from trafilatura.utils import HTML_PARSER, normalize_unicode
from trafilatura.xml import xmltotxt
from trafilatura.xpaths import (
    RAW_TREE_PRUNE_XPATH,
    REMOVE_COMMENTS_AND_LISTS_XPATH,
    REMOVE_COMMENTS_XPATH,
)

from webtext.config import StageConfig

_UNSEEN = ("script", "style", "svg", "template")
_JSON_LD = "application/ld+json"
_FORUM_POST = re.compile(r'"@type"\s*:\s*(?:\[[^\]]*)?"DiscussionForumPosting"')


def _any_name(*parts: str) -> etree.XPath:
    """Whether an `id` or `class` of the page holds one of `parts`; far cheaper than a pattern."""
    tests = " or ".join(f"contains(., '{part}')" for part in parts)
    return etree.XPath(f"boolean(.//@id[{tests}] | .//@class[{tests}])")


# Without one of these words in a name, the raw prunes of trafilatura.xpaths find nothing.
_NAMES_APPENDED = _any_name("mvp-post-add", "infinite", "elementor-share-buttons")
_NAMES_COMMENTS = _any_name("omment", "comol", "disqus_thread")
# The retry for short results on long pages: trafilatura.core's ESCALATION constants.
_RETRY_CHARACTERS = 3_000
_RETRY_SHARE = 0.2
_RETRY_GAIN = 1.5
_JUSTEXT_GAIN = 2.0


_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))
_NONCHARACTERS = re.compile(b"\xef\xbf[\xbe\xbf]")
_DOCTYPE = re.compile(rb"^< ?! ?DOCTYPE[^>]*/[^<>]*>", re.IGNORECASE)
_EMPTY_ROOT = re.compile(rb"(<html[^>]*?)\s*/>", re.IGNORECASE)


def parse_page(html: str) -> HtmlElement | None:
    """The tree of a page by trafilatura's parser; None where it is not HTML.

    The repairs are those of `trafilatura.utils.load_html`, on bytes: it takes the tenth of the
    time. What libxml2 stumbles over is cut: control characters, a document type with a slash in it,
    an `<html/>` that ends where it begins.
    """
    page = html.encode("utf-8", "surrogatepass").translate(None, _CONTROLS)
    if b"\xef\xbf" in page:
        page = _NONCHARACTERS.sub(b"", page)
    page = _DOCTYPE.sub(b"", page, count=1)
    page = _EMPTY_ROOT.sub(rb"\1>", page[:4096], count=1) + page[4096:]
    try:
        tree = fromstring(page, parser=HTML_PARSER)
    except (etree.LxmlError, ValueError):
        return None
    # A text that never says "html" and gives no more than a single block is something else.
    return None if "html" not in html[:50].lower() and len(tree) < 2 else tree


def use_plain_elements() -> None:
    """Let trafilatura's parser make every element of one class.

    lxml.html calls Python for the class of every element that is touched, so that forms and inputs
    have methods of their own. Nothing here uses those, and it takes a tenth of the time.
    """
    HTML_PARSER.set_element_class_lookup(etree.ElementDefaultClassLookup(element=HtmlElement))


class MainTextConfig(StageConfig):
    """How the main text of a page is found."""

    favor: Literal["balanced", "precision", "recall"] = "balanced"
    """`balanced`, `precision` (less, cleaner text) or `recall` (more, with more around it)."""
    second_opinion_share: float = Field(default=0.16, ge=0, le=1)
    """Readability and jusText are asked as well where trafilatura's first result has less than this
    share of the page's characters. 1 asks nearly always, 0 only where the result looks damaged."""
    tables: bool = True
    """Keep the text of tables; pages of the old web are laid out with them."""


def find_main_text(tree: HtmlElement, url: str, config: MainTextConfig) -> str | None:
    r"""The main text of a page, `\n` between its blocks; None where there is none.

    `tree` is the parsed page, and is changed; `url` is its address.
    """
    options = Extractor(
        precision=config.favor == "precision",
        recall=config.favor == "recall",
        comments=False,
        tables=config.tables,
        url=url,
    )
    _prune_raw(tree, options)
    characters = len(" ".join(tree.text_content().split()))
    enough = characters * config.second_opinion_share
    body, text = _ask(tree, options, enough)
    if len(text) < options.min_extracted_size and options.focus != "precision":
        rescued, rescued_text, length = baseline(tree)
        if length > len(text):
            body, text = rescued, rescued_text
    if options.focus == "balanced" and _covers_little(tree, text, characters):
        body, text = _retry(tree, options, body, text, enough)
    return normalize_unicode(xmltotxt(body, False)) if text else None


def _prune_raw(tree: HtmlElement, options: Extractor) -> None:
    """Cut from the raw tree what no later step may see."""
    is_forum = any(_FORUM_POST.search(script.text or "") for script in _json_ld(tree))
    _strip_unseen(tree)
    if _NAMES_APPENDED(tree):
        prune_unwanted_nodes(tree, RAW_TREE_PRUNE_XPATH)
    # On a forum the "comments" are the content.
    is_content = is_forum and options.focus != "precision"
    if not is_content and _NAMES_COMMENTS(tree):
        prune_unwanted_nodes(tree, REMOVE_COMMENTS_AND_LISTS_XPATH)


def _json_ld(tree: HtmlElement) -> list[HtmlElement]:
    return list(tree.iterfind(f'.//script[@type="{_JSON_LD}"]'))


def _strip_unseen(tree: HtmlElement) -> None:
    """Remove scripts (but JSON-LD), styles and drawings; text after them stays."""
    kept = _json_ld(tree)
    for script in kept:
        script.tag = "json-ld"
    etree.strip_elements(tree, *_UNSEEN, with_tail=False)
    for script in kept:
        script.tag = "script"


def _ask(tree: HtmlElement, options: Extractor, enough: float) -> tuple[etree._Element, str]:
    """Trafilatura's own extraction, compared with the other algorithms where it is unsure."""
    converted = convert_tags(tree_cleaning(copy(tree), options), options, options.url)
    if options.focus == "precision":
        converted = prune_unwanted_nodes(converted, REMOVE_COMMENTS_XPATH)
    body, text = extract_content(converted, options)
    if len(text) >= enough and _looks_sound(body, text, options):
        return body, text
    cleaned = tree_cleaning(copy(tree), options)
    body, text = compare_extraction(cleaned, copy(tree), body, text, options)
    return body, text


def _looks_sound(body: etree._Element, text: str, options: Extractor) -> bool:
    """Whether a result has what trafilatura asks of one before it looks for a better."""
    return bool(
        len(text) >= options.min_extracted_size
        and not body.xpath(SANITIZED_XPATH)
        and body.xpath(".//p//text()")
        and len(body.findall(".//table")) <= len(body.findall(".//p"))
    )


def _covers_little(tree: HtmlElement, text: str, characters: int) -> bool:
    """Whether a short text is less than a fifth of its page."""
    if not 0 < len(text) < _RETRY_CHARACTERS:
        return False
    # html2txt puts at most one space on either side of an element, and removes more than we did.
    most = characters + 2 * int(tree.xpath("count(.//*)"))
    return len(text) < _RETRY_SHARE * most and len(text) < _RETRY_SHARE * len(html2txt(tree))


def _retry(
    tree: HtmlElement, options: Extractor, body: etree._Element, text: str, enough: float
) -> tuple[etree._Element, str]:
    """Extract again for recall, and with jusText; keep what is clearly longer."""
    recall = copy(options)
    recall.focus = "recall"
    wider, wider_text = _ask(tree, recall, enough)
    other, other_text = justext_rescue(copy(tree), options)
    if len(other_text) > max(len(wider_text), _JUSTEXT_GAIN * len(text)):
        return other, other_text
    if len(wider_text) >= max(options.min_extracted_size, _RETRY_GAIN * len(text) + 1e-9):
        return wider, wider_text
    return body, text
