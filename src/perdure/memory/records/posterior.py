"""Mean, spread and draws of the impulse response of one output, given the records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from perdure._typing import Array
from perdure.memory.records.gram import Moments
from perdure.memory.records.laplace import points
from perdure.memory.records.marginal_likelihood import Evidence, factor, scaled, spread_out

POINTS, FEW, LARGE = 32, 12, 1024  # draws of hyperparameters; fewer where there are more coefficients than the last


@dataclass(frozen=True)
class Posterior:
    """A mixture of normal laws, one for each draw of hyperparameters.

    Attributes:
        mean: (p,).
        sd: of each coefficient, (p,).
        draws: (S, p).
        variance: of the noise.
        intercept: added to the output.
        parameters: effective number, the trace of R against the covariance, under the best hyperparameters.
    """

    mean: Array
    sd: Array
    draws: Array
    variance: float
    intercept: float
    parameters: float


def conditional(m: Moments, evidence: Evidence, lags: int, intercept: bool) -> tuple[Array, Array, float]:
    """Mean (p,), square root of the covariance (p, q) and noise variance under given hyperparameters.

    With A = C C^T the covariance s2 L A^{-1} L^T has the root sqrt(s2) L C^{-T}.
    """
    found = factor(m, scaled(evidence.kernel, lags, evidence.theta), intercept)
    L = spread_out(found.blocks)
    inverse = solve_triangular(found.lower, np.diag(L) if L.ndim == 1 else L.T, lower=True, check_finite=False)
    mean = L * found.z if L.ndim == 1 else L @ found.z
    return mean, math.sqrt(found.variance) * inverse.T, found.variance


def point(m: Moments, evidence: Evidence, lags: int, intercept: bool) -> tuple[Array, float]:
    """Mean (p,) under given hyperparameters, and the intercept."""
    mean, _, _ = conditional(m, evidence, lags, intercept)
    return mean, m.y_mean - float(m.x_mean @ mean)


def posterior(m: Moments, evidences: Sequence[Evidence], lags: int, intercept: bool, draws: int, rng: np.random.Generator) -> Posterior:
    """The posterior over families and hyperparameters as well, by weighted draws of these."""
    drawn = points(m, evidences, lags, intercept, POINTS if m.r.size <= LARGE else FEW)
    weights = np.array([p.weight for p in drawn])
    counts = _shared_out(weights, draws)
    means, squares, samples, variance, shrunk = [], [], [], 0.0, 0.0
    for p, weight, count in zip(drawn, weights, counts, strict=True):
        mean, root, noise = conditional(m, p.evidence, lags, intercept)
        means.append(mean)
        squares.append(np.einsum("ij,ij->i", root, root))
        samples.append(mean + rng.standard_normal((count, root.shape[1])) @ root.T)
        variance += weight * noise
        if weight == weights.max():
            shrunk = float(np.einsum("ij,ij->", m.R @ root, root)) / noise
    mean = weights @ np.array(means)
    sd = np.sqrt(np.maximum(weights @ (np.array(squares) + (np.array(means) - mean) ** 2), 0.0))
    return Posterior(mean, sd, np.concatenate(samples), variance, m.y_mean - float(m.x_mean @ mean), shrunk)


def _shared_out(weights: Array, draws: int) -> Array:
    """Whole numbers that add up to `draws`, in proportion to the weights."""
    edges = np.round(np.cumsum(weights) * draws).astype(int)
    edges[-1] = draws
    return np.diff(edges, prepend=0)
