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

    def limits(self, dtype: torch.dtype) -> tuple[float, float]:
        """Every number of the dtype, infinities included: nothing is clamped."""
        return self.domain

    def reaches(self, w: Tensor) -> Tensor:
        """Everything, NaN included: what goes in comes out."""
        return torch.ones_like(w, dtype=torch.bool)

    def _map(self, v: Tensor, low: float, high: float) -> Tensor:
        return v

    def _slope(self, v: Tensor, low: float, high: float) -> Tensor:
        return torch.ones_like(v)

    def _inverse(self, w: Tensor, low: float, high: float) -> Tensor:
        return w
