"""A GPT-2 folder as transformers writes it, through the commands that take one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from flows.cli import main
from webtext.vocabulary import gpt2_encoding

TEXTS = ["Hello world", "", "The dog's tail — naïve?"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder, and the model that wrote it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(1)
    torch.manual_seed(4)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=32)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    folder = tmp_path_factory.mktemp("hub")
    model.save_pretrained(folder, max_shard_size="1MB")
    del os.environ["HF_HUB_OFFLINE"]
    return folder, model


def test_generate_takes_it(
    saved: tuple[Path, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, model = saved
    wanted = ["generate", "Hello", "--model", str(folder), "--tokens", "12", "--temperature", "0"]
    assert main([*wanted, "--samples", "2"]) == 0
    first, second = capsys.readouterr().out.removesuffix("\n").split("\nHello")
    assert first == "Hello" + second
    tokens = torch.tensor([gpt2_encoding().encode_ordinary("Hello")])
    theirs = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=50256,
    )[0]
    assert first == gpt2_encoding().decode(theirs.tolist())


def test_features_takes_it(
    saved: tuple[Path, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, model = saved
    lines = tmp_path / "texts.jsonl"
    lines.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    destination = tmp_path / "states.safetensors"
    command = ["features", str(lines), str(destination), "--model", str(folder)]
    assert main([*command, "--column", "body"]) == 0
    told = capsys.readouterr().err
    arrays = load_file(destination)
    tokens = [gpt2_encoding().encode_ordinary(text) for text in TEXTS]
    with torch.inference_mode():
        expected = [
            model.transformer(torch.tensor([ids])).last_hidden_state[0].numpy()
            for ids in filter(None, tokens)
        ]
    assert np.abs(arrays["states"] - np.concatenate(expected)).max() < 1e-5
    assert arrays["counts"].tolist() == [[len(ids), len(ids)] for ids in tokens]
    assert "3 texts, " in told
    assert "1 texts empty" in told
    assert main(command) == 1
    assert "line 1 has no text in 'text'" in " ".join(capsys.readouterr().err.split())
