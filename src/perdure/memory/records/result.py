"""What `perdure.estimate_memory` returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.memory.law import DecayFit, fit_decay
from perdure.memory.records import bands

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from perdure.memory.records.advice import Advice
    from perdure.memory.records.static import StaticPart


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory of a task, estimated from records.

    Attributes:
        times: lags in time, (n,), from 0.
        response: mean of rho over its posterior, (n, d, o), in outputs per input and unit of time.
        response_sd: its standard deviation, (n, d, o).
        factor: standard deviations in the band that holds at all lags and inputs of an output at once, with 95 %.
        memory: M(t), (n,): |rho(t)|_1, the largest over outputs; for method "nonlinear" that of the fitted model, by the Heaviside probe.
        memory_draws: memories of draws from the posterior, (S, n).
        noise: standard deviation of the residuals of each output, (o,), in its unit.
        explained: share of the variance explained on held-out steps, (o,); NaN where nothing was held out.
        priors: family of each output.
        hyperparameters: of each output, for each input, by name; times in the unit of dt.
        evidence: Akaike weight of each family, from marginal likelihoods.
        whiteness: p-values of each output's residuals, before and after an autoregression was filtered off (None: it was not).
        noise_order: order of that autoregression, 0 for white noise.
        effective_parameters: how many the data determine, of each output.
        condition: condition number of the moments of the lagged inputs.
        dt: time between steps.
        steps: T, of a record.
        records: B.
        missing: outputs that are missing.
        input_sd: size of each input, (d,).
        output_sd: size of each output, (o,).
        method: "kernel" or "nonlinear".
        seed: of the draws.
        notes: what a reader of the numbers should know.
        static: the nonlinear part, for method "nonlinear" where one was found.
    """

    times: Array = field(repr=False)
    response: Array = field(repr=False)
    response_sd: Array = field(repr=False)
    factor: float
    memory: Array = field(repr=False)
    memory_draws: Array = field(repr=False)
    noise: Array
    explained: Array
    priors: tuple[str, ...]
    hyperparameters: tuple[tuple[dict[str, float], ...], ...]
    evidence: dict[str, float]
    whiteness: tuple[tuple[float, float | None], ...]
    noise_order: tuple[int, ...]
    effective_parameters: Array
    condition: float
    dt: float
    steps: int
    records: int
    missing: int
    input_sd: Array = field(repr=False)
    output_sd: Array = field(repr=False)
    method: str
    seed: int
    notes: tuple[str, ...]
    static: StaticPart | None = None

    @property
    def kernel(self) -> Array:
        """rho, (n, d) for one output, else (n, d, o)."""
        return self._trimmed(self.response)

    def band(self, *, simultaneous: bool = False) -> tuple[Array, Array]:
        """Lower and upper end of the 95 % band of rho, in the shape of `kernel`.

        Args:
            simultaneous: for all lags and inputs of an output at once, in place of each by itself.
        """
        width = (self.factor if simultaneous else bands.POINTWISE) * self.response_sd
        return self._trimmed(self.response - width), self._trimmed(self.response + width)

    def memory_band(self, *, simultaneous: bool = False) -> tuple[Array, Array]:
        """Lower and upper end of the 95 % band of the linear part's memory, (n,).

        From the band of rho by the triangle inequality: exact for one input, wider than need be for several.
        """
        width = ((self.factor if simultaneous else bands.POINTWISE) * self.response_sd).sum(1)
        size = np.abs(self.response).sum(1)
        return np.maximum(size - width, 0.0).max(1), (size + width).max(1)

    @cached_property
    def noise_floor(self) -> float:
        """Level under which the memory cannot be told from 0: the widest pointwise half-band from the lag on at which nothing is seen any more.

        Seen is what lies three standard deviations or more from 0. Where something is seen at the last lag, it is the half-band there. For a nonlinear
        model, which has no band, twice the standard error that least squares would have under white inputs: a rough guide.
        """
        if self.static is not None:
            left = float(self.output_sd.max()) * math.sqrt(max(1.0 - self.static.explained, 0.0))
            return 2.0 * left / (float(self.input_sd.min()) * self.dt * math.sqrt(self.records * (self.steps - self.times.size + 1)))
        half = (bands.POINTWISE * self.response_sd).sum(1).max(1)
        seen = (np.abs(self.response) > bands.SEEN * self.response_sd).any((1, 2))
        first = int(np.flatnonzero(seen)[-1]) + 1 if seen.any() else 0
        return float(half[min(first, half.size - 1) :].max())

    @property
    def half_life(self) -> float:
        """Time after which the memory stays below half of its peak; see `horizon`."""
        return self.horizon(0.5)

    def horizon(self, level: float) -> float:
        """Time after which the memory stays below `level` times its peak; inf where it does not within the window.

        Read from the estimate itself, also where that is within the noise (`interval` tells); `fit().horizon(level)` extrapolates the law.
        """
        return bands.horizon(self.times, self.memory, self._level(level))

    def interval(self, level: float) -> tuple[float, float]:
        """95 % interval of `horizon(level)`, for all lags at once; its upper end is inf where the window does not exclude a longer memory.

        Raises:
            ArgumentError: for a nonlinear model, whose memory has no band; ask the estimate of method "kernel".
        """
        level = self._level(level)
        if self.static is not None:
            raise _checks.fail(
                "method", "'kernel' for an interval", self.method, "the memory of a nonlinear model is measured, without a band"
            )
        return bands.horizon_interval(self.times, self.memory, self.memory_draws, level)

    def fit(self, **options: Any) -> DecayFit:
        """The law by which the memory decays: `perdure.fit_decay`, with what the bands cannot tell from 0 as noise.

        Raises:
            ArgumentError: the memory is nowhere above the noise.
        """
        return fit_decay(self.times, self.memory, **{"noise_floor": self.noise_floor, **options})

    @cached_property
    def advice(self) -> Advice:
        """Which layer, how wide, with which time constants, and what the records cannot tell."""
        from perdure.memory.records.advice import advise

        return advise(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a lag, input and output: time, input, output, kernel, sd, lower, upper, and the memory of the lag."""
        import pandas as pd

        n, d, o = self.response.shape
        lag, channel, out = (x.ravel() for x in np.meshgrid(np.arange(n), np.arange(d), np.arange(o), indexing="ij"))
        mean, sd = self.response.ravel(), self.response_sd.ravel()
        half = bands.POINTWISE * sd
        return pd.DataFrame({
            "time": self.times[lag], "input": channel, "output": out, "kernel": mean, "sd": sd, "lower": mean - half, "upper": mean + half,
            "memory": self.memory[lag],
        })  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for strict JSON: what is infinite or was not measured is None."""
        low, high = self.memory_band()
        intervals = None if self.static is not None else {str(level): [_plain(x) for x in self.interval(level)] for level in (0.5, 0.01)}
        return {
            "times": self.times.tolist(), "kernel": self.kernel.tolist(), "sd": self._trimmed(self.response_sd).tolist(), "factor": self.factor,
            "memory": self.memory.tolist(), "memory_lower": low.tolist(), "memory_upper": high.tolist(), "noise_floor": self.noise_floor,
            "half_life": _plain(self.half_life), "horizon_0.01": _plain(self.horizon(0.01)), "intervals": intervals,
            "noise": self.noise.tolist(), "explained": [_plain(x) for x in self.explained], "priors": list(self.priors),
            "hyperparameters": [[dict(row) for row in rows] for rows in self.hyperparameters], "evidence": dict(self.evidence),
            "whiteness": [list(pair) for pair in self.whiteness], "noise_order": list(self.noise_order),
            "effective_parameters": self.effective_parameters.tolist(), "condition": _plain(self.condition), "dt": self.dt, "steps": self.steps,
            "records": self.records, "missing": self.missing, "method": self.method, "seed": self.seed, "notes": list(self.notes),
            "static": None if self.static is None else self.static.to_dict(), "advice": self.advice.to_dict(),
        }  # fmt: skip

    def plot(self, ax: Axes | None = None, *, label: str | None = None) -> Axes:
        """The memory against the lag, with its pointwise 95 % band and the noise floor; logarithmic in the memory.

        Args:
            ax: matplotlib axes; None makes a figure.
            label: of the curve.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        floor = self.noise_floor
        bottom = max(0.1 * floor, 1e-6 * float(self.memory.max()))
        name = label or ("memory of the fitted model" if self.static is not None else "memory, posterior mean")
        (line,) = ax.plot(self.times, np.maximum(self.memory, bottom), label=name)
        if self.static is None:
            low, high = self.memory_band()
            ax.fill_between(
                self.times, np.maximum(low, bottom), np.maximum(high, bottom), color=line.get_color(), alpha=0.2, lw=0, label="95 % band"
            )
        ax.axhline(floor, color="0.5", lw=0.8, ls=":", label="noise floor")
        unit = "time (steps)" if self.dt == 1.0 else "time"
        ax.set(yscale="log", xlabel=f"lag, {unit}", ylabel="|ρ| (output / input / time)")
        ax.set_ylim(bottom=bottom)
        ax.legend(frameon=False)
        return ax

    def _trimmed(self, values: Array) -> Array:
        return values[..., 0] if values.shape[2] == 1 else values

    def _level(self, level: float) -> float:
        level = _checks.number(level, "level")
        if not 0 < level < 1:
            raise _checks.fail(
                "level", "between 0 and 1, both excluded", level, "pass the share of the peak you call forgotten, for example 0.01"
            )
        return level


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
