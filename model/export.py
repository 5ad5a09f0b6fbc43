"""To and from Hugging Face's GPT-2 folders (config.json, model.safetensors, the tokenizer).

The names are ours; their matrices are Conv1D's, (in, out), so the four of each block are
transposed. The embedding's padding is cut off on export and put back, as zeros, on import. What
the config of a foreign folder asks for and this network does not do is refused, never ignored.
Tensors pass one by one: beside the network itself, memory holds the largest of them.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.config import PADDED_VOCABULARY, VOCABULARY, ModelConfig
from model.errors import WeightsError
from model.gpt2 import GPT2, LAYER_NORM_EPSILON
from model.tokenizer_files import END_OF_TEXT_ID, write_tokenizer
from model.weights_file import WEIGHTS_NAME, WeightsFolder, write_tensors

PREFIX = "transformer."  # of GPT2LMHeadModel; GPT2Model and OpenAI's upload have none
HEAD = "lm_head.weight"  # where it is stored, a copy of the embedding
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
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}
_DEFAULTS = {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "model_type": None}
_DROPOUTS = {"attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
"""Hugging Face's defaults; this network has one dropout for all three."""


def export_model(
    config: ModelConfig,
    weights: dict[str, Tensor],
    destination: Path,
    *,
    vocabulary_folder: Path | None,
) -> None:
    """Write a folder that `transformers` opens offline, and read it back to check it.

    Every number of the file is compared with `weights`, bit by bit, and the config with `config`.
    The tokenizer comes along if the vocabulary is GPT-2's.

    Raises:
        WeightsError: what was read back differs, or there is no vocabulary in its folder.
    """
    destination.mkdir(parents=True, exist_ok=True)
    shapes = {PREFIX + name: shape for name, shape in _stored_shapes(config).items()}
    write_tensors(
        destination / WEIGHTS_NAME,
        shapes,
        lambda name: to_stored(config, name.removeprefix(PREFIX), weights),
    )
    _write_json(destination / "config.json", hugging_face_config(config))
    ends = {"bos_token_id": _end_of_text(config), "eos_token_id": _end_of_text(config)}
    _write_json(destination / "generation_config.json", ends)
    if vocabulary_folder is not None and config.vocabulary == VOCABULARY:
        write_tokenizer(vocabulary_folder, destination, context=config.context)
    _check_export(destination, config, weights)


def import_model(folder: Path, *, padded_vocabulary: int | None = None) -> GPT2:
    """The network of a Hugging Face GPT-2 folder, in evaluation mode, float32, on the CPU.

    Names may or may not begin with `transformer.`; weights may lie in several files.

    Raises:
        WeightsError: the folder is not a GPT-2, or asks for something that is not supported.
    """
    config = read_config(folder, padded_vocabulary=padded_vocabulary)
    with torch.device("meta"):
        network = GPT2(config)
    with WeightsFolder(folder) as stored:
        places = _find_tensors(folder, config, stored)
        weights = {name: _from_stored(config, name, stored.read(places[name])) for name in places}
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


def to_stored(config: ModelConfig, name: str, weights: dict[str, Tensor]) -> Tensor:
    """A weight in Hugging Face's layout, float32 on the CPU, padding cut off."""
    value = weights[name].detach().to("cpu", torch.float32)
    if name == "wte.weight":
        value = value[: config.vocabulary]
    return value.t() if name.endswith(_TRANSPOSED) else value


def _from_stored(config: ModelConfig, name: str, tensor: Tensor) -> Tensor:
    """The inverse of `to_stored`, in memory of its own; padding rows are zero."""
    if name.endswith(_TRANSPOSED):
        tensor = tensor.t()
    rows = config.padded_vocabulary if name == "wte.weight" else len(tensor)
    value = torch.zeros(rows, *tensor.shape[1:])
    value[: len(tensor)] = tensor
    return value


def _stored_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every weight's shape in a file, by our name."""
    with torch.device("meta"):
        weights = GPT2(config).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    shapes["wte.weight"] = (config.vocabulary, config.width)
    return {n: s[::-1] if n.endswith(_TRANSPOSED) else s for n, s in shapes.items()}


def _find_tensors(folder: Path, config: ModelConfig, stored: WeightsFolder) -> dict[str, str]:
    """The file's name of each of our weights; all of them are there and fit, or it is an error."""
    places: dict[str, str] = {}
    for long_name in stored.names:
        name = long_name.removeprefix(PREFIX)
        if name.endswith(_BUFFERS) or name == HEAD:
            continue
        if name in places:
            raise WeightsError(f"{folder} holds {name} twice, with and without {PREFIX!r}")
        places[name] = long_name
    _check_shapes(
        folder,
        _stored_shapes(config),
        {name: stored.shape(long_name) for name, long_name in places.items()},
    )
    heads = [stored.read(name) for name in (HEAD, PREFIX + HEAD) if name in stored.names]
    if not all(torch.equal(head, stored.read(places["wte.weight"])) for head in heads):
        raise WeightsError(
            f"{folder}: lm_head.weight differs from wte.weight: an untied head is unsupported"
        )
    return places


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
        theirs = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; expected a GPT-2 folder") from error
    if not isinstance(theirs, dict):
        raise WeightsError(f"{path} is not a GPT-2's: expected a JSON object")
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
            dropout=_read_dropout(path, theirs),
        )
    except (KeyError, TypeError, ValueError) as error:  # pydantic's are ValueErrors
        raise WeightsError(f"{path} is not a GPT-2's: {error}") from error


def _read_dropout(path: Path, theirs: dict[str, Any]) -> float:
    found = {name: theirs.get(name, usual) for name, usual in _DROPOUTS.items()}
    if len(set(found.values())) > 1:
        raise WeightsError(
            f"{path}: {found} differ; this network has one dropout for all three. They act in "
            "training only: to evaluate, give them one value"
        )
    return float(found["resid_pdrop"])


def _check_shapes(
    folder: Path, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]
) -> None:
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if wrong:
        shown = ", ".join(f"{n}: {found.get(n)} not {expected.get(n)}" for n in wrong[:3])
        raise WeightsError(
            f"{folder} does not fit its config.json in {len(wrong)} tensors ({shown})"
        )


def _check_export(folder: Path, config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """Read the export back: every bit must be the one that was trained."""
    back = read_config(folder, padded_vocabulary=config.padded_vocabulary)
    if back != config.model_copy(update={"initialisation": back.initialisation}):
        raise WeightsError(f"the export in {folder} has another config: {back} not {config}")
    with WeightsFolder(folder) as stored:
        places = _find_tensors(folder, config, stored)
        for name, long_name in places.items():
            written, meant = stored.read(long_name), to_stored(config, name, weights)
            if not torch.equal(written.view(torch.int32), meant.view(torch.int32)):
                raise WeightsError(f"the export in {folder} differs from the network in {name}")


def _end_of_text(config: ModelConfig) -> int:
    """GPT-2's only special token; tiny test vocabularies have their last id instead."""
    return min(END_OF_TEXT_ID, config.vocabulary - 1)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
