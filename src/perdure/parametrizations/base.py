"""What a scalar parametrisation of recurrent eigenvalues owes."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from perdure.errors import ArgumentError, ArgumentTypeError


class Parametrization(nn.Module):
    """An elementwise map w = g(v) from the trained value v to the real part w of an eigenvalue (per unit time).

    Usable with `torch.nn.utils.parametrize.register_parametrization`. A family supplies `_map`, `_slope` and `_inverse`, and says
    which w it can reach (`domain`) and what it promises about them (`guarantee`).

    No finite or infinite v gives a rate of 0 or infinity, nor a NaN gradient: v saturates where w leaves the `limits` of its dtype,
    which keep a factor of two from the smallest normal and the largest number. Half precision is computed in float32 and rounded at
    the end. NaN stays NaN.

    Attributes:
        name: how `perdure.parametrizations.get` and the layers call it.
        guarantee: what holds for every v, in words.
        stable: whether every v gives a decaying mode.
        continuous: whether w is an eigenvalue of dh/dt = W h; if not, it is the factor of one discrete step.
    """

    name: str
    guarantee: str
    stable: bool = True
    continuous: bool = True

    @property
    def domain(self) -> tuple[float, float]:
        """The open interval of w that the map reaches."""
        return (-float("inf"), 0.0)

    def limits(self, dtype: torch.dtype) -> tuple[float, float]:
        """Least and greatest w that the map gives in a dtype; v saturates beyond.

        >>> from perdure.parametrizations import Exp
        >>> Exp().limits(torch.float16)
        (-32752.0, -0.0001220703125)
        """
        info = torch.finfo(dtype)
        return (-0.5 * info.max, -2.0 * info.tiny)

    def forward(self, v: Tensor) -> Tensor:
        """W = g(v), any shape, in the dtype of v.

        Raises:
            TypeError: v is not real floating point.
        """
        return self._map(_wide(v), *self.limits(v.dtype)).to(v.dtype)

    def derivative(self, v: Tensor) -> Tensor:
        """g'(v), any shape: what autograd gives for `forward`, so 0 where v saturates.

        Raises:
            TypeError: v is not real floating point.
        """
        return self._slope(_wide(v), *self.limits(v.dtype)).to(v.dtype)

    def right_inverse(self, w: Tensor) -> Tensor:
        """V with g(v) = w.

        Raises:
            ValueError: some w lies outside the range of the map; the message gives the range.
            TypeError: w is not real floating point.
        """
        wide = _wide(w)
        outside = ~self.reaches(w)
        if not w.is_meta and bool(outside.any()):
            value = w.detach()[outside].flatten()[0].item()
            raise ArgumentError(f"expected argument `w` to lie in {self.range_text(w.dtype)}, but got {value!r}: " + self.advice())
        return self._inverse(wide, *self.limits(w.dtype)).to(w.dtype)

    def reaches(self, w: Tensor) -> Tensor:
        """Whether each w is a value of the map in its dtype, up to rounding of the ends (bool, shape of w)."""
        low, high = self.limits(w.dtype)
        wide = _wide(w)
        return (wide >= low * slack(low, w.dtype)) & (wide <= high / slack(high, w.dtype))

    def range_text(self, dtype: torch.dtype) -> str:
        """The range in words, for messages."""
        low, high = self.domain
        ends = "from {:.3g} to {:.3g}".format(*self.limits(dtype))
        return f"({low:g}, {high:g}), the range of {type(self).__name__} ({ends} in {str(dtype).removeprefix('torch.')})"

    @abstractmethod
    def _map(self, v: Tensor, low: float, high: float) -> Tensor:
        """g(v) kept in [low, high], for v in float32 or float64."""

    @abstractmethod
    def _slope(self, v: Tensor, low: float, high: float) -> Tensor:
        """The derivative of `_map`."""

    @abstractmethod
    def _inverse(self, w: Tensor, low: float, high: float) -> Tensor:
        """V with g(v) = w, for w the map reaches."""

    def advice(self) -> str:
        """What to do about a w out of range, for messages."""
        return "choose eigenvalues with negative real part inside that range"


def slack(end: float, dtype: torch.dtype) -> float:
    """Factor by which a w at an end of the limits may be off: it is rounded itself, and e^v carries the rounding of v = log(end)."""
    computed = torch.finfo(dtype if dtype == torch.float64 else torch.float32)
    return 1.0 + 4.0 * torch.finfo(dtype).eps + 8.0 * computed.eps * abs(math.log(abs(end)))


def within(v: Tensor, low: float, high: float) -> Tensor:
    """1 where low <= v <= high, 0 outside, NaN for NaN: the derivative of clamp."""
    return torch.where(v.isnan(), v, ((v >= low) & (v <= high)).to(v.dtype))


def log_minus_expm1_minus(y: Tensor) -> Tensor:
    """log(e^y - 1) for y > 0 as y + log(1 - e^-y): no overflow for large y, no cancellation for small."""
    return y + torch.log(-torch.expm1(-y))


def _wide(v: Tensor) -> Tensor:
    if not v.is_floating_point():
        raise ArgumentTypeError(f"expected a real floating point tensor, but got {v.dtype}: convert it, for example with .double()")
    return v if v.dtype in (torch.float32, torch.float64) else v.to(torch.float32)
