"""The `features` command: hidden states of texts, for use in other models."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from flows.cli_options import DebugOption, StoreRequired

if TYPE_CHECKING:
    from model.features import FeatureCounts

_STAGE = "features"


def register_features(app: App) -> None:
    """Add the command to the command line."""
    app.command(features)


def features(
    texts: Path,
    destination: Path,
    *,
    model: Annotated[str, Parameter(help="A model artifact, or a Hugging Face folder.")] = "model",
    column: Annotated[
        str, Parameter(help="Field of the JSON lines, or column of the Parquet file.")
    ] = "text",
    pool: Annotated[
        Literal["none", "last", "mean"],
        Parameter(help="A state for each token, the last token's, or the mean of a text's."),
    ] = "none",
    device: Annotated[str, Parameter(help="cpu or cuda.")] = "cpu",
    store: StoreRequired = Path("runs"),
    debug: DebugOption = False,  # noqa: ARG001  read by `main`
) -> None:
    """Write a model's last hidden states of texts, as `transformers`' GPT2Model gives them.

    Two arrays are written. `states`, float32: (tokens, width), the texts one after the other; with
    `--pool last` or `mean` (texts, width). `counts`, int64 (texts, 2): how many tokens of each text
    were read, and how many it has. What lies beyond the model's context is cut off, and told.

    Args:
        texts: a text a line (.txt), a JSON object a line (.jsonl), or a table (.parquet).
        destination: NAME.safetensors for both arrays, or NAME.npy for the states, with the counts
            beside them in NAME.counts.npy.
    """
    from rich.console import Console

    from flows.progress import TerminalReporter
    from flows.show import model_folder
    from model.export import import_model
    from model.features import write_features
    from model.texts_file import read_texts
    from webtext.vocabulary import gpt2_encoding

    read_texts(texts, column)  # says what is wrong before the model is loaded
    reporter = TerminalReporter(Console(stderr=True))
    began = time.monotonic()
    reporter.started(_STAGE, 1, "tokens")
    try:
        counts = write_features(
            import_model(model_folder(store, model)),
            partial(read_texts, texts, column),
            gpt2_encoding().encode_ordinary,
            destination,
            pool=pool,
            device=device,
            progress=lambda done, total: reporter.progress(_STAGE, "", done, total, {}),
        )
        seconds = time.monotonic() - began
        reporter.finished(_STAGE, str(destination), "made", seconds, _summary(counts))
    finally:
        reporter.close()


def _summary(counts: FeatureCounts) -> str:
    rows, width = counts.shape
    told = [f"{counts.texts:,} texts, {counts.tokens:,} tokens, states ({rows:,}, {width})"]
    if counts.cut_texts:
        told.append(f"{counts.cut_texts:,} texts cut by {counts.cut_tokens:,} tokens")
    if counts.empty_texts:
        told.append(f"{counts.empty_texts:,} texts empty")
    return "; ".join(told)
