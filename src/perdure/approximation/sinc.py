r"""Power laws as exponential sums by sinc quadrature.

(1 + t/s)^-p is completely monotone: with s = e^w its Laplace representation is

    (1 + t/scale)^-p = 1/Gamma(p) int e^{p w - e^w} e^{-e^w t / scale} dw  over the real line,

and the trapezoidal rule with step h gives rates e^w / scale on a geometric grid with positive weights. The integrand is
analytic in |Im w| < pi/2, so the error of the infinite rule is about e^{-pi^2/h} (Beylkin & Monzon 2005; Trefethen & Weideman 2014).

Even spacing in w is not the best: optimal rates are *tapered*, with log rates that lie like sqrt(k), k = 1 .. m, dense at the fast
end and sparse at the slow one (as the poles of best rational approximations of |x|^p do: Trefethen, Nakatsukasa & Weideman 2021).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import gammaln

from perdure._typing import Array
from perdure.functionals.polynomial import Polynomial
from perdure.functionals.quadrature import geometric_mesh, panel_rule

DROP = 36.0  # e^-36 = 2e-16: what is left out on either side of the window


def _normaliser(power: float) -> float:
    """P log p - p - log Gamma(p), by Stirling's series where the terms would cancel."""
    if power < 30:
        return power * np.log(power) - power - float(gammaln(power))
    return 0.5 * np.log(power / (2 * np.pi)) - 1 / (12 * power) + 1 / (360 * power**3)


def _weights(power: float, w: Array) -> Array:
    """e^{p w - e^w} / Gamma(p) on the real line, without cancellation around the peak at w = log p of large powers."""
    x = w - np.log(power)
    return np.exp(power * (x - np.expm1(x)) + _normaliser(power))


def trapezoid(target: Polynomial, low: float, high: float, count: int) -> tuple[Array, Array]:
    """Rates and weights of the `count`-point rule on w in [low, high], each (count,)."""
    w = np.linspace(low, high, count) if count > 1 else np.array([0.5 * (low + high)])
    step = (high - low) / (count - 1) if count > 1 else high - low
    return np.exp(w) / target.scale, step * _weights(target.power, w)


def _window(power: float) -> tuple[float, float]:
    """Ends beyond which the integral of e^{q w - e^w}, q = p - 1 (the share of int rho) and q = p, is below rounding."""

    def left_out(x: float, q: float) -> float:
        return q * (np.expm1(x) - x) - DROP

    low = np.log(power - 1) + brentq(left_out, -DROP / (power - 1) - 2.0, 0.0, args=(power - 1,))
    high = np.log(power) + brentq(left_out, 0.0, np.log1p(DROP / power) + 4.0, args=(power,))
    return max(float(low), -600.0), float(high)  # rates of 1e-260 are where doubles end


def fine(target: Polynomial) -> tuple[Array, Array]:
    """A sum with the kernel to rounding in the W1 norm: what reduction starts from."""
    low, high = _window(target.power)
    return trapezoid(target, low, high, int((high - low) / min(0.2, 0.7 / np.sqrt(target.power))) + 1)


def tapered(target: Polynomial, width: int) -> Array:
    """Rates (width,) whose logarithms lie like sqrt(k): nearly the best ones, their ends fitted to optima for p in [1.1, 4]."""
    q = target.power - 1.0
    low, high = _window(target.power)
    slow = max(-4.25 * np.sqrt(width / q) + 6.0 * q**-0.58, low)
    fast = min(max(0.15 + 0.64 * np.log(width * q), slow + 0.5), high)
    if width == 1:
        return np.array([1.0 / (target.scale + target._tail(np.zeros(1))[0, 0])])
    place = (np.sqrt(np.arange(1, width + 1)) - 1.0) / (np.sqrt(width) - 1.0)
    return np.exp(min(slow, fast - 0.5) * (1 - place) + fast * place) / target.scale


def window_optimised(target: Polynomial, width: int) -> tuple[Array, Array]:
    """The `width`-point rule whose window [low, high] minimises the W1 error (Nelder & Mead over the two ends)."""
    unit, q = Polynomial(target.power, 1.0), target.power - 1.0
    slowest = np.exp(min(3.0 * np.sqrt(width / q) + 5.0, 500.0))
    t, weight = panel_rule(geometric_mesh(0.1 / target.power, 40.0 * slowest, 4.0), 16)
    rho, slope = unit._kernel(t)[:, 0], unit._kernel_derivative(t)[:, 0]
    least, most = _window(target.power)

    def error(window: Array) -> float:
        low, high = window
        if not least - 5.0 < low < high < most + 1.0:
            return 1e3
        rates, weights = trapezoid(unit, low, high, width)
        decay = np.exp(-np.minimum(np.outer(t, rates), 700.0))
        inside = weight @ (np.abs(decay @ weights - rho) + np.abs(decay @ (-rates * weights) - slope))
        return float(np.log(inside + abs(weights.sum() - 1.0) + 1e-300))

    middle = np.log(max(q, 1.0))
    starts = [np.array([max(middle - reach * np.sqrt(width / q), least), min(middle + 1.0, most)]) for reach in (1.2, 2.2)]
    options = {"xatol": 1e-2, "fatol": 1e-3, "maxiter": 80 if width <= 64 else 50}
    found = [minimize(error, start, method="Nelder-Mead", options=options) for start in starts]
    low, high = min(found, key=lambda r: float(r.fun)).x
    return trapezoid(target, float(low), float(high), width)
