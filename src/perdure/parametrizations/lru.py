"""The discrete form of the exponential map: the modulus of a pole of one step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perdure.parametrizations.base import Parametrization, slack, within


class LRU(Parametrization):
    """g(v) = exp(-e^v), the modulus |a| of the pole of h_{k+1} = a h_k + ... (Orvieto et al., 2023, "LRU").

    This is the `Exp` map with the time step folded in: a = e^{dt w} with w = -e^v / dt. Stored as a, a mode of time constant tau has
    only the last bits of a float next to 1, and none past 1/eps steps; stored as v = log(dt / tau) it has all of them. So the
    layers, which know dt, take "exp" and apply w through expm1; this class is for weights of discrete models, such as an LRU's.

    >>> round(LRU()(torch.tensor([-3.0], dtype=torch.float64)).item(), 6)
    0.951432
    >>> round(LRU().right_inverse(torch.tensor([0.999], dtype=torch.float64)).item(), 6)  # log(-log 0.999)
    -6.907255
    """

    name = "lru"
    guarantee = "in (0, 1) for every v: the discrete mode decays"
    continuous = False

    @property
    def domain(self) -> tuple[float, float]:
        """(0, 1)."""
        return (0.0, 1.0)

    def limits(self, dtype: torch.dtype) -> tuple[float, float]:
        """From twice the smallest normal number to the largest number of the dtype below 1.

        >>> LRU().limits(torch.bfloat16)[1]
        0.99609375
        """
        info = torch.finfo(dtype)
        return (2.0 * info.tiny, 1.0 - 0.5 * info.eps)

    def reaches(self, w: Tensor) -> Tensor:
        """Whether each w lies between those limits, up to rounding of the lower."""
        low, high = self.limits(w.dtype)
        return (w >= low / slack(low, w.dtype)) & (w <= high)

    def _map(self, v: Tensor, low: float, high: float) -> Tensor:
        rate = torch.exp(v.clamp(*_ends(low, high)))
        return torch.where(rate < 0.5, 1.0 + torch.expm1(-rate), torch.exp(-rate))  # the first is correctly rounded next to 1, never 1

    def _slope(self, v: Tensor, low: float, high: float) -> Tensor:
        ends = _ends(low, high)
        rate = torch.exp(v.clamp(*ends))
        return -rate * torch.exp(-rate) * within(v, *ends)

    def _inverse(self, w: Tensor, low: float, high: float) -> Tensor:
        # log1p(w - 1) is log w: the difference is exact for w >= 1/2 (Sterbenz), and small w would lose their digits to it
        return torch.log(-torch.where(w > 0.5, torch.log1p(w - 1.0), torch.log(w)))

    def advice(self) -> str:
        """What to do about a w out of range, for messages."""
        return "choose the modulus of a decaying discrete pole inside that range"


def _ends(low: float, high: float) -> tuple[float, float]:
    """The v of both limits."""
    return math.log(-math.log(high)), math.log(-math.log(low))
