"""The scorer against a naive one, and its independence of neighbours."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import likelihood
from model.config import ModelConfig
from model.errors import SettingsError
from model.gpt2 import GPT2, build_gpt2
from model.likelihood import GPT2Scorer

CONFIG = ModelConfig(layers=2, heads=2, width=32, context=40, vocabulary=101, padded_vocabulary=128)


def make_network() -> GPT2:
    network = build_gpt2(CONFIG, seed=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)  # so that probabilities differ much
    return network


SCORER = GPT2Scorer(make_network())


def naive(request: list[int], start: int, masked: list[int]) -> tuple[list[float], list[bool]]:
    network = SCORER.network
    with torch.no_grad():
        logits = network.logits(network.hidden_states(torch.tensor([request[:-1]])))[0].double()
    log_p = torch.log_softmax(logits, 1)
    places = range(start, len(request))
    likelihoods = [log_p[i - 1, request[i]].item() for i in places]
    logits[:, masked] = -math.inf
    best = [bool(logits[i - 1].argmax() == request[i]) for i in places]
    return likelihoods, best


requests = st.lists(
    st.lists(st.integers(0, 100), min_size=2, max_size=41).flatmap(
        lambda tokens: st.tuples(st.just(tokens), st.integers(1, len(tokens)))
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(asked=requests, masked=st.lists(st.integers(0, 100), max_size=60))
def test_equals_the_naive_answer(asked: list[tuple[list[int], int]], masked: list[int]) -> None:
    answers = SCORER.log_likelihoods([r for r, _ in asked], [s for _, s in asked], masked)
    assert len(answers) == len(asked)
    for (request, start), (log_p, is_best) in zip(asked, answers, strict=True):
        expected, best = naive(request, start, masked)
        np.testing.assert_allclose(log_p, expected, rtol=0, atol=1e-5)
        assert log_p.dtype == np.float32
        assert is_best.tolist() == best


def test_neighbours_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    asked = [generator.integers(0, 101, size=n).tolist() for n in generator.integers(2, 42, 50)]
    starts = [1] * len(asked)
    together = SCORER.log_likelihoods(asked, starts)
    monkeypatch.setattr(SCORER, "batch_tokens", 1)
    alone = SCORER.log_likelihoods(asked, starts)
    reverse = SCORER.log_likelihoods(asked[::-1], starts)[::-1]
    for one, two, three in zip(together, alone, reverse, strict=True):
        np.testing.assert_allclose(one[0], two[0], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(two[0], three[0])


BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-4}
"""Nats by which a token's log-probability may depend on batch and neighbours."""


@pytest.mark.parametrize("dtype", BOUNDS)
def test_long_neighbours_change_nothing_in_either_precision(dtype: torch.dtype) -> None:
    """Lengths on all sides of torch's and our blocks; the same requests as one batch and alone."""
    config = ModelConfig(
        layers=3, heads=2, width=64, context=300, vocabulary=101, padded_vocabulary=128
    )
    network = build_gpt2(config, seed=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)
    generator = np.random.default_rng(0)
    lengths = [2, 3, 16, 17, 31, 33, 64, 100, 128, 129, 130, 191, 193, 200, 255, 256, 257, 300, 301]
    asked = [generator.integers(0, 101, size=n).tolist() for n in lengths]
    # Two that begin alike, and share the beginning's keys when they are asked together.
    asked += [[*asked[-1][:150], 1, 2, 3], [*asked[-1][:150], 4]]
    starts = [1] * len(lengths) + [150, 150]
    scorer = GPT2Scorer(network, dtype=dtype)
    alone = [scorer.log_likelihoods([r], [s])[0] for r, s in zip(asked, starts, strict=True)]
    for batch_tokens in (700, 100_000):
        scorer.batch_tokens = batch_tokens
        for (one, _), (other, _) in zip(alone, scorer.log_likelihoods(asked, starts), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=BOUNDS[dtype])


def questions(count: int) -> tuple[list[list[int]], list[int]]:
    """Ten requests a question: one context, cut at 20 tokens, and ends of 0 to 9 tokens more."""
    generator = np.random.default_rng(1)
    asked, starts = [], []
    for _ in range(count):
        context = generator.integers(0, 101, size=int(generator.integers(20, 30))).tolist()
        for length in range(1, 11):
            asked.append(context + generator.integers(0, 101, size=length).tolist())
            starts.append(len(context))
    return asked, starts


def test_a_shared_beginning_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, starts = questions(4)
    apart = GPT2Scorer(make_network())
    expected = apart.log_likelihoods(asked, starts)
    monkeypatch.setattr(likelihood, "SHARED_TOKENS", 10)
    shared = GPT2Scorer(make_network())
    order = np.random.default_rng(2).permutation(len(asked))
    found = shared.log_likelihoods([asked[i] for i in order], [starts[i] for i in order])
    for i, (log_p, is_best) in zip(order, found, strict=True):
        np.testing.assert_allclose(log_p, expected[i][0], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(is_best, expected[i][1])
    assert shared.computed_tokens < apart.computed_tokens / 2
    (answer,) = {len(a[0]) for a in shared.log_likelihoods([asked[0]] * 3, [starts[0]] * 3)}
    assert answer == 1


def test_padding_is_bounded() -> None:
    generator = np.random.default_rng(3)
    asked = [generator.integers(0, 101, size=n).tolist() for n in generator.integers(2, 42, 400)]
    scorer = GPT2Scorer(make_network())
    scorer.log_likelihoods(asked, [1] * len(asked))
    assert scorer.computed_tokens >= sum(len(request) - 1 for request in asked)
    assert scorer.padding_tokens <= 0.05 * scorer.computed_tokens


def test_half_precision_is_reduced_in_single() -> None:
    asked, starts = questions(3)
    scorer = GPT2Scorer(make_network(), dtype=torch.bfloat16)
    assert scorer.network.ln_f.weight.dtype == torch.bfloat16
    for (log_p, _), (expected, _) in zip(
        scorer.log_likelihoods(asked, starts), SCORER.log_likelihoods(asked, starts), strict=True
    ):
        assert log_p.dtype == np.float32
        np.testing.assert_allclose(log_p, expected, rtol=0, atol=0.3)


def test_greedy_tokens_are_the_argmax() -> None:
    from model.generate import generate_tokens

    prompt = [1, 2, 3]
    (tokens,) = generate_tokens(SCORER.network, prompt, max_new_tokens=10, temperature=0, end=-1)
    ((_, is_best),) = SCORER.log_likelihoods([prompt + tokens], [3])
    assert is_best.all()
    ((_, is_best),) = SCORER.log_likelihoods([prompt + tokens], [3], masked_ids=[tokens[0]])
    assert not is_best[0]


def test_a_uniform_model_is_uniform_over_the_true_vocabulary() -> None:
    network = build_gpt2(CONFIG, seed=0)
    with torch.no_grad():
        network.wte.weight.zero_()
    ((log_p, _),) = GPT2Scorer(network).log_likelihoods([list(range(41))], [1])
    np.testing.assert_allclose(log_p, -math.log(101), atol=1e-6)


@pytest.mark.parametrize(("tokens", "start"), [(42, 1), (1, 1), (5, 0), (5, 6)])
def test_impossible_requests_are_refused(tokens: int, start: int) -> None:
    with pytest.raises(SettingsError, match=f"request 0 has {tokens} tokens, scored from {start}"):
        SCORER.log_likelihoods([[0] * tokens], [start])
    with pytest.raises(SettingsError, match="1 requests, but 2"):
        SCORER.log_likelihoods([[0, 1]], [1, 1])


def test_nothing_asked_nothing_answered() -> None:
    assert SCORER.log_likelihoods([], []) == []
