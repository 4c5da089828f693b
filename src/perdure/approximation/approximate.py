"""The exponential sum of a given width that is closest to a functional, by the best of several methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.approximation import hankel, reduction, sinc
from perdure.approximation.polish import Problem
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.combine import Combination, Stack
from perdure.functionals.exponential import ExponentialSum
from perdure.functionals.polynomial import Polynomial
from perdure.functionals.quadrature import finite_w1

LARGE = 64  # states for a part that is neither a power law nor an exponential sum, before truncation
POLISHED = 12  # widths up to which least squares over rates and weights is tried: beyond, the linear-algebra methods are near rounding
SWINGS = 2000.0  # a mode that swings longer before it fades, in radians, is an artefact of rounding unless the target has it
METHODS = ("auto", "sinc", "truncation", "realisation")
Candidate = tuple[Array, Array]


def approximate(target: LinearFunctional | Any, width: int = 32, horizon: float | None = None, *, method: str = "auto") -> ExponentialSum:
    r"""An exponential sum with `width` real states, near the best possible, for a functional.

    Minimises ||H - H^||_{W1} / ||H||_{W1} with ||.||_{W1} = int |rho|_1 + |rho(0)|_1 + int |rho'|_1 on [0, inf), or on
    [0, horizon]. "auto" computes every method that applies and keeps the one of least error, measured exactly:

    * sinc: quadrature of the Laplace representation, window optimised for the width (power laws);
    * truncation: balanced truncation of a large sum that has the kernel to rounding;
    * realisation: balanced realisation of the sampled kernel, weights refitted (every other target, also as a part of a sum);

    and up to width 12 a least-squares refinement of the winner over rates and weights. A target that is an exponential sum with no more
    states than `width` is returned exactly; states left over repeat its modes, with the coefficient shared out.

    Args:
        target: a linear functional of input size d.
        width: m, the number of real states: a real rate counts one, a complex-conjugate pair two.
        horizon: time up to which the error counts; None means infinity.
        method: "auto", or one of the methods above by name.

    Returns:
        An `ExponentialSum` with `.rates` (conjugates both listed, Re > 0), `.coefficients` and `.error`, the relative W1 error, exact to
        rounding. Where fewer states reach rounding, the rest repeat modes (one state less where only pairs are left to repeat).

    Raises:
        ValueError: width < 1, horizon <= 0, or a method that does not apply to the target.

    >>> from perdure import functionals as F
    >>> approximate(F.polynomial(power=2.0), width=16).error < 2.2e-4
    True
    >>> approximate(F.exponential(rate=0.5), width=4).rates.tolist()
    [0.5, 0.5, 0.5, 0.5]

    References:
        Beylkin & Monzon, Appl. Comput. Harmon. Anal. 19, 2005; Haut & Beylkin, SIAM J. Matrix Anal. Appl. 33, 2012; Kung 1978.
    """
    if not isinstance(target, LinearFunctional):
        raise ArgumentTypeError(
            f"expected argument `target` to be a linear functional, but got {type(target).__name__}: build one with perdure.functionals"
        )
    width = _checks.positive_int(width, "width", "a model needs at least one state")
    if horizon is not None:
        horizon = _checks.positive(horizon, "horizon", "pass None for the infinite horizon")
    _checks.choice(method, "method", METHODS)

    def error(functional: LinearFunctional) -> float:
        if horizon is None:
            return functional.norm()
        return finite_w1(functional._kernel, functional._kernel_derivative, functional.mesh(), horizon)

    size = error(target)
    if size == 0:
        return ExponentialSum([1.0] * width, np.zeros((width, target.input_size)), 0.0)
    if method == "auto" and isinstance(target, ExponentialSum) and _listed(target)[0].size <= width:
        return _shared_out(target, width, 0.0)
    best: ExponentialSum | None = None
    for candidate in _candidates(target, width, horizon, method):
        found = _as_sum(*candidate)
        if found is None:
            continue
        found.error = error(target - found) / size
        if np.isfinite(found.error) and (best is None or found.error < _error_of(best)):
            best = found
    if best is None:
        raise _checks.fail("method", f"applicable to {target!r}", method, "use method='auto'")
    if method == "auto" and width <= POLISHED:
        best = _polished(target, best, horizon, lambda f: error(target - f) / size)
    return _shared_out(best, width, best.error)


def _error_of(functional: ExponentialSum) -> float:
    return np.inf if functional.error is None else functional.error


def _candidates(target: LinearFunctional, width: int, horizon: float | None, method: str) -> Iterator[Candidate]:
    if isinstance(target, Polynomial):
        if method in ("auto", "truncation"):
            yield reduction.reduce_positive(*sinc.fine(target), width)
        if method in ("auto", "sinc"):
            yield sinc.window_optimised(target, width)
    elif method in ("auto", "truncation"):
        rates, weights = _as_large_sum(target, width)
        if np.isrealobj(rates) and weights.shape[1] == 1 and (weights >= 0).all():
            kept = weights[:, 0] > 0
            yield reduction.reduce_positive(rates[kept], weights[kept, 0], width)
        else:
            for smaller in {width, max(width - 1, 1)}:  # an odd order may cut a pair
                yield reduction.reduce_any(rates.astype(complex), weights.astype(complex), smaller)
        if isinstance(target, Combination | Stack) and (parts := _in_parts(target, width)) is not None:
            yield parts
    if method == "realisation" or (
        method == "auto" and (horizon is not None or not isinstance(target, Polynomial | Combination | Stack | ExponentialSum))
    ):
        span = float(target.mesh()[-1]) if horizon is None else min(horizon, float(target.mesh()[-1]))
        for order in {width, max(width - 1, 1)}:
            yield _realised(target, span, order)


def _realised(target: LinearFunctional, span: float, order: int) -> Candidate:
    mesh = target.mesh()
    rates, n_real = _split(hankel.realise(target, span, order))
    if rates.size == 0:
        rates, n_real = np.array([1.0 / span + 0j]), 1
    return _conjugates(rates, Problem(target, np.append(mesh[mesh < span], span)).weights_for(rates, n_real)[0])


def _terms(target: Combination | Stack) -> list[tuple[LinearFunctional, Array]]:
    """The parts, each with the row (1 or d,) that maps its coefficients into the whole."""
    if isinstance(target, Combination):
        return [(f, np.array([w])) for w, f in target.terms]
    return [(f, row) for f, row in zip(target.parts, np.eye(len(target.parts)), strict=True)]


def _as_large_sum(target: LinearFunctional, width: int) -> Candidate:
    """The target as a large exponential sum, near rounding: rates (n,) and coefficients (n, d)."""
    if isinstance(target, ExponentialSum):
        return _listed(target)
    if isinstance(target, Polynomial):
        rates, weights = reduction.reduce_positive(*sinc.fine(target), max(64, 2 * width))
        return rates, weights[:, None]
    if isinstance(target, Combination | Stack):
        return _joined([(_as_large_sum(f, width), row) for f, row in _terms(target)])
    return _realised(target, float(target.mesh()[-1]), LARGE)


def _in_parts(target: Combination | Stack, width: int) -> Candidate | None:
    """Each part approximated for itself, exponential sums exactly: what is left when truncation meets rounding at large widths."""
    exact = [_listed(f)[0].size if isinstance(f, ExponentialSum) else 0 for f, _ in _terms(target)]
    others = sum(size == 0 for size in exact)
    share = (width - sum(exact)) // max(others, 1)
    if share < 1:
        return None
    return _joined([(_listed(f if isinstance(f, ExponentialSum) else approximate(f, share)), row) for f, row in _terms(target)])


def _joined(parts: list[tuple[Candidate, Array]]) -> Candidate:
    rates = np.concatenate([rates for (rates, _), _ in parts])
    return rates, np.concatenate([weights * row if row.size == 1 or weights.shape[1] == 1 else weights for (_, weights), row in parts])


def _listed(target: ExponentialSum) -> Candidate:
    """Rates and coefficients with every conjugate listed, or real ones."""
    rates, weights = target.modes()
    if (rates.imag == 0).all():
        return rates.real, weights.real
    return _conjugates(rates, weights)


def _split(rates: Array) -> tuple[Array, int]:
    """Real modes first, then one of each conjugate pair; and the number of the real ones."""
    real = np.abs(rates.imag) <= 1e-9 * np.abs(rates)
    return np.concatenate([rates[real].real.astype(complex), rates[~real & (rates.imag > 0)]]), int(real.sum())


def _conjugates(rates: Array, weights: Array) -> Candidate:
    """Pairs written out: Re a e^{-lambda t} = a/2 e^{-lambda t} + conjugate."""
    pair = rates.imag > 0
    out = np.concatenate([rates[~pair], np.stack([rates[pair], rates[pair].conj()], 1).ravel()])
    half = 0.5 * weights[pair]
    stacked = np.stack([half, half.conj()], 1).reshape(-1, weights.shape[1])
    return out, np.concatenate([weights[~pair].real.astype(complex), stacked])


def _as_sum(rates: Array, weights: Array) -> ExponentialSum | None:
    """The candidate as a functional, None where it is no decaying real kernel."""
    if not (np.isfinite(rates).all() and np.isfinite(weights).all() and (rates.real > 0).all()):
        return None
    if (np.abs(rates.imag) > SWINGS * rates.real).any():
        return None
    weights = weights[:, 0] if weights.ndim == 2 and weights.shape[1] == 1 else weights
    if (np.abs(rates.imag) <= 1e-9 * np.abs(rates)).all():
        return ExponentialSum(rates.real, weights.real)
    return ExponentialSum(rates, weights)


def _shared_out(target: ExponentialSum, width: int, error: float | None) -> ExponentialSum:
    """The same kernel with all `width` states in use: modes repeated in turn, each coefficient divided among its copies."""
    rates, weights = target.modes()
    states = np.where(rates.imag > 0, 2, 1)
    copies, left = np.ones(rates.size, int), max(width - int(states.sum()), 0)
    while (affordable := states <= left).any():
        i = min(np.nonzero(affordable)[0], key=lambda i: copies[i])
        copies[i] += 1
        left -= states[i]
    again = np.repeat(np.arange(rates.size), copies)
    found = _as_sum(*_conjugates(rates[again], weights[again] / copies[again][:, None]))
    if found is None:
        raise AssertionError("a functional's own modes decay")
    found.error = error
    return found


def _polished(
    target: LinearFunctional, found: ExponentialSum, horizon: float | None, error: Callable[[LinearFunctional], float]
) -> ExponentialSum:
    """The least-squares refinement where it is better than what it started from."""
    rates, weights = found.modes()
    order = np.argsort(rates.imag > 0, kind="stable")
    rates, weights, n_real = rates[order], weights[order], int((rates.imag == 0).sum())
    end = float(max(target.mesh()[-1], found.mesh()[-1])) if horizon is None else horizon
    mesh = np.unique(np.concatenate([target.mesh(), found.mesh()]))
    problem = Problem(target, np.append(mesh[mesh < end], end))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            better = _as_sum(*_conjugates(*problem.improve(rates, weights, n_real)))
        except (np.linalg.LinAlgError, ValueError):
            return found
    if better is None:
        return found
    better.error = error(better)
    return better if better.error < _error_of(found) else found
