"""Submissions read a second: our reader beside a plain loop of `json` over the same lines.

A dump of rows of about 1.5 KB, in the layout and proportions of a real month, is made and then
read from zstd to the sorted table. Seconds of CPU are counted, so "per core" holds although the
sort may use two threads.
"""

import io
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import zstandard

from webtext.counts import Counts
from webtext.submissions import SubmissionsConfig, read_submissions_dump

GOAL = 200_000
ROWS = 600_000
_DISTINCT_ROWS = 20_000  # made once and repeated with other ids, for speed of making
_WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "l")]


def run(rows: int = ROWS) -> dict[str, Any]:
    """Measure, print a table, and return the figure with its goal."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "RS_2017-10.zst"
        text_bytes = _write_dump(dump, rows)
        counts, ours, ours_wall = _time_reader(dump, Path(folder))
        plain = _time_plain_loop(dump)
    print(f"{rows:,} rows of {text_bytes / rows:,.0f} bytes, {counts.rows_out:,} kept")
    print(f"{'reader':<34}{'rows / CPU s':>14}{'rows / wall s':>15}")
    print(f"{'ours, to the sorted table':<34}{rows / ours:>14,.0f}{rows / ours_wall:>15,.0f}")
    print(f"{'plain json loop':<34}{rows / plain[0]:>14,.0f}{rows / plain[1]:>15,.0f}")
    measured = round(rows / ours)
    return {
        "name": "dump_read",
        "measured": measured,
        "goal": GOAL,
        "unit": "submissions/s per core",
        "reached": measured >= GOAL,
    }


def _time_reader(dump: Path, folder: Path) -> tuple[Counts, float, float]:
    destination = folder / "out"
    destination.mkdir()
    cpu, wall = time.process_time(), time.perf_counter()
    counts = read_submissions_dump(
        dump=dump, partition=0, destination=destination, config=SubmissionsConfig(partitions=64)
    )
    return counts, time.process_time() - cpu, time.perf_counter() - wall


def _time_plain_loop(dump: Path) -> tuple[float, float]:
    """What anybody would write first: decompress, split, `json.loads`, look at three fields."""
    cpu, wall = time.process_time(), time.perf_counter()
    kept = 0
    with dump.open("rb") as file:
        reader = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(file)
        for line in io.TextIOWrapper(reader, encoding="utf-8"):
            row = json.loads(line)
            kept += not row["is_self"] and row["score"] >= 3 and bool(row["url"])
    return time.process_time() - cpu, time.perf_counter() - wall


def _write_dump(dump: Path, rows: int) -> int:
    draw = random.Random(1)
    models = [_make_row(draw, number) for number in range(_DISTINCT_ROWS)]
    size = 0
    with dump.open("wb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as packer:
        for number in range(rows):
            line = models[draw.randrange(_DISTINCT_ROWS)].replace(b"IDENTITY", b"%08x" % number)
            packer.write(line)
            size += len(line)
    return size


def _make_row(draw: random.Random, number: int) -> bytes:
    """A row of a month of 2017: four in ten are self posts, a quarter pictures."""
    kind = draw.choices(["self", "picture", "page"], [40, 25, 35])[0]
    domain = {"self": "self.Python", "picture": "i.redd.it"}.get(kind, f"site{number % 3000}.com")
    words = [draw.choice(_WORDS) for _ in range(120)]
    row = {
        "archived": False, "author": "nobody", "author_flair_css_class": None,
        "author_flair_text": None, "brand_safe": True, "contest_mode": False,
        "created_utc": 1_506_816_000 + number, "distinguished": None, "domain": domain,
        "edited": False, "gilded": 0, "hidden": False, "hide_score": False, "id": "IDENTITY",
        "is_crosspostable": True, "is_reddit_media_domain": kind == "picture",
        "is_self": kind == "self", "is_video": False, "link_flair_css_class": None,
        "link_flair_text": None, "locked": False, "media": None, "media_embed": {},
        "num_comments": number % 90, "num_crossposts": 0, "over_18": False,
        "parent_whitelist_status": "all_ads", "permalink": f"/r/Python/comments/{number}/title/",
        "pinned": False, "post_hint": "link",
        "preview": {"enabled": False, "images": [{"id": words[0] * 6, "resolutions": [
            {"height": 60 * n, "url": f"https://i.redditmedia.com/{words[n] * 8}.jpg", "width": 108}
            for n in range(3)]}]},
        "retrieved_on": 1_509_800_000, "score": number % 50, "secure_media": None,
        "secure_media_embed": {}, "selftext": " ".join(words) if kind == "self" else "",
        "spoiler": False, "stickied": False, "subreddit": "Python", "subreddit_id": "t5_2qh0y",
        "subreddit_type": "public", "suggested_sort": None,
        "thumbnail": f"https://b.thumbs.redditmedia.com/{words[5] * 9}.jpg",
        "thumbnail_height": 78, "thumbnail_width": 140, "title": " ".join(words[:14]),
        "url": f"https://www.{domain}/{2017}/{words[1]}/{'-'.join(words[2:8])}?id=IDENTITY",
        "whitelist_status": "all_ads",
    }  # fmt: skip
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    run()
