"""Attention in blocks: torch's own answer, and the same whatever is computed beside it."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.fixed_attention import attend_in_blocks

LENGTHS = (1, 2, 15, 16, 17, 100, 127, 128, 129, 192, 300)


def states(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 300, 16, generator=generator).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("tokens", LENGTHS)
def test_equals_torchs_causal_attention(tokens: int) -> None:
    q, k, v = (x[:, :, :tokens] for x in states(torch.float32))
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attend_in_blocks(q, k, v), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 0.0)])
def test_length_and_cache_change_nothing(dtype: torch.dtype, bound: float) -> None:
    q, k, v = states(dtype)
    whole = attend_in_blocks(q, k, v)
    for end in LENGTHS:
        for start in (0, 1, 40, 128, 150):
            if start < end:
                part = attend_in_blocks(q[:, :, start:end], k[:, :, :end], v[:, :, :end])
                torch.testing.assert_close(part, whole[:, :, start:end], rtol=0, atol=bound)


def test_what_lies_beyond_the_tokens_is_not_read() -> None:
    """The cache's room holds whatever was there before."""
    q, k, v = states(torch.float32)
    expected = attend_in_blocks(q[:, :, :50], k[:, :, :50], v[:, :, :50])
    k[:, :, 50:] = v[:, :, 50:] = float("inf")
    found = attend_in_blocks(q[:, :, :50], k[:, :, :50], v[:, :, :50])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
