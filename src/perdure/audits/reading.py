"""Numbers read off a memory curve, each with how it is known.

A horizon is the time after which the envelope of the memory stays below a share of its peak. On a curve that is a supremum it is exact up to
interpolation between two steps. On a curve found by search both the peak and the tail are lower bounds, so their ratio is an estimate and
neither bound. Past the measured steps there is the fitted law, where one is called; where none is, all that is known is "at least this long".

A law says less the further it is carried. Eight times what was measured is as far as it is trusted here: a time beyond is given as "at least" that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.audits.words import number
from perdure.errors import ArgumentError
from perdure.memory.law import DecayFit, fit_decay

STATUS = {
    "exact": "exact: seen on a curve that is the supremum over inputs",
    "searched": "estimate: seen on a curve found by search over inputs, itself a lower bound",
    "extrapolated": "extrapolated: beyond what was measured, by the fitted law",
    "far": "lower bound: by the fitted law more than eight times as long as what was measured",
    "at least": "lower bound: not reached within what was measured, and no law is called",
}
FAR = 8.0  # times what was measured: as far as a law is carried


@dataclass(frozen=True)
class Reading:
    """A time and how it is known.

    Attributes:
        value: in units of dt times steps; inf where the memory persists.
        status: a name of `STATUS`.
        sure: the longest time that the reading can be held to: `FAR` times what was measured where the memory persists, else the value.
    """

    value: float
    status: str
    sure: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.sure):
            object.__setattr__(self, "sure", self.value)

    @property
    def is_bound(self) -> bool:
        """Whether the true value may be larger."""
        return self.status in ("at least", "far")

    def to_dict(self) -> dict[str, Any]:
        """Value (infinity is None, as strict JSON wants) and status."""
        return {"value": self.value if math.isfinite(self.value) else None, "status": self.status}

    def __str__(self) -> str:
        """The number, with a sign for a bound."""
        if math.isinf(self.value):
            return "never"
        return f"{'≥ ' if self.is_bound else ''}{number(self.value)}"


def law_of(curve: Mapping[str, Any]) -> DecayFit | None:
    """The decay law of a curve (`MemoryFunction.to_dict()` or one like it), or None where all is noise or nothing is there."""
    values = np.asarray(curve["values"], float)
    try:
        return fit_decay(np.asarray(curve["times"], float), values, noise_floor=float(curve["noise_floor"]))
    except ArgumentError:
        return None


def crossing(curve: Mapping[str, Any], level: float, fit: DecayFit | None = None) -> Reading:
    """The time after which the envelope stays below `level` times its peak.

    Args:
        curve: `MemoryFunction.to_dict()`, or any mapping with times, values, noise_floor and status.
        level: share of the peak, in (0, 1).
        fit: its law; None fits it.

    Raises:
        ArgumentError: the curve is all noise.

    >>> t = np.arange(100.0)
    >>> curve = {"times": t, "values": np.exp(-0.1 * t), "noise_floor": 0.0, "status": "exact"}
    >>> str(crossing(curve, 0.5)), crossing(curve, 0.5).status, crossing(curve, 1e-6).status
    ('6.93', 'exact', 'extrapolated')
    >>> str(crossing(curve, 1e-40)), crossing(curve, 1e-40).status
    ('≥ 792', 'far')
    """
    t, values = np.asarray(curve["times"], float), np.asarray(curve["values"], float)
    envelope, floor = np.maximum.accumulate(values[::-1])[::-1], float(curve["noise_floor"])
    fit = fit or law_of(curve)
    target = level * float(envelope[0])
    if envelope[0] <= floor or envelope[0] == 0:
        raise ArgumentError("expected argument `curve` to rise above its noise floor, but got noise alone: there is no memory to read")
    seen = target > floor and bool((envelope < target).any())
    if seen:
        status = "exact" if curve["status"] == "exact" else "searched"
        return Reading(fit.horizon(level) if fit else float(t[envelope >= target][-1]), status)
    if fit is not None and fit.law == "finite":
        return Reading(fit.horizon(level), "searched" if curve["status"] != "exact" else "exact")
    if fit is not None and fit.law != "undecided":
        value, most = fit.horizon(level), FAR * float(t[-1])
        return Reading(most, "far") if most < value < math.inf else Reading(value, "extrapolated", min(value, most))
    above = t[envelope > max(floor, 0.0)]
    return Reading(float(above[-1]) if target <= floor else float(t[-1]), "at least")
