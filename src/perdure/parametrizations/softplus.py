"""The softplus map: geometric for slow modes, additive for fast ones."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.parametrizations.base import Parametrization, log_minus_expm1_minus


class Softplus(Parametrization):
    """g(v) = -log(1 + e^v).

    >>> round(Softplus()(torch.tensor([0.0], dtype=torch.float64)).item(), 6)
    -0.693147
    """

    name = "softplus"
    guarantee = "negative for every v"

    def forward(self, v: Tensor) -> Tensor:
        """W = -log(e^v + e^0), never below the smallest normal number of the dtype."""
        tiny = torch.finfo(v.dtype).tiny
        return -torch.logaddexp(v, torch.zeros_like(v)).clamp_min(tiny)

    def derivative(self, v: Tensor) -> Tensor:
        """g'(v) = -1 / (1 + e^-v)."""
        return -torch.sigmoid(v)

    def _inverse(self, w: Tensor) -> Tensor:
        return log_minus_expm1_minus(-w)
