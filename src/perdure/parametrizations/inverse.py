"""The inverse map of StableSSM: balanced gradients, rates bounded above."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure import _checks
from perdure.parametrizations.base import Parametrization


class Inverse(Parametrization):
    """g(v) = -1 / (a v^2 + b), on the branch v >= 0 for the inverse; reaches rates up to 1/b only.

    Called best by Wang & Li (StableSSM, 2024) because |g'| / g^2 is Lipschitz. Choose b for the fastest rate wanted.

    Args:
        a: curvature, positive.
        b: the reciprocal of the fastest reachable rate, positive.

    >>> Inverse(a=1.0, b=0.5)(torch.tensor([0.0])).item()
    -2.0
    """

    name = "inverse"
    guarantee = "negative for every v, and at least -1/b"

    def __init__(self, a: float = 1.0, b: float = 0.5) -> None:
        super().__init__()
        self.a = _checks.positive(a, "a")
        self.b = _checks.positive(b, "b", "the fastest reachable rate is 1/b")

    @property
    def domain(self) -> tuple[float, float]:
        """(-1/b, 0); the end -1/b itself is attained at v = 0 and accepted."""
        return (-1.0 / self.b * (1 + 1e-12), 0.0)

    def forward(self, v: Tensor) -> Tensor:
        """W = -1 / (a v^2 + b), never closer to 0 than the smallest normal number of the dtype."""
        limit = (torch.finfo(v.dtype).max / self.a) ** 0.5 * 0.5
        return -1.0 / (self.a * v.clamp(-limit, limit) ** 2 + self.b)

    def derivative(self, v: Tensor) -> Tensor:
        """g'(v) = 2 a v / (a v^2 + b)^2."""
        return 2 * self.a * v * self.forward(v) ** 2

    def _inverse(self, w: Tensor) -> Tensor:
        return torch.sqrt(((-1.0 / w - self.b) / self.a).clamp_min(0.0))

    def _range_advice(self) -> str:
        return f"; Inverse reaches rates up to 1/b = {1 / self.b:g}: pass a smaller b"
