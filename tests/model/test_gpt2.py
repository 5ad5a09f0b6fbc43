"""The network: published sizes, initialisations, padding, causality."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from model.cache import Cache
from model.config import PRESETS, ModelConfig
from model.gpt2 import GPT2, build_gpt2
from tests.model.trainings import CONTEXT, NETWORK, VOCABULARY

PUBLISHED = {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    config = PRESETS[name]
    assert config.parameters == PUBLISHED[name]
    with torch.device("meta"):
        network = GPT2(config)
    padding = (config.padded_vocabulary - config.vocabulary) * config.width
    assert sum(p.numel() for p in network.parameters()) - padding == PUBLISHED[name]


@pytest.mark.parametrize(("initialisation", "positions"), [("openai", 0.01), ("hf", 0.02)])
def test_initial_weights(initialisation: str, positions: float) -> None:
    config = ModelConfig.model_validate(
        {"layers": 3, "heads": 2, "width": 64, "vocabulary": 900, "padded_vocabulary": 960}
        | {"initialisation": initialisation}
    )
    network = build_gpt2(config, seed=1)
    deviations = {name: p.std().item() for name, p in network.named_parameters() if p.dim() == 2}
    assert deviations["wpe.weight"] == pytest.approx(positions, rel=0.03)
    assert deviations["h.1.mlp.c_fc.weight"] == pytest.approx(0.02, rel=0.03)
    for name in ("h.2.attn.c_proj.weight", "h.0.mlp.c_proj.weight"):
        assert deviations[name] == pytest.approx(0.02 / math.sqrt(6), rel=0.05)
    assert not network.wte.weight[900:].any()
    assert not network.h[0].attn.c_attn.bias.any()
    again = build_gpt2(config, seed=1).state_dict()
    assert all(torch.equal(again[name], p) for name, p in network.state_dict().items())
    assert not torch.equal(build_gpt2(config, seed=2).wte.weight, network.wte.weight)


def test_loss_is_cross_entropy_over_the_true_vocabulary() -> None:
    """Also with padding rows that would win: they get neither probability nor gradient."""
    network = build_gpt2(NETWORK, seed=0).eval()
    with torch.no_grad():
        network.wte.weight[VOCABULARY:] = 50.0
    tokens = torch.randint(0, VOCABULARY, (2, CONTEXT))
    targets = torch.randint(0, VOCABULARY, (2, CONTEXT))
    targets[0, -1] = -100
    logits = network.logits(network.hidden_states(tokens))
    assert logits.shape == (2, CONTEXT, VOCABULARY)
    expected = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
    )
    loss = network(tokens, targets)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-3)
    loss.backward()
    assert network.wte.weight.grad is not None
    assert not network.wte.weight.grad[VOCABULARY:].any()


def test_initial_loss_is_that_of_a_uniform_guess() -> None:
    network = build_gpt2(PRESETS["tiny"], seed=0).eval()
    tokens = torch.randint(0, 50257, (1, 65))
    with torch.no_grad():
        loss = network(tokens[:, :-1], tokens[:, 1:], 1 / 64)
    assert loss.item() == pytest.approx(math.log(50257), abs=0.1)


def test_later_tokens_change_nothing_before_them() -> None:
    network = build_gpt2(NETWORK, seed=0).eval()
    tokens = torch.randint(0, VOCABULARY, (1, CONTEXT))
    changed = tokens.clone()
    changed[0, 20:] = (changed[0, 20:] + 1) % VOCABULARY
    one, two = network.hidden_states(tokens), network.hidden_states(changed)
    torch.testing.assert_close(one[:, :20], two[:, :20], rtol=0, atol=1e-6)
    assert not torch.allclose(one[:, 20:], two[:, 20:], atol=1e-3)


@pytest.mark.parametrize("pieces", [[32], [10, 22], [1] * 32, [5, 1, 26]])
def test_cache_gives_the_same_states(pieces: list[int]) -> None:
    network = build_gpt2(NETWORK, seed=0).eval()
    tokens = torch.randint(0, VOCABULARY, (2, CONTEXT))
    cache = Cache(NETWORK.layers, CONTEXT)
    with torch.no_grad():
        parts = [network.hidden_states(part, cache) for part in tokens.split(pieces, dim=1)]
        whole = network.hidden_states(tokens)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-6)


def test_dropout_acts_in_training_only() -> None:
    network = build_gpt2(NETWORK, seed=0)
    tokens = torch.randint(0, VOCABULARY, (1, CONTEXT))
    network.train()
    assert not torch.equal(network.hidden_states(tokens), network.hidden_states(tokens))
    network.eval()
    assert torch.equal(network.hidden_states(tokens), network.hidden_states(tokens))


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValidationError, match="width 10 is not a multiple of heads 4"):
        ModelConfig(width=10, heads=4)
    with pytest.raises(ValidationError, match="below vocabulary"):
        ModelConfig(vocabulary=100, padded_vocabulary=64)
    with pytest.raises(ValidationError, match="Extra inputs"):
        ModelConfig.model_validate({"witdh": 64})
