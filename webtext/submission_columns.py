"""Whole columns of submissions: what the compiled scanner read, judged without an object a row.

`webtext._rows` reads most lines of a dump; what it is not certain of, it hands back, and
`webtext.submission_lines` judges that. Both give the same rows for the same line. Where the
package was installed without a compiler, there is no scanner and `judge_line` reads every line.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from webtext.submission_lines import Row, judge_line
from webtext.submission_rules import (
    CREATED_MAX,
    KARMA_MAX,
    SUBMISSION_REASONS,
    Rules,
    Site,
    SubmissionsConfig,
)
from webtext.tables import LINK_ID, SUBMISSIONS
from webtext.urls import MAX_URL_CHARACTERS, TRACKING_PARAMETERS

try:
    from webtext._rows import Scanner
except ImportError:
    Scanner = None  # type: ignore[assignment, misc]

ROWS_A_TABLE = 50_000
"""Rows that are held before they are handed on."""
BYTES_A_TABLE = 128 * 2**20
"""Text that is read before rows are handed on, however few there are: bounds memory."""

_OVER_18, _MEDIA = 1, 2
_CODES = {reason: code for code, reason in enumerate(SUBMISSION_REASONS, 1)}


class LineReader:
    """Reads lines and gives tables of `SUBMISSIONS`; `losses` and `lines` tell the rest."""

    def __init__(self, config: SubmissionsConfig, rules: Rules, *, compiled: bool = True) -> None:
        self.lines = 0
        """Lines read."""
        self.losses: Counter[str] = Counter()
        """Lines without a row, by reason."""
        self._rules = rules
        self._rows: list[Row] = []
        self._bytes = 0
        self._scanner = None
        if compiled and Scanner is not None and _fits(config):
            extensions = [name.encode() for name in config.media_extensions]
            self._scanner = Scanner(extensions, [name.encode() for name in TRACKING_PARAMETERS])

    def feed(self, block: bytes) -> None:
        """Read a block of whole lines."""
        self._bytes += len(block)
        if self._scanner is not None:
            count, uncertain = self._scanner.feed(block)
        else:
            uncertain = block.removesuffix(b"\n").split(b"\n")
            count = len(uncertain)
        self.lines += count
        for line in uncertain:
            self.add(judge_line(line, self._rules))

    def add(self, judged: Row | str) -> None:
        """Take a row, or count the reason why there is none."""
        if isinstance(judged, str):
            self.losses[judged] += 1
        else:
            self._rows.append(judged)

    def is_full(self) -> bool:
        """Whether enough was read for `take` to be called."""
        return len(self._rows) >= ROWS_A_TABLE or self._bytes >= BYTES_A_TABLE

    def take(self) -> pa.Table:
        """The rows read since the last call, in no particular order."""
        tables = [_table_of(self._rows)]
        self._rows, self._bytes = [], 0
        if self._scanner is not None:
            rows, blank, self_posts, *columns = self._scanner.take()
            self.losses.update({"blank_line": blank, "self_post": self_posts})
            tables.append(_judge_columns(rows, columns, self._rules, self.losses))
        return pa.concat_tables(tables)


def _fits(config: SubmissionsConfig) -> bool:
    """Whether the scanner can hold the config's extensions."""
    names = config.media_extensions
    return len(names) <= 512 and all(
        name.isascii() and name == name.lower() and 0 < len(name) <= 31 for name in names
    )


def _table_of(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[] for _ in SUBMISSIONS]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, SUBMISSIONS, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=SUBMISSIONS)


def _judge_columns(rows: int, columns: list[bytes], rules: Rules, losses: Counter[str]) -> pa.Table:
    """The rows of the scanner's columns that no rule drops; the others are counted."""
    site, path, reddit_id, subreddit = (
        _text_column(rows, columns[place], columns[place + 1]) for place in (0, 2, 4, 6)
    )
    karma, created = (np.frombuffer(column, dtype=np.int64) for column in columns[8:10])
    flags = np.frombuffer(columns[10], dtype=np.uint8)
    created = np.where((created >= 0) & (created <= CREATED_MAX), created, 0)
    sites = _Sites(site, rules)
    too_long = sites.lengths + pc.binary_length(path).to_numpy() > MAX_URL_CHARACTERS
    reasons = np.select(
        [
            np.abs(karma) > KARMA_MAX,
            _outside(created, rules.dates),
            (flags & _OVER_18 != 0) & rules.drops_over_18,
            _in_dropped_subreddit(subreddit, rules),
            sites.is_invalid,
            too_long,
            sites.codes > 0,
            flags & _MEDIA != 0,
        ],
        [
            _CODES["missing_field"],
            _CODES["outside_dates"],
            _CODES["over_18"],
            _CODES["subreddit"],
            sites.codes,
            _CODES["url_too_long"],
            sites.codes,
            _CODES["media"],
        ],
    )
    for code, count in enumerate(np.bincount(reasons, minlength=1)):
        if code and count:
            losses[SUBMISSION_REASONS[code - 1]] += int(count)
    kept = pa.array(np.flatnonzero(reasons == 0))
    path, site_of = path.take(kept), sites.places[kept.to_numpy()]
    return pa.Table.from_arrays(
        [
            pa.array(sites.partitions[site_of], pa.int32()),
            _link_ids(sites.text("origin", site_of), path),
            pc.binary_join_element_wise(sites.text("origin", site_of), path, ""),
            sites.text("host", site_of),
            sites.text("domain", site_of),
            reddit_id.take(kept),
            subreddit.take(kept),
            pa.array(karma[kept.to_numpy()], pa.int32()),
            pa.array(created[kept.to_numpy()], pa.int64()),
        ],
        schema=SUBMISSIONS,
    )


class _Sites:
    """The distinct sites of a column, each judged once, and which rows are of which."""

    def __init__(self, column: pa.StringArray, rules: Rules) -> None:
        encoded = column.dictionary_encode()
        self._judged = [_judge_site(site, rules) for site in encoded.dictionary.to_pylist()]
        self.places: NDArray[np.int64] = encoded.indices.to_numpy().astype(np.int64)
        """The place in the dictionary, for each row."""
        self.partitions = self._facts(lambda site: site.partition)
        self.codes = self._facts(lambda site: _CODES[site.reason] if site.reason else 0)[
            self.places
        ]
        """The code of the reason that a row's site is dropped by; 0 for none."""
        self.is_invalid = self._facts(lambda site: not site.origin)[self.places] > 0
        """Whether a row's site has no normalised form."""
        self.lengths = self._facts(lambda site: len(site.origin))[self.places]
        """Characters of each row's origin."""

    def text(self, name: str, places: NDArray[np.int64]) -> pa.StringArray:
        """A text of the sites at `places`."""
        return pa.array([getattr(site, name) for site in self._judged], pa.string()).take(
            pa.array(places)
        )

    def _facts(self, of: Callable[[Site], Any]) -> NDArray[np.int64]:
        return np.array([of(site) for site in self._judged], dtype=np.int64)


def _judge_site(site: str, rules: Rules) -> Site:
    scheme, _, authority = site.partition("://")
    return rules.judge_site(scheme, authority)


def _text_column(rows: int, ends: bytes, text: bytes) -> pa.StringArray:
    return pa.StringArray.from_buffers(rows, pa.py_buffer(bytes(4) + ends), pa.py_buffer(text))


def _outside(created: NDArray[np.int64], dates: range | None) -> NDArray[np.bool_]:
    if dates is None:
        return np.zeros(created.size, dtype=np.bool_)
    return (created < dates.start) | (created >= dates.stop)


def _in_dropped_subreddit(subreddit: pa.StringArray, rules: Rules) -> NDArray[np.bool_]:
    if not rules.judges_subreddits:
        return np.zeros(len(subreddit), dtype=np.bool_)
    encoded = subreddit.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    dropped = np.array([rules.drops_subreddit(name) for name in names], dtype=np.bool_)
    found: NDArray[np.bool_] = dropped[encoded.indices.to_numpy()]
    return found


def _link_ids(origin: pa.StringArray, path: pa.StringArray) -> pa.Array:
    """`webtext.urls.link_id` of every URL: the hash with `https` read as `http`."""
    plain = pc.replace_substring_regex(origin, "^https:", "http:")
    urls = pc.binary_join_element_wise(plain, path, "").cast(pa.binary()).to_pylist()
    hashes = b"".join([blake2b(url, digest_size=16).digest() for url in urls])
    return pa.FixedSizeBinaryArray.from_buffers(LINK_ID, len(urls), [None, pa.py_buffer(hashes)])
