"""Randomly initialised recurrent layers with a linear readout: the models of Fig. 10."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.nn import DiagonalSSM

TORCH = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
KINDS = (*TORCH, "S4")
STEPS = (1e-3, 1e-1)  # S4D's range of time steps, in units of the slowest mode's oscillation


class RandomLayers(nn.Module):
    """x (B, T, 1) -> y (B, T, 1): layers of one kind as their library initialises them, and a random linear readout.

    Args:
        kind: "RNN", "GRU" or "LSTM" of torch, or "S4", a stack of `DiagonalSSM` with the modes of S4D-Lin.
        layers: one upon another.
        width: states of a layer; for "S4" modes of a layer and channels between.

    Raises:
        ArgumentError: an unknown kind, a size below 1.
    """

    def __init__(self, kind: str, layers: int, width: int) -> None:
        super().__init__()
        _checks.choice(kind, "kind", KINDS)
        _checks.positive_int(layers, "layers", "a stack has at least one layer")
        _checks.positive_int(width, "width", "a layer has at least one state")
        self.layers: Any
        if kind == "S4":
            self.layers = DiagonalSSM(1, width, width, num_layers=layers)
            self.layers.assign_poles(*s4d_lin(layers, width))
        else:
            self.layers = TORCH[kind](1, width, layers, batch_first=True)
        self.readout = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, T, 1)."""
        return self.readout(self.layers(x)[0])


def s4d_lin(layers: int, modes: int) -> tuple[Tensor, Tensor]:
    r"""Decay rates and frequencies (layers, modes), per step, of S4D-Lin: lambda_n = dt_n (-1/2 + i pi n).

    Its time steps dt are drawn log-uniformly from [1e-3, 1e-1], one a mode here, one a channel there. Frequencies are taken modulo 2 pi, as a
    step of one does. Drawn from torch's generator.

    Reference:
        Gu, Gupta, Goel & Re, "On the Parameterization and Initialization of Diagonal State Space Models", 2022, eq. (9).

    >>> rates, frequencies = s4d_lin(1, 4)
    >>> rates.shape, bool((rates >= 5e-4).all()), bool((rates <= 5e-2).all())
    (torch.Size([1, 4]), True, True)
    """
    low, high = (math.log(step) for step in STEPS)
    dt = torch.exp(low + (high - low) * torch.rand(layers, modes, dtype=torch.float64))
    return 0.5 * dt, (math.pi * torch.arange(modes, dtype=torch.float64) * dt) % (2 * math.pi)
