r"""How well the evidence knows its hyperparameters: a normal approximation in their logarithms, corrected by importance weights.

Taken for known, hyperparameters make bands too narrow, and worst where a prior is nearly parametric: "dc" with a correlation near 1 *is* the exponential
A e^{-s/tau}, whose tau only the evidence knows. So hyperparameters are drawn from N(theta, 2 H^{-1}), with H the Hessian of -2 log p by differences (input by
input; steps that raise -2 log p by about 2, since a fixed step is too long for long records and too short for short ones), weighted by how far the evidence
there differs from that normal law, and families by their Akaike weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, qmc

from perdure._typing import Array
from perdure.memory.records.gram import Moments
from perdure.memory.records.marginal_likelihood import Evidence, clipped, value_of

RISE = 2.0  # of -2 log p, that a step is meant to make
WIDEST = 1.5  # sd of a logarithm, where the evidence hardly depends on it
LEAST_SHARE = 0.02  # of the weight: families below are left out


@dataclass(frozen=True)
class Point:
    """Hyperparameters drawn, and their weight."""

    evidence: Evidence
    weight: float


def points(m: Moments, evidences: Sequence[Evidence], lags: int, intercept: bool, count: int) -> list[Point]:
    """About `count` draws of families and hyperparameters, with weights that sum to 1; the best of each family is always among them."""
    lowest = evidences[0].penalised
    raw = np.array([math.exp(-0.5 * min(e.penalised - lowest, 1400.0)) for e in evidences])
    share = np.where(raw / raw.sum() >= LEAST_SHARE, raw, 0.0)
    share /= share.sum()
    out = []
    for evidence, part in zip(evidences, share, strict=True):
        if part > 0:
            out += [Point(p.evidence, part * p.weight) for p in _of(m, evidence, lags, intercept, max(4, round(part * count)))]
    return out


def _of(m: Moments, evidence: Evidence, lags: int, intercept: bool, count: int) -> list[Point]:
    def value(theta: Array) -> float:
        return value_of(m, evidence.kernel, lags, intercept, theta)

    theta, roots = evidence.theta.copy(), []
    for j in range(theta.shape[0]):

        def alone(row: Array, j: int = j) -> float:
            return value(np.vstack([theta[:j], row[None], theta[j + 1 :]]))

        theta[j], root = _normal(alone, theta[j])
        roots.append(root)
    best = value(theta)
    size = theta.shape[1]
    uniform = qmc.Halton(theta.size, scramble=False).random(count)
    normal = norm.ppf(np.clip(uniform, 1e-3, 1 - 1e-3)).reshape(count, theta.shape[0], size)
    normal[0] = 0.0
    drawn, logs = [], []
    for z in normal:
        moved = clipped(evidence.kernel, lags, theta + np.stack([root @ row for root, row in zip(roots, z, strict=True)]))
        here = value(moved)
        drawn.append(Evidence(evidence.kernel, moved, here))
        logs.append(-0.5 * (here - best) + 0.5 * float((z**2).sum()))
    weight = np.exp(np.clip(np.array(logs), None, math.log(10.0)) - max(logs))
    return [Point(e, float(w)) for e, w in zip(drawn, weight / weight.sum(), strict=True)]


def _normal(value: Callable[[Array], float], row: Array) -> tuple[Array, Array]:
    """The top of the parabola through the evidence around `row`, and a square root of its covariance 2 H^{-1}."""
    size, here = row.size, value(row)
    step, up, down = np.full(size, 0.3), np.zeros(size), np.zeros(size)
    unit = np.eye(size)
    for i in range(size):
        for _ in range(6):
            up[i], down[i] = value(row + step[i] * unit[i]), value(row - step[i] * unit[i])
            rise = max(up[i], down[i]) - here
            if rise <= 4.0 * RISE:
                break
            step[i] *= max(math.sqrt(RISE / rise), 0.05)
    gradient = (up - down) / (2 * step)
    hessian = np.diag((up + down - 2 * here) / step**2)
    for i in range(size):
        for k in range(i):
            corners = [value(row + a * step[i] * unit[i] + b * step[k] * unit[k]) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            hessian[i, k] = hessian[k, i] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step[i] * step[k])
    values, vectors = np.linalg.eigh(hessian)
    values = np.maximum(values, 2.0 / WIDEST**2)
    move = -(vectors / values) @ (vectors.T @ gradient)
    if np.abs(move).max() < 1.0 and value(row + move) < here:
        row = row + move
    return row, vectors * np.sqrt(2.0 / values)
