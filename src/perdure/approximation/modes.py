"""Modes of a real network: real ones first, then one of each conjugate pair; and their way to a functional of a given width."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from perdure._typing import Array
from perdure.functionals.exponential import ExponentialSum


class Modes(NamedTuple):
    """Re sum_k a_k e^{-lambda_k t}: `real` real rates, then pairs with Im > 0, each listed once; weights (n, d), None where not yet known."""

    rates: Array
    weights: Array | None
    real: int

    @property
    def states(self) -> int:
        """Real states in use: one a real mode, two a pair."""
        return 2 * self.rates.size - self.real


def from_rates(rates: Array) -> Modes:
    """The modes of a set of rates that is closed under conjugation, without weights."""
    rates = rates[np.isfinite(rates) & (rates.real > 0)]
    real = np.abs(rates.imag) <= 1e-9 * np.abs(rates)
    pairs = rates[~real & (rates.imag > 0)]
    return Modes(np.concatenate([rates[real].real.astype(complex), pairs.astype(complex)]), None, int(real.sum()))


def from_listed(rates: Array, weights: Array) -> Modes | None:
    """Modes of a sum with both members of each pair listed, weights (n, d); None where it is no decaying kernel."""
    good = np.isfinite(rates).all() and np.isfinite(weights).all() and (rates.real > 0).all()
    return from_sum(ExponentialSum(rates, weights)) if good and rates.size else None


def from_sum(functional: ExponentialSum) -> Modes:
    """Modes of an exponential sum, conjugates folded together."""
    rates, weights = functional.modes()
    order = np.argsort(rates.imag > 0, kind="stable")
    return Modes(rates[order], weights[order], int((rates.imag == 0).sum()))


def listed(functional: ExponentialSum) -> tuple[Array, Array]:
    """Rates (n,) and coefficients (n, d) with both members of each pair next to each other, or real ones."""
    modes = from_sum(functional)
    if modes.weights is None:
        raise AssertionError("a functional has weights")
    return _conjugates(modes.rates, modes.weights)


def with_real(modes: Modes, width: int, rate: float) -> Modes:
    """The modes with a real one added where an odd state is left over, which pairs alone cannot use."""
    if modes.states >= width or (width - modes.states) % 2 == 0:
        return modes
    weights = None if modes.weights is None else np.concatenate([np.zeros((1, modes.weights.shape[1])), modes.weights])
    return Modes(np.concatenate([[rate + 0j], modes.rates]), weights, modes.real + 1)


def filled(modes: Modes, width: int, error: float) -> ExponentialSum:
    """The same kernel with all `width` states in use: modes repeated in turn, each coefficient divided among its copies.

    A state left over where there are only pairs becomes a real mode of coefficient 0.
    """
    if modes.weights is None:
        raise AssertionError("weights are fitted before")
    states = np.where(np.arange(modes.rates.size) < modes.real, 1, 2)
    copies, left = np.ones(states.size, int), width - modes.states
    while (affordable := states <= left).any():
        i = min(np.nonzero(affordable)[0], key=lambda i: copies[i])
        copies[i] += 1
        left -= states[i]
    again = np.repeat(np.arange(states.size), copies)
    rates, weights = _conjugates(modes.rates[again], modes.weights[again] / copies[again][:, None])
    if left:
        rates = np.append(np.exp(np.log(modes.rates.real).mean()), rates)
        weights = np.concatenate([np.zeros((1, weights.shape[1])), weights])
    return ExponentialSum(rates, weights[:, 0] if weights.shape[1] == 1 else weights, error)


def _conjugates(rates: Array, weights: Array) -> tuple[Array, Array]:
    """Pairs written out: Re a e^{-lambda t} = a/2 e^{-lambda t} + conjugate."""
    pair = rates.imag > 0
    if not pair.any():
        return rates.real, weights.real
    half = np.where(pair[:, None], 0.5 * weights, weights.real)
    both = np.stack([rates, rates.conj()], 1).ravel()
    coefficients = np.stack([half, half.conj()], 1).reshape(-1, weights.shape[1])
    wanted = np.stack([np.ones_like(pair), pair], 1).ravel()
    return both[wanted], coefficients[wanted]
