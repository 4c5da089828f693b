r"""Is what is left of the outputs white? And what to do where it is not.

The bands take the noise to be white. The test is that of Ljung & Box: Q = N (N + 2) sum_k r_k^2 / N_k over the N_k pairs at each lag (N - k in one whole record), with the autocorrelations r_k of the residuals
at lags 1 .. K, is chi-squared with K degrees of freedom under white noise. Coloured noise is taken for an autoregression, e_t = sum_k a_k e_{t-k} + w_t:
filtering inputs and outputs alike by 1 - sum_k a_k q^{-k} leaves the impulse response as it is and makes the noise white (generalised least squares).

References:
    Ljung & Box, Biometrika 65, 1978; Cochrane & Orcutt, J. Am. Stat. Assoc. 44, 1949.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_toeplitz
from scipy.stats import chi2

from perdure._typing import Array

LAGS = 20
ORDER = 20  # largest of the autoregression


@dataclass(frozen=True)
class Whiteness:
    """The test of Ljung & Box.

    Attributes:
        statistic: Q.
        lags: K.
        p_value: how often white noise gives a Q as large.
        correlations: r_1 .. r_K.
    """

    statistic: float
    lags: int
    p_value: float
    correlations: Array


def autocovariance(residual: Array, lags: int) -> tuple[Array, Array]:
    """Autocovariances at lags 0 .. lags, and the number of pairs of each; NaN where missing, (B, T)."""
    e = residual - np.nanmean(residual)
    seen = np.isfinite(e)
    e = np.where(seen, e, 0.0)
    steps = e.shape[1]
    pairs = np.array([int((seen[:, k:] & seen[:, : steps - k]).sum()) for k in range(lags + 1)])
    sums = np.array([float((e[:, k:] * e[:, : steps - k]).sum()) for k in range(lags + 1)])
    return sums / np.maximum(pairs, 1), pairs


def ljung_box(residual: Array) -> Whiteness:
    """The test on residuals (B, T), NaN where missing."""
    lags = int(min(LAGS, max(1, residual.shape[1] // 5)))
    covariance, pairs = autocovariance(residual, lags)
    count = int(pairs[0])
    r = covariance[1:] * pairs[1:] / (covariance[0] * count)
    statistic = float(count * (count + 2) * (r**2 / np.maximum(pairs[1:], 1)).sum())
    return Whiteness(statistic, lags, float(chi2.sf(statistic, lags)), r)


def autoregression(residual: Array) -> Array:
    """Coefficients a_1 .. a_q of the residuals (B, T), by Yule and Walker, q by Akaike's criterion."""
    most = int(min(ORDER, max(1, residual.shape[1] // 20)))
    covariance, pairs = autocovariance(residual, most)
    best, coefficients = math.inf, np.zeros(0)
    for order in range(most + 1):
        a = solve_toeplitz(covariance[:order], covariance[1 : order + 1]) if order else np.zeros(0)
        left = float(covariance[0] - a @ covariance[1 : order + 1])
        score = int(pairs[0]) * math.log(max(left, 1e-300)) + 2.0 * order
        if score < best:
            best, coefficients = score, a
    return coefficients


def whitened(values: Array, coefficients: Array) -> Array:
    """Values (B, T, c) less what the autoregression predicts, (B, T - q, c); NaN where a value needed is missing."""
    q = coefficients.size
    out = values[:, q:].copy()
    for k, a in enumerate(coefficients, start=1):
        out -= a * values[:, q - k : values.shape[1] - k]
    return out
