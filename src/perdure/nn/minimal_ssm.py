r"""`DiagonalSSM` for reading: the same layer, in complex numbers, step by step, without its options and its speed.

    lambda = -e^v + i omega                          poles, per unit time; e^-v is the timescale of a mode
    a = e^(dt lambda)                                what is left of a state after a step
    b = |Re lambda| (a - 1) / lambda B               zero-order hold, modes of unit L1 norm
    h_k = a h_{k-1} + b x_k                          N complex numbers that do not touch one another
    y_k = sigma(Re(C h_k) + D x_k + bias)

It loads the state_dict of a DiagonalSSM with the exp map, complex modes, `normalize` and `skip`; copy it to start something of your own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class MinimalSSM(nn.Module):
    """Layers of diagonal linear modes with nonlinear readouts, (B, T, input_size) -> (B, T, hidden_size) and the last states.

    Args:
        input_size: channels of the input.
        hidden_size: channels of the output, and between layers.
        state_size: modes of each layer, N.
        num_layers: layers.
        activation: sigma.
        dt: time of a step.

    >>> y, state = MinimalSSM(2, 3, state_size=4)(torch.zeros(5, 10, 2))
    >>> y.shape, state.shape
    (torch.Size([5, 10, 3]), torch.Size([1, 5, 4, 2]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        state_size: int = 64,
        num_layers: int = 1,
        activation: Callable[[Tensor], Tensor] = nn.functional.gelu,
        dt: float = 1.0,
    ) -> None:
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(MinimalLayer(size, hidden_size, state_size, activation, dt) for size in sizes)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs and last states; `state` (num_layers, B, N, 2) from an earlier call, or None for zeros."""
        last = []
        for k, layer in enumerate(self.layers):
            x, h = layer(x, None if state is None else state[k])
            last.append(h)
        return x, torch.stack(last)

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same for one step x (B, input_size)."""
        y, state = self.forward(x[:, None], state)
        return y[:, 0], state


class MinimalLayer(nn.Module):
    """One layer."""

    def __init__(self, size: int, hidden: int, count: int, activation: Callable[[Tensor], Tensor], dt: float) -> None:
        super().__init__()
        timescales = dt * torch.logspace(0, 3, count)  # 1 to 1000 steps
        turns = torch.arange(count) * 0.6180339887 % 1  # frequencies: evenly over [0, pi) radians a step, whatever the timescale
        self.modes = nn.ParameterDict({"v": -timescales.log(), "frequency": torch.pi / dt * turns})
        self.input_weight = nn.Parameter(torch.randn(count, size, 2) * size**-0.5)
        deviation = (2 * timescales / dt).rsqrt()[:, None]  # of a mode under white input, about
        self.output_weight = nn.Parameter(torch.randn(hidden, count, 2) * count**-0.5 / deviation)
        self.skip_weight = nn.Parameter(torch.randn(hidden, size) * size**-0.5)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.activation, self.dt = activation, dt

    def poles(self) -> Tensor:
        """Lambda, (N,), complex128."""
        return torch.complex(-self.modes["v"].double().exp(), self.modes["frequency"].double())

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs (B, T, hidden) and last states (B, N, 2)."""
        poles = self.poles()
        a = torch.exp(self.dt * poles)
        b = (-poles.real * expm1(self.dt * poles) / poles)[:, None] * torch.view_as_complex(self.input_weight.double())
        c = torch.view_as_complex(self.output_weight.double())
        h = torch.zeros(x.shape[0], len(a), dtype=a.dtype) if state is None else torch.view_as_complex(state.double())
        states = []
        for drive in (x.to(a.dtype) @ b.T).unbind(1):
            h = a * h + drive
            states.append(h)
        y = (torch.stack(states, 1) @ c.T).real.to(x.dtype) + nn.functional.linear(x, self.skip_weight, self.bias)
        return self.activation(y), torch.view_as_real(h).to(x.dtype)


def expm1(z: Tensor) -> Tensor:
    """e^z - 1 of complex z near 0, where e^z has lost the digits that count."""
    x, w = z.real, z.imag
    return torch.complex(torch.expm1(x) * torch.cos(w) - 2 * torch.sin(w / 2) ** 2, torch.exp(x) * torch.sin(w))
