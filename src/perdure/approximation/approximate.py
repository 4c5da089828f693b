"""The exponential sum of a given width that is closest to a functional, by the best of several methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from perdure import _checks
from perdure._threads import one_thread
from perdure.approximation.modes import Modes, filled, from_sum
from perdure.approximation.polish import Problem
from perdure.approximation.starts import enlarged, fitted, starts
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.functionals.quadrature import finite_w1

METHODS = ("auto", "sinc", "truncation", "realisation")
SIZES = [1, 2, 4, 8, 12, 16, 24, 32, 48]  # steps of width, and how many starts are refined up to each, and beyond
REFINED = [8, 8, 8, 4, 3, 2, 2, 2, 2, 2]
HARD = (0.02, 0.9)  # errors between which the descent has many local minima: the solution of the next smaller step is enlarged as well
HOPELESS = 24  # states from which on that is not worth the time above the second
Option = tuple[Modes, float, Problem]


@one_thread()
def approximate(target: LinearFunctional | Any, width: int = 32, horizon: float | None = None, *, method: str = "auto") -> ExponentialSum:
    r"""An exponential sum with `width` real states, near the best possible, for a functional.

    Minimises ||H - H^||_{W1} / ||H||_{W1} with ||.||_{W1} = int |rho|_1 + |rho(0)|_1 + int |rho'|_1 on [0, inf), or on
    [0, horizon]. "auto" starts from every method that applies:

    * truncation: balanced truncation of a large sum that has the kernel to rounding;
    * realisation: balanced realisation of the sampled kernel, weights refitted (every other target, also as a part of a sum);
    * tapered rates for power laws, and a decaying Fourier series for pulses;
    * (by name only) sinc: quadrature of the Laplace representation of a power law, window optimised for the width;

    refines the best of them by a descent of the W1 error in rates and weights, and keeps the one of least error, measured exactly: never
    worse than the zero kernel, whose error is 1. A target that is an exponential sum with no more states than `width` is returned
    exactly; states left over repeat its modes, with the coefficient shared out.

    Args:
        target: a linear functional of input size d.
        width: m, the number of real states: a real rate counts one, a complex-conjugate pair two.
        horizon: time up to which the error counts; None means infinity.
        method: "auto", or one of the methods above by name.

    Returns:
        An `ExponentialSum` with `.rates` (conjugates both listed, Re > 0), `.coefficients` and `.error`, the relative W1 error, exact to
        rounding. Where fewer states do as well, the rest repeat modes (a single one left over from pairs has coefficient 0).

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
    if method == "auto" and isinstance(target, ExponentialSum) and from_sum(target).states <= width:
        return filled(from_sum(target), width, 0.0)
    with np.errstate(all="ignore"):  # the fast decades of a kernel underflow, a step too far overflows and is rejected
        found = _candidates(target, width, horizon, method)
    if not found:
        raise _checks.fail("method", f"applicable to {target!r}", method, "use method='auto'")
    best = _nothing(target, width)
    for score, modes in found:
        if score > 1.05 * _error_of(best):  # the nodes' estimate is good to a few per cent: not worth an exact measurement
            continue
        candidate = filled(modes, width, np.inf)
        candidate.error = error(target - candidate) / size
        if candidate.error < _error_of(best):
            best = candidate
    return best


def _candidates(target: LinearFunctional, width: int, horizon: float | None, method: str, most: int = 8) -> list[tuple[float, Modes]]:
    """The best start as it is and the best few refined, with their estimated errors, best first; for a method by name, what it gives."""
    options: list[Option] = []
    raw: list[tuple[float, Modes]] = []
    for modes in starts(target, width, horizon, method):
        if modes.weights is not None and modes.real == modes.rates.size:
            raw.append((0.0, modes))  # real sums are quick to measure
        options.append(fitted(target, modes, horizon))
    options = sorted(options, key=lambda option: option[1])
    if method != "auto":
        return [*raw, *((error, modes) for modes, error, _ in options)]
    found = [*raw, *((error, modes) for modes, error, _ in options[:1])]
    most = 1 if width >= 32 and target.input_size > 1 else min(most, REFINED[int(np.searchsorted(SIZES, width))])
    refined = _refined(options[:most])
    smaller = [w for w in SIZES if w < width]
    reached = min((error for error, _ in refined), default=0.0)
    if smaller and options[0][0].real < width and HARD[0] < reached and (reached < HARD[1] or width < HOPELESS):
        below = min(_candidates(target, smaller[-1], horizon, method, 2), key=lambda pair: pair[0] or np.inf)
        found.append(below)
        refined += _refined([fitted(target, enlarged(target, below[1], width, horizon), horizon)])
    return sorted([*found, *refined], key=lambda pair: pair[0])


def _refined(options: list[Option]) -> list[tuple[float, Modes]]:
    out = []
    for modes, _, problem in options:
        if modes.weights is not None:
            rates, weights, reached = problem.improve(modes.rates, modes.weights, modes.real)
            out.append((reached / problem.size, Modes(rates, weights, modes.real)))
    return out


def _nothing(target: LinearFunctional, width: int) -> ExponentialSum:
    """The zero kernel."""
    shape = (width,) if target.input_size == 1 else (width, target.input_size)
    return ExponentialSum(np.full(width, 1.0 / float(target.mesh()[-1])), np.zeros(shape), 1.0)


def _error_of(functional: ExponentialSum) -> float:
    return np.inf if functional.error is None else functional.error
