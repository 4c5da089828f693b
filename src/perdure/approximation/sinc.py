r"""Power laws as exponential sums by sinc quadrature.

(1 + t/s)^-p is completely monotone: with s = e^w its Laplace representation is

    (1 + t/scale)^-p = 1/Gamma(p) int e^{p w - e^w} e^{-e^w t / scale} dw  over the real line,

and the trapezoidal rule with step h gives rates e^w / scale on a geometric grid with positive weights. The integrand is
analytic in |Im w| < pi/2, so the error of the infinite rule is about e^{-pi^2/h} (Beylkin & Monzon 2005; Trefethen & Weideman 2014).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from perdure._typing import Array
from perdure.functionals.polynomial import Polynomial
from perdure.functionals.quadrature import geometric_mesh, panel_rule


def trapezoid(target: Polynomial, low: float, high: float, count: int) -> tuple[Array, Array]:
    """Rates and weights of the `count`-point rule on w in [low, high], each (count,)."""
    w = np.linspace(low, high, count) if count > 1 else np.array([0.5 * (low + high)])
    step = (high - low) / (count - 1) if count > 1 else high - low
    return np.exp(w) / target.scale, step * np.exp(target.power * w - np.exp(w) - gammaln(target.power))


def fine(target: Polynomial) -> tuple[Array, Array]:
    """A sum with the kernel to rounding in the W1 norm: what reduction starts from.

    Rates below e^low carry mass e^{(p-1) low}, so low = -34 / (p - 1) leaves 2e-15; for p close to 1 the window stops at
    rates of 1e-260, where doubles end.
    """
    low = max(-34.0 / (target.power - 1.0), -600.0)
    return trapezoid(target, low, 3.8 + 0.5 * np.log(max(target.power, 1.0)), int((4.0 - low) / 0.2) + 1)


def window_optimised(target: Polynomial, width: int) -> tuple[Array, Array]:
    """The `width`-point rule whose window [low, high] minimises the W1 error (Nelder & Mead over the two ends)."""
    unit = Polynomial(target.power, 1.0)
    slowest = np.exp(min(3.0 * np.sqrt(width / (unit.power - 1.0)) + 5.0, 500.0))
    t, weight = panel_rule(geometric_mesh(0.1, 40.0 * slowest, 4.0), 16)
    rho, slope = unit._kernel(t)[:, 0], unit._kernel_derivative(t)[:, 0]

    def error(window: Array) -> float:
        low, high = window
        if not -600.0 < low < high < 5.0:
            return 1e3
        rates, weights = trapezoid(unit, low, high, width)
        decay = np.exp(-np.minimum(np.outer(t, rates), 745.0))
        inside = weight @ (np.abs(decay @ weights - rho) + np.abs(decay @ (-rates * weights) - slope))
        return float(np.log(inside + abs(weights.sum() - 1.0) + 1e-300))

    starts = [np.array([-reach * np.sqrt(width / (unit.power - 1.0)), 1.0]) for reach in (1.2, 2.2)]
    options = {"xatol": 1e-2, "fatol": 1e-3, "maxiter": 80 if width <= 64 else 50}
    found = [minimize(error, start, method="Nelder-Mead", options=options) for start in starts]
    low, high = min(found, key=lambda r: float(r.fun)).x
    return trapezoid(target, float(low), float(high), width)
