"""To and from Hugging Face's GPT-2 folders (config.json, model.safetensors, the tokenizer).

The names are ours; their matrices are Conv1D's, (in, out), so the four of each block are
transposed. The embedding's padding is cut off on export and put back, as zeros, on import. What
the config of a foreign folder asks for and this network does not do is refused, never ignored.
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.config import PADDED_VOCABULARY, VOCABULARY, ModelConfig
from model.errors import WeightsError
from model.gpt2 import GPT2, LAYER_NORM_EPSILON
from model.tokenizer_files import END_OF_TEXT_ID, write_tokenizer

PREFIX = "transformer."  # of GPT2LMHeadModel; GPT2Model and OpenAI's upload have none
_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
_BUFFERS = (".attn.bias", ".attn.masked_bias")  # causal masks that older exports carry
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (LAYER_NORM_EPSILON,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}
_DEFAULTS = {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "model_type": None}


def export_model(
    config: ModelConfig,
    weights: dict[str, Tensor],
    destination: Path,
    *,
    vocabulary_folder: Path | None,
) -> None:
    """Write a folder that `transformers` opens offline, and read it back to check it.

    The tokenizer comes along if the vocabulary is GPT-2's.
    """
    destination.mkdir(parents=True, exist_ok=True)
    tensors = to_hugging_face(config, weights)
    save_file(tensors, destination / "model.safetensors", metadata={"format": "pt"})
    _write_json(destination / "config.json", hugging_face_config(config))
    ends = {"bos_token_id": _end_of_text(config), "eos_token_id": _end_of_text(config)}
    _write_json(destination / "generation_config.json", ends)
    if vocabulary_folder is not None and config.vocabulary == VOCABULARY:
        write_tokenizer(vocabulary_folder, destination, context=config.context)
    _check_export(destination, config, weights)


def import_model(folder: Path, *, padded_vocabulary: int | None = None) -> GPT2:
    """The network of a Hugging Face GPT-2 folder, in evaluation mode, float32, on the CPU.

    Raises:
        WeightsError: the folder is not a GPT-2, or asks for something that is not supported.
    """
    config = read_config(folder, padded_vocabulary=padded_vocabulary)
    try:
        tensors = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{folder / 'model.safetensors'} cannot be read: {error}") from error
    weights = from_hugging_face(config, tensors)
    with torch.device("meta"):
        network = GPT2(config)
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    _check_shapes(folder, expected, weights)
    network.load_state_dict(weights, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network.eval()


def gathered_weights(network: nn.Module) -> dict[str, Tensor]:
    """All weights of a trained network, whole also under ZeRO 3 (every rank must call it)."""
    parameters = dict(network.named_parameters())
    if not any(hasattr(p, "ds_id") for p in parameters.values()):
        return {name: p.detach() for name, p in parameters.items()}
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(parameters.values())):
        return {name: p.detach().clone() for name, p in parameters.items()}


def to_hugging_face(config: ModelConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under Hugging Face's names and layout, float32 on the CPU, padding cut off."""
    tensors = {}
    for name, tensor in weights.items():
        value = tensor.detach().to("cpu", torch.float32)
        if name == "wte.weight":
            value = value[: config.vocabulary]
        if name.endswith(_TRANSPOSED):
            value = value.t()
        tensors[PREFIX + name] = value.clone(memory_format=torch.contiguous_format)
    return tensors


def from_hugging_face(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_hugging_face`; accepts names with and without `transformer.`."""
    weights = {}
    for long_name, tensor in tensors.items():
        name = long_name.removeprefix(PREFIX)
        if name.endswith(_BUFFERS):
            continue
        value = tensor.to(torch.float32)
        if name == "lm_head.weight":
            _check_tied(value, tensors)
            continue
        if name.endswith(_TRANSPOSED):
            value = value.t()
        if name == "wte.weight":
            missing = config.padded_vocabulary - len(value)
            value = nn.functional.pad(value, (0, 0, 0, missing))
        weights[name] = value.contiguous()
    return weights


def hugging_face_config(config: ModelConfig) -> dict[str, Any]:
    """The content of `config.json`."""
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": config.dropout,
        "bos_token_id": _end_of_text(config),
        "embd_pdrop": config.dropout,
        "eos_token_id": _end_of_text(config),
        "initializer_range": 0.02,
        "layer_norm_epsilon": LAYER_NORM_EPSILON,
        "model_type": "gpt2",
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": None,
        "n_layer": config.layers,
        "n_positions": config.context,
        "resid_pdrop": config.dropout,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": config.vocabulary,
    }


def read_config(folder: Path, *, padded_vocabulary: int | None = None) -> ModelConfig:
    """The shape that a Hugging Face `config.json` describes.

    Raises:
        WeightsError: it is missing, or asks for something that this network does not do.
    """
    path = folder / "config.json"
    try:
        theirs = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; expected a GPT-2 folder") from error
    for name, allowed in _REQUIRED.items():
        value = theirs.get(name, _DEFAULTS.get(name, allowed[0]))
        if value not in allowed:
            raise WeightsError(f"{path}: {name} is {value!r}; only {allowed[0]!r} is supported")
    try:
        if theirs.get("n_inner") not in (None, 4 * theirs["n_embd"]):
            raise WeightsError(f"{path}: n_inner is {theirs['n_inner']}; expected 4 × n_embd")
        vocabulary = theirs["vocab_size"]
        usual = PADDED_VOCABULARY if vocabulary == VOCABULARY else vocabulary
        return ModelConfig(
            layers=theirs["n_layer"],
            heads=theirs["n_head"],
            width=theirs["n_embd"],
            context=theirs["n_positions"],
            vocabulary=vocabulary,
            padded_vocabulary=padded_vocabulary or usual,
            dropout=theirs.get("resid_pdrop", 0.0),
        )
    except (KeyError, ValidationError) as error:
        raise WeightsError(f"{path} is not a GPT-2's: {error}") from error


def _check_tied(head: Tensor, tensors: dict[str, Tensor]) -> None:
    embedding = tensors.get(PREFIX + "wte.weight", tensors.get("wte.weight"))
    if embedding is None or not torch.equal(head, embedding.to(torch.float32)):
        raise WeightsError("lm_head.weight differs from wte.weight: an untied head is unsupported")


def _check_shapes(
    folder: Path, expected: dict[str, tuple[int, ...]], weights: dict[str, Tensor]
) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if wrong:
        shown = ", ".join(f"{n}: {found.get(n)} not {expected.get(n)}" for n in wrong[:3])
        raise WeightsError(
            f"{folder} does not fit its config.json in {len(wrong)} tensors ({shown})"
        )


def _check_export(folder: Path, config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """Read the export back: every number must be the one that was trained."""
    back = import_model(folder, padded_vocabulary=config.padded_vocabulary).state_dict()
    for name, tensor in weights.items():
        written, meant = back[name], tensor.detach().to("cpu", torch.float32)
        if name == "wte.weight":
            written, meant = written[: config.vocabulary], meant[: config.vocabulary]
        if not torch.equal(written, meant):
            raise WeightsError(f"the export in {folder} differs from the network in {name}")


def _end_of_text(config: ModelConfig) -> int:
    """GPT-2's only special token; tiny test vocabularies have their last id instead."""
    return min(END_OF_TEXT_ID, config.vocabulary - 1)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
