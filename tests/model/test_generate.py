"""Generation: seeds, rules, and going on past the context."""

from collections import Counter

import pytest
import torch

from model.errors import SettingsError
from model.generate import generate, generate_tokens
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
        return generate_tokens(network, [1, 2], max_new_tokens=15, end=-1, **settings)

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
    samples = generate_tokens(network, [1], max_new_tokens=60, temperature=5, samples=4, end=3)
    assert all(3 not in sample for sample in samples)
    assert min(map(len, samples)) < 60


def test_text_in_text_out(network: GPT2) -> None:
    def encode(text: str) -> list[int]:
        return [ord(c) - 65 for c in text]

    def decode(tokens: list[int]) -> str:
        return "".join(chr(65 + t) for t in tokens)

    (text,) = generate(network, encode, decode, "AB", max_new_tokens=5, seed=1)
    assert len(text) == 5
    assert len(generate(network, encode, decode, "", max_new_tokens=2, samples=2)) == 2


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"samples": 0}]
)
def test_impossible_settings_are_refused(network: GPT2, wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        generate_tokens(network, [1], max_new_tokens=1, **wrong)
    with pytest.raises(SettingsError, match="prompt has 32 tokens"):
        generate_tokens(network, [1] * CONTEXT, max_new_tokens=1)
