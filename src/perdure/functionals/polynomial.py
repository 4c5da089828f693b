"""Kernels with a power-law tail: the memory that the curse of memory is about."""

from __future__ import annotations

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import geometric_mesh


class Polynomial(LinearFunctional):
    """rho(t) = (1 + t/scale)^-power.

    Completely monotone: rho(t) = 1/Gamma(p) int_0^inf s^{p-1} e^{-s} e^{-s t/scale} ds. W1 norm scale/(power - 1) + 2.
    """

    def __init__(self, power: float, scale: float = 1.0) -> None:
        self.power = _checks.number(power, "power")
        if self.power <= 1:
            raise _checks.fail("power", "greater than 1", self.power, "(1 + t)^-p is integrable, and its norm finite, only for p > 1")
        self.scale = _checks.positive(scale, "scale", "the time at which the power law sets in")

    def _kernel(self, t: Array) -> Array:
        return np.exp(-self.power * np.log1p(t / self.scale))[:, None]

    def _kernel_derivative(self, t: Array) -> Array:
        return (-self.power / self.scale * np.exp(-(self.power + 1) * np.log1p(t / self.scale)))[:, None]

    def _tail(self, t: Array) -> Array:
        return (self.scale / (self.power - 1) * np.exp((1 - self.power) * np.log1p(t / self.scale)))[:, None]

    def mesh(self) -> Array:
        """Geometric panels, from a quarter of the time scale at 0 up to a million scales; past them the closed-form tail is exact."""
        return geometric_mesh(0.25 * self.scale / self.power, 1e6 * self.scale)

    def __repr__(self) -> str:
        return f"Polynomial(power={self.power:g}, scale={self.scale:g})"


def polynomial(power: float = 1.5, scale: float = 1.0) -> Polynomial:
    """rho(t) = (1 + t/scale)^-power with power > 1.

    Raises:
        ValueError: power <= 1 (not integrable) or scale <= 0.

    >>> round(polynomial(power=1.5).norm(), 12)  # 1 / (p - 1) + 2
    4.0
    """
    return Polynomial(power, scale)
