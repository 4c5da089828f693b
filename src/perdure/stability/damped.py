r"""A second family of models: exponentially damped Fourier sums, whose rates and coefficients stay bounded as the width grows.

rho(t) ~ e^{-a t} sum_{|k| <= n} c_k e^{i w_k t} with w_k = 2 pi k / P, m = 2 n + 1 states and c_k the Fourier coefficients of e^{a t} rho(t)
on [0, P]. Every rate has the real part a, whatever the width: nothing slows down. For a smooth kernel that starts from nothing and is over
early (a delayed pulse) these sums converge as P and n grow together, and their coefficients are those of one function. Sums of minimum
error converge faster, but by near-cancellation of ever larger coefficients, which a move of the weights undoes.
"""

from __future__ import annotations

import numpy as np

from perdure._typing import Array
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.functionals.quadrature import panel_rule
from perdure.stability.norm import sobolev_distance

SAMPLES = 4096
PERIODS = 14  # lengths P that are compared
LONGEST = 24.0  # in units of the mean time


def damped_sum(target: LinearFunctional, width: int) -> ExponentialSum | None:
    """The damped Fourier sum of a width with the best period; None where the target has no scale or the width no pair.

    The damping is the reciprocal of the kernel's mean time, int t |rho| / int |rho|, the same for every width.

    >>> from perdure import functionals as F
    >>> model = damped_sum(F.shift(2.0, 0.5), 33)
    >>> model.width, bool(abs(model.rates.real - 0.5).max() < 1e-3), model.error < 0.03
    (33, True, True)
    """
    pairs = (width - 1) // 2
    mesh = target.mesh()
    t, weight = panel_rule(mesh)
    size = np.abs(target._kernel(t)).sum(1)
    with np.errstate(over="ignore"):
        mean = float((weight * t) @ size / (weight @ size))
    if pairs < 1 or not np.isfinite(mean) or mean <= 0:
        return None
    damping = 1.0 / mean
    norm = target.norm()
    series = [_series(target, damping, p * mean, pairs) for p in np.geomspace(1.5, LONGEST, PERIODS).tolist()]
    rough = [(_rough(target, sum_, mean), sum_) for sum_ in series]
    best = min(rough, key=lambda pair: pair[0])[1]
    best.error = sobolev_distance(best, target) / norm
    return best


def _series(target: LinearFunctional, damping: float, period: float, pairs: int) -> ExponentialSum:
    t = period * (np.arange(SAMPLES) + 0.5) / SAMPLES
    spectrum = np.fft.rfft(np.exp(damping * t)[:, None] * target._kernel(t), axis=0)[: pairs + 1] / SAMPLES
    omega = 2 * np.pi * np.arange(pairs + 1) / period
    c = spectrum * np.exp(-1j * omega * 0.5 * period / SAMPLES)[:, None]  # samples sit in the middle of their cells
    rates = np.concatenate([[complex(damping)], damping - 1j * omega[1:], damping + 1j * omega[1:]])
    weights = np.concatenate([c[:1].real.astype(complex), c[1:], c[1:].conj()])
    return ExponentialSum(rates, weights[:, 0] if target.input_size == 1 else weights)


def _rough(target: LinearFunctional, model: ExponentialSum, mean: float) -> float:
    """The W1 error on an even grid: enough to choose the period."""
    t: Array = np.linspace(0.0, 20.0 * mean, 4000)
    step = t[1]
    kernel = np.abs(model._kernel(t) - target._kernel(t)).sum()
    slope = np.abs(model._kernel_derivative(t) - target._kernel_derivative(t)).sum()
    return float(step * (kernel + slope) + np.abs(model._kernel(t[:1]) - target._kernel(t[:1])).sum())
