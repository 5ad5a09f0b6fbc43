"""URLs by their properties: what is merged and what not, and that a browser would fetch the same.

The browser is Ada, the WHATWG URL parser of Node.js.
"""

import string
from urllib.parse import quote

import ada_url
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from webtext.crawl_urls import clean_url, host_of, port_of
from webtext.urls import TRACKING_PARAMETERS, NormalisedUrl, link_id, normalise_url

HOSTS = ("example.com", "www.example.co.uk", "xn--bcher-kva.example", "127.0.0.1", "a-b.c_d.org")
LETTERS = string.ascii_letters + string.digits + "-_.!$&'()*+,;=:@~ é%|^`\\{}[]\"<>"
SEGMENT = st.one_of(
    st.text(LETTERS, max_size=6), st.sampled_from(["%2F", "%3f", "a%20b", "%2541", "a;b=1", "%5C"])
)
FIELD = st.text(LETTERS + "/?", max_size=8)


@st.composite
def posted(draw: st.DrawFn) -> str:
    """A URL as somebody may post it, that has a normal form."""
    path = "/".join(draw(st.lists(SEGMENT, max_size=4)))
    query = "&".join(draw(st.lists(FIELD, max_size=3)))
    port = draw(st.sampled_from(["", ":80", ":8080", ":443", ":"]))
    scheme, host = draw(st.sampled_from(["http", "https"])), draw(st.sampled_from(HOSTS))
    return f"{scheme}://{host}{port}/{path}" + (f"?{query}" if draw(st.booleans()) else "")


def form(url: str) -> str:
    found = normalise_url(url)
    assert isinstance(found, NormalisedUrl), (url, found)
    return found.url


NORMAL = posted().map(form)


def _upper_host(url: str, draw: st.DataObject) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, tail = rest.partition("/")
    return f"{scheme.upper()}://{host.upper()}{slash}{tail}"


def _dot_host(url: str, draw: st.DataObject) -> str:
    scheme, _, rest = url.partition("://")
    authority, slash, tail = rest.partition("/")
    host, colon, port = authority.partition(":")
    return f"{scheme}://{host}.{colon}{port}{slash}{tail}"


def _name_default_port(url: str, draw: st.DataObject) -> str:
    scheme, _, rest = url.partition("://")
    authority, slash, tail = rest.partition("/")
    assume(":" not in authority)
    return f"{scheme}://{authority}:{80 if scheme == 'http' else 443}{slash}{tail}"


def _add_fragment(url: str, draw: st.DataObject) -> str:
    return url + "#" + draw.draw(st.text("ab/?#!=&", max_size=5))


def _add_tracking(url: str, draw: st.DataObject) -> str:
    known = sorted(TRACKING_PARAMETERS)
    name = draw.draw(st.sampled_from(["utm_source", "UTM_Medium", *known]))
    base, mark, query = url.partition("?")
    fields = query.split("&") if mark else []
    place = draw.draw(st.integers(0, len(fields)))
    return base + "?" + "&".join([*fields[:place], f"{name}=x", *fields[place:]])


def _escape_unreserved(url: str, draw: st.DataObject) -> str:
    start = url.index("/", 8)
    places = [
        at for at, letter in enumerate(url)
        if at > start and letter.isalnum() and "%" not in url[at - 2 : at]
    ]  # fmt: skip
    assume(places)
    at = draw.draw(st.sampled_from(places))
    escape = f"%{ord(url[at]):02x}"
    return url[:at] + escape + url[at + 1 :]


def _lower_escapes(url: str, draw: st.DataObject) -> str:
    pieces = url.split("%")
    return "%".join([pieces[0], *(piece[:2].lower() + piece[2:] for piece in pieces[1:])])


def _add_dot_segments(url: str, draw: st.DataObject) -> str:
    base, mark, query = url.partition("?")
    start = base.index("/", 8)
    dots = draw.draw(st.sampled_from(["/.", "/%2e", "/x/..", "/x/%2E.", "/x/.%2e/y/.."]))
    return base[:start] + dots + base[start:] + mark + query


def _add_blanks(url: str, draw: st.DataObject) -> str:
    return f" \t{url}\n "


def _use_backslashes(url: str, draw: st.DataObject) -> str:
    base, mark, query = url.partition("?")
    return base.replace("/", "\\") + mark + query


SAME_PAGE = [
    _upper_host, _dot_host, _name_default_port, _add_fragment, _add_tracking, _escape_unreserved,
    _lower_escapes, _add_dot_segments, _add_blanks, _use_backslashes,
]  # fmt: skip


@pytest.mark.parametrize("rewrite", SAME_PAGE)
@settings(deadline=None, max_examples=60)
@given(url=NORMAL, data=st.data())
def test_each_rewriting_of_a_page_is_merged(rewrite, url: str, data: st.DataObject) -> None:
    assert form(rewrite(url, data)) == url


def _change_case(url: str, at: int) -> str:
    return url[:at] + url[at].swapcase() + url[at + 1 :]


def _escape_reserved(url: str, at: int) -> str:
    return url[:at] + quote(url[at], safe="") + url[at + 1 :]


def _drop_letter(url: str, at: int) -> str:
    return url[:at] + url[at + 1 :]


def _double_escape(url: str, at: int) -> str:
    return url[:at] + "%25" + url[at + 1 :]


def _double_slash(url: str, at: int) -> str:
    return url[:at] + "//" + url[at + 1 :]


OTHER_PAGE = [
    (_change_case, string.ascii_letters), (_escape_reserved, "/?!$&()*+,;=:@"),
    (_drop_letter, string.ascii_letters), (_double_escape, "%"), (_double_slash, "/"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "letters"), OTHER_PAGE)
@settings(deadline=None, max_examples=60)
@given(url=NORMAL, data=st.data())
def test_no_change_of_a_page_is_merged(change, letters: str, url: str, data: st.DataObject) -> None:
    start = url.index("/", 8) + 1
    places = [
        at for at, letter in enumerate(url)
        # The digits of an escape mean the same in either case.
        if at >= start and letter in letters and "%" not in url[at - 2 : at]
    ]  # fmt: skip
    assume(places)
    changed = change(url, data.draw(st.sampled_from(places)))
    assume("?utm_" not in changed.lower())
    assume(not any(name in changed.lower() for name in TRACKING_PARAMETERS))
    assert link_id(form(changed)) != link_id(url)


@settings(deadline=None, max_examples=100)
@given(url=NORMAL)
def test_other_hosts_and_further_parameters_are_kept_apart(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if not rest.startswith("127."):
        assert link_id(form(f"{scheme}://other.{rest}")) != link_id(url)
    assert link_id(form(url + ("&" if "?" in url else "?") + "id=1")) != link_id(url)


@settings(deadline=None, max_examples=600)
@given(posted())
@example("http://bücher。example/a\\b?'")
@example("http://example.com/100%/%zz?%")
def test_a_browser_reads_and_sends_the_same(url: str) -> None:
    ours = form(url)
    assert form(ada_url.URL(url).href) == ours
    assert ada_url.URL(ours).href == ours


@settings(deadline=None, max_examples=300)
@given(st.one_of(posted(), st.text(max_size=30).map(lambda text: f"http://{text}")))
def test_the_crawl_sends_a_link_as_it_is(url: str) -> None:
    found = normalise_url(url)
    if isinstance(found, str):
        return
    assert clean_url(found.url) == found.url
    sent = URL(found.url, encoded=True)
    assert str(sent) == found.url
    assert sent.raw_host == host_of(found.url) == found.host
    assert sent.port == port_of(found.url)
