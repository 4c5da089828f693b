"""What a decay fit returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perdure._checks import fail as _fail
from perdure._checks import finite_array, number
from perdure.errors import ArgumentTypeError
from perdure.memory.law.families import Family

NOISY = 0.05  # sd of log-values about the law from which its curve is read rather than the envelope

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class DecayFit:
    """The decay law of a memory function, its parameters, and how sure the data make us.

    Attributes:
        law: one of `LAWS`, or "undecided".
        best_law: the likeliest of `LAWS`, also when the data do not suffice to call it.
        parameters: parameters of `best_law`. Rates in 1/time, scales, time constants and lags in time, amplitudes and levels in the unit of
            the values (amplitude of t^k e^{-rt}: that unit over time^k).
        interval: 95 % interval of each parameter.
        evidence: Akaike weight of each law, summing to 1.
        window: (first, last) time of the points used.
        reason: why this law, or what is missing to decide.
        residual_sd: sd of the log-values about the fit.
        noise_floor: level under which values were taken for noise.
        times: sampling times, (T,).
        envelope: sup_{s >= t} of the values, (T,).
        family: the fitted curve, with its parameters in `theta`.
        theta: parameters as they were fitted, in log space.
        oscillates: whether the values swing, so that only their peaks were fitted.
    """

    law: str
    best_law: str
    parameters: dict[str, float]
    interval: dict[str, tuple[float, float]]
    evidence: dict[str, float]
    window: tuple[float, float]
    reason: str
    residual_sd: float
    noise_floor: float
    times: Array = field(repr=False)
    envelope: Array = field(repr=False)
    family: Family = field(repr=False)
    theta: Array = field(repr=False)
    oscillates: bool = field(repr=False)

    def predict(self, t: npt.ArrayLike) -> Array:
        """The fitted law at times `t`, in the unit of the values; same shape as `t`."""
        with np.errstate(over="ignore"):
            return np.exp(np.minimum(self.family.curve(self.theta, np.asarray(t, dtype=float)), 700.0))

    @property
    def half_life(self) -> float:
        """Time after which the envelope stays below half of its peak; see `horizon`."""
        return self.horizon(0.5)

    def horizon(self, level: float) -> float:
        """Time after which the envelope stays below `level` times its peak: observed where the data reach, from the fitted law beyond.

        Noise lifts an envelope and shifts where it crosses a level. Where a law is called, the values do not swing, their logarithms scatter
        about it by more than 5 % (`residual_sd`) and the crossing lies in the window, the fitted law is read instead, and its peak where the
        window begins at the peak.

        Args:
            level: fraction of the peak, in (0, 1).

        Returns:
            A time in the unit of `times`; inf for a memory that persists above `level`.

        Raises:
            ArgumentError: `level` is not between 0 and 1.
        """
        level = number(level, "level")
        if not 0 < level < 1:
            fix = "pass the fraction of the peak you call forgotten, for example 0.01"
            raise _fail("level", "between 0 and 1, both excluded", level, fix)
        target, t, e = level * float(self.envelope[0]), self.times, self.envelope
        first = int(np.count_nonzero(e >= target))
        if first < t.size and target > self.noise_floor:
            if e[first] <= self.noise_floor:  # between a value and nothing there is no curve to interpolate
                return float(t[first])
            share = math.log(e[first - 1] / target) / math.log(e[first - 1] / e[first])
            seen = float(t[first - 1] + share * (t[first] - t[first - 1]))
            return self._smoothed(level, seen) if self._noisy else seen
        return self._extrapolate(math.log(target), float(t[max(0, int(np.count_nonzero(e > self.noise_floor)) - 1)]))

    @property
    def _noisy(self) -> bool:
        return self.law not in ("undecided", "finite") and not self.oscillates and self.residual_sd > NOISY

    def _smoothed(self, level: float, seen: float) -> float:
        """The crossing of the fitted law, for one that was `seen` on a noisy envelope."""
        if not self.window[0] <= seen <= self.window[1]:
            return seen
        top = int(np.count_nonzero(self.envelope >= self.envelope[0])) - 1
        begins = self.window[0] <= float(self.times[min(top + 1, self.times.size - 1)])  # points are means of bins: half a step late
        first = float(self.times[0]) if self.window[0] <= self.times[1] else self.window[0]
        inside = np.linspace(first, self.window[1], 1024)
        fitted = self.predict(inside)
        peak = float(fitted.max()) if begins else float(self.envelope[0])
        return self._extrapolate(math.log(level * peak), float(inside[fitted.argmax()]))

    def _extrapolate(self, log_target: float, start: float) -> float:
        """First time after `start` at which the fitted law is below exp(log_target), by bisection in log time."""

        def above(t: float) -> bool:
            return float(self.family.curve(self.theta, np.array([t]))[0]) > log_target

        if not above(start):
            return start
        low = high = max(start, float(np.diff(self.times).min()))
        while above(high):
            low, high = high, 2 * high
            if high > 1e200:  # a persistent level, or a power law too slow to matter
                return math.inf
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if above(middle) else (low, middle)
        return high

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for strict JSON: an infinite half-life (the memory persists) is None."""
        return {
            "law": self.law,
            "best_law": self.best_law,
            "parameters": dict(self.parameters),
            "interval": {name: list(pair) for name, pair in self.interval.items()},
            "evidence": dict(self.evidence),
            "window": list(self.window),
            "reason": self.reason,
            "residual_sd": self.residual_sd,
            "noise_floor": self.noise_floor,
            "half_life": self.half_life if math.isfinite(self.half_life) else None,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a time: `time`, `envelope`, `fitted`, and whether the time lies in the `window`."""
        import pandas as pd

        inside = (self.times >= self.window[0]) & (self.times <= self.window[1])
        return pd.DataFrame({"time": self.times, "envelope": self.envelope, "fitted": self.predict(self.times), "window": inside})

    def plot(self, ax: Any = None) -> Any:
        """Envelope and fitted law, on a logarithmic value axis (and time axis, for a power law); returns the matplotlib axes."""
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        power_law, fitted = self.best_law == "polynomial", self.predict(self.times)
        seen = (self.envelope > 0) & ((self.times > 0) | (not power_law))
        inside = seen & (fitted > 0) & (self.times >= self.window[0]) & (self.times <= self.window[1])
        ax.plot(self.times[seen], self.envelope[seen], ".", label="envelope")
        ax.plot(self.times[inside], fitted[inside], "-", label=f"{self.best_law} fit")
        if self.noise_floor > 1e-20 * self.envelope[0]:
            ax.axhline(self.noise_floor, linestyle=":", color="grey", label="noise floor")
        ax.set(xscale="log" if power_law else "linear", yscale="log", xlabel="time", ylabel="memory", title=self.law)
        ax.legend()
        return ax


def check_curve(times: Any, values: Any) -> tuple[Array, Array]:
    """Times and values as float arrays, or an error that says which rule they break."""
    for name, given in (("times", times), ("values", values)):
        if np.iscomplexobj(given):
            raise ArgumentTypeError(
                f"expected argument `{name}` to be an array of real numbers, but got complex ones: a memory function is a size, pass abs(...)"
            )
    t, v = finite_array(times, "times"), finite_array(values, "values")
    if t.ndim != 1 or t.size < 3:
        raise _fail("times", "one-dimensional with at least three points", t.shape, "measure a longer horizon")
    if v.shape != t.shape:
        raise _fail("values", f"of the same shape as `times`, {t.shape}", v.shape, "pass one value a time")
    if (np.diff(t) <= 0).any():
        where = int(np.argmax(np.diff(t) <= 0))
        raise _fail("times", "strictly increasing", t[where : where + 2].tolist(), "sort them and drop repeats")
    if t[0] < 0:
        raise _fail("times", "non-negative", float(t[0]), "count time from the moment the input acts")
    if (v < 0).any():
        raise _fail("values", "non-negative", float(v.min()), "pass absolute values: a memory function is a size")
    if not (v > 0).any():
        raise _fail("values", "above zero somewhere", 0.0, "all values are zero: there is no memory to fit a law to")
    return t, v
