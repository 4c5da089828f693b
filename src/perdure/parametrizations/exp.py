"""The exponential map: geometric perturbations of the rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perdure.parametrizations.base import Parametrization, within


class Exp(Parametrization):
    """g(v) = -e^v: a shift of v multiplies the rate, whatever the rate is.

    Relative errors of the rate are absolute errors of v, so a rate held this way survives rounding: bfloat16 keeps every rate from
    1e-5 to 1e5 to 3 %, where a pole 1 + dt w stored near 1 would be lost.

    >>> Exp()(torch.tensor([0.0])).item()
    -1.0
    """

    name = "exp"
    guarantee = "negative for every v"

    def _map(self, v: Tensor, low: float, high: float) -> Tensor:
        return -torch.exp(v.clamp(math.log(-high), math.log(-low)))

    def _slope(self, v: Tensor, low: float, high: float) -> Tensor:
        return self._map(v, low, high) * within(v, math.log(-high), math.log(-low))

    def _inverse(self, w: Tensor, low: float, high: float) -> Tensor:
        return torch.log(-w)
