"""The inverse map of StableSSM: balanced gradients, rates bounded above."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perdure import _checks
from perdure.parametrizations.base import Parametrization, within


class Inverse(Parametrization):
    """g(v) = -1 / (a v^2 + b), on the branch v >= 0 for the inverse; reaches rates up to 1/b only.

    Called best by Wang & Li (StableSSM, 2024) because |g'| / g^2 is Lipschitz. Choose b for the fastest rate wanted. The two
    branches meet at v = 0, where g' = 0: a mode set to the fastest rate exactly gets no gradient.

    Args:
        a: curvature, positive.
        b: the reciprocal of the fastest reachable rate, positive.

    Raises:
        ArgumentError: a or b not positive; on the first use with a dtype that cannot hold what they ask for: rates at most 1/b, rates apart
            from 1/b, or gradients as steep as 2 sqrt(a) u / (u^2 + b)^2 at its greatest (u = sqrt(a) v).

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
        return (-1.0 / self.b, 0.0)

    def limits(self, dtype: torch.dtype) -> tuple[float, float]:
        """As for the other maps, but rates at most half the root of the largest number, whose square the gradient holds.

        And at least what v itself reaches in that dtype, which a small `a` notices in float16.

        >>> [round(Inverse(b=1e-3).limits(dtype)[0]) for dtype in (torch.float16, torch.bfloat16)]
        [-128, -1000]
        """
        info = torch.finfo(dtype)
        slowest = 1.0 / (self.a * (0.5 * info.max) * (0.5 * info.max) + self.b)
        slow = super().limits(dtype)[1]
        low, high = -min(1.0 / self.b, 0.5 * math.sqrt(info.max)), min(slow, -slowest)
        kind = str(dtype).removeprefix("torch.")
        if -1.0 / self.b >= slow:
            raise _checks.fail("b", f"below {-1.0 / slow:.3g} in {kind}", self.b, f"rates of at most 1/b are too small for {kind}")
        if not low < high:
            raise _checks.fail("a", f"larger in {kind}", self.a, f"no v of {kind} moves the rate from 1/b = {1.0 / self.b:g}")
        d = max(4.0 / 3.0 * self.b, -1.0 / low)  # where g' is steepest
        steepest = 2.0 * math.sqrt(self.a) * math.sqrt(d - self.b) / d / d
        if not (steepest <= info.max and math.sqrt(self.a) <= info.max):
            most = min(self.a * (info.max / steepest) * (info.max / steepest), info.max)
            raise _checks.fail("a", f"at most {most:.3g} in {kind} with b = {self.b:g}", self.a, f"its gradient overflows {kind}")
        return low, high

    def extra_repr(self) -> str:
        """The two constants."""
        return f"a={self.a:g}, b={self.b:g}"

    def _map(self, v: Tensor, low: float, high: float) -> Tensor:
        return -1.0 / self._denominator(v, low, high)[1]

    def _slope(self, v: Tensor, low: float, high: float) -> Tensor:
        u, d = self._denominator(v, low, high)
        inside = within(u * u + self.b, -1.0 / low, -1.0 / high)
        return 2.0 * math.sqrt(self.a) * (u / d) / d * inside  # u / d first: d^2 overflows before the quotient does

    def _inverse(self, w: Tensor, low: float, high: float) -> Tensor:
        return torch.sqrt((-1.0 / w - self.b).clamp_min(0.0)) / math.sqrt(self.a)

    def _denominator(self, v: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
        """Sqrt(a) v and a v^2 + b, kept where neither their quotients nor their gradients overflow."""
        far = 2.0 / math.sqrt(-high)  # past the clamp of the denominator, far from overflow of its square
        u = (math.sqrt(self.a) * v).clamp(-far, far)
        return u, (u * u + self.b).clamp(-1.0 / low, -1.0 / high)

    def advice(self) -> str:
        """What to do about a w out of range, for messages."""
        return f"{super().advice()}; Inverse reaches rates up to 1/b = {1 / self.b:g}: pass a smaller b"
