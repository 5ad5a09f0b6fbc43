"""The network: published sizes, initialisations, padding, causality."""

import copy
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch._dynamo.testing import CompileCounterWithBackend
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
    """Every matrix's mean and deviation; biases are 0 and norms 1."""
    config = ModelConfig.model_validate(
        {"layers": 3, "heads": 2, "width": 64, "vocabulary": 900, "padded_vocabulary": 960}
        | {"initialisation": initialisation}
    )
    network = build_gpt2(config, seed=1)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert torch.equal(parameter, torch.ones(64)), name
        else:
            drawn = parameter.detach()[:900] if name == "wte.weight" else parameter.detach()
            expected = 0.02 / math.sqrt(6) if name.endswith("c_proj.weight") else 0.02
            expected = positions if name == "wpe.weight" else expected
            # Five standard errors of a normal sample's deviation, s / sqrt(2 n), and of its mean.
            error = 5 / math.sqrt(2 * drawn.numel())
            assert drawn.std().item() == pytest.approx(expected, rel=error), name
            assert abs(drawn.mean().item()) < 5 * expected / math.sqrt(drawn.numel()), name
    assert not network.wte.weight[900:].any()


def test_initial_weights_are_the_seeds() -> None:
    first, again, other = (build_gpt2(NETWORK, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(again[name], p) for name, p in first.items())
    assert not torch.equal(other["wte.weight"], first["wte.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_leaves_padding_without_weight_and_probability(dtype: torch.dtype) -> None:
    network = build_gpt2(NETWORK, seed=0).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(15):
        batch = torch.randint(0, 4, (2, CONTEXT + 1), generator=generator)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = network(batch[:, :-1], batch[:, 1:], 1 / batch[:, 1:].numel())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    assert not network.wte.weight[VOCABULARY:].any()
    logits = network.logits(network.hidden_states(torch.zeros(1, 4, dtype=torch.long)))
    assert logits.shape == (1, 4, VOCABULARY)


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


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5])
def test_dropout_is_as_configured(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedding, attention's weights and output, and feed-forward, of each layer."""
    network = build_gpt2(NETWORK.model_copy(update={"dropout": dropout}), seed=0).train()
    attention: list[float] = []
    shares: list[float] = []
    attend, drop = functional.scaled_dot_product_attention, functional.dropout

    def watch_attention(*tensors: torch.Tensor, dropout_p: float, **settings: Any) -> torch.Tensor:
        attention.append(dropout_p)
        return attend(*tensors, dropout_p=dropout_p, **settings)

    def watch_dropout(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
        dropped = drop(x, p, training)
        shares.append((dropped == 0).float().mean().item())
        kept = dropped != 0
        torch.testing.assert_close(dropped[kept], x[kept] / (1 - p))
        return dropped

    monkeypatch.setattr(functional, "scaled_dot_product_attention", watch_attention)
    monkeypatch.setattr(functional, "dropout", watch_dropout)
    torch.manual_seed(0)
    network.hidden_states(torch.randint(0, VOCABULARY, (8, CONTEXT)))
    assert attention == [dropout] * NETWORK.layers
    assert len(shares) == 1 + 2 * NETWORK.layers
    numbers = 8 * CONTEXT * NETWORK.width
    for share in shares:
        assert abs(share - dropout) <= 5 * math.sqrt(dropout * (1 - dropout) / numbers)


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValidationError, match="width 10 is not a multiple of heads 4"):
        ModelConfig(width=10, heads=4)
    with pytest.raises(ValidationError, match="below vocabulary"):
        ModelConfig(vocabulary=100, padded_vocabulary=64)
    for dropout in (-0.1, 1.0):
        with pytest.raises(ValidationError, match="dropout"):
            ModelConfig(dropout=dropout)
    with pytest.raises(ValidationError, match="Extra inputs"):
        ModelConfig.model_validate({"witdh": 64})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_compiled_code_is_made_once_whatever_the_scale() -> None:
    """Also the loss: a step's scale depends on its tokens, and each new one must cost nothing."""
    eager = build_gpt2(NETWORK.model_copy(update={"dropout": 0.0}), seed=0)
    compiled = copy.deepcopy(eager)
    counter = CompileCounterWithBackend("aot_eager")
    compiled.compile(backend=counter, dynamic=False, fullgraph=True)
    made = []
    for predicted in (64, 63, 62, 61):
        batch = torch.randint(0, VOCABULARY, (2, CONTEXT + 1))
        found = []
        for network in (eager, compiled):
            network.zero_grad()
            loss = network(batch[:, :-1], batch[:, 1:], 1 / predicted)
            loss.backward()
            found.append([loss.detach(), *(p.grad for p in network.parameters())])
        for expected, ours in zip(*found, strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
        made.append(counter.frame_count)
    assert made == made[:1] * 4
