"""Keys and values of the tokens that a network has read, so that none is computed twice.

Room for all of them is taken once: growing by concatenation would copy the whole cache for every
token (75 MB a token at the end of the 124M network's context).

Shape suffixes: B sequences, H heads, T tokens, D width of a head.
"""

# ruff: noqa: N803, N806  names of tensors end in their shape

from typing import Self

from torch import Tensor


class Cache:
    """Keys and values of each layer, 2 × layers × (B, H, T, D), for at most `capacity` tokens."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.capacity = capacity
        self._lengths = [0] * layers
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers

    @property
    def length(self) -> int:
        """Tokens it holds."""
        return self._lengths[0]

    def extend(self, layer: int, k_BHTD: Tensor, v_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Append one layer's new keys and values and return views of all of them."""
        old = self._lengths[layer]
        new = old + k_BHTD.shape[2]
        if new > self.capacity:
            raise IndexError(f"a cache for {self.capacity} tokens was given {new}")
        views = []
        for held, added_BHTD in ((self._keys, k_BHTD), (self._values, v_BHTD)):
            room_BHTD = held[layer]
            if room_BHTD is None:
                b, h, _, d = added_BHTD.shape
                room_BHTD = held[layer] = added_BHTD.new_empty(b, h, self.capacity, d)
            room_BHTD[:, :, old:new] = added_BHTD
            views.append(room_BHTD[:, :, :new])
        self._lengths[layer] = new
        return views[0], views[1]

    def copy(self) -> Self:
        """One that holds the same and goes on by itself."""
        twin = type(self)(len(self._lengths), self.capacity)
        twin._lengths = list(self._lengths)
        twin._keys = [None if tensor is None else tensor.clone() for tensor in self._keys]
        twin._values = [None if tensor is None else tensor.clone() for tensor in self._values]
        return twin

    def repeat(self, rows: int, capacity: int) -> Self:
        """One that holds the same for `rows` sequences and has room for `capacity` tokens each."""
        twin = type(self)(len(self._lengths), capacity)
        twin._lengths = list(self._lengths)
        for held, into in ((self._keys, twin._keys), (self._values, twin._values)):
            for layer, room_BHTD in enumerate(held):
                if room_BHTD is not None:
                    b, h, _, d = room_BHTD.shape
                    length = self._lengths[layer]
                    new_BHTD = room_BHTD.new_empty(rows * b, h, capacity, d)
                    new_BHTD[:, :, :length] = room_BHTD[:, :, :length].repeat(rows, 1, 1, 1)
                    into[layer] = new_BHTD
        return twin
