r"""Priors of impulse responses: stable splines, on a lag axis that is warped exponentially or by a power law.

Let x(s) fall from 1 to 0 as the lag s grows, and let the response be a Brownian motion in x, or its integral (a spline), starting from 0 at
x = 0, that is at infinite lag. Then g dies out with x, and the covariances, scaled to 1 at lag 0, are, with x <= X of two lags,

    order 1:  K = x                       (var g(s) = x(s))
    order 2:  K = (3 x^2 X - x^3) / 2     (var g(s) = x(s)^3, and g is smooth)

* "tc" (tuned/correlated, or stable spline of order 1): order 1, x = e^{-2s/tau}: standard deviations fall as e^{-s/tau};
* "ss" (stable spline): order 2, x = e^{-2s/(3 tau)}, with the same fall;
* "dc" (diagonal/correlated): standard deviations fall as e^{-s/tau}, and neighbours have the correlation e^{-1/l}, free of tau;
* "power": order 1, x = (1 + s/s0)^{-2q}: standard deviations fall as (1 + s/s0)^{-q}. Slow memory is not excluded beforehand;
* "power-ss": order 2, x = (1 + s/s0)^{-2q/3}.

Why "power" is a mixture of "tc" kernels: each of these is min(x, X) for its own rate, e^{-b max(s, s')}, and with the weights b^{2q-1} e^{-b s0} on the
rates b (a power law towards slow ones) the mixture is

    int_0^inf b^{2q-1} e^{-b s0} e^{-b m} db / norm = (1 + m/s0)^{-2q},   m = max(s, s'),

which is again min(x, X), in closed form: no grid of rates is needed.

Order 1 is a Markov process, so that in the scaled response g / sd the prior's precision is tridiagonal (M below) and the scale can fall below the least
double without harm. Order 2 has a covariance of low numerical rank: a pivoted Cholesky factor to 1e-12 of the largest variance.
In both cases K = L M^{-1} L^T.

References:
    Pillonetto & De Nicolao, Automatica 46, 2010 (stable splines); Chen, Ohlsson & Ljung, Automatica 48, 2012 (TC and DC); Chen et al., IEEE
    Trans. Automatic Control 59, 2014 (several kernels at once).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import get_lapack_funcs

from perdure._typing import Array

(dpstrf,) = get_lapack_funcs(("pstrf",), dtype=np.float64)
RANK = 1e-12  # of the largest variance, at which the factor of a smooth prior is cut
ROUGH_RANK = 1e-8  # while hyperparameters are searched for


@dataclass(frozen=True)
class Prior:
    """K = L M^{-1} L^T of one input, scaled to K(0, 0) = 1.

    Attributes:
        scale: L, (n,) where it is diagonal, else (n, r).
        diagonal: of M, (r,); r = n where L is diagonal.
        off: next to the diagonal of M, (r - 1,).
        log_det: log det M.
    """

    scale: Array
    diagonal: Array
    off: Array
    log_det: float

    @property
    def rank(self) -> int:
        """Columns of L."""
        return self.diagonal.size


def markov(sd: Array, decorrelation: Array) -> Prior:
    """Standard deviations (n,), and minus the log correlation of neighbours (n - 1,), above 0.

    The correlation matrix of a Markov chain with correlations c_s has the tridiagonal inverse with -c_s / (1 - c_s^2) beside the diagonal.
    """
    lost = -np.expm1(-2.0 * decorrelation)  # 1 - c^2
    kept = np.exp(-decorrelation)
    diagonal = np.ones(sd.size)
    diagonal[1:] += kept**2 / lost
    diagonal[:-1] += kept**2 / lost
    return Prior(sd, diagonal, -kept / lost, -float(np.log(lost).sum()))


def smooth(x: Array, tolerance: float) -> Prior:
    """The integrated Brownian motion in x, (n,), decreasing from 1."""
    lower = np.multiply.outer(-0.5 * x**3, np.ones_like(x)) + np.outer(1.5 * x**2, x)  # below the diagonal the row has the smaller x
    factor, pivot, rank, _ = dpstrf(lower, tol=tolerance, lower=1, overwrite_a=1)
    factor = np.tril(factor)[:, :rank]
    scale = np.empty_like(factor)
    scale[pivot - 1] = factor
    return Prior(scale, np.ones(rank), np.zeros(max(rank - 1, 0)), 0.0)


def _tc(n: int, shape: Array, tolerance: float) -> Prior:
    rate = np.exp(-shape[0])
    return markov(np.exp(-rate * np.arange(n)), np.full(n - 1, rate))


def _dc(n: int, shape: Array, tolerance: float) -> Prior:
    return markov(np.exp(-np.exp(-shape[0]) * np.arange(n)), np.full(n - 1, np.exp(-shape[1])))


def _ss(n: int, shape: Array, tolerance: float) -> Prior:
    return smooth(np.exp(-2.0 / 3.0 * np.exp(-shape[0]) * np.arange(n)), tolerance)


def _power(n: int, shape: Array, tolerance: float) -> Prior:
    logs = np.exp(shape[1]) * np.log1p(np.arange(n) * np.exp(-shape[0]))
    return markov(np.exp(-logs), np.diff(logs))


def _power_ss(n: int, shape: Array, tolerance: float) -> Prior:
    return smooth(np.exp(-2.0 / 3.0 * np.exp(shape[1]) * np.log1p(np.arange(n) * np.exp(-shape[0]))), tolerance)


@dataclass(frozen=True)
class Kernel:
    """A family of priors.

    Attributes:
        name: as above.
        names: of the parameters, in steps: their logarithms are what is searched.
        build: (n, log parameters, tolerance) -> Prior.
        starts: n -> log parameters (k, parameters) from which the search begins; None where it begins from another family's.
        after: the family from whose parameters the search begins.
        bounds: n -> least and largest log parameters.
        words: what the prior takes for granted.
    """

    name: str
    names: tuple[str, ...]
    build: Callable[[int, Array, float], Prior]
    starts: Callable[[int], Array] | None
    bounds: Callable[[int], tuple[Array, Array]]
    words: str
    after: str = ""


def _decays(n: int) -> Array:
    return np.log(np.geomspace(1.0, max(2.0 * n, 8.0), 6))[:, None]


def _scales(n: int) -> Array:
    return np.log([[a, b] for a in (1.0, max(n / 8.0, 2.0)) for b in (0.75, 1.5, 3.0)])


def _bounds(*pairs: tuple[float, float]) -> Callable[[int], tuple[Array, Array]]:
    """Bounds of each parameter; a negative upper one counts in windows n."""

    def of(n: int) -> tuple[Array, Array]:
        return np.log([a for a, _ in pairs]), np.log([-b * n if b < 0 else b for _, b in pairs])

    return of


_EXPONENTIAL, _POWER = "an exponential fall", "a fall as a power of the lag"
KERNELS = {
    k.name: k
    for k in (
        Kernel("tc", ("decay_time",), _tc, _decays, _bounds((0.15, -50.0)), _EXPONENTIAL),
        Kernel("dc", ("decay_time", "correlation"), _dc, None, _bounds((0.15, -50.0), (0.1, -50.0)), _EXPONENTIAL, "tc"),
        Kernel("ss", ("decay_time",), _ss, None, _bounds((0.15, -50.0)), f"{_EXPONENTIAL}, smooth in time", "tc"),
        Kernel("power", ("scale", "power"), _power, _scales, _bounds((0.1, -10.0), (0.1, 30.0)), _POWER),
        Kernel("power-ss", ("scale", "power"), _power_ss, None, _bounds((0.1, -10.0), (0.1, 30.0)), f"{_POWER}, smooth in time", "power"),
    )
}
