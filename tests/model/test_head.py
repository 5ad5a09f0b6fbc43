"""The chunked loss against torch's own, value and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model.head import CHUNK_TOKENS, linear_cross_entropy


def reference(
    x: torch.Tensor, w: torch.Tensor, targets: torch.Tensor, vocabulary: int, scale: float
) -> torch.Tensor:
    logits = functional.linear(x, w[:vocabulary])
    return scale * functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.sampled_from([1, 3, CHUNK_TOKENS - 1, CHUNK_TOKENS, 2 * CHUNK_TOKENS + 5]),
    vocabulary=st.integers(2, 40),
    padding=st.integers(0, 5),
    scale=st.sampled_from([1.0, 0.125, 3.0]),
    seed=st.integers(0, 1000),
)
def test_equals_cross_entropy(
    tokens: int, vocabulary: int, padding: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, 8, generator=generator, dtype=torch.float64)
    w = torch.randn(vocabulary + padding, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    targets[torch.rand(tokens, generator=generator) < 0.2] = -100
    results = []
    for function in (reference, _ours):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        loss = function(a, b, targets, vocabulary, scale)
        (0.5 * loss).backward()
        assert a.grad is not None
        assert b.grad is not None
        results.append((loss.detach(), a.grad, b.grad))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert torch.equal(results[1][2][vocabulary:], torch.zeros(padding, 8, dtype=torch.float64))
    with torch.no_grad():
        measured = _ours(x, w, targets, vocabulary, scale)
    torch.testing.assert_close(measured, results[0][0], rtol=1e-10, atol=1e-10)


def _ours(
    x: torch.Tensor, w: torch.Tensor, targets: torch.Tensor, vocabulary: int, scale: float
) -> torch.Tensor:
    return linear_cross_entropy(x, w, targets, vocabulary=vocabulary, scale=scale)


def test_huge_logits_stay_finite() -> None:
    x = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    w = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = linear_cross_entropy(x, w, torch.tensor([0, 0]), vocabulary=2)
    loss.backward()
    assert loss.item() == 600.0
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_bf16_is_near_and_keeps_float32_gradients() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(40, 16, requires_grad=True), torch.randn(30, 16, requires_grad=True)
    targets = torch.randint(0, 30, (40,))
    exact = reference(x, w, targets, 30, 1 / 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(x, w, targets, vocabulary=30, scale=1 / 40)
    loss.backward()
    assert abs(loss.item() - exact.item()) < 0.05
    assert w.grad is not None
    assert w.grad.dtype == torch.float32


def test_a_second_backward_is_refused() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    loss = linear_cross_entropy(x, torch.randn(5, 4), torch.tensor([0, 1, 2]), vocabulary=5)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="already taken"):
        loss.backward()
