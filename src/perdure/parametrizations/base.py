"""What a scalar parametrisation of recurrent eigenvalues owes."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from perdure.errors import ArgumentError


class Parametrization(nn.Module):
    """An elementwise map w = g(v) from the trained value v to the real part w of an eigenvalue (per unit time).

    Usable with `torch.nn.utils.parametrize.register_parametrization`. A family supplies `forward`, `derivative` and
    `_inverse`, and says which w it can reach (`domain`) and what it promises about them (`guarantee`).
    """

    name: str
    guarantee: str
    stable: bool = True

    @property
    def domain(self) -> tuple[float, float]:
        """The open interval of w that the map reaches."""
        return (-float("inf"), 0.0)

    @abstractmethod
    def forward(self, v: Tensor) -> Tensor:
        """W = g(v), any shape."""

    @abstractmethod
    def derivative(self, v: Tensor) -> Tensor:
        """g'(v), any shape."""

    @abstractmethod
    def _inverse(self, w: Tensor) -> Tensor:
        """V with g(v) = w, for w inside the domain."""

    def right_inverse(self, w: Tensor) -> Tensor:
        """V with g(v) = w.

        Raises:
            ValueError: some w lies outside the range of the map; the message gives the range.
        """
        low, high = self.domain
        if low == -float("inf") and high == float("inf"):
            return self._inverse(w)
        outside = ~((w > low) & (w < high))
        if bool(outside.any()):
            value = w.detach()[outside].flatten()[0].item()
            raise ArgumentError(
                f"expected argument `w` to lie in ({low:g}, {high:g}), the range of {type(self).__name__}, but got {value!r}: "
                "choose eigenvalues with negative real part inside that range" + self._range_advice()
            )
        return self._inverse(w)

    def _range_advice(self) -> str:
        return ""


def log_minus_expm1_minus(y: Tensor) -> Tensor:
    """log(e^y - 1) for y > 0 as y + log(1 - e^-y): no overflow for large y, no cancellation for small."""
    return y + torch.log(-torch.expm1(-y))
