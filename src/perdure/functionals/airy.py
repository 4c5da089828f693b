"""The Airy kernel: oscillates up to `offset`, then decays faster than any exponential."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.special import airy as scipy_airy

from perdure import _checks
from perdure._typing import Array
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import NODES, WEIGHTS, geometric_mesh, merge, panel_rule

ZERO = 120.0  # Ai and its derivative are below the smallest double from here on; scipy returns NaN far beyond
LARGEST = 1e4  # of the offset: the kernel then has 2e5 sign changes


class Airy(LinearFunctional):
    """rho(t) = Ai(t - offset)."""

    def __init__(self, offset: float) -> None:
        self.offset = _checks.number(offset, "offset")
        if abs(self.offset) > LARGEST:
            raise _checks.fail("offset", f"at most {LARGEST:g} in size", self.offset, "rescale time: the kernel swings offset^1.5 times")

    def _argument(self, t: Array) -> Array:
        return np.minimum(t - self.offset, ZERO)

    def _kernel(self, t: Array) -> Array:
        return np.asarray(scipy_airy(self._argument(t))[0])[:, None]

    def _kernel_derivative(self, t: Array) -> Array:
        return np.asarray(scipy_airy(self._argument(t))[1])[:, None]

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """Edges of panels of the argument, and int Ai from each edge to infinity, summed from the small end."""
        swings = np.arange(0.0, max(self.offset, 0.0) ** 1.5 + 4.0, 4.0) ** (2 / 3)  # even in the phase 2/3 z^1.5
        edges = np.concatenate([-swings[::-1], np.arange(0.5, ZERO + 0.5, 0.5)])
        _, weight = panel_rule(edges)
        pieces = (scipy_airy(panel_rule(edges)[0])[0] * weight).reshape(-1, NODES.size).sum(1)
        return edges, np.append(np.cumsum(pieces[::-1])[::-1], 0.0)

    def _tail(self, t: Array) -> Array:
        """By Gauss's rule: differences of closed forms (1/3 - int_0^z Ai) cancel, and scipy's are wrong between 1 and 10."""
        s = self._argument(t)
        edges, beyond = self._table
        at = np.minimum(np.searchsorted(edges, s, side="right"), edges.size - 1)
        half = 0.5 * np.maximum(edges[at] - s, 0.0)
        piece = scipy_airy(s[:, None] + half[:, None] * (1 + NODES))[0] @ WEIGHTS * half
        return (piece + beyond[at])[:, None]

    def mesh(self) -> Array:
        """Panels of at most a quarter of the local period 2 pi / sqrt(offset - t), to where Ai is below rounding."""
        start = min(0.25, 0.5 * np.pi / np.sqrt(max(self.offset, 1.0)))
        end = max(self.offset, 0.0) + 14.0
        return merge(np.arange(0.0, end, start), geometric_mesh(start / 8, start), np.array([end]))

    def __repr__(self) -> str:
        return f"Airy(offset={self.offset:g})"


def airy(offset: float = 2.0) -> Airy:
    """rho(t) = Ai(t - offset), the Airy function of the first kind started `offset` before its turning point.

    >>> airy(offset=0.0).kernel([0.0]).round(6).tolist()  # Ai(0) = 3^(-2/3) / Gamma(2/3)
    [0.355028]
    """
    return Airy(offset)
