"""URLs: what is merged, what is kept apart, what is refused; and the keys made of them."""

from hashlib import blake2b
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webtext.urls import (
    MAX_URL_CHARACTERS,
    URL_REASONS,
    NormalisedUrl,
    link_id,
    link_partition,
    normalise_url,
    registrable_domain,
)
from webtext.wikimedia import is_wikipedia

SAME = [
    ("HTTP://Example.COM", "http://example.com/"),
    ("http://example.com:80/a", "http://example.com/a"),
    ("https://example.com:443", "https://example.com/"),
    ("http://example.com:/a", "http://example.com/a"),
    ("http://example.com./a", "http://example.com/a"),
    ("  http://example.com/a\n", "http://example.com/a"),
    ("http://example.com/a#b", "http://example.com/a"),
    ("http://example.com/#!/a", "http://example.com/"),
    ("http://example.com/%7euser/%c3%a9", "http://example.com/~user/%C3%A9"),
    ("http://example.com/é", "http://example.com/%C3%A9"),
    ("http://example.com/a b|c", "http://example.com/a%20b%7Cc"),
    ("http://example.com/100%", "http://example.com/100%25"),
    ("http://example.com/%%41", "http://example.com/%25A"),
    ("http://example.com/a/./b/../c", "http://example.com/a/c"),
    ("http://example.com/../../a", "http://example.com/a"),
    ("http://example.com/a/..", "http://example.com/"),
    ("http://example.com/%2e%2e/a", "http://example.com/a"),
    ("http://example.com?", "http://example.com/"),
    ("http://example.com?q=1", "http://example.com/?q=1"),
    ("http://example.com/?utm_source=x&q=1&UTM_Medium=y", "http://example.com/?q=1"),
    ("http://example.com/?fbclid=abc", "http://example.com/"),
    ("http://example.com/?utm%5Fsource=x", "http://example.com/"),
    ("http://Bücher.example/", "http://xn--bcher-kva.example/"),
    ("http://bücher。example/", "http://xn--bcher-kva.example/"),
    ("http://ex%61mple.com/", "http://example.com/"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://2130706433/", "http://127.0.0.1/"),
    ("http://0177.0.0.01/", "http://127.0.0.1/"),
    ("http://１２７.0.0.1/", "http://127.0.0.1/"),
    ("http://[0:0::1]:80/", "http://[::1]/"),
    ("https://example.com:080/", "https://example.com:80/"),
    ("http://example.com/a\\b", "http://example.com/a/b"),
    ("http:\\\\example.com\\a\\..\\b?\\", "http://example.com/b?%5C"),
    ("http://good.com\\.evil.com/", "http://good.com/.evil.com/"),
    ("http://example.com/it's?it's", "http://example.com/it's?it%27s"),
]

KEPT_APART = [
    ("http://example.com/a", "http://example.com/a/"),
    ("http://example.com/A", "http://example.com/a"),
    ("http://example.com/", "http://www.example.com/"),
    ("http://example.com/", "http://example.com/index.html"),
    ("http://example.com/?a=1&b=2", "http://example.com/?b=2&a=1"),
    ("http://example.com/?a=", "http://example.com/?a"),
    ("http://example.com/a%2Fb", "http://example.com/a/b"),
    ("http://example.com/a+b", "http://example.com/a%20b"),
    ("http://example.com/a%5Cb", "http://example.com/a/b"),
    ("http://example.com/?a%5Cb", "http://example.com/?a/b"),
    ("http://example.com/a%2541", "http://example.com/aA"),
    ("http://example.com/a%2541", "http://example.com/a%41"),
    ("http://example.com/a;b=1", "http://example.com/a"),
    ("http://example.com/a%3Fb", "http://example.com/a?b"),
    ("http://example.com/a%23b", "http://example.com/a#b"),
    ("http://example.com/?a%26b=1", "http://example.com/?a&b=1"),
    ("http://example.com/?a+b", "http://example.com/?a%2Bb"),
    ("http://example.com/a%27b", "http://example.com/a'b"),
    ("http://example.com/a//b", "http://example.com/a/b"),
    ("http://example.com:8080/", "http://example.com/"),
    ("http://example.com:443/", "https://example.com/"),
    ("http://example.com/?ref=a", "http://example.com/"),
    ("http://example.com/?xutm_source=a", "http://example.com/"),
]

REFUSED = [
    ("", "not_http"),
    ("example.com/a", "not_http"),
    ("//example.com/a", "not_http"),
    ("javascript:alert(1)", "not_http"),
    ("data:text/html,hi", "not_http"),
    ("ftp://example.com/", "not_http"),
    ("file:///etc/passwd", "not_http"),
    ("http:/example.com", "invalid_url"),
    ("http://", "invalid_host"),
    ("http:///a", "invalid_host"),
    ("http://?q", "invalid_host"),
    ("http://.example.com/", "invalid_host"),
    ("http://a..b/", "invalid_host"),
    ("http://exa mple.com/", "invalid_host"),
    ("http://bücher。。/", "invalid_host"),
    ("http://-bad.example/", "invalid_host"),
    ("http://" + "a" * 64 + ".com/", "invalid_host"),
    ("http://" + "a." * 200 + "com/", "invalid_host"),
    ("http://1.2.3.4.5/", "invalid_host"),
    ("http://256.1.1.1.1/", "invalid_host"),
    ("http://1.2.3.256/", "invalid_host"),
    ("http://0x1_0.1/", "invalid_host"),
    ("http://[::1/", "invalid_host"),
    ("http://[fe80::1%25eth0]/", "invalid_host"),
    ("http://%ff.com/", "invalid_host"),
    ("http://user:pw@example.com/", "url_credentials"),
    ("http://example.com@evil.com/", "url_credentials"),
    ("http://example.com:0/", "invalid_url"),
    ("http://example.com:65536/", "invalid_url"),
    ("http://example.com:x/", "invalid_url"),
    ("http://example.com:٣/", "invalid_url"),
    ("http://example.com/a\nb", "control_character"),
    ("http://example.com/\x00", "control_character"),
    ("http://example.com/\x85", "control_character"),
    ("http://example.com/\ud800", "control_character"),
    ("http://example.com/" + "a" * MAX_URL_CHARACTERS, "url_too_long"),
    ("http://example.com/" + "é" * (MAX_URL_CHARACTERS // 2), "url_too_long"),
]


def _normalised(url: str) -> NormalisedUrl:
    found = normalise_url(url)
    assert isinstance(found, NormalisedUrl), found
    return found


@pytest.mark.parametrize(("posted", "expected"), SAME)
def test_spellings_of_one_address_are_merged(posted: str, expected: str) -> None:
    assert _normalised(posted).url == expected


@pytest.mark.parametrize(("one", "other"), KEPT_APART)
def test_what_may_differ_is_kept_apart(one: str, other: str) -> None:
    assert link_id(_normalised(one).url) != link_id(_normalised(other).url)


@pytest.mark.parametrize(("posted", "reason"), REFUSED)
def test_unusable_urls_give_a_reason(posted: str, reason: str) -> None:
    assert reason in URL_REASONS
    assert normalise_url(posted) == reason


_PIECES = st.sampled_from(
    ["http:", "https:", "HTTP:", "//", "/", "a", "B", ".", "..", "%", "%2e", "%2F", "%41", "é", "?",
     "#", "&", "=", ":", "80", "@", "[", "]", "::1", "xn--", "utm_source", "0x", "1", "-", "_", " ",
     "\\", "\x00", "ß", "。", "\u200d", "example.com", "ａ", "%25", "+", ";"]
)  # fmt: skip
_ANY_URL = st.one_of(
    st.text(max_size=60),
    st.lists(_PIECES, max_size=14).map("".join),
    st.lists(_PIECES, max_size=10).map(lambda pieces: "http://example.com/" + "".join(pieces)),
    st.lists(_PIECES, max_size=6).map(lambda pieces: "http://" + "".join(pieces) + "/"),
)


@settings(deadline=None, max_examples=400)
@given(_ANY_URL)
@example("http://example.com/%4%31")
@example("http://ß.example./%")
def test_normalising_is_idempotent_and_ascii(posted: str) -> None:
    found = normalise_url(posted)
    if isinstance(found, str):
        assert found in URL_REASONS
        return
    assert normalise_url(found.url) == found
    assert found.url.isascii()
    assert found.url.isprintable()
    assert " " not in found.url
    parts = urlsplit(found.url)
    assert parts.hostname == found.host
    assert parts.username is None
    assert parts.path.startswith("/")
    assert not parts.fragment
    assert found.host.endswith(found.domain)


def test_link_id_is_the_hash_of_the_url_whatever_the_scheme() -> None:
    url = "http://example.com/a"
    assert link_id(url) == blake2b(url.encode(), digest_size=16).digest()
    assert link_id("https://example.com/a") == link_id(url)
    assert link_id("http://example.com/b") != link_id(url)


def test_partition_is_by_domain_and_spreads() -> None:
    expected = int.from_bytes(blake2b(b"example.com").digest()[:8], "big") % 7
    assert link_partition("example.com", 7) == expected
    used = {link_partition(f"site{number}.org", 16) for number in range(400)}
    assert used == set(range(16))


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("news.bbc.co.uk", "bbc.co.uk"),
        ("www.example.com", "example.com"),
        ("me.github.io", "github.io"),
        ("docs.python-notes.example", "python-notes.example"),
        ("python-notes.example", "python-notes.example"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_registrable_domain(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain


@pytest.mark.parametrize(
    "host",
    ["wikipedia.org", "en.wikipedia.org", "de.m.wikipedia.org", "WWW.Wikipedia.ORG.",
     "zh-min-nan.wikipedia.org", "en.zero.wikipedia.org", "wikipedia.com", "simple.wikipedia.org"],
)  # fmt: skip
def test_wikipedia_is_told_in_every_form(host: str) -> None:
    assert is_wikipedia(host)


@pytest.mark.parametrize(
    "host",
    ["notwikipedia.org", "wikipedia.org.example", "wikipedia.example", "org", "", "en.wikia.com",
     "en.wiktionary.org", "upload.wikimedia.org"],
)  # fmt: skip
def test_other_hosts_are_not_wikipedia(host: str) -> None:
    assert not is_wikipedia(host)


@pytest.mark.parametrize("host", ["en.wiktionary.org", "upload.wikimedia.org", "w.wiki"])
def test_wikimedia_counts_when_asked_for(host: str) -> None:
    assert is_wikipedia(host, all_projects=True)
    assert not is_wikipedia("en.wikia.com", all_projects=True)
