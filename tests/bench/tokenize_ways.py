"""The ways of tokenizing that `tokenize_speed` compares: `python -m … WAY FOLDER [PART]`.

`FOLDER/corpus/train/part-00000.parquet` and `part-00001.parquet` hold the documents. Each way works
in two processes and leaves its files in a folder of its name.
"""

import subprocess
import sys
from pathlib import Path

PARTS = 2


def ours(folder: Path, part: int) -> None:
    """Parquet to shards and spans, a partition a process, as the pipeline does it."""
    from webtext.counts import silent
    from webtext.shards import ShardsConfig, pack_shards_partition

    pack_shards_partition(
        corpus=folder / "corpus",
        partition=part,
        destination=folder / "ours",
        config=ShardsConfig(),
        progress=silent,
    )


def bare(folder: Path, part: int) -> None:
    """Texts that are in memory through tiktoken, the tokens thrown away."""
    import pyarrow.parquet as pq

    from webtext.tables import part_name
    from webtext.vocabulary import gpt2_encoding

    table = pq.read_table(folder / "corpus" / "train" / part_name(part), columns=["text"])
    encoding = gpt2_encoding()
    for text in table["text"].to_pylist():
        encoding.encode_ordinary(text)


def nanogpt(folder: Path) -> None:
    """`datasets.map` with tiktoken in two processes, then one uint16 file: nanoGPT's way."""
    import datasets
    import numpy as np

    datasets.disable_progress_bars()
    files = sorted(map(str, (folder / "corpus" / "train").iterdir()))
    texts = datasets.load_dataset(
        "parquet", data_files=files, split="train", columns=["text"],
        cache_dir=str(folder / "nanogpt" / "cache"),
    )  # fmt: skip
    tokens = texts.map(_tokenize, remove_columns=["text"], num_proc=PARTS)
    total = int(np.sum(tokens["length"], dtype=np.int64))
    out = np.memmap(folder / "nanogpt" / "train.bin", dtype=np.uint16, mode="w+", shape=(total,))
    place = 0
    pieces = min(64, len(tokens))
    for piece in range(pieces):
        shard = tokens.shard(num_shards=pieces, index=piece, contiguous=True).with_format("numpy")
        joined = np.concatenate(shard["tokens"])
        out[place : place + joined.size] = joined
        place += joined.size
    out.flush()


def _tokenize(row: dict[str, str]) -> dict[str, object]:
    from webtext.vocabulary import END_OF_TEXT, gpt2_encoding

    tokens = [*gpt2_encoding().encode_ordinary(row["text"]), END_OF_TEXT]
    return {"tokens": tokens, "length": len(tokens)}


def datatrove(folder: Path) -> None:
    """Datatrove's reader and tokenizer, two tasks in two workers."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from loguru import logger

    logger.remove()
    out = folder / "datatrove"
    LocalPipelineExecutor(
        pipeline=[
            ParquetReader(str(folder / "corpus" / "train"), id_key="url", read_metadata=False),
            DocumentTokenizer(
                str(out / "tokens"), str(folder / "tokenizer" / "tokenizer.json"),
                local_working_dir=str(out / "work"), shuffle_documents=False,
                eos_token="<|endoftext|>", save_final_metadata=False,
            ),
        ],
        tasks=PARTS,
        workers=PARTS,
        logging_dir=str(out / "logs"),
    ).run()  # fmt: skip


def main(way: str, folder: Path, part: int | None) -> None:
    """Do a way, or one part of it."""
    (folder / way).mkdir(exist_ok=True)
    if way in {"ours", "bare"} and part is None:
        command = [sys.executable, "-m", "tests.bench.tokenize_ways", way, str(folder)]
        children = [subprocess.Popen([*command, str(number)]) for number in range(PARTS)]
        if any(child.wait() for child in children):
            raise SystemExit(f"{way} failed")
    elif part is not None:
        {"ours": ours, "bare": bare}[way](folder, part)
    else:
        {"nanogpt": nanogpt, "datatrove": datatrove}[way](folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
