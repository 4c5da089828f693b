"""The exponential map: geometric perturbations of the rate."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.parametrizations.base import Parametrization


class Exp(Parametrization):
    """g(v) = -e^v: a shift of v multiplies the rate, whatever the rate is.

    The smallest and largest v that a dtype can exponentiate are clamped, so that no weight gives a rate of 0 or infinity.

    >>> Exp()(torch.tensor([0.0])).item()
    -1.0
    """

    name = "exp"
    guarantee = "negative for every v"

    def forward(self, v: Tensor) -> Tensor:
        """W = -e^v."""
        return -torch.exp(_clamp(v))

    def derivative(self, v: Tensor) -> Tensor:
        """g'(v) = -e^v."""
        return -torch.exp(_clamp(v))

    def _inverse(self, w: Tensor) -> Tensor:
        return torch.log(-w)


def _clamp(v: Tensor) -> Tensor:
    info = torch.finfo(v.dtype)
    limit = torch.log(torch.tensor(info.max, dtype=torch.float64)).item()
    floor = torch.log(torch.tensor(info.tiny, dtype=torch.float64)).item()
    return v.clamp(floor * (1 - 4 * info.eps), limit * (1 - 4 * info.eps))
