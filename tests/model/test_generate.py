"""Generation: seeds, rules, and going on past the context."""

import copy
from collections import Counter
from itertools import islice

import pytest
import torch

from model.cache import Cache
from model.errors import SettingsError, WeightsError
from model.generate import Rule, generate, generate_tokens, lay_out_for_one, sample_seed
from model.gpt2 import GPT2, build_gpt2
from tests.model.trainings import CONTEXT, NETWORK, VOCABULARY


@pytest.fixture(scope="module")
def network() -> GPT2:
    network = build_gpt2(NETWORK, seed=3).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(6)
    return network


def test_a_seed_decides_and_samples_do_not_depend_on_each_other(network: GPT2) -> None:
    def draw(**settings: int) -> list[list[int]]:
        return list(generate_tokens(network, [1, 2], max_new_tokens=15, end=-1, **settings))

    three = draw(seed=4, samples=3)
    assert three == draw(seed=4, samples=3)
    assert three[:1] == draw(seed=4, samples=1)
    assert len({tuple(sample) for sample in three}) == 3
    assert three != draw(seed=5, samples=3)


def test_greedy_equals_recomputing_without_a_cache(network: GPT2) -> None:
    tokens = [7, 8, 9]
    (grown,) = generate_tokens(network, tokens, max_new_tokens=20, temperature=0, end=-1)
    for token in grown:
        logits = network.logits(network.hidden_states(torch.tensor([tokens])))[0, -1]
        assert token == int(logits.argmax())
        tokens = [*tokens, token]


def test_sampling_follows_the_probabilities(network: GPT2) -> None:
    with torch.no_grad():
        logits = network.logits(network.hidden_states(torch.tensor([[5, 6]])))[0, -1]
    probability = torch.softmax(logits / 1.5, 0)
    samples = generate_tokens(
        network, [5, 6], max_new_tokens=1, temperature=1.5, samples=3000, end=-1
    )
    drawn = Counter(sample[0] for sample in samples)
    for token in probability.topk(3).indices.tolist():
        p = probability[token].item()
        assert abs(drawn[token] / 3000 - p) < 5 * (p * (1 - p) / 3000) ** 0.5


def test_top_k_and_top_p_leave_the_rest_out(network: GPT2) -> None:
    with torch.no_grad():
        logits = network.logits(network.hidden_states(torch.tensor([[5, 6]])))[0, -1]
    best = logits.argsort(descending=True, stable=True).tolist()

    def firsts(**settings: float) -> set[int]:
        found = generate_tokens(
            network, [5, 6], max_new_tokens=1, temperature=3.0, samples=200, end=-1, **settings
        )
        return {sample[0] for sample in found}

    assert firsts(top_k=1) == {best[0]}
    assert firsts(top_k=3) <= set(best[:3])
    assert firsts(top_p=1e-9) == {best[0]}
    probability = torch.softmax(logits / 3.0, 0)[best]
    enough = int((probability.cumsum(0) < 0.5).sum()) + 1
    assert firsts(top_p=0.5) <= set(best[:enough])
    assert len(firsts()) > 3


def test_generation_goes_on_past_the_context(network: GPT2) -> None:
    (grown,) = generate_tokens(network, [1], max_new_tokens=3 * CONTEXT, seed=1, end=-1)
    assert len(grown) == 3 * CONTEXT
    assert all(0 <= token < VOCABULARY for token in grown)


def test_a_sample_ends_with_its_document(network: GPT2) -> None:
    samples = list(
        generate_tokens(network, [1], max_new_tokens=60, temperature=5, samples=4, end=3)
    )
    assert all(3 not in sample for sample in samples)
    assert min(map(len, samples)) < 60


def test_text_in_text_out(network: GPT2) -> None:
    def encode(text: str) -> list[int]:
        return [ord(c) - 65 for c in text]

    def decode(tokens: list[int]) -> str:
        return "".join(chr(65 + t) for t in tokens)

    (text,) = generate(network, encode, decode, "AB", max_new_tokens=5, seed=1)
    assert len(text) == 5
    assert len(list(generate(network, encode, decode, "", max_new_tokens=2, samples=2))) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0},
        {"top_p": float("nan")},
        {"top_k": -1},
        {"samples": 0},
    ],
)
def test_impossible_settings_are_refused(network: GPT2, wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        generate_tokens(network, [1], max_new_tokens=1, **wrong)
    with pytest.raises(SettingsError, match="prompt has 32 tokens"):
        generate_tokens(network, [1] * CONTEXT, max_new_tokens=1)
    with pytest.raises(SettingsError, match="the prompt has token 61; the network knows 61"):
        generate_tokens(network, [VOCABULARY], max_new_tokens=1)


def test_a_diverged_network_is_named(network: GPT2) -> None:
    broken = build_gpt2(NETWORK, seed=3)
    with torch.no_grad():
        broken.ln_f.weight[0] = float("nan")
    with pytest.raises(WeightsError, match="diverged"):
        list(generate_tokens(broken, [1], max_new_tokens=1))


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_a_sample_is_the_same_in_any_company(network: GPT2, samples: int) -> None:
    """Bit for bit: each is what a network gives that draws it alone and without a cache."""
    drawn = generate_tokens(
        network, [3, 1, 4], max_new_tokens=12, seed=9, samples=samples, top_k=20, top_p=0.9, end=-1
    )
    assert next(islice(drawn, samples - 1, None)) == draw_alone(network, [3, 1, 4], samples - 1)


def draw_alone(network: GPT2, tokens: list[int], sample: int) -> list[int]:
    generator = torch.Generator().manual_seed(sample_seed(9, sample))
    rule, grown = Rule(1.0, 20, 0.9), []
    for _ in range(12):
        with torch.inference_mode():
            logits = network.logits(network.hidden_states(torch.tensor([tokens + grown])))[0, -1]
        grown.append(rule.choose(logits, generator))
    return grown


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_k", [0, 1, 5, 60, 61, 1000])
@pytest.mark.parametrize("top_p", [1e-6, 0.5, 0.95, 1.0])
def test_the_rules_are_those_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    process = pytest.importorskip("transformers.generation.logits_process")
    logits = 3 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(top_k))
    theirs = process.TemperatureLogitsWarper(temperature)(None, logits[None])
    if top_k:
        theirs = process.TopKLogitsWarper(top_k)(None, theirs)
    if top_p < 1:
        theirs = process.TopPLogitsWarper(top_p)(None, theirs)
    ids, probability = Rule(temperature, top_k, top_p).candidates(logits)
    ours = torch.zeros(VOCABULARY).index_put((ids,), probability)
    torch.testing.assert_close(ours, torch.softmax(theirs[0], 0), rtol=1e-5, atol=1e-7)


def test_ties_go_to_the_lower_id_and_extremes_stay_finite() -> None:
    ids, probability = Rule(1.0, 2, 1.0).candidates(torch.tensor([0.0, 7.0, 7.0, 7.0]))
    assert ids.tolist() == [1, 2]
    assert probability.tolist() == [0.5, 0.5]
    ids, probability = Rule(1e-40, 0, 1.0).candidates(torch.tensor([1.0, 50.0, 3e38]))
    assert ids[0] == 2
    assert probability.tolist() == [1.0, 0.0, 0.0]


def test_padding_rows_are_never_drawn(network: GPT2) -> None:
    """Not even where their logits would be the highest by far."""
    padded = copy.deepcopy(network)
    with torch.no_grad():
        padded.wte.weight[VOCABULARY:] = 1000 * network.wte.weight[:3]
    for settings in ({"temperature": 0}, {"temperature": 100.0, "samples": 40}):
        drawn = generate_tokens(padded, [1, 2], max_new_tokens=20, end=-1, **settings)
        tokens = [token for sample in drawn for token in sample]
        assert len(tokens) >= 20
        assert max(tokens) < VOCABULARY


def test_a_cache_that_is_full_says_so() -> None:
    cache = Cache(1, 3)
    piece = torch.ones(1, 1, 2, 4)
    cache.extend(0, piece, piece)
    twin = cache.copy()
    twin.extend(0, piece[:, :, :1], piece[:, :, :1])
    assert (cache.length, twin.length) == (2, 3)
    with pytest.raises(IndexError, match="for 3 tokens was given 4"):
        cache.extend(0, piece, piece)


def test_a_layout_for_one_token_changes_no_number(network: GPT2) -> None:
    laid_out = lay_out_for_one(copy.deepcopy(network))
    for name, weight in network.state_dict().items():
        assert torch.equal(laid_out.state_dict()[name], weight)
    assert not laid_out.h[0].mlp.c_fc.weight.is_contiguous()  # type: ignore[union-attr]
    texts = [
        list(generate_tokens(one, [5, 6], max_new_tokens=20, temperature=0.0, end=-1))
        for one in (laid_out, network)
    ]
    assert texts[0] == texts[1]
