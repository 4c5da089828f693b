"""The softplus map: geometric for slow modes, additive for fast ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perdure.parametrizations.base import Parametrization, log_minus_expm1_minus, within


class Softplus(Parametrization):
    """g(v) = -log(1 + e^v).

    >>> round(Softplus()(torch.tensor([0.0], dtype=torch.float64)).item(), 6)
    -0.693147
    """

    name = "softplus"
    guarantee = "negative for every v"

    def _map(self, v: Tensor, low: float, high: float) -> Tensor:
        v = v.clamp(math.log(-high), -low)  # log(1 + e^v) is e^v at the one end and v at the other, to rounding
        return -torch.logaddexp(v, torch.zeros_like(v))  # torch's softplus turns into the identity at 20 and so drops e^-v

    def _slope(self, v: Tensor, low: float, high: float) -> Tensor:
        return -torch.sigmoid(v) * within(v, math.log(-high), -low)

    def _inverse(self, w: Tensor, low: float, high: float) -> Tensor:
        return log_minus_expm1_minus(-w)
