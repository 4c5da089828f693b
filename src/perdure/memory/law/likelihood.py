"""How well a law fits a sample: a Gaussian likelihood of the log-values, censored where nothing is seen, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import log_ndtr
from scipy.stats import t as student

from perdure.memory.law.families import LAWS, Exponential, Family, Finite
from perdure.memory.law.window import Sample

Array = npt.NDArray[Any]

LEAST_VARIANCE = 0.5  # relative to the assumed one: the data are never trusted more than this
SILENT_SD = 0.5  # nats a law may exceed the noise floor by where nothing is seen, before that counts against it
FLAT = 0.02  # a fit that falls by less than 2 % over the second half of its window is a level and not a decay
HUGE = 1e300  # ends of intervals stay finite, for JSON's sake


@dataclass(frozen=True)
class Fit:
    """One law on one sample: parameters and minus twice the log-likelihood."""

    family: Family
    theta: Array
    residual: Array  # in units of the assumed sd, visible points only
    cost: float

    @property
    def misfit(self) -> float:
        """Mean square of the whitened residuals: about 1, or less, for a law that fits."""
        return float(np.mean(self.residual**2))


def cost(family: Family, theta: Array, sample: Sample) -> Fit:
    """Minus twice the log-likelihood: Gaussian for visible points, censored (Tobit) where nothing is seen."""
    residual = (sample.y - family.curve(theta, sample.t)) / np.sqrt(sample.v)
    n = residual.size
    variance = max(float(residual @ residual) / n, LEAST_VARIANCE)
    minus = n * math.log(variance) + float(residual @ residual) / variance
    if sample.silent.size:
        minus += -2.0 * float(np.sum(log_ndtr(_margin(family, theta, sample, variance))))
    return Fit(family, theta, residual, minus)


def _margin(family: Family, theta: Array, sample: Sample, variance: float) -> Array:
    """How far under the noise floor a law lies at the silent times, in sds (capped, so that its normal tail stays finite)."""
    sd = math.sqrt(SILENT_SD**2 + variance * float(np.median(sample.v)))
    return np.clip((sample.log_floor - family.curve(theta, sample.silent)) / sd, -1e4, 1e4)


def polish(family: Family, theta: Array, sample: Sample) -> Fit:
    """Refine a starting point by least squares in log space.

    Silent times join in only where the law says there should be something to see.
    """
    low, high = (np.array(b) for b in family.bounds(sample))
    theta = np.clip(theta, low, high)
    root = np.sqrt(sample.v)

    def solve(start: Array, variance: float | None) -> Array:
        sd = 1.0 if variance is None else math.sqrt(variance)

        def residual(x: Array) -> Array:
            r = (family.curve(x, sample.t) - sample.y) / (root * sd)
            if variance is None:
                return r
            return np.concatenate([r, np.sqrt(-2.0 * log_ndtr(_margin(family, x, sample, variance)))])

        def jacobian(x: Array) -> Array:
            return family.jacobian(x, sample.t) / root[:, None]

        jac: Any = jacobian if variance is None else "2-point"
        result = least_squares(residual, start, jac=jac, bounds=(low, high), x_scale="jac", max_nfev=40, ftol=1e-10, xtol=1e-10, gtol=1e-10)
        return result.x

    if not isinstance(family, Exponential | Finite) and sample.t.size > 3:  # these two are linear: their start is their optimum
        theta = solve(theta, None)
    best = cost(family, theta, sample)
    if isinstance(family, Finite) or not sample.silent.size:
        return best
    for _ in range(3):
        variance = max(best.misfit, LEAST_VARIANCE)
        if float(np.min(_margin(family, best.theta, sample, variance))) > -1.0:
            break
        trial = cost(family, solve(best.theta, variance), sample)
        if trial.cost > best.cost - 1e-3:
            break
        best = trial
    return best


def correlation(residual: Array) -> float:
    """Lag-one autocorrelation of whitened residuals, in [0, 0.95]; residuals far below the assumed sd are rounding: uncorrelated."""
    if residual.size < 3:
        return 0.0
    r = residual - residual.mean()
    return float(np.clip(r[1:] @ r[:-1] / (r @ r + 0.02 * r.size), 0.0, 0.95))


def evidence(fits: list[Fit], sample: Sample, factor: float) -> tuple[dict[str, float], dict[str, Fit]]:
    """Akaike weights by law, from costs scaled by the effective fraction of independent points; and the best fit of each law.

    A law whose fit has gone flat over a window that ends with the record says "persistent" in other words: its weight goes there.
    """
    best: dict[str, Fit] = {}
    for f in fits:
        law = f.family.law
        if law not in best or f.cost < best[law].cost:
            best[law] = f
    lowest = min(f.cost for f in best.values())
    raw = {law: math.exp(-0.5 * min(factor * (f.cost - lowest), 1400.0)) for law, f in best.items()}
    weights = {law: raw.get(law, 0.0) / sum(raw.values()) for law in LAWS}
    if "persistent" in best and not sample.silent.size:
        half = np.array([0.5 * (sample.t[0] + sample.t[-1]), sample.t[-1]])
        for law, f in best.items():
            if law != "persistent" and -np.diff(f.family.curve(f.theta, half))[0] < FLAT:
                weights["persistent"] += weights[law]
                weights[law] = 0.0
    return weights, best


def interval(fit: Fit, sample: Sample, correlation: float) -> dict[str, tuple[float, float]]:
    """95 % intervals: Student's t times the sd from the least-squares covariance, widened for residual autocorrelation.

    With lag-one autocorrelation c, n points count as n (1 - c) / (1 + c), in the variance and in the degrees of freedom. All parameters are
    positive, and the intervals are symmetric in their logarithms (delta method).
    """
    family, theta, n = fit.family, fit.theta, sample.t.size
    jacobian = family.jacobian(theta, sample.t) / np.sqrt(sample.v)[:, None]
    inflation = (1 + correlation) / (1 - correlation)
    free = max(n / inflation - theta.size, 1.0)
    variance = float(fit.residual @ fit.residual) / max(n - theta.size, 1) * inflation
    unit = np.linalg.norm(jacobian, axis=0) + 1e-300
    root = np.linalg.pinv(jacobian / unit, rcond=1e-10) / unit[:, None]  # covariance = variance * root root^T
    quantile = float(student.ppf(0.975, free))
    found: dict[str, tuple[float, float]] = {}
    for name, value in family.natural(theta, sample).items():
        if name == "order":
            found[name] = (value, value)
            continue
        gradient = np.array([_log_change(family, theta, sample, name, i) for i in range(theta.size)])
        half = quantile * math.sqrt(variance) * float(np.linalg.norm(gradient @ root))
        found[name] = (value * math.exp(-min(half, 700.0)), min(value * math.exp(min(half, 700.0)), HUGE))
    return found


def _log_change(family: Family, theta: Array, sample: Sample, name: str, i: int) -> float:
    """Derivative of the log of a natural parameter in theta_i, by a central difference."""
    step = 1e-5 * max(abs(float(theta[i])), 1e-3) if family.law == "exponential" and i == 1 else 1e-5 * max(abs(float(theta[i])), 1.0)
    shift = np.zeros_like(theta)
    shift[i] = step
    up, down = (max(family.natural(theta + sign * shift, sample).get(name, 1e-300), 1e-300) for sign in (1.0, -1.0))
    return (math.log(up) - math.log(down)) / (2 * step)
