r"""Linear models and targets on inputs that are held over steps, without any error of time discretisation.

For x constant on each step of dt, y_k = sum_j w_j^T x_{k-j} with w_j = int_{j dt}^{(j+1) dt} rho: held inputs are inputs, so that whatever a search finds with them is a lower bound
of the supremum over all inputs in continuous time.

Where no horizon is given that of a linear model is infinite: what is searched then lasts LIFETIMES of the slowest rate, of the model and of a target that is an exponential sum, in at most MOST
steps, and the radius from which a mode no longer decays is known from the rates (`perdure.stability.network`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.stability.network import Network
from perdure.stability.nonlinear.balls import Moves

LIFETIMES, MOST = 8.0, 1024  # e^-8 of a mode is left
FINE = 0.05  # of 1/|lambda|, the fastest
PART = {"recurrent": "recurrent", "input_weight": "input", "readout": "readout"}


def grid(model: ExponentialSum, target: object, dt: float | None, horizon: float | None) -> tuple[float, float]:
    """(dt, horizon): steps of 0.05 of the shortest time constant. A horizon that is not given is 8 of the longest, in at most 1024 steps: longer ones, or with `dt` given fewer time constants.

    >>> grid(ExponentialSum([1.0, 0.1], [1.0, 1.0]), None, None, None)
    (0.078125, 80.0)
    """
    fine = FINE / float(np.abs(model.rates).max())
    if horizon is not None:
        return dt or fine, horizon
    slowest = min(float(sum_.rates.real.min()) for sum_ in (model, target) if isinstance(sum_, ExponentialSum))
    horizon = LIFETIMES / slowest
    return (max(fine, horizon / MOST), horizon) if dt is None else (dt, max(min(horizon, MOST * dt), 3 * dt))


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
        endless: whether its horizon is infinite, so that a mode that does not decay makes E infinite.
        recurrent: (K, 2), v and omega of each mode.
        input_weight: (2 K, d), real and imaginary parts of the rows, below one another.
        readout: (2 K,), real and imaginary parts.
    """

    balls = {"recurrent": "rows", "input_weight": "spectral", "readout": "euclid"}  # noqa: RUF012 - never changed

    def __init__(self, network: Network, dt: float, endless: bool) -> None:
        super().__init__()
        self.network, self.endless = network, endless
        self.map, self.dt, self.input_size, self.hidden_size = network.map, dt, network.input_size, int((1 + network.pair).sum())
        u, c = network.u.to(torch.complex128), network.c.to(torch.complex128)
        self.recurrent = nn.Parameter(torch.stack([network.v, network.omega], 1))
        self.input_weight = nn.Parameter(torch.cat([u.real, u.imag]))
        self.readout = nn.Parameter(torch.cat([c.real, c.imag]))
        self.register_buffer("pair", network.pair.to(torch.float64))

    def recurrent_parameters(self) -> list[nn.Parameter]:
        """What sets the rates."""
        return [self.recurrent]

    def divergence_radius(self, parameters: Iterable[str]) -> float:
        """The least radius at which a mode need not decay when these parameters move; infinite on a finite horizon, where every norm is finite."""
        return self.network.divergence_radius(tuple(PART[name] for name in parameters)) if self.endless else float("inf")

    def endures(self, moves: Moves) -> Tensor:
        """(E,), whether a mode that is excited and read out no longer decays after a move, for moves (E, ...); never on a finite horizon."""
        given = [getattr(self, name).detach() + moves.get(name, torch.zeros(1)) for name in PART]
        rate, weight = self._modes(*given)
        found = ((rate.real <= 0) & (weight.abs().sum(-1) > 0)).any(-1)
        return (found & self.endless).expand(len(next(iter(moves.values()))))

    def _modes(self, recurrent: Tensor, input_weight: Tensor, readout: Tensor) -> tuple[Tensor, Tensor]:
        """Rates (..., K) and coefficients (..., K, d); what has no imaginary part keeps none."""
        pair = torch.as_tensor(self.pair)
        rate = torch.complex(-self.map(recurrent[..., 0]), pair * recurrent[..., 1])
        u, c = input_weight.chunk(2, -2), readout.chunk(2, -1)
        return rate, torch.complex(c[0], pair * c[1])[..., None] * torch.complex(u[0], pair[:, None] * u[1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T, 1)."""
        rate, weight = self._modes(self.recurrent, self.input_weight, self.readout)
        cell = torch.where(rate.abs() < 1e-12, self.dt * torch.ones_like(rate), -torch.expm1(-rate * self.dt) / rate)
        t = self.dt * torch.arange(x.shape[1], dtype=torch.float64)
        kernel = torch.exp(-t[:, None] * rate) @ (cell[:, None] * weight)
        return filtered(x, kernel.real)


def sampled(value: object, dt: float) -> str:
    """How a linear functional is taken at steps of dt, in words; empty for other maps."""
    if isinstance(value, HeldTarget):
        return f"on inputs held over steps of dt = {dt:g}"
    if isinstance(value, LinearFunctional):
        return f"sampled at dt = {dt:g} by the rectangle rule, O(dt) from the functional itself"
    return ""


def held(value: object, hold: object) -> HeldTarget:
    """A linear functional on held inputs, where `hold` asks for it."""
    if hold is not True:
        raise ArgumentTypeError(
            f"expected argument `hold` to be True or False, but got {hold!r}: True integrates the kernel over each step"
        )
    if not isinstance(value, LinearFunctional):
        raise _checks.fail(
            "hold", "False without a linear functional beside a model", True, "other maps take the samples as they are: leave it out"
        )
    return HeldTarget(value)
