"""Hugging Face folders: bit-exact round trips, equality with transformers, refusals."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import export
from model.config import ModelConfig
from model.errors import WeightsError
from model.export import export_model, import_model, read_config
from model.generate import generate_tokens
from model.gpt2 import GPT2, build_gpt2

CONFIG = ModelConfig(layers=2, heads=2, width=32)


@pytest.fixture(scope="module")
def network() -> GPT2:
    torch.manual_seed(0)
    network = build_gpt2(CONFIG, seed=1).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1:  # so that a lost bias or norm shows
                parameter.add_(0.1 * torch.randn(parameter.shape))
            elif name != "wte.weight":
                parameter.mul_(5)
    return network


@pytest.fixture(scope="module")
def folder(network: GPT2, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export_model(CONFIG, network.state_dict(), folder, vocabulary_folder=real_data / "vocab")
    return folder


@pytest.fixture(scope="module")
def transformers() -> Iterator[Any]:
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield pytest.importorskip("transformers")
    del os.environ["HF_HUB_OFFLINE"]


def test_round_trip_is_bit_exact(network: GPT2, folder: Path, tmp_path: Path) -> None:
    back = import_model(folder)
    assert back.config.parameters == CONFIG.parameters
    for name, tensor in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    export_model(back.config, back.state_dict(), tmp_path, vocabulary_folder=None)
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_padding_is_cut_off(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    assert tensors["transformer.wte.weight"].shape == (50257, 32)
    assert sum(t.numel() for t in tensors.values()) == CONFIG.parameters


def test_names_without_prefix_and_old_masks_are_read(
    network: GPT2, folder: Path, tmp_path: Path
) -> None:
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
    bare["lm_head.weight"] = bare["wte.weight"].clone()
    save_file(bare, tmp_path / "model.safetensors")
    shutil.copy(folder / "config.json", tmp_path)
    assert torch.equal(import_model(tmp_path).wte.weight, network.wte.weight)
    bare["lm_head.weight"] += 1
    save_file(bare, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="untied head"):
        import_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("scale_attn_weights", False),
        ("activation_function", "relu"),
        ("layer_norm_epsilon", 1e-6),
        ("add_cross_attention", True),
        ("tie_word_embeddings", False),
        ("model_type", "llama"),
        ("n_inner", 5),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"bits": 8}),
        ("attn_pdrop", 0.3),
    ],
)
def test_what_is_not_supported_is_refused(
    folder: Path, tmp_path: Path, name: str, value: object
) -> None:
    config = json.loads((folder / "config.json").read_text()) | {name: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=name):
        read_config(tmp_path)


def test_damaged_folders_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config.json cannot be read"):
        import_model(tmp_path)
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(WeightsError, match=r"model.safetensors cannot be read"):
        import_model(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.ln_f.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"in 1 tensors \(ln_f.bias: None not \(32,\)\)"):
        import_model(tmp_path)
    with pytest.raises(WeightsError, match=r"no GPT-2 vocabulary"):
        export_model(
            CONFIG, import_model(folder).state_dict(), tmp_path, vocabulary_folder=tmp_path
        )


def test_a_config_of_nonsense_is_refused(folder: Path, tmp_path: Path) -> None:
    good = json.loads((folder / "config.json").read_text())
    for change in ({"n_embd": "wide"}, {"n_layer": None}, {"n_head": 0}, {"attn_pdrop": "x"}):
        (tmp_path / "config.json").write_text(json.dumps(good | change))
        with pytest.raises(WeightsError, match=r"config\.json"):
            read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="expected a JSON object"):
        read_config(tmp_path)


def test_an_export_that_went_wrong_is_found(
    network: GPT2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit that changes between the network and the disk, and a config that does not fit."""
    write = export.write_tensors

    def write_badly(path: Path, *arguments: Any) -> None:
        write(path, *arguments)
        written = bytearray(path.read_bytes())
        written[-1] ^= 1
        path.write_bytes(written)

    monkeypatch.setattr(export, "write_tensors", write_badly)
    with pytest.raises(WeightsError, match=r"differs from the network in wte\.weight|wpe"):
        export_model(CONFIG, network.state_dict(), tmp_path, vocabulary_folder=None)
    monkeypatch.undo()
    theirs = export.hugging_face_config(CONFIG) | {"n_head": 4}
    monkeypatch.setattr(export, "hugging_face_config", lambda _config: theirs)
    with pytest.raises(WeightsError, match="has another config"):
        export_model(CONFIG, network.state_dict(), tmp_path, vocabulary_folder=None)


def test_weights_that_are_not_numbers_are_exported_as_they_are(
    network: GPT2, tmp_path: Path
) -> None:
    """A training that went astray is kept to be looked at: NaN and −0 are bits like others."""
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights["ln_f.weight"][:3] = torch.tensor([float("nan"), float("-inf"), -0.0])
    export_model(CONFIG, weights, tmp_path, vocabulary_folder=None)
    back = import_model(tmp_path).ln_f.weight
    assert torch.equal(back.view(torch.int32), weights["ln_f.weight"].view(torch.int32))


def test_logits_equal_those_of_transformers(network: GPT2, folder: Path, transformers: Any) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert sum(p.numel() for p in theirs.parameters()) == CONFIG.parameters
    tokens = torch.randint(0, 50257, (2, 300))
    with torch.no_grad():
        expected = theirs(tokens).logits
        ours = network.logits(network.hidden_states(tokens))
    assert (ours - expected).abs().max() < 1e-5


def test_their_export_is_read(transformers: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=64)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = import_model(tmp_path)
    tokens = torch.randint(0, 50257, (1, 64))
    with torch.no_grad():
        difference = ours.logits(ours.hidden_states(tokens)) - theirs(tokens).logits
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("prompt", [[50256], [464, 3290, 318], list(range(100, 1100, 10))])
def test_greedy_text_equals_that_of_transformers(
    folder: Path, transformers: Any, prompt: list[int]
) -> None:
    """Token for token, up to the context's last one."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = theirs.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=60,
        do_sample=False,
        pad_token_id=50256,
        eos_token_id=None,
    )[0].tolist()
    (ours,) = generate_tokens(
        import_model(folder), prompt, max_new_tokens=60, temperature=0, end=-1
    )
    assert ours == tokens[len(prompt) :]
    assert len(ours) == 60
    assert len(set(ours)) > 1


TEXTS = [
    "Hello world",
    " It's 2,019 naïve façades — 東京 🙂\n\n\tdef f(x):  return x ** 2   ",
    "<|endoftext|>a<|endoftext|>",
    "we'll they've I'M 123456\r\n\x00\x7f",
]


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizer_is_gpt2s(folder: Path, transformers: Any, real_data: Path, text: str) -> None:
    from tests.model.vocabulary import gpt2_encoding

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text)["input_ids"]
    encoding = gpt2_encoding(real_data / "vocab")
    assert ids == encoding.encode(text, allowed_special="all")
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == 50256
    assert tokenizer.model_max_length == 1024


def test_a_text_pipeline_opens_the_folder_offline(folder: Path, transformers: Any) -> None:
    pipeline = transformers.pipeline("text-generation", model=str(folder))
    (answer,) = pipeline("The dog", max_new_tokens=3, do_sample=False)
    assert answer["generated_text"].startswith("The dog")
