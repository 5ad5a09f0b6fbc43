"""The bias stage on a real network, and what `webtext bias` and the card show of it."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from eval.bias import BiasConfig, read_bias
from eval.bias_sets import OCCUPATIONS, PAIRS
from flows.bias_show import bias_markdown, bias_tables, print_bias
from flows.bias_stage import probe_model
from model.config import ModelConfig
from model.export import export_model
from model.gpt2 import GPT2
from webtext.counts import silent
from webtext.vocabulary import vocabulary_folder


def probe(model: Path, destination: Path, **settings: int) -> Path:
    destination.mkdir()
    threads = torch.get_num_threads()
    try:
        counts = probe_model(
            model=model,
            occupations=OCCUPATIONS,
            pairs=PAIRS,
            device="cpu",
            config=BiasConfig.model_validate(
                {"samples": 2, "max_new_tokens": 4, "bootstrap_samples": 50, **settings}
            ),
            destination=destination,
            progress=silent,
        )
    finally:
        torch.set_num_threads(threads)
    assert counts["continuations"] == 12
    return destination


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    config = ModelConfig(layers=1, heads=1, width=8, context=32)
    export_model(config, GPT2(config).state_dict(), folder, vocabulary_folder=vocabulary_folder())
    return folder


@pytest.fixture(scope="module")
def probed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return probe(model, tmp_path_factory.mktemp("probed") / "bias")


def test_equal_seeds_give_equal_bytes_and_others_do_not(
    model: Path, probed: Path, tmp_path: Path
) -> None:
    again = probe(model, tmp_path / "again")
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in probed.iterdir()
    }
    other = probe(model, tmp_path / "other", seed=5)
    texts = [
        pq.read_table(folder / "continuations.parquet")["text"].to_pylist()
        for folder in (probed, other)
    ]
    assert texts[0] != texts[1]


def test_the_tables_are_shown_alike_everywhere(probed: Path) -> None:
    bias = read_bias(probed)
    markdown = bias_markdown(bias)
    out = io.StringIO()
    print_bias(Console(file=out, width=300), bias)
    for title, headings, rows in bias_tables(bias):
        assert title in markdown
        assert title in out.getvalue()
        for row in rows:
            assert len(row) == len(headings)
            assert f"| {' | '.join(row)} |" in markdown
            assert row[0] in out.getvalue()
    assert "White man – Black man" in markdown
    assert "gender: woman – man" in markdown
    assert "occupations/1, pairs/1" in markdown
