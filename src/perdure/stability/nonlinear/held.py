r"""Linear models and targets on inputs that are held over steps, without any error of time discretisation.

For x constant on each step of dt, y_k = sum_j w_j^T x_{k-j} with w_j = int_{j dt}^{(j+1) dt} rho: held inputs are inputs, so that whatever a search finds with them is a lower bound
of the supremum over all inputs in continuous time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from perdure._typing import Tensor
from perdure.functionals.base import LinearFunctional
from perdure.stability.network import Network


def filtered(x: Tensor, weights: Tensor) -> Tensor:
    """y_k = sum_j w_j^T x_{k-j}: x (B, T, d) and w (T, d) to (B, T, 1)."""
    steps = x.shape[1]
    n = 1 << (2 * steps - 1).bit_length()
    y = torch.fft.irfft((torch.fft.rfft(weights, n, dim=0) * torch.fft.rfft(x, n, dim=1)).sum(-1), n, dim=1)
    return y[:, :steps, None]


class HeldTarget:
    """A linear functional on held inputs.

    Attributes:
        functional: the functional itself.
        input_size: d.
    """

    def __init__(self, functional: LinearFunctional) -> None:
        self.functional, self.input_size = functional, functional.input_size

    def __call__(self, x: Tensor, dt: float) -> Tensor:
        """(B, T, d) to (B, T, 1)."""
        tail = self.functional._tail(dt * np.arange(x.shape[1] + 1))
        return filtered(x, torch.as_tensor(tail[:-1] - tail[1:]))


class HeldModes(nn.Module):
    """A diagonal linear network on held inputs, with its trained values as parameters (see `perdure.stability.network`).

    Attributes:
        recurrent: (K, 2), v and omega of each mode.
        input_weight: (2 K, d), real and imaginary parts of the rows, below one another.
        readout: (2 K,), real and imaginary parts.
    """

    balls = {"recurrent": "rows", "input_weight": "spectral", "readout": "euclid"}  # noqa: RUF012 - never changed

    def __init__(self, network: Network, dt: float) -> None:
        super().__init__()
        self.map, self.dt, self.input_size, self.hidden_size = network.map, dt, network.input_size, int((1 + network.pair).sum())
        u, c = network.u.to(torch.complex128), network.c.to(torch.complex128)
        self.recurrent = nn.Parameter(torch.stack([network.v, network.omega], 1))
        self.input_weight = nn.Parameter(torch.cat([u.real, u.imag]))
        self.readout = nn.Parameter(torch.cat([c.real, c.imag]))
        self.register_buffer("pair", network.pair.to(torch.float64))

    def recurrent_parameters(self) -> list[nn.Parameter]:
        """What sets the rates."""
        return [self.recurrent]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T, 1); what has no imaginary part keeps none."""
        pair = torch.as_tensor(self.pair)
        rate = torch.complex(-self.map(self.recurrent[:, 0]), pair * self.recurrent[:, 1])
        u, c = (part.chunk(2) for part in (self.input_weight, self.readout))
        weight = torch.complex(c[0], pair * c[1])[:, None] * torch.complex(u[0], pair[:, None] * u[1])
        cell = torch.where(rate.abs() < 1e-12, self.dt * torch.ones_like(rate), -torch.expm1(-rate * self.dt) / rate)
        t = self.dt * torch.arange(x.shape[1], dtype=torch.float64)
        kernel = torch.exp(-t[:, None] * rate) @ (cell[:, None] * weight)
        return filtered(x, kernel.real)
