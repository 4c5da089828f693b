"""Where the search begins: modes for a target and a width, by every method that applies to the target."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from perdure._typing import Array
from perdure.approximation import reduction, sinc
from perdure.approximation.hankel import Hankel
from perdure.approximation.modes import Modes, from_listed, from_rates, from_sum, listed, with_real
from perdure.approximation.nodes import nodes_for
from perdure.approximation.polish import Problem
from perdure.functionals.base import LinearFunctional
from perdure.functionals.combine import Combination, Stack
from perdure.functionals.exponential import ExponentialSum
from perdure.functionals.polynomial import Polynomial

LARGE = 64  # states for a part that is neither a power law nor an exponential sum, before truncation
NEAR = 1.05  # powers below which the best rates leave the range of doubles, and an even grid over that range is the better start
FOURIER = [(1.0, 2.0), (1.4, 3.0), (1.0, 0.7), (1.0, 4.0), (1.4, 1.0), (1.4, 8.0)]  # period, in units of the span; decay over it


def starts(target: LinearFunctional, width: int, horizon: float | None, method: str) -> Iterator[Modes]:
    """Modes of at most `width` states; without weights where these are to be fitted."""
    end = float(target.mesh()[-1]) if horizon is None else min(horizon, float(target.mesh()[-1]))
    if isinstance(target, Polynomial):
        if method == "truncation" or (method == "auto" and target.power >= NEAR):
            yield _real(*reduction.reduce_positive(*sinc.fine(target), width))
        if method == "sinc" or (method == "auto" and target.power < NEAR):
            yield _real(*sinc.window_optimised(target, width))
        if method == "auto":
            yield from_rates(sinc.tapered(target, width).astype(complex))
            if horizon is not None:
                yield from_rates(np.geomspace(0.3 / end, 10.0 / min(target.scale / target.power, end), width).astype(complex))
    even_scale = not isinstance(target, Polynomial | ExponentialSum) and not _has_power_law(target)
    made_of_parts = isinstance(target, Combination | Stack | ExponentialSum)
    if method == "truncation" or (method == "auto" and made_of_parts):
        if not isinstance(target, Polynomial):
            yield from (with_real(modes, width, 1.0 / end) for modes in _truncated(target, width) if modes.states <= width)
    if method == "realisation" or (method == "auto" and (horizon is not None or even_scale)):
        yield from (with_real(modes, width, 1.0 / end) for modes in _realised(target, end, width) if modes.states <= width)
    if method == "auto" and even_scale and width > 1:
        for period, damping in FOURIER[: 6 if width <= 8 else 3 if width <= 16 else 2]:
            yield _fourier(target, period * end, damping, width)


def _fourier(target: LinearFunctional, period: float, damping: float, width: int) -> Modes:
    """The largest terms of a Fourier series of e^{a t} rho on [0, period], times e^{-a t}."""
    t = period / 4096 * np.arange(4096)
    size = np.abs(np.fft.rfft(np.exp(damping * t / period)[:, None] * target._kernel(t), axis=0)).sum(1)
    largest = 1 + np.sort(np.argsort(size[1:], kind="stable")[::-1][: width // 2])
    rates = (damping + 2j * np.pi * (largest if width % 2 == 0 else np.append(largest, 0))) / period
    return from_rates(rates)


def _has_power_law(target: LinearFunctional) -> bool:
    if isinstance(target, Combination | Stack):
        return any(_has_power_law(f) for f, _ in _terms(target))
    return isinstance(target, Polynomial)


def _real(rates: Array, weights: Array) -> Modes:
    return Modes(rates.astype(complex), weights[:, None].astype(complex), rates.size)


def _realised(target: LinearFunctional, span: float, width: int) -> Iterator[Modes]:
    hankel = Hankel(target, span, width)
    for order in sorted({width, max(width - 1, 1), min(hankel.sound, width)}, reverse=True):
        modes = from_rates(hankel.rates(order))
        if modes.rates.size == 0:
            modes = from_rates(np.array([1.0 / span + 0j]))
        yield modes
        if order == width and (modes.rates.real < 2.0 / span).any():  # what the order is too low for hardly fades: fade it
            yield Modes(modes.rates + np.maximum(2.0 / span - modes.rates.real, 0.0), None, modes.real)


def _truncated(target: LinearFunctional, width: int) -> Iterator[Modes]:
    rates, weights = _large_sum(target, width)
    if np.isrealobj(rates) and weights.shape[1] == 1 and (weights >= 0).all():
        kept = weights[:, 0] > 0
        yield _real(*reduction.reduce_positive(rates[kept], weights[kept, 0], width))
    else:
        for smaller in {width, max(width - 1, 1)}:  # an odd order may cut a pair
            if (
                weights.any()
                and (found := from_listed(*reduction.reduce_any(rates.astype(complex), weights.astype(complex), smaller))) is not None
            ):
                yield found
    if isinstance(target, Combination | Stack) and (parts := _in_parts(target, width)) is not None:
        yield parts


def _terms(target: Combination | Stack) -> list[tuple[LinearFunctional, Array]]:
    """The parts, each with the row (1 or d,) that maps its coefficients into the whole."""
    if isinstance(target, Combination):
        return [(f, np.array([w])) for w, f in target.terms]
    return [(f, row) for f, row in zip(target.parts, np.eye(len(target.parts)), strict=True)]


def _large_sum(target: LinearFunctional, width: int) -> tuple[Array, Array]:
    """The target as a large exponential sum, near rounding: rates (n,) and coefficients (n, d), conjugates listed."""
    if isinstance(target, ExponentialSum):
        return listed(target)
    if isinstance(target, Polynomial):
        rates, weights = reduction.reduce_positive(*sinc.fine(target), max(64, 2 * width))
        return rates, weights[:, None]
    if isinstance(target, Combination | Stack):
        return _joined([(_large_sum(f, width), row) for f, row in _terms(target)])
    end = float(target.mesh()[-1])
    return _as_listed(fitted(target, from_rates(Hankel(target, end, LARGE).rates(LARGE)), None)[0])


def _in_parts(target: Combination | Stack, width: int) -> Modes | None:
    """Each part approximated for itself, exponential sums exactly: what is left when truncation meets rounding at large widths."""
    exact = [from_sum(f).states if isinstance(f, ExponentialSum) else 0 for f, _ in _terms(target)]
    others = sum(size == 0 for size in exact)
    share = (width - sum(exact)) // max(others, 1)
    if share < 1:
        return None
    return from_listed(*_joined([(_part(f, share), row) for f, row in _terms(target)]))


def _part(target: LinearFunctional, width: int) -> tuple[Array, Array]:
    if isinstance(target, ExponentialSum):
        return listed(target)
    options = [fitted(target, modes, None) for modes in starts(target, width, None, "auto")]
    return _as_listed(min(options, key=lambda option: option[1])[0])


def fitted(target: LinearFunctional, modes: Modes, horizon: float | None) -> tuple[Modes, float, Problem]:
    """The modes with weights (fitted where there are none), their W1 error on nodes of their own, and the problem that has these."""
    problem = Problem(nodes_for(target, modes.rates, horizon))
    if modes.weights is None:
        weights, error = problem.weights_for(modes.rates, modes.real)
    else:
        weights, error = modes.weights, problem.error(modes.rates, modes.weights)
        refitted, better = problem.weights_for(modes.rates, modes.real) if error > 1e-9 * problem.size else (weights, error)
        weights, error = (refitted, better) if better < error else (weights, error)
    return Modes(modes.rates, weights, modes.real), error / problem.size, problem


def enlarged(target: LinearFunctional, modes: Modes, width: int, horizon: float | None) -> Modes:
    """The modes of a smaller sum and, for the states left over, the largest terms of a Fourier series of what it leaves."""
    free = width - modes.states
    end = float(target.mesh()[-1]) if horizon is None else min(horizon, float(target.mesh()[-1]))
    left = target - ExponentialSum(*_plain(modes))
    return (
        from_rates(np.concatenate([_both(modes.rates), _both(_fourier(left, end, 2.0, free).rates)]))
        if free > 1
        else with_real(modes, width, 1.0 / end)
    )


def _both(rates: Array) -> Array:
    return np.concatenate([rates, rates[rates.imag > 0].conj()])


def _joined(parts: list[tuple[tuple[Array, Array], Array]]) -> tuple[Array, Array]:
    rates = np.concatenate([rates for (rates, _), _ in parts])
    return rates, np.concatenate([weights * row if row.size == 1 or weights.shape[1] == 1 else weights for (_, weights), row in parts])


def _as_listed(modes: Modes) -> tuple[Array, Array]:
    if modes.weights is None:
        raise AssertionError("weights are fitted before")
    return listed(ExponentialSum(*_plain(modes)))


def _plain(modes: Modes) -> tuple[Array, Array]:
    """Rates and coefficients with each pair listed once, as `Re sum` allows."""
    if modes.weights is None:
        raise AssertionError("weights are fitted before")
    return modes.rates, modes.weights[:, 0] if modes.weights.shape[1] == 1 else modes.weights
