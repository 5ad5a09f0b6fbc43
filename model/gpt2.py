"""GPT-2 as published: pre-LayerNorm blocks, tanh GELU, learned positions, tied head, biases.

Parameter names are those of Hugging Face's GPT-2 (`h.0.attn.c_attn.weight`, ...), but a matrix is
stored as torch's `Linear` wants it, (out, in): the transpose of their Conv1D.

Shape suffixes: B sequences, T tokens, S tokens with those of a cache, C width, H heads, D width of
a head, N = B·T, V vocabulary.
"""

# ruff: noqa: N803, N806  names of tensors end in their shape

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.cache import Cache
from model.config import ModelConfig
from model.fixed_attention import attend_in_blocks
from model.head import linear_cross_entropy

LAYER_NORM_EPSILON = 1e-5  # OpenAI's and Hugging Face's
WEIGHT_DEVIATION = 0.02  # Radford et al. 2018, section 4.1
POSITION_DEVIATION = {"openai": 0.01, "hf": 0.02}


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.layer, self.dropout = config.heads, layer, config.dropout
        self.in_blocks = False
        """Whether a token's result must not depend on what else is computed."""
        self.c_attn = nn.Linear(config.width, 3 * config.width)
        self.c_proj = nn.Linear(config.width, config.width)

    def forward(self, x_BTC: Tensor, cache: Cache | None = None) -> Tensor:
        """Mix each token with those before it."""
        b, t, c = x_BTC.shape
        q_BHTD, k_BHTD, v_BHTD = (
            part.view(b, t, self.heads, c // self.heads).transpose(1, 2)
            for part in self.c_attn(x_BTC).split(c, dim=2)
        )
        if cache is not None:
            k_BHTD, v_BHTD = cache.extend(self.layer, k_BHTD, v_BHTD)
        y_BHTD = self._attend(q_BHTD, k_BHTD, v_BHTD)
        mixed: Tensor = self.c_proj(y_BHTD.transpose(1, 2).reshape(b, t, c))
        return functional.dropout(mixed, self.dropout, self.training)

    def _attend(self, q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor) -> Tensor:
        if self.in_blocks and not self.training:
            return attend_in_blocks(q_BHTD, k_BHSD, v_BHSD)
        t = q_BHTD.shape[2]
        past = k_BHSD.shape[2] - t
        return functional.scaled_dot_product_attention(
            q_BHTD,
            k_BHSD,
            v_BHSD,
            attn_mask=_later_mask(t, past, q_BHTD.device) if past and t > 1 else None,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=past == 0,
        )


def _later_mask(tokens: int, past: int, device: torch.device) -> Tensor:
    """True where a new token may look: at all past tokens and at new ones up to itself."""
    mask = torch.ones(tokens, past + tokens, dtype=torch.bool, device=device)
    return mask.tril(past)


class FeedForward(nn.Module):
    """Two linear maps about a tanh GELU, four times as wide inside."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = nn.Linear(config.width, 4 * config.width)
        self.c_proj = nn.Linear(4 * config.width, config.width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Transform each token by itself."""
        y_BTC: Tensor = self.c_proj(functional.gelu(self.c_fc(x_BTC), approximate="tanh"))
        return functional.dropout(y_BTC, self.dropout, self.training)


class Block(nn.Module):
    """Attention and feed-forward, each after a LayerNorm and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, LAYER_NORM_EPSILON)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.width, LAYER_NORM_EPSILON)
        self.mlp = FeedForward(config)

    def forward(self, x_BTC: Tensor, cache: Cache | None = None) -> Tensor:
        """One layer of the network."""
        x_BTC = x_BTC + self.attn(self.ln_1(x_BTC), cache)
        fed_BTC: Tensor = self.mlp(self.ln_2(x_BTC))
        return x_BTC + fed_BTC


class GPT2(nn.Module):
    """The network. Called with tokens and targets it gives the loss that training minimises."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.padded_vocabulary, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width, LAYER_NORM_EPSILON)

    def __call__(self, tokens_BT: Tensor, targets_BT: Tensor, scale: float | Tensor = 1.0) -> Any:
        """See `forward`. A number would be a constant of compiled code, made anew for each."""
        if not isinstance(scale, Tensor):
            scale = torch.full((), scale, dtype=torch.float64, device=tokens_BT.device)
        return super().__call__(tokens_BT, targets_BT, scale)

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor, scale: Tensor) -> Tensor:
        """`scale` × the sum of the targets' negative log-likelihoods in nats (−100: left out)."""
        x_NC = self.hidden_states(tokens_BT).flatten(0, 1)
        return linear_cross_entropy(
            x_NC,
            self.wte.weight,
            targets_BT.flatten(),
            vocabulary=self.config.vocabulary,
            scale=scale,
        )

    def hidden_states(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """Last hidden states after the final LayerNorm, (B, T, C); `cache` holds earlier tokens."""
        past = cache.length if cache is not None else 0
        positions_T = torch.arange(past, past + tokens_BT.shape[1], device=tokens_BT.device)
        x_BTC = self.wte(tokens_BT) + self.wpe(positions_T)
        x_BTC = functional.dropout(x_BTC, self.config.dropout, self.training)
        for block in self.h:
            x_BTC = block(x_BTC, cache)
        normed: Tensor = self.ln_f(x_BTC)
        return normed

    def logits(self, x_BTC: Tensor) -> Tensor:
        """Logits over the vocabulary (padding cut off) of hidden states, (B, T, V)."""
        return functional.linear(x_BTC, self.wte.weight[: self.config.vocabulary])

    def fix_attention(self) -> None:
        """Give a token the same bits on the CPU whatever it is computed with, but in training."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.in_blocks = True

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw all weights from `seed`, in a fixed order, the same on every platform's CPU."""
        generator = torch.Generator().manual_seed(seed)
        residual = WEIGHT_DEVIATION / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                deviation = residual if name.endswith("c_proj.weight") else WEIGHT_DEVIATION
                if name == "wpe.weight":
                    deviation = POSITION_DEVIATION[self.config.initialisation]
                parameter.normal_(0.0, deviation, generator=generator)
        self.wte.weight[self.config.vocabulary :] = 0.0


def build_gpt2(config: ModelConfig, seed: int) -> GPT2:
    """A freshly initialised network on the CPU in float32."""
    network = GPT2(config)
    network.initialise(seed)
    return network
