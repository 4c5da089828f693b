"""What a measurement of memory returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perdure._typing import Array
from perdure.memory.law import DecayFit, fit_decay

SUBJECT = {
    "heaviside": "slope of the step response",
    "impulse": "response to a unit-mass pulse",
    "reversed": "slope after the input is switched off",
    "jacobian": "derivative of the output by the first input",
}


@dataclass(frozen=True)
class MemoryFunction:
    """How much of an input is left in the output after a time.

    Attributes:
        times: step * dt, (T,), from 0.
        values: M(t), (T,), in outputs per input and unit of time; the largest over output channels.
        noise_floor: level under which values are rounding noise, same unit.
        dt: time between steps of the model.
        probe: "heaviside", "impulse", "reversed" or "jacobian".
        bound: B, the largest |x|_inf of the inputs (the Jacobian is a derivative: it does not use it).
        normalization: "linf" (values divided by |x|_inf) or "affine" (by |x|_inf + 1).
        status: "exact", or "lower bound (search)" where the sup over inputs was searched for.
        seed: of the search.
        input_size: input channels of the model.
        output_size: output channels of the model.
        dtype: floating-point type of the measurement.
        precision: relative precision the outputs were found to have.
        rows: input sequences given to the model.
        notes: what a reader of the numbers should know.
    """

    times: Array = field(repr=False)
    values: Array = field(repr=False)
    noise_floor: float
    dt: float
    probe: str
    bound: float
    normalization: str
    status: str
    seed: int
    input_size: int
    output_size: int
    dtype: str
    precision: float
    rows: int
    notes: tuple[str, ...] = ()

    @property
    def envelope(self) -> Array:
        """sup_{s >= t} M(s) over the times measured, (T,): what decay is a statement about."""
        return np.maximum.accumulate(self.values[::-1])[::-1]

    def fit(self, **options: Any) -> DecayFit:
        """The law by which the memory decays: `perdure.fit_decay` on these values, with this noise floor unless told otherwise."""
        return fit_decay(self.times, self.values, **{"noise_floor": self.noise_floor, **options})

    def to_frame(self) -> Any:
        """A pandas table with columns time, memory, envelope and above_noise (whether the value exceeds the noise floor)."""
        import pandas as pd

        above = self.values > self.noise_floor
        return pd.DataFrame({"time": self.times, "memory": self.values, "envelope": self.envelope, "above_noise": above})

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        names = (
            "probe",
            "bound",
            "normalization",
            "status",
            "seed",
            "dt",
            "noise_floor",
            "input_size",
            "output_size",
            "dtype",
            "precision",
            "rows",
        )
        arrays = {name: getattr(self, name).tolist() for name in ("times", "values", "envelope")}
        return {**{name: getattr(self, name) for name in names}, "notes": list(self.notes), **arrays}

    def plot(self, ax: Any = None, *, label: str | None = None, log_time: bool = False) -> Any:
        """Values and envelope against time, the memory on a logarithmic axis, with the noise floor as a thin dotted line.

        Args:
            ax: matplotlib axes; None makes a figure.
            label: of the curve in the legend; None writes the probe.
            log_time: logarithmic time axis (a power law is then a straight line), from the first step on.

        Returns:
            The axes.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        seen = self.times > 0 if log_time else np.ones(self.times.size, bool)
        positive = np.where(self.values > 0, self.values, np.nan)
        (line,) = ax.plot(self.times[seen], positive[seen], lw=1.0, alpha=0.6)
        envelope = np.where(self.envelope > 0, self.envelope, np.nan)
        ax.plot(self.times[seen], envelope[seen], color=line.get_color(), lw=1.8, label=label or f"{self.probe} ({self.status})")
        if self.noise_floor > 0:
            ax.axhline(self.noise_floor, color="0.4", lw=0.8, ls=":", label="noise floor")
        if (self.values > 0).any():
            ax.set_yscale("log")
        if log_time:
            ax.set_xscale("log")
        divisor = "|x|" if self.normalization == "linf" else "(|x| + 1)"
        ax.set_xlabel("time" if self.dt != 1.0 else "time (steps)")
        ratio = "" if self.probe == "jacobian" else f" / {divisor}"
        ax.set_ylabel(f"{SUBJECT[self.probe]}{ratio}\n(output / input / time)")
        ax.legend(frameon=False)
        return ax
