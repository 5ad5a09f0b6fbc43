"""Opt-outs in fields and meta tags: every form, hostile heads, linear time."""

import time

import pytest

from webtext.optout import SCANNED_BYTES, header_opt_out, meta_opt_out

ROBOT = "webtext-pipeline"
TAGS = ("noai", "noml", "noindex")
NOAI = b'<meta name="robots" content="noai">'


def by_header(*fields: tuple[str, str], tdm: bool = True) -> str | None:
    return header_opt_out(fields, ROBOT, TAGS, tdm=tdm)


def by_meta(head: bytes, *, tdm: bool = True) -> str | None:
    return meta_opt_out(head, ROBOT, TAGS, tdm=tdm)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("noai", "noai"),
        ("NoIndex", "noindex"),
        ("nofollow, noml", "noml"),
        ("nofollow; noai", "noai"),
        ("none", "noindex"),
        ("webtext-pipeline: noai", "noai"),
        ("WebText-Pipeline: nofollow, noindex", "noindex"),
        ("otherbot: noindex, webtext-pipeline: noai", "noai"),
        ("noindex, otherbot: all", "noindex"),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noai", "noai"),
        ("max-snippet:-1, noai", "noai"),
        ("otherbot: noai", None),
        ("otherbot: nofollow, noindex", None),
        ("webtext: noai", None),
        ("all", None),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", None),
        ("noaitraining", None),
        ("", None),
        (":" * 1000, None),
    ],
)
def test_a_robots_field_holds_for_whom_it_names(value: str, word: str | None) -> None:
    assert by_header(("x-ROBOTS-tag", value)) == (word and f"X-Robots-Tag: {word}")


def test_each_of_several_fields_counts() -> None:
    fields = [("X-Robots-Tag", "otherbot: noindex"), ("A", "b"), ("X-Robots-Tag", "noml")]
    assert by_header(*fields) == "X-Robots-Tag: noml"


@pytest.mark.parametrize(
    ("value", "reserved"), [("1", True), (" 1 ", True), ("0", False), ("", False), ("11", False)]
)
def test_a_reservation_is_the_number_one(value: str, reserved: bool) -> None:
    assert (by_header(("tdm-reservation", value)) is not None) == reserved
    assert by_header(("tdm-reservation", value), tdm=False) is None
    tag = f'<meta content="{value}" name="TDM-Reservation">'.encode()
    assert (by_meta(tag) is not None) == reserved
    assert by_meta(tag, tdm=False) is None


@pytest.mark.parametrize(
    "head",
    [
        NOAI,
        b"<META NAME=ROBOTS CONTENT=NOAI>",
        b"<meta name=robots content=noai/>",
        b"<meta name='robots' content='index, noai' />",
        b"<meta\n\tcontent = noai\n name = robots\n>",
        b'<meta data-x="a>b" name="robots" content="noai">',
        b'<meta name="webtext-pipeline" content="noai">',
        b"<!-- <meta> -->" + NOAI,
        b"<!-->" + NOAI,
        b"<script>if (a < b) '<meta>'</script>" + NOAI,
        b"<title><b></title>" + NOAI,
        b"<headline></headline>" + NOAI,
        b"<styles>" + NOAI,
        b'<meta name="viewport" content="a">' + NOAI,
        b"\xff\xfe\x00\x80" + NOAI,
        b"<meta charset=shift_jis><title>\x83\x5c</title>" + NOAI,
        ("\ufeff<html>" + NOAI.decode()).encode("utf-16-le"),
        ("\ufeff<html>" + NOAI.decode()).encode("utf-16-be"),
        b" " * (SCANNED_BYTES - len(NOAI)) + NOAI,
    ],
)
def test_a_meta_tag_is_found_however_it_is_written(head: bytes) -> None:
    name = "webtext-pipeline" if b"webtext" in head else "robots"
    assert by_meta(head) == f"meta {name}: noai"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"<!-- " + NOAI + b" -->",
        b"<!-- " + NOAI,
        b"<script>" + NOAI + b"</script>",
        b"<SCRIPT type=x>'" + NOAI,
        b"<title>" + NOAI + b"</title>",
        b"</head>" + NOAI,
        b"<body class=x>" + NOAI,
        b'<meta name="googlebot" content="noai">',
        b'<meta name="robots" content="all">',
        b'<meta name="description" content="noai">',
        b'<meta name="robots">',
        b'<metadata name="robots" content="noai">',
        b'<meta name="robots" content="noai',
        b'<p title="' + NOAI.replace(b'"', b"'")[1:] + b'">',
        b" " * SCANNED_BYTES + NOAI,
    ],
)
def test_what_is_no_tag_of_the_head_is_none(head: bytes) -> None:
    assert by_meta(head) is None


def test_the_first_of_two_equal_attributes_counts() -> None:
    assert by_meta(b'<meta name=robots content="all" content="noai">') is None


@pytest.mark.parametrize(
    "unit",
    [
        b"<",
        b"<!-",
        b"<!---->",
        b'<meta "',
        b"<meta " + b"a" * 4_000 + b">",
        b"<meta " + b"a " * 2_000 + b">",
        b"<meta a" + b" " * 4_000 + b">",
        b"<meta " + b"'a'=\"" * 800 + b">",
        b"<meta name=robots content=" + b"," * 4_000 + b">",
        b"<script></script>",
        b"<title",
    ],
)
def test_work_is_linear_in_a_hostile_head(unit: bytes) -> None:
    head = unit * (SCANNED_BYTES // len(unit) + 1)
    started = time.process_time()
    assert by_meta(head) is None
    assert time.process_time() - started < 1.0  # measured: 0.08 s at most


def test_work_is_linear_in_a_hostile_field() -> None:
    started = time.process_time()
    for unit in (",", "a:", " ", "otherbot: ", "noai:"):
        by_header(("X-Robots-Tag", unit * (65_536 // len(unit))))
    assert time.process_time() - started < 1.0
