"""A model served in small portions: few rows at a time where memory is short, few input directions where there are hundreds.

The directions are signs on disjoint blocks of channels: with k blocks, x in R^k is sent to the input whose channel i is s_i x_(block of i), s_i
= ±1. So |input|_inf = |x|_inf exactly, the sup over these inputs is a lower bound of the sup over all, and with k = d it is the sup.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from perdure._typing import Tensor
from perdure.adapters import adapt


class Served(nn.Module):
    """An adapted model behind `rows` and `mix`; it is copied and cast together with the module it holds.

    Args:
        call: the model, as `perdure.adapters.adapt` returns it.
        rows: most sequences in one call; None for no limit.
        directions: k, input channels of the served model; None for all d.
        seed: of the signs.
    """

    mix: Tensor | None

    def __init__(self, call: Any, *, rows: int | None = None, directions: int | None = None, seed: int = 0) -> None:
        super().__init__()
        self.owner = call.module  # registered, so that a copy in another type takes its weights along
        self._call = adapt(call)
        self.rows = rows
        size = call.input_size
        self.input_size = min(directions or size, size)
        self.register_buffer("mix", signs(self.input_size, size, seed) if self.input_size < size else None)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, T, d_out) for inputs (B, T, k)."""
        x = x if self.mix is None else x @ self.mix.to(x)
        if self.rows is None or x.shape[0] <= self.rows:
            return self._call(x)
        return torch.cat([self._call(part) for part in x.split(self.rows)])


def signs(k: int, d: int, seed: int) -> Tensor:
    """(k, d): one random sign a channel, in the row of the channel's block.

    >>> signs(2, 5, 0).abs().sum(0), signs(2, 5, 0).abs().sum(1)
    (tensor([1., 1., 1., 1., 1.]), tensor([3., 2.]))
    """
    generator = torch.Generator().manual_seed(seed)
    mix = torch.zeros(k, d)
    mix[torch.arange(d) * k // d, torch.arange(d)] = 2.0 * torch.randint(0, 2, (d,), generator=generator) - 1.0
    return mix
