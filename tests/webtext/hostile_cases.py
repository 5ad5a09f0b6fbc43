"""The hostile web: what each server does, and what the crawl must make of it.

Where the outcome may surprise: a 200 with an error page is `ok`, since only its text can tell, and
the documents stage judges that; a redirect by `Refresh` or `<meta>` is not followed; of several
`Location` fields the first counts; a body that is not wanted cannot spoil its response.
"""

import asyncio
import gzip
import itertools
import zlib

import brotli
import zstandard

from tests.webtext.hostile_server import (
    OK,
    PAGE,
    Case,
    aborts,
    in_turn,
    redirects,
    repeats,
    says,
    stalls,
    whole,
)

MAX_BODY = 200_000

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = b"Connection: close\r\n"
PNG = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
BLOCK = b"x" * 65_536
ZEROS = bytes(64 * 1024 * 1024)
BIG = b"<html>" + b"".join(b"<p>%d</p>" % n for n in range(8_000))
"""A page of 100 KB; that of all zeros would be a bomb."""
BUSY = b"HTTP/1.1 503 Busy\r\n"
SLOW = "no complete response in time"
MALFORMED = "malformed response"
INCOMPLETE = "body incomplete or malformed"
HEAVY = "body of more than 200000 bytes"


def coded(coding: bytes, body: bytes) -> bytes:
    """A 200 with a content coding."""
    head = OK + b"Content-Encoding: " + coding + b"\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def deflated(body: bytes, window: int) -> bytes:
    """`body` in zlib's wrapper (window 15) or bare (-15)."""
    stream = zlib.compressobj(9, zlib.DEFLATED, window)
    return stream.compress(body) + stream.flush()


def case(name: str, *said: bytes, outcome: str = "ok", detail: str | None = None) -> Case:
    """A server that says the same to everyone, and closes."""
    return Case(name=name, page=says(*said), outcome=outcome, detail=detail)


FINE = (
    Case(name="page", page=whole(PAGE), outcome="ok"),
    case("until-close", OK, CLOSE, b"\r\n", PAGE),
    case("http-1.0", b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n", PAGE),
    case("lines-end-in-lf", b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n", PAGE),
    case("byte-order-mark", OK, CLOSE, b"\r\n\xef\xbb\xbf", PAGE),
    case("utf-16", OK, CLOSE, b"\r\n", PAGE.decode().encode("utf-16")),
    case("nuls-in-body", OK, CLOSE, b"\r\n<html>\0\0\xff\xfe</html>"),
    case("error-page-as-200", OK, CLOSE, b"\r\n<html><h1>404 Not Found</h1></html>"),
    case("image-as-html", OK, CLOSE, b"\r\n\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    case("attachment", OK, CLOSE, b"Content-Disposition: attachment; filename=a.exe\r\n\r\n", PAGE),
    case("refresh", OK, CLOSE, b"Refresh: 0; url=http://10.0.0.1/\r\n\r\n",
         b"<meta http-equiv=refresh content='0; url=http://10.0.0.1/'>"),
    case("charset-invalid", b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=\xff\x1b[31m",
         b"nonsense-9\r\n\r\n", PAGE),
    case("charset-unknown", b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=",
         b"x" * 300 + b"\r\n\r\n", PAGE),
    case("trailers", OK, CHUNKED, b"5\r\n<html\r\n0\r\nSet-Cookie: a=b\r\nX-A: b\r\n\r\n"),
    case("second-response", OK, b"Content-Length: %d\r\n\r\n" % len(PAGE), PAGE, OK,
         b"Content-Length: 6\r\n\r\nstolen"),
    case("too-long", OK, CLOSE, b"Content-Length: 8\r\n\r\n<html> and more than was said",
         outcome="bad_response", detail=MALFORMED),
    case("no-type", b"HTTP/1.1 200 OK\r\n", CLOSE, b"\r\n", PAGE),
    case("many-cookies", OK, CLOSE, b"Set-Cookie: id=1; Domain=.com\r\n" * 200, b"\r\n", PAGE),
)  # fmt: skip

BODIES = (
    case("empty", OK, b"Content-Length: 0\r\n\r\n", outcome="empty"),
    case("blank", OK, b"Content-Length: 4\r\n\r\n \r\n ", outcome="empty"),
    case("204-with-body", b"HTTP/1.1 204 No\r\nContent-Type: text/html\r\n\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("304-with-body", b"HTTP/1.1 304 No\r\nContent-Type: text/html\r\n\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("image", PNG, b"Content-Length: 4\r\n\r\n\x89PNG",
         outcome="wrong_content_type", detail="image/png"),
    case("no-type-no-page", b"HTTP/1.1 200 OK\r\n", CLOSE, b"\r\n\x89PNG",
         outcome="wrong_content_type", detail="none named"),
    Case(name="endless-body", page=repeats(OK + b"\r\n", BLOCK), outcome="too_large",
         detail=HEAVY, alone=True),
    Case(name="endless-chunks", outcome="too_large", detail=HEAVY, alone=True,
         page=repeats(OK + CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n")),
    Case(name="endless-tiny-chunks", outcome="too_large", detail=HEAVY, alone=True,
         page=repeats(OK + CHUNKED, b"1\r\nx\r\n" * 10_000)),
    Case(name="endless-image", page=repeats(PNG + b"\r\n", BLOCK), outcome="wrong_content_type",
         detail="image/png", alone=True),
    Case(name="endless-error", outcome="http_error", detail="500 No", alone=True,
         page=repeats(b"HTTP/1.1 500 No\r\n\r\n", BLOCK)),
    case("declared-huge", OK, b"Content-Length: 99999999999\r\n\r\nx",
         outcome="too_large", detail=HEAVY),
    case("length-beyond-64-bits", OK, b"Content-Length: 99999999999999999999999\r\n\r\nx",
         outcome="bad_response", detail=MALFORMED),
    case("length-negative", OK, b"Content-Length: -1\r\n\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("length-is-no-number", OK, b"Content-Length: many\r\n\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("two-lengths", OK, b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("too-short", OK, CLOSE, b"Content-Length: 500\r\n\r\n", PAGE,
         outcome="bad_response", detail=INCOMPLETE),
    case("length-and-chunked", OK, b"Content-Length: 5\r\n", CHUNKED, b"5\r\n<html\r\n0\r\n\r\n",
         outcome="bad_response", detail=MALFORMED),
    case("chunked-garbage", OK, CHUNKED, b"zz\r\nnonsense\r\n",
         outcome="bad_response", detail=MALFORMED),
    case("chunk-beyond-64-bits", OK, CHUNKED, b"fffffffffffffffffff\r\nx\r\n",
         outcome="bad_response", detail=MALFORMED),
    case("chunk-negative", OK, CHUNKED, b"-5\r\nhello\r\n",
         outcome="bad_response", detail=MALFORMED),
    case("chunk-of-another-length", OK, CHUNKED, b"3\r\nhello\r\n0\r\n\r\n",
         outcome="bad_response", detail=MALFORMED),
    case("chunks-without-end", OK, CHUNKED, b"5\r\n<html\r\n",
         outcome="bad_response", detail=INCOMPLETE),
    Case(name="endless-trailers", outcome="bad_response", detail=INCOMPLETE, alone=True,
         page=repeats(OK + CHUNKED + b"0\r\n", b"X-A: " + b"y" * 1000 + b"\r\n")),
    Case(name="endless-chunk-extension", outcome="timeout", detail=SLOW, alone=True,
         page=repeats(OK + CHUNKED + b"5;", BLOCK)),
    Case(name="reset-mid-body", page=aborts(OK, b"Content-Length: 1000\r\n\r\nabc"),
         outcome="bad_response", detail=INCOMPLETE),
    Case(name="slow-body", page=repeats(OK + b"\r\n", b"x", 0.05), outcome="timeout", detail=SLOW),
    Case(name="stall-after-header", page=stalls(OK, b"Content-Length: 9\r\n\r\n"),
         outcome="timeout", detail=SLOW),
    Case(name="unwanted-body-stalls", outcome="not_found", detail="404",
         page=stalls(b"HTTP/1.1 404 No\r\nContent-Length: 99\r\n\r\nx")),
    Case(name="unwanted-body-breaks", outcome="not_found", detail="404",
         page=aborts(b"HTTP/1.1 404 No\r\nContent-Length: 99\r\n\r\nx")),
)  # fmt: skip

CODINGS = (
    case("gzip", coded(b"gzip", gzip.compress(BIG))),
    case("gzip-of-gzip", coded(b"gzip, gzip", gzip.compress(gzip.compress(PAGE)))),
    case("gzip-in-members", coded(b"gzip", gzip.compress(PAGE) * 50)),
    case("gzip-then-junk", coded(b"gzip", gzip.compress(PAGE) + b"junk")),
    case("gzip-is-plain", coded(b"gzip", PAGE)),
    case("deflate-zlib", coded(b"deflate", deflated(PAGE, 15))),
    case("deflate-bare", coded(b"deflate", deflated(PAGE, -15))),
    case("brotli", coded(b"br", brotli.compress(BIG))),
    case("zstd", coded(b"zstd", zstandard.compress(BIG))),
    case("coding-unknown", coded(b"\"compress\x09\x01", PAGE),
         outcome="bad_response", detail="content coding"),
    case("coding-not-known", coded(b"dcb", PAGE), outcome="bad_response", detail="'dcb'"),
    case("four-codings", coded(b"gzip, gzip, gzip, gzip", gzip.compress(PAGE)),
         outcome="bad_response", detail="4 content codings"),
    case("gzip-in-too-many-members", coded(b"gzip", gzip.compress(b"x") * 5_000),
         outcome="bad_response", detail="more than 100 gzip members"),
    case("gzip-damaged", coded(b"gzip", b"\x1f\x8b\x08garbage"),
         outcome="bad_response", detail="damaged"),
    case("gzip-ends-early", coded(b"gzip", gzip.compress(BIG)[:-9]),
         outcome="bad_response", detail="ends early"),
    case("brotli-damaged", coded(b"br", b"\x0b\x02\x80" + b"\xff" * 40),
         outcome="bad_response", detail="damaged"),
    case("zstd-damaged", coded(b"zstd", zstandard.compress(BIG)[:-9] + b"123456789"),
         outcome="bad_response", detail="damaged"),
    case("deflate-damaged", coded(b"deflate", b"\x78\x9c\xff\xff"),
         outcome="bad_response", detail="damaged"),
    case("swollen-beyond-ratio", coded(b"gzip", gzip.compress(bytes(150_000))),
         outcome="too_large", detail="more than 200 times its size"),
    *(
        Case(name=f"{name}-bomb", page=says(coded(coding.encode(), body)), outcome="too_large",
             detail=detail, alone=True)
        for name, coding, body, detail in (
            ("gzip", "gzip", gzip.compress(ZEROS), "more than 200000 bytes when decompressed"),
            ("gzip-of-gzip", "gzip, gzip", gzip.compress(gzip.compress(ZEROS)), "200 times"),
            ("deflate", "deflate", deflated(ZEROS, 15), "200000 bytes"),
            ("brotli", "br", brotli.compress(ZEROS, quality=5), "200 times its size"),
            ("zstd", "zstd", zstandard.compress(ZEROS), "more than 200000 bytes"),
        )
    ),
)  # fmt: skip

HEADERS = (
    Case(name="endless-header", outcome="bad_response", detail=MALFORMED, alone=True,
         page=repeats(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"x" * 900 + b"\r\n")),
    Case(name="endless-small-fields", outcome="bad_response", detail=MALFORMED, alone=True,
         page=repeats(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n" * 1_000)),
    Case(name="endless-header-line", outcome="bad_response", detail=MALFORMED, alone=True,
         page=repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 9000)),
    Case(name="endless-field-name", outcome="bad_response", detail=MALFORMED, alone=True,
         page=repeats(b"HTTP/1.1 200 OK\r\n", b"x" * 9000)),
    Case(name="endless-status-line", outcome="bad_response", detail=MALFORMED, alone=True,
         page=repeats(b"HTTP/1.1 200 ", b"x" * 9000)),
    Case(name="endless-blanks-in-header", outcome="timeout", detail=SLOW, alone=True,
         page=repeats(b"HTTP/1.1 200 OK\r\nX:", b" " * 65_536)),
    Case(name="endless-1xx", outcome="timeout", detail=SLOW, alone=True,
         page=repeats(b"", b"HTTP/1.1 103 Early\r\nX-A: b\r\n\r\n" * 100)),
    case("megabyte-of-blanks", OK, CLOSE, b"X-A:" + b" " * 1_000_000 + b"b\r\n\r\n", PAGE),
    case("header-too-heavy", OK, *(b"X-%d: %s\r\n" % (n, b"y" * 400) for n in range(40)), b"\r\n",
         outcome="bad_response", detail="header of more than 8192 bytes"),
    case("too-many-fields", OK, b"a: b\r\n" * 400, b"\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("header-without-end", OK, b"X-A: b", outcome="unreachable", detail="closed without"),
    case("nul-in-header", OK, b"X-A: a\0b\r\n\r\n", PAGE, outcome="bad_response", detail=MALFORMED),
    case("vertical-tab-in-header", OK, CLOSE, b"X-A: a\x0bb\x0b\r\n\r\n", PAGE),
    case("escape-in-header", OK, CLOSE, b"X-A: \x1b]0;owned\x07\x1b[2J\r\n\r\n", PAGE),
    case("cr-in-header", OK, CLOSE, b"X-A: a\rWARC/1.1\r\n\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("unicode-controls-in-header", OK, CLOSE,
         "X-A: a\u2028WARC/1.1\u202eb\u0085c\r\n\r\n".encode(), PAGE),
    case("invalid-utf-8-in-header", OK, CLOSE, b"X-A: \xff\xfe\xed\xa0\x80\r\n\r\n", PAGE),
    case("folded-header", OK, CLOSE, b"X-A: a\r\n WARC/1.1\r\n\r\n", PAGE),
    case("field-without-colon", OK, b"nonsense\r\n\r\n", PAGE,
         outcome="bad_response", detail=MALFORMED),
    case("invalid-utf-8-in-reason", b"HTTP/1.1 418 \xff\xfe\xed\xa0\x80\r\n", CLOSE, b"\r\n",
         outcome="http_error", detail="418"),
    case("direction-marks-in-reason", "HTTP/1.1 418 a\u202eb\u2066\u2028c\r\n".encode(), CLOSE,
         b"\r\n", outcome="http_error", detail="418 a b c"),
    case("escape-in-reason", b"HTTP/1.1 418 \x1b[2J\r\n", CLOSE, b"\r\n",
         outcome="http_error", detail="418  [2J"),
    case("long-reason", b"HTTP/1.1 418 ", b"y" * 4000, b"\r\n", CLOSE, b"\r\n",
         outcome="http_error", detail="418 yyyy"),
    case("escape-in-type", b"HTTP/1.1 200 OK\r\nContent-Type: text/\xe2\x80\xaehtml\r\n", CLOSE,
         b"\r\n", PAGE, outcome="wrong_content_type", detail="text/ html"),
    case("status-000", b"HTTP/1.1 000 No\r\n", CLOSE, b"\r\n",
         outcome="http_error", detail="0 No"),
    case("status-999", b"HTTP/1.1 999 Denied\r\n", CLOSE, b"\r\n",
         outcome="http_error", detail="999 Denied"),
    case("status-101", b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
         outcome="http_error", detail="101"),
    case("status-of-four-digits", b"HTTP/1.1 2000 OK\r\n\r\n",
         outcome="bad_response", detail=MALFORMED),
    case("garbage", b"\x00\x01\x02\x03\r\n\r\n", outcome="bad_response", detail=MALFORMED),
    case("another-protocol", b"220 mail.example ESMTP\r\n",
         outcome="bad_response", detail=MALFORMED),
    case("http-0.9", PAGE, outcome="bad_response", detail=MALFORMED),
    case("http-2", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0d", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
         outcome="bad_response", detail=MALFORMED),
    Case(name="closed-without-answer", page=says(), outcome="unreachable", detail="closed without"),
    Case(name="reset-without-answer", page=aborts(), outcome="unreachable",
         detail="closed without"),
    Case(name="silent", page=stalls(), outcome="timeout", detail=SLOW),
    Case(name="slow-header", page=repeats(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
         outcome="timeout", detail=SLOW),
)  # fmt: skip

PRIVATE = """
http://127.0.0.1:22/ http://2130706433/ http://0x7f.1/ http://0177.0.0.1/ http://0/ http://127.1/
http://[::1]/ http://[::ffff:7f00:1]/ http://[::127.0.0.1]/ http://[64:ff9b::10.0.0.1]/
http://[fe80::1%25eth0]/ http://[fec0::1]/ http://[ff02::1]/ http://169.254.169.254/latest/
http://100.64.0.1/ http://10.0.0.1./ http://192.168.0.1/ http://localhost/ http://a.LocalHost./
http://metadata.google.internal/ http://①②⑦.0.0.1/ http://127。0。0。1/ //10.0.0.1/x
https://user:secret@10.0.0.1/ http://168.63.129.16/
""".split()  # noqa: SIM905

SCHEMES = ("file:///etc/passwd", "data:text/html,x", "javascript:alert(1)", "ftp://a.example/",
           "gopher://127.0.0.1:25/_x", "blob:x", "ws://a.example/")  # fmt: skip

_numbers = itertools.count()


def _grows() -> Case:
    async def behave(writer: asyncio.StreamWriter) -> None:
        await redirects(b"/page?%d" % next(_numbers))(writer)

    return Case(name="redirect-grows", page=behave, outcome="too_many_redirects",
                detail="more than 3")  # fmt: skip


REDIRECTS = (
    *(
        Case(name=f"redirect-to {target}", page=redirects(target.encode()),
             outcome="blocked_address", detail=":")
        for target in PRIVATE
    ),
    *(
        Case(name=f"redirect-to {target}", page=redirects(target.encode()),
             outcome="bad_response", detail="redirect to an address with scheme")
        for target in SCHEMES
    ),
    Case(name="redirect-to-self", page=redirects(b"/page"), outcome="too_many_redirects",
         detail="more than 3"),
    _grows(),
    Case(name="redirect-loop", page={"/page": redirects(b"/other"), "/other": redirects(b"/page")},
         outcome="too_many_redirects", detail="more than 3"),
    Case(name="redirect-chain-within", outcome="ok", page=in_turn(
         redirects(b"/1"), redirects(b"2"), redirects(b"?3"), whole(PAGE))),
    Case(name="redirect-without-location", page=whole(b"", b"HTTP/1.1 302 Found\r\n"),
         outcome="http_error", detail="302 Found"),
    Case(name="redirect-nowhere", page=redirects(b""), outcome="too_many_redirects", detail="more"),
    Case(name="redirect-garbage", page=redirects(b"http://[::1/"), outcome="bad_response",
         detail="redirect to an"),
    Case(name="redirect-port-garbage", page=redirects(b"http://a.example:99999/"),
         outcome="bad_response", detail="redirect to an"),
    Case(name="redirect-host-garbage", page=redirects(b"http://a\x7f b/"),
         outcome="bad_response", detail="an invalid host"),
    Case(name="redirect-not-utf-8", outcome="ok",
         page=in_turn(redirects(b"/\xff\xfe\xed\xa0\x80"), whole(PAGE))),
    Case(name="redirect-controls", outcome="ok",
         page=in_turn(redirects("/\u2028\u202e\u0085%0d%0aX: y".encode()), whole(PAGE))),
    Case(name="redirect-long", page=redirects(b"/" + b"y" * 5000), outcome="bad_response",
         detail="address of 50"),
    Case(name="redirect-twice", outcome="blocked_address", detail="10.0.0.1: private",
         page=redirects(b"http://10.0.0.1/", b"Location: /page\r\n")),
    Case(name="redirect-with-credentials", outcome="ok",
         page=in_turn(redirects(b"http://user:secret@127.1.0.1:9/"), whole(PAGE))),
    Case(name="redirect-to-wikipedia", page=redirects(b"//en.wikipedia.org/wiki/X"),
         outcome="wikipedia_redirect", detail="en.wikipedia.org"),
    Case(name="redirect-body-stalls", outcome="ok",
         page=in_turn(stalls(b"HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 9\r\n\r\n"),
                      whole(PAGE))),
    Case(name="cookies", outcome="ok",
         page=in_turn(redirects(b"/x", b"Set-Cookie: id=1; Path=/\r\n" * 3), whole(PAGE))),
    Case(name="auth-prompt", outcome="http_error", detail="401 No",
         page=whole(b"", b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\n"
                    b"WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Digest nonce=1\r\n")),
    Case(name="proxy-auth-prompt", outcome="http_error", detail="407 No",
         page=whole(b"", b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n")),
    *(
        Case(name=f"retry-after {value.decode()}", outcome="http_error", detail="503 Busy",
             page=whole(b"", BUSY + b"Retry-After: " + value + b"\r\n"))
        for value in (b"99999999999999999999", b"-5", b"1e400", b"Fri, 31 Dec 9999 23:59:59 GMT")
    ),
    Case(name="escape-in-link", path="\x1b]0;x\x07\u202e\u2028\x7f", page=whole(PAGE),
         outcome="ok"),
)  # fmt: skip

ROBOTS = (
    Case(name="robots-disallow", robots=whole(b"User-agent: *\nDisallow: /page"),
         page=whole(PAGE), outcome="robots_disallowed", detail="robots.txt disallows"),
    Case(name="robots-huge", robots=repeats(OK + b"\r\n", b"Allow: /\n" * 5_000),
         page=whole(PAGE), outcome="ok", alone=True),
    Case(name="robots-one-long-line", robots=repeats(OK + b"\r\n", BLOCK),
         page=whole(PAGE), outcome="ok", alone=True),
    Case(name="robots-slow", robots=repeats(OK + b"\r\n", b"#", 0.05),
         page=whole(PAGE), outcome="timeout", detail="robots.txt: " + SLOW),
    Case(name="robots-silent", robots=stalls(), page=whole(PAGE), outcome="timeout",
         detail="robots.txt: " + SLOW),
    Case(name="robots-loop", robots=redirects(b"/robots.txt"), page=whole(PAGE), outcome="ok"),
    Case(name="robots-private", robots=redirects(b"http://[::ffff:10.0.0.1]/robots.txt"),
         page=whole(PAGE), outcome="blocked_address", detail="robots.txt: "),
    Case(name="robots-file", robots=redirects(b"file:///etc/passwd"), page=whole(PAGE),
         outcome="ok"),
    Case(name="robots-html", robots=whole(b"<html>\0\xff<h1>Not a robots file</h1></html>"),
         page=whole(PAGE), outcome="ok"),
    Case(name="robots-controls", page=whole(PAGE), outcome="ok",
         robots=whole(b"User-agent: *\x1b[2J\r\0\nDisallow: /\xe2\x80\xaex\nCrawl-delay: 1e999\n")),
    Case(name="robots-bomb", robots=says(coded(b"gzip", gzip.compress(ZEROS))), page=whole(PAGE),
         outcome="robots_disallowed", detail="robots.txt: ", alone=True),
    Case(name="robots-garbage", robots=says(b"\0\0\r\n\r\n"), page=whole(PAGE),
         outcome="bad_response", detail="robots.txt: " + MALFORMED),
    Case(name="robots-wildcards", page=whole(PAGE), outcome="ok", alone=True,
         robots=whole(b"User-agent: *\nDisallow: /" + b"*a" * 2_000 + b"$\n")),
)  # fmt: skip

TLS = (
    Case(name="tls-good", tls="good", page=whole(PAGE), outcome="ok"),
    *(
        Case(name=f"tls-{fault}", tls=fault, page=whole(PAGE), outcome="unreachable",
             detail=f"TLS failed: {words}")
        for fault, words in (
            ("expired", "certificate expired"),
            ("future", "certificate not yet valid"),
            ("wrong-host", "certificate of another address"),
            ("unknown-authority", "unknown issuer"),
            ("self-signed", "self-signed certificate"),
        )
    ),
    Case(name="tls-tls-1.0", tls="tls-1.0", page=whole(PAGE), outcome="unreachable", detail=": "),
    Case(name="tls-plain-http", tls="plain", outcome="unreachable", detail="TLS failed: wrong ver",
         page=says(b"HTTP/1.1 400 Bad\r\n\r\n")),
    Case(name="tls-silent", tls="plain", page=stalls(), outcome="timeout", detail="in time"),
    Case(name="tls-garbage", tls="plain", page=says(b"\x16\x03\x01\xff\xff" + b"\0" * 100),
         outcome="unreachable", detail=""),
    Case(name="tls-slow", tls="plain", page=repeats(b"\x16\x03\x03\x3f\xff\x02", b"\0", 0.05),
         outcome="timeout", detail="in time"),
)  # fmt: skip

CASES = (*FINE, *BODIES, *CODINGS, *HEADERS, *REDIRECTS, *ROBOTS, *TLS)
