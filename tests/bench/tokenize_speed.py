"""Tokenising and packing end to end (Parquet in, shards and spans out), beside bare tiktoken."""

import tempfile
import time
from pathlib import Path

from tests.bench.real_texts import newsgroup_texts
from tests.webtext.corpora import document_row, write_part
from webtext.counts import silent
from webtext.shards import ShardsConfig, pack_shards_partition
from webtext.vocabulary import gpt2_encoding

GOAL = 0.95


def run() -> dict[str, object]:
    texts = newsgroup_texts()
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    encoding = gpt2_encoding()
    with tempfile.TemporaryDirectory() as folder:
        rows = [document_row(key, text) for key, text in enumerate(texts)]
        corpus = write_part(Path(folder) / "corpus", "train", rows)
        write_part(corpus, "validation", [])
        bare, ours = [], []
        for turn in range(3):
            start = time.process_time()
            for text in texts:
                encoding.encode_ordinary(text)
            bare.append(time.process_time() - start)
            start = time.process_time()
            pack_shards_partition(
                corpus=corpus,
                partition=0,
                destination=Path(folder) / str(turn),
                config=ShardsConfig(),
                progress=silent,
            )
            ours.append(time.process_time() - start)
    print(f"{len(texts)} messages, {megabytes:.0f} MB, one core")
    print(f"{'':28}{'MB/s':>8}")
    print(f"{'tiktoken encode_ordinary':28}{megabytes / min(bare):8.1f}")
    print(f"{'webtext.shards':28}{megabytes / min(ours):8.1f}")
    ratio = min(bare) / min(ours)
    return {
        "name": "tokens and shards beside bare tiktoken",
        "measured": round(ratio, 3),
        "goal": GOAL,
        "unit": "times",
        "reached": ratio >= GOAL,
    }


if __name__ == "__main__":
    print(run())
