"""A random causal Transformer of numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perdure._random import isolated


class CausalTransformer(nn.Module):
    """A linear embedding of numbers, sinusoidal positions, causal attention, a linear readout: (B, T, 1) -> (B, T, 1)."""

    def __init__(self, size: int, layers: int, heads: int) -> None:
        super().__init__()
        self.input_size, self.batch_first, self.size = 1, True, size
        self.embed = nn.Linear(1, size, dtype=torch.float64)
        layer = nn.TransformerEncoderLayer(size, heads, 2 * size, dropout=0.0, batch_first=True, dtype=torch.float64)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.readout = nn.Linear(size, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of every token."""
        steps = x.shape[1]
        mask = torch.full((steps, steps), float("-inf"), dtype=x.dtype).triu(1)
        return self.readout(self.encoder(self.embed(x) + positions(steps, self.size), mask=mask))


def positions(steps: int, size: int) -> Tensor:
    """Sines and cosines of wavelengths from 2 pi to 2 pi 10^4 tokens, (T, size).

    >>> positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    rates = 10_000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.arange(steps, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).reshape(steps, size)


def random_transformer(size: int, layers: int, heads: int, seed: int) -> CausalTransformer:
    """With torch's own initial weights, in evaluation mode."""
    with isolated(seed):
        return CausalTransformer(size, layers, heads).eval()
