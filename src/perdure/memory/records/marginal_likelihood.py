r"""Hyperparameters by the marginal likelihood of the outputs (empirical Bayes), from the moments of the records alone.

y = Phi g + e, e ~ N(0, s2 I), g ~ N(0, s2 sum over inputs j of k_j K_j), each block K_j = L_j M_j^{-1} L_j^T. With L of all blocks scaled by sqrt(k_j), and

    A = M + L^T R L,      Q = c - r^T L A^{-1} L^T r,

the noise variance of the largest likelihood is s2 = Q / N and, up to a constant,

    -2 log p(y) = N log Q + log det A - log det M,

by the lemmas of Woodbury and Sylvester; N is the number of outputs, less one for an intercept. The posterior is g ~ N(L A^{-1} L^T r, s2 L A^{-1} L^T).
One evaluation is one Cholesky factorisation of size p = d n (order 1), or of the rank of a smooth prior, whatever the length of the records.

References:
    Chen & Ljung, Automatica 49, 2013 (the likelihood from the moments); Pillonetto et al., Automatica 50, 2014 (survey).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, get_lapack_funcs
from scipy.optimize import minimize

from perdure._typing import Array
from perdure.memory.records.gram import Moments
from perdure.memory.records.kernels import KERNELS, RANK, ROUGH_RANK, Kernel, Prior

dpotrf, dpotrs = get_lapack_funcs(("potrf", "potrs"), dtype=np.float64)
GAINS = (0.3, 30.0, 3e3, 3e5)  # starts: prior variance over noise variance, times the decay time
LOG_GAIN = (-25.0, 30.0)
TINY = 1e-14  # of c, what is left of it after rounding
SWEEPS = 2  # over inputs, one after the other, once they share a start


@dataclass(frozen=True)
class Evidence:
    """A prior with its hyperparameters, and how well it explains the outputs.

    Attributes:
        kernel: the family.
        theta: log parameters and log gain k_j of each input, (d, parameters + 1).
        value: -2 log p(y) at its best, up to a constant that all families share.
    """

    kernel: Kernel
    theta: Array
    value: float

    @property
    def penalised(self) -> float:
        """-2 log p(y) + 2 for each hyperparameter: families with more of them fit more (Akaike)."""
        return self.value + 2.0 * self.theta.size


@dataclass(frozen=True)
class Factored:
    """The posterior in the coordinates in which it is solved for.

    Attributes:
        blocks: priors of the inputs, their L scaled by sqrt(k_j).
        lower: Cholesky factor of A, (q, q).
        z: A^{-1} L^T r, (q,).
        Q: what the fit and the prior leave of c.
        count: N.
        log_ratio: log det A - log det M.
    """

    blocks: list[Prior]
    lower: Array
    z: Array
    Q: float
    count: int
    log_ratio: float

    @property
    def value(self) -> float:
        """-2 log p(y), up to a constant."""
        return self.count * math.log(self.Q) + self.log_ratio

    @property
    def variance(self) -> float:
        """s2, of the noise."""
        return self.Q / self.count


def scaled(kernel: Kernel, lags: int, theta: Array, tolerance: float = RANK) -> list[Prior]:
    """The prior of each input."""
    out = []
    for row in np.atleast_2d(theta):
        prior = kernel.build(lags, row[:-1], tolerance)
        out.append(Prior(prior.scale * math.exp(0.5 * row[-1]), prior.diagonal, prior.off, prior.log_det))
    return out


def spread_out(blocks: Sequence[Prior]) -> Array:
    """L of all inputs: (p,) where it is diagonal, else (p, q)."""
    if blocks[0].scale.ndim == 1:
        return np.concatenate([b.scale for b in blocks])
    return np.asarray(block_diag(*[b.scale for b in blocks]))


def factor(m: Moments, blocks: list[Prior], intercept: bool) -> Factored:
    """Solve for the posterior.

    Raises:
        LinAlgError: A is not positive definite, to rounding.
    """
    L = spread_out(blocks)
    if L.ndim == 1:
        A, right = m.R * L[:, None] * L, L * m.r
    else:
        A, right = L.T @ (m.R @ L), L.T @ m.r
    at = 0
    for b in blocks:
        here = np.arange(at, at + b.rank)
        A[here, here] += b.diagonal
        A[here[1:], here[:-1]] += b.off
        at += b.rank
    lower, info = dpotrf(A, lower=1, clean=1, overwrite_a=1)
    if info != 0:
        raise np.linalg.LinAlgError("the prior and the data together are not positive definite")
    z, _ = dpotrs(lower, right, lower=1)
    count = m.count - int(intercept)
    Q = max(m.c - float(right @ z), TINY * m.c)
    ratio = 2.0 * float(np.log(np.diagonal(lower)).sum()) - sum(b.log_det for b in blocks)
    return Factored(blocks, lower, z, Q, count, ratio)


def clipped(kernel: Kernel, lags: int, theta: Array) -> Array:
    """Within the bounds of the family."""
    low, high = kernel.bounds(lags)
    return np.clip(theta, np.append(low, LOG_GAIN[0]), np.append(high, LOG_GAIN[1]))


def value_of(m: Moments, kernel: Kernel, lags: int, intercept: bool, theta: Array) -> float:
    """-2 log p(y) at log parameters and gains (d, parameters + 1), with a penalty outside the bounds."""
    inside = clipped(kernel, lags, theta)
    try:
        found = factor(m, scaled(kernel, lags, inside, ROUGH_RANK), intercept).value
    except np.linalg.LinAlgError:
        return 1e300
    return found + 10.0 * float(((theta - inside) ** 2).sum())


def maximise(m: Moments, kernel: Kernel, lags: int, inputs: int, intercept: bool, starts: Array) -> Evidence:
    """The hyperparameters of the largest evidence: a few starts, then Nelder-Mead on logarithms; each input by itself once they share a start.

    Args:
        m: moments; input channels and the output scaled to unit size.
        kernel: the family.
        lags: n.
        inputs: d.
        intercept: whether the moments are centred.
        starts: log parameters and log gain to start from, (k, parameters + 1).
    """
    size = len(kernel.names) + 1

    def value(theta: Array) -> float:
        return value_of(m, kernel, lags, intercept, theta)

    def shared(row: Array) -> float:
        return value(np.tile(row, (inputs, 1)))

    def descend(objective: object, row: Array, evaluations: int) -> tuple[Array, float]:
        simplex = np.vstack([row, row + 0.7 * np.eye(size)])
        options = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 0.1, "maxfev": evaluations}
        best = minimize(objective, row, method="Nelder-Mead", options=options)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return clipped(kernel, lags, best.x), float(best.fun)

    row, best = descend(shared, min(starts, key=shared), 35 * size)
    theta = np.tile(row, (inputs, 1))
    for _ in range(SWEEPS if inputs > 1 else 0):
        before = best
        for j in range(inputs):

            def alone(row: Array, j: int = j) -> float:
                return value(np.vstack([theta[:j], row[None], theta[j + 1 :]]))

            theta[j], best = descend(alone, theta[j].copy(), 25 * size)
        if before - best < 0.1:
            break
    return Evidence(kernel, theta, best)


def search(m: Moments, names: Sequence[str], lags: int, inputs: int, intercept: bool) -> list[Evidence]:
    """Every family named, best first."""
    found: dict[str, Evidence] = {}
    for name in KERNELS:
        needed = name in names or any(KERNELS[other].after == name for other in names)
        if needed:
            found[name] = maximise(m, KERNELS[name], lags, inputs, intercept, _starts(KERNELS[name], lags, found))
    return sorted((found[name] for name in names), key=lambda e: e.penalised)


def _starts(kernel: Kernel, lags: int, found: dict[str, Evidence]) -> Array:
    """A grid, or what the search found for the family this one comes after."""
    if kernel.starts is not None:
        return np.array([np.append(shape, math.log(gain) - shape[0]) for shape in kernel.starts(lags) for gain in GAINS])
    row = found[kernel.after].theta.mean(0)
    if kernel.name == "dc":
        return np.array(
            [[row[0], row[0] + math.log(longer), row[1] + math.log(gain)] for longer in (0.3, 3.0, 100.0) for gain in (1.0, 10.0)]
        )
    return np.array([[*row[:-1], row[-1] + math.log(gain)] for gain in (1.0, 30.0, 1e3)])
