"""What is planted in the demo's web, so that every outcome of the funnel occurs in it.

Each function plants the cases of one stage and notes what is to become of them.
"""

import gzip
from urllib.parse import urlsplit

from webtext.demo_foreign import FOREIGN_PAGES
from webtext.demo_reference import ReferencePage
from webtext.demo_site import DemoSite, change_words, lay_out, place_page

LARGE_PAGE_BYTES = 10_100_000
"""Over the 10 MB that crawlers are told to stop at by default."""

_NEAR_EVERY = (150, 100, 70)
"""One word in so many is changed: word 5-grams of Jaccard similarity about 0.94, 0.90, 0.87."""

_LATE = 1_509_490_000  # the evening of 31 October 2017, UTC

_FAR_EVERY = 8
"""One word in eight: similarity about 0.2, another document."""


def plant_everything(site: DemoSite, pages: list[ReferencePage]) -> None:
    """Plant all cases; `pages` are those that the web holds already."""
    plant_rows(site)
    plant_unwanted_urls(site)
    plant_karma(site, pages)
    plant_variants(site, pages)
    plant_redirects(site, pages)
    plant_dead_ends(site)
    plant_unusable_pages(site)
    plant_sendings(site, pages)
    plant_copies(site, pages)


def plant_rows(site: DemoSite) -> None:
    """Lines of the dump that are no submission of a link."""
    for line in (
        b'{"id":"73zzz1","url":"https://www.netpages.example/cut","score":',
        b"not json at all",
        b"[1,2,3]",
        b'{"id":"73zzz2","url":"https://www.netpages.example/\xff\xfe","score":5}',
    ):
        site.add_line(line)
        site.plant("broken row", "", "submissions", "broken_json")
    site.add_line(b"")
    site.plant("blank line", "", "submissions", "blank_line")
    for line in (
        b'{"id":"73zzz3","url":null,"score":9}',
        b'{"id":"73zzz4","score":9}',
        b'{"id":"73zzz5","url":"https://www.netpages.example/no-score"}',
    ):
        site.add_line(line)
        site.plant("row without a needed field", "", "submissions", "missing_field")
    own = "https://www.reddit.com/r/Python/comments/73a000/how_do_i_begin/"
    site.post(own, is_self=True, domain="self.Python", selftext="How do I begin?")
    site.plant("self post", own, "submissions", "self_post")
    old = "https://www.reddit.com/r/coding/comments/73a001/what_now/"
    site.post(old, is_self=None, domain="self.coding", selftext="[deleted]")
    site.plant("self post told by its domain", old, "submissions", "self_post")


def plant_unwanted_urls(site: DemoSite) -> None:
    """Links that the rules on URLs drop."""
    for case, url, outcome in (
        ("Wikipedia", "https://en.wikipedia.org/wiki/Python_(programming_language)", "wikipedia"),
        ("Wikipedia, mobile", "https://en.m.wikipedia.org/wiki/Parsing", "wikipedia"),
        ("Wikipedia, German", "http://de.wikipedia.org/wiki/Compiler", "wikipedia"),
        ("picture host", "https://imgur.com/a/xKq3b", "media"),
        ("picture", "https://www.datacabin.example/plots/Growth.PNG?size=2", "media"),
        ("video", "https://www.youtube.com/watch?v=abcdefghijk", "media"),
        ("Reddit itself", "https://www.reddit.com/r/Python/wiki/index", "blocked_domain"),
        ("other scheme", "ftp://ftp.netpages.example/pub/notes.txt", "not_http"),
        ("script", "javascript:alert(1)", "not_http"),
        ("credentials", "https://user:secret@www.netpages.example/", "url_credentials"),
        ("no host", "http:///index.html", "invalid_host"),
        ("bad port", "http://www.netpages.example:99999/", "invalid_url"),
        ("line break", "https://www.netpages.example/a\r\nSet-Cookie:b", "control_character"),
        ("endless", "https://www.netpages.example/?q=" + "long" * 600, "url_too_long"),
    ):
        site.post(url)
        site.plant(case, url, "submissions", outcome)


def plant_karma(site: DemoSite, pages: list[ReferencePage]) -> None:
    """Links that too few people liked, and one submission that came twice."""
    for number, karma in enumerate((2, 1, 0, -4)):
        url = f"https://www.codegarden.example/unloved/{number}"
        site.post(url, karma=karma)
        site.plant("karma below 3", url, "links", "karma_below_minimum")
    shared = "https://www.codegarden.example/unloved/twice"
    for _ in range(2):
        site.post(shared, karma=2)
        site.plant("karma of 2 and 2", shared, "links", "karma_below_minimum")
    url = place_page(pages[0])
    for _ in range(2):
        site.post(url, karma=7, id="73zzz9", created_utc=1_507_000_000)
    site.plant("submission that came twice", url, "links", "repeated_submission")


def plant_variants(site: DemoSite, pages: list[ReferencePage]) -> None:
    """Other spellings of an address that is in the web, posted on their own."""
    parts = urlsplit(place_page(pages[1]))
    host, path = parts.netloc, parts.path
    for case, url in (
        ("case of host and scheme", f"HTTPS://{host.upper()}{path}"),
        ("default port", f"https://{host}:443{path}"),
        ("fragment", f"https://{host}{path}#comments"),
        ("tracking parameters", f"https://{host}{path}?utm_source=reddit&amp;utm_medium=social"),
        ("trailing dot", f"https://{host}.{path}"),
        ("http for https", f"http://{host}{path}"),
        ("escapes", f"https://{host}{path.replace('t', '%74')}"),
        ("dot segments", f"https://{host}/x/..{path}"),
    ):
        site.post(url, karma=4)
        site.plant(f"URL variant: {case}", url, "links", "same_link")


def plant_redirects(site: DemoSite, pages: list[ReferencePage]) -> None:
    """Redirects to a good page, to Wikipedia, and in a circle."""
    base = "https://go.bytesmith.example"
    hidden = f"https://www.tinytools.example/moved/{pages[2].name}"
    text = change_words(pages[2].body, _FAR_EVERY)
    site.respond(hidden, lay_out(f"Moved: {pages[2].title}", text, hidden))
    site.redirect(f"{base}/moved", "/moved-again", status=301)
    site.redirect(f"{base}/moved-again", hidden)
    site.redirect(f"{base}/wiki", "https://en.wikipedia.org/wiki/Source_code")
    site.redirect(f"{base}/circle/1", f"{base}/circle/2")
    site.redirect(f"{base}/circle/2", f"{base}/circle/1")
    for case, path, outcome in (
        ("redirects to a good page", "/moved", "ok"),
        ("redirect to Wikipedia", "/wiki", "wikipedia_redirect"),
        ("redirect loop", "/circle/1", "too_many_redirects"),
    ):
        site.post(base + path)
        site.plant(case, base + path, "captures", outcome)


def plant_dead_ends(site: DemoSite) -> None:
    """Links that give no page."""
    robots = "https://members.oddmodules.example/robots.txt"
    rules = b"User-agent: *\nDisallow: /private/\n"
    site.respond(robots, rules, content_type="text/plain; charset=utf-8")
    allowed = "https://www.python-notes.example/robots.txt"
    site.respond(allowed, b"User-agent: *\nDisallow:\n", content_type="text/plain")
    private = "https://members.oddmodules.example/private/notes.html"
    site.respond(private, lay_out("Private", "<p>Not for robots.</p>", private))
    gone = "https://www.stdlib-daily.example/gone"
    site.respond(gone, lay_out("Not found", "<p>No such page.</p>", gone), status=404)
    broken = "https://www.stdlib-daily.example/broken"
    site.respond(broken, lay_out("Error", "<p>Something broke.</p>", broken), status=500)
    paper = "https://www.datacabin.example/papers/17"
    site.respond(paper, b"%PDF-1.4\n%demo\n", content_type="application/pdf")
    blank = "https://www.datacabin.example/blank"
    site.respond(blank)
    large = "https://www.datacabin.example/everything"
    site.respond(large, b"<html><body><p>" + b"and " * (LARGE_PAGE_BYTES // 4))
    for case, url, outcome in (
        ("disallowed by robots.txt", private, "robots_disallowed"),
        ("404", gone, "not_found"),
        ("never archived", "https://www.threadloom.example/lost", "not_archived"),
        ("500", broken, "http_error"),
        ("PDF", paper, "wrong_content_type"),
        ("empty body", blank, "empty"),
        ("too large", large, "too_large"),
        ("loopback address", "http://127.0.0.1/status", "blocked_address"),
        ("private address in hexadecimal", "http://0x0a.1/admin", "blocked_address"),
        ("link-local address", "http://169.254.169.254/latest/meta-data/", "blocked_address"),
    ):
        site.post(url)
        site.plant(case, url, "captures", outcome)


def plant_unusable_pages(site: DemoSite) -> None:
    """Pages that are captured and then rejected."""
    base = "https://www.quietcompiler.example"
    for language, title, paragraphs, charset in FOREIGN_PAGES:
        url = f"{base}/{language}/story"
        body = "".join(f"<p>{paragraph}</p>\n" for paragraph in paragraphs)
        page = lay_out(title, body, url, language=language).decode()
        sent = page.replace('charset="utf-8"', f'charset="{charset}"').encode(charset)
        site.respond(url, sent, content_type=f"text/html; charset={charset}")
        site.post(url)
        site.plant(f"page in another language ({language})", url, "documents", "language")
    short = f"{base}/short"
    text = "<p>This note is only one sentence long, which is too little to learn from.</p>"
    site.respond(short, lay_out("A short note", text, short))
    bare = f"{base}/bare"
    site.respond(bare, b'<!DOCTYPE html><html><body><img src="/dot.gif"></body></html>')
    copied = f"{base}/copied"
    link = '<link rel="canonical" href="https://en.wikipedia.org/wiki/Interpreter_(computing)">'
    text = "<p>An interpreter runs a program as it reads it, one statement at a time.</p>" * 12
    site.respond(copied, lay_out("Interpreter", text, copied, head=link))
    for case, url, outcome in (
        ("too short", short, "too_short"),
        ("no text", bare, "no_text"),
        ("canonical link to Wikipedia", copied, "wikipedia"),
    ):
        site.post(url)
        site.plant(case, url, "documents", outcome)


def plant_sendings(site: DemoSite, pages: list[ReferencePage]) -> None:
    """Good pages sent in a way that takes care: compressed, and under a name beyond ASCII."""
    page = pages[3]
    text = change_words(page.body, _FAR_EVERY)
    url = f"https://www.parsecorner.example/packed/{page.name}"
    packed = gzip.compress(lay_out(f"Packed: {page.title}", text, url), mtime=0)
    site.respond(url, packed, headers=(("Content-Encoding", "gzip"),))
    site.post(url)
    site.plant("gzip-encoded page", url, "captures", "ok")
    page = pages[4]
    text = change_words(page.body, _FAR_EVERY)
    url = f"https://bücher.tinytools.example/{page.name}"
    home = url.replace("bücher", "xn--bcher-kva")
    site.respond(home, lay_out(f"Books: {page.title}", text, home))
    site.post(url)
    site.plant("host beyond ASCII", url, "captures", "ok")


def plant_copies(site: DemoSite, pages: list[ReferencePage]) -> None:
    """Mirrors, near-copies and pages that are alike but not alike enough, on other hosts."""
    long_pages = [page for page in pages if len(page.body.split()) > 400][:36] or pages[:3]
    for number, page in enumerate(long_pages):
        original = place_page(page)
        url = f"https://mirror{number % 3}.copycats.example/{page.name}"
        if number % 3 == 0:
            case, outcome, every = "mirror", "exact", 0
            body = lay_out(page.title, page.body, original)
        elif number % 3 == 1:
            case, outcome, every = "near-copy", "near", _NEAR_EVERY[number // 3 % len(_NEAR_EVERY)]
            body = lay_out(page.title, change_words(page.body, every), url)
        else:
            case, outcome, every = "distant copy", "ok", _FAR_EVERY
            body = lay_out(page.title, change_words(page.body, every), url)
        site.respond(url, body)
        # Liked least and posted last, so that the original survives.
        site.post(url, karma=3, created_utc=_LATE + number)
        detail = f" (one word in {every} changed)" if every else ""
        site.plant(case + detail, url, "duplicates", outcome)
