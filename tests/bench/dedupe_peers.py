"""Deduplication end to end beside datatrove's and text-dedup's: documents/s, recall, memory.

20 Newsgroups with near-copies planted at known similarity; 14 bands of 8 rows, word 5-grams, one
process each, one after another. Judged by processor time, from which that of a run over ten
documents is taken as start-up.

datatrove is given this project's splitting into words in place of spaCy's, so that shingles are
equal and it is spared spaCy's time; its hash is given bytes, since newer xxhash takes no text.
text-dedup cannot be installed beside this project's datasets and pandas (it wants pandas below 2);
where a folder with it is on PYTHONPATH, it is measured, else left out aloud.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tests.bench.dedupe_quality import SIMILARITIES, changed, numbered, shingle_ids, similar_pairs
from tests.bench.real_texts import newsgroup_texts
from tests.webtext.corpora import document_row, write_part

GOAL = 5.0
MESSAGES = 6_000
PLANTED = 100

_OURS = """
from webtext.counts import silent
from webtext.duplicates import DuplicatesConfig, find_duplicates
from webtext.signatures import SignaturesConfig, sign_documents_partition
import pyarrow.parquet as pq
sign_documents_partition(documents=root / "documents", partition=0, destination=out / "s",
                         config=SignaturesConfig(), progress=silent)
find_duplicates(signatures=out / "s", destination=out / "d", config=DuplicatesConfig(),
                progress=silent)
table = pq.read_table(out / "d" / "duplicates" / "duplicates.parquet")
removed = [int.from_bytes(key, "big") for key in table["link_id"].to_pylist()]
"""

_DATATROVE = """
import re
import xxhash
import datatrove.pipeline.dedup.minhash as minhash
from datatrove.data import Document
from loguru import logger
logger.remove()
class Words:
    def word_tokenize(self, text):
        return re.findall(r"\\w+", text.lower())
minhash.load_word_tokenizer = lambda language: Words()
minhash.simplify_text = lambda text, config: text
config = minhash.MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
with open(root / "texts.jsonl") as lines:
    rows = (json.loads(line) for line in lines)
    texts = (Document(text=row["text"], id=str(row["id"])) for row in rows)
    step = minhash.MinhashDedupSignature(str(out / "s"), config)
    step._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())
    step.run(texts, 0, 1)
for bucket in range(14):
    minhash.MinhashDedupBuckets(str(out / "s"), str(out / "b"), config=config).run(None, bucket, 14)
minhash.MinhashDedupCluster(str(out / "b"), str(out / "c"), config).run(None, 0, 1)
file = out / "c" / "000000.remove"
removed = list(memoryview(file.read_bytes()).cast("I")) if file.exists() else []
"""

_TEXT_DEDUP = """
import datasets
from text_dedup.minhash import main
main(["--path", "json", "--data_files", str(root / "texts.jsonl"), "--split", "train",
      "--cache_dir", str(out / "cache"), "--output", str(out / "kept"), "--column", "text",
      "--ngram", "5", "--min_length", "0", "--num_perm", "112", "--b", "14", "--r", "8",
      "--hash_func", "xxh3", "--num_proc", "1"], standalone_mode=False)
kept = set(datasets.load_from_disk(str(out / "kept"))["id"])
removed = [i for i, _ in enumerate(open(root / "texts.jsonl")) if i not in kept]
"""

_FRAME = """
import json, re, sys
from pathlib import Path
root, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir()
{}
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
(out / "told.json").write_text(json.dumps([int(peak) / 1024, removed]))
"""


class _Run(NamedTuple):
    cpu: float
    peak_mib: float
    removed: set[int]


def run() -> dict[str, object]:
    texts = newsgroup_texts()
    random.Random(1).shuffle(texts)
    natural = texts[:MESSAGES]
    ids, starts = shingle_ids(natural)
    pairs = [(i, j) for i, j, _ in similar_pairs(ids, starts, 0.8)]
    chance = random.Random(2)
    corpus = list(natural)
    planted = {}
    for similarity in SIMILARITIES:
        originals = [numbered(chance) for _ in range(PLANTED)]
        first = len(corpus)
        corpus += [" ".join(words) for words in originals]
        corpus += [changed(words, similarity) for words in originals]
        planted[similarity] = [(first + k, first + PLANTED + k) for k in range(PLANTED)]
    codes = {"webtext": _OURS, "datatrove": _DATATROVE}
    if find_spec("text_dedup"):
        codes["text-dedup"] = _TEXT_DEDUP
    else:
        print("text-dedup is not installed (it wants pandas below 2) and is left out")
    print(f"{len(corpus)} documents, 14 x 8, word 5-grams, one process; recall by Jaccard")
    print(f"{'':12}{'docs/s':>9}{'peak MiB':>10}{'natural':>9}", end="")
    print("".join(f"{similarity:>7}" for similarity in SIMILARITIES))
    rates = {name: _report(name, code, corpus, pairs, planted) for name, code in codes.items()}
    ratio = rates["webtext"] / max(rate for name, rate in rates.items() if name != "webtext")
    return {
        "name": f"documents/s beside the faster of {', '.join(list(codes)[1:])}",
        "measured": round(ratio, 2),
        "goal": GOAL,
        "unit": "times",
        "reached": ratio >= GOAL,
    }


def _report(
    name: str,
    code: str,
    corpus: list[str],
    pairs: list[tuple[int, int]],
    planted: dict[float, list[tuple[int, int]]],
) -> float:
    startup, whole = _measure(code, corpus[:10]), _measure(code, corpus)
    rate = len(corpus) / (whole.cpu - startup.cpu)
    print(f"{name:12}{rate:9,.0f}{whole.peak_mib:10,.0f}", end="")
    for chosen in (pairs, *planted.values()):
        found = sum(bool({i, j} & whole.removed) for i, j in chosen) / len(chosen)
        print(f"{found:{9 if chosen is pairs else 7}.3f}", end="")
    print(flush=True)
    return rate


def _measure(code: str, corpus: list[str]) -> _Run:
    """Run one of them over the corpus in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_part(
            root / "documents",
            "documents",
            [document_row(key, text) for key, text in enumerate(corpus)],
        )
        with (root / "texts.jsonl").open("w") as file:
            for key, text in enumerate(corpus):
                file.write(json.dumps({"id": key, "text": text}) + "\n")
        command = [sys.executable, "-c", _FRAME.format(code), str(root), str(root / "out")]
        with (root / "log").open("wb") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError((root / "log").read_text()[-2000:])
        peak_mib, removed = json.loads((root / "out" / "told.json").read_text())
    cpu = used.ru_utime + used.ru_stime
    return _Run(cpu, peak_mib, set(removed))


if __name__ == "__main__":
    print(run())
