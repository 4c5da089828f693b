"""A smoothed delay: the memory of one moment."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from perdure import _checks
from perdure._typing import Array
from perdure.functionals.base import LinearFunctional


class Shift(LinearFunctional):
    """rho(t) = exp(-(t - delay)^2 / (2 width^2)) / (width sqrt(2 pi)): x(t - delay), smoothed over `width`.

    W1 norm Phi(delay/width) + 2 / (width sqrt(2 pi)).
    """

    def __init__(self, delay: float, width: float) -> None:
        self.delay = _checks.number(delay, "delay")
        if self.delay < 0:
            raise _checks.fail("delay", "non-negative", self.delay, "a negative delay would look into the future")
        self.width = _checks.positive(width, "width", "the standard deviation of the pulse, in time")

    def _kernel(self, t: Array) -> Array:
        z = np.clip((t - self.delay) / self.width, -40.0, 40.0)  # e^-800 is 0; no overflow in the square
        return (np.exp(-0.5 * z**2) / (self.width * np.sqrt(2 * np.pi)))[:, None]

    def _kernel_derivative(self, t: Array) -> Array:
        return -((t - self.delay) / self.width**2)[:, None] * self._kernel(t)

    def _tail(self, t: Array) -> Array:
        return ndtr(-(t - self.delay) / self.width)[:, None]

    def mesh(self) -> Array:
        """Half-width panels from nine widths before the delay to nine after."""
        start = max(0.0, self.delay - 9 * self.width)
        return np.unique(np.concatenate([[0.0], np.arange(start, self.delay + 9 * self.width, 0.5 * self.width)]))

    def __repr__(self) -> str:
        return f"Shift(delay={self.delay:g}, width={self.width:g})"


def shift(delay: float = 1.0, width: float = 0.1) -> Shift:
    """A Gaussian pulse of unit mass at `delay`, of standard deviation `width` (mass before t = 0 is cut).

    >>> round(shift(delay=5.0, width=0.5).norm(), 6)  # Phi(10) + 2 * 0.797885
    2.595769
    """
    return Shift(delay, width)
