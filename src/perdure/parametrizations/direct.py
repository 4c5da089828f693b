"""The identity: the eigenvalue itself is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.parametrizations.base import Parametrization


class Direct(Parametrization):
    """g(v) = v.

    >>> Direct()(torch.tensor([-0.5])).item()
    -0.5
    """

    name = "direct"
    guarantee = "none: a perturbation of v larger than the decay rate makes the mode grow"
    stable = False

    @property
    def domain(self) -> tuple[float, float]:
        """Every real number."""
        return (-float("inf"), float("inf"))

    def forward(self, v: Tensor) -> Tensor:
        """W = v."""
        return v

    def derivative(self, v: Tensor) -> Tensor:
        """g'(v) = 1."""
        return torch.ones_like(v)

    def _inverse(self, w: Tensor) -> Tensor:
        return w
