r"""The exponential rate at which a memory decays: sup { beta : e^{beta t} M(t) -> 0 }.

It is 0 for a memory slower than every exponential (a power law, a stretched exponential, one that persists), and infinite for one that is
faster than all (over after a time, or falling ever faster). Between, it is fitted (`perdure.fit_decay`) on the tail, for it is the tail it
speaks of.

A linear functional knows M(t) = |rho(t)|_1 at every time, so its tail is read where the memory has fallen by a factor of 1e-250, next
1e-60, next 1e-12, the first of these on which a law can be called: faster modes have died out there, by far more than a measured memory
allows. The rate is fitted twice, from a quarter and from half of that time on, and the interval holds both. Where many modes of nearly one
rate leave residuals that no law explains, the slopes of log M_up over (T/4, T/2) and (T/2, T) decide: alike to 2 %, they are the rate, and
its interval is twice their difference to both sides; a power law's would differ by a factor of two. A memory that does not fall so far
within 1e7 of its own time units is read on a geometric grid of times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.errors import ArgumentError
from perdure.functionals.base import LinearFunctional
from perdure.memory import MemoryFunction, memory_function
from perdure.memory.law import DecayFit, fit_decay
from perdure.stability.theorem_models import options

DEPTHS = (1e-250, 1e-60, 1e-12)
POINTS = 4001
LONGEST = 1e7  # in units of the time to the half
ALIKE = 0.02  # relative
SLOW = ("polynomial", "stretched", "persistent")
ROUNDING = 1e-9  # relative: no fitted rate is more exact than this


@dataclass(frozen=True)
class DecayRate:
    """An exponential rate with its uncertainty.

    Attributes:
        value: per unit time; 0 for a slow memory, inf for one that ends, None where no law could be called.
        interval: what the fit leaves open, (low, high); (0, inf) where no law could be called.
        fit: the law.
        source: what was fitted.
    """

    value: float | None
    interval: tuple[float, float]
    fit: DecayFit
    source: str

    @property
    def slow(self) -> bool:
        """Whether the memory is slower than every exponential."""
        return self.interval[1] == 0.0

    def __str__(self) -> str:
        if self.value is None:
            return f"undecided ({self.fit.reason})"
        low, high = self.interval
        known = {0.0: "0, slower than every exponential", math.inf: "infinite, it ends"}.get(self.value)
        words = f"{self.value:.4g} ({low:.4g} to {high:.4g})" if known is None else known
        return f"{words}; law: {self.fit.law}, {self.source}"


def decay_rate(target: Any, memory: MemoryFunction | DecayFit | Mapping[str, Any] | Any, seed: int) -> DecayRate:
    """The rate of a target: of its closed form, of a memory that was measured or fitted already, or of one measured now.

    Args:
        target: a linear functional, or a model.
        memory: a `MemoryFunction` or `DecayFit` of the target; or options for `perdure.memory_function`; None for the closed form or no options.
        seed: of the measurement.

    Raises:
        ArgumentError: the memory is zero.
        ArgumentTypeError: a `memory` of another kind.
    """
    if isinstance(memory, DecayFit):
        return _read([memory], "a fit that was given")
    if isinstance(memory, MemoryFunction):
        return _read([_fitted(memory)], "a memory function that was given")
    chosen = options(memory, "memory", memory_function, ("model", "seed"))
    if isinstance(target, LinearFunctional) and not chosen:
        return _of_closed_form(target)
    measured = memory_function(target, seed=seed, **chosen)
    return _read([_fitted(measured)], f"fitted to the memory measured to t = {measured.times[-1]:.4g}")


def zero() -> ArgumentError:
    """The error for a target without any memory."""
    return _checks.fail(
        "target", "other than zero", "a memory that is zero at all times", "nothing is to be remembered: the theorem says nothing"
    )


def _fitted(measured: MemoryFunction) -> DecayFit:
    if not (measured.values > measured.noise_floor).any():
        raise zero()
    return measured.fit()


def _of_closed_form(target: LinearFunctional) -> DecayRate:
    with np.errstate(under="ignore", over="ignore"):
        unit, top = _scale(target)
        longest = max(LONGEST * unit, 15.0 * float(target.mesh()[-1]) if target.mesh()[-1] < 1e12 * unit else 0.0)
        found: list[DecayFit] = []
        ends = [end for depth in DEPTHS if (end := _falls_to(target, depth * top, unit, longest)) is not None]
        for end in ends:
            found = [_tail(target, np.linspace(share * end, end, POINTS)) for share in (0.25, 0.5)]
            if all(fit.law == "exponential" for fit in found):
                return _read(found, f"fitted to the closed form from t = {0.25 * end:.4g} to {end:.4g}")
            slopes = _slopes(target, end)
            if (
                all(fit.best_law == "exponential" and fit.law == "undecided" for fit in found)
                and abs(np.diff(slopes)[0]) <= ALIKE * slopes[0]
            ):
                off, rate = 2 * abs(float(np.diff(slopes)[0])), float(slopes[1])
                source = f"slopes of the closed form from t = {0.25 * end:.4g} to {end:.4g}"
                return DecayRate(rate, (max(0.0, rate - off), rate + off), found[-1], source)
        if not ends:
            times = np.geomspace(unit, longest, POINTS)
        else:  # the whole fall: one that ends shows it from the beginning
            times = np.linspace(0.0, ends[-1], POINTS)
        return _read([_tail(target, times)], f"fitted to the closed form from t = {times[0]:.4g} to {times[-1]:.4g}")


def _tail(target: LinearFunctional, times: Array) -> DecayFit:
    values = target.memory(times)
    return fit_decay(times, np.where(values > 1e-290, values, 0.0), noise_floor=0.0)


def _slopes(target: LinearFunctional, end: float) -> Array:
    """The rate from a quarter to a half of a time, and from there to its end, (2,)."""
    times = end * np.array([0.25, 0.5, 1.0])
    tops = np.array([target.memory(np.linspace(t, 1.1 * t, 513)).max() for t in times])
    return -np.diff(np.log(np.maximum(tops, 1e-300))) / np.diff(times)


def _scale(target: LinearFunctional) -> tuple[float, float]:
    """The time to which half of the memory's mass lies, roughly, and its peak."""
    mesh = target.mesh()
    times = np.unique(np.concatenate([mesh, 0.5 * (mesh[1:] + mesh[:-1])]))
    values = target.memory(times)
    top = float(values.max())
    if top == 0.0:
        raise zero()
    mass = np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(times))
    return float(times[1:][np.searchsorted(mass, 0.5 * mass[-1])]), top


def _falls_to(target: LinearFunctional, level: float, unit: float, longest: float) -> float | None:
    """A time from which the memory stays below a level, within a factor of two; None if there is none up to `longest`."""
    end = unit
    while end <= longest:
        if target.memory(np.linspace(end, 2 * end, 257)).max() <= level:
            return end
        end *= 1.5
    return None


def _read(fits: list[DecayFit], source: str) -> DecayRate:
    law = fits[0].law
    if law == "undecided":
        return DecayRate(None, (0.0, math.inf), fits[0], source)
    if law != "exponential":
        value = 0.0 if law in SLOW else math.inf
        return DecayRate(value, (value, value), fits[0], source)
    values = [fit.parameters["rate"] for fit in fits]
    low = min(min(fit.interval["rate"][0] for fit in fits), min(values) * (1 - ROUNDING))
    high = max(max(fit.interval["rate"][1] for fit in fits), max(values) * (1 + ROUNDING))
    return DecayRate(values[-1], (max(0.0, float(low)), float(high)), fits[-1], source)
