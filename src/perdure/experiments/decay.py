"""How much of a memory is left, and how it fades: what Fig. 3, 11 and 12 share."""

from __future__ import annotations

from typing import Any

import numpy as np

from perdure._typing import Array
from perdure.errors import ArgumentError

LEFT = 0.1  # of the peak, over the last quarter of the time: more has not decayed
EVEN = 0.75  # late over early rate from which a tail counts as exponential: 1 for e^(-rt), 1/2 for a power law
VISIBLE = 1e-10  # of the peak: what is below is not used


def left_over(values: Array) -> float:
    """Largest value over the last quarter of the time, over the peak.

    >>> left_over(np.exp(-np.arange(100) / 25.0)).__round__(6)
    0.049787
    """
    start = (3 * len(values)) // 4
    return float(values[start:].max() / values.max()) if values.max() > 0 else 0.0


def tail_ratio(times: Array, envelope: Array, floor: float = 0.0) -> float:
    """-d log M_up / dt over [T/2, T] over that in [T/4, T/2], T the last time at which the envelope is visible; NaN where it does not fall.

    >>> t = np.arange(1.0, 1001.0)
    >>> round(tail_ratio(t, np.exp(-0.02 * t)), 3), round(tail_ratio(t, t**-1.5), 3)
    (1.0, 0.5)
    """
    seen = np.nonzero(envelope > max(4 * floor, VISIBLE * float(envelope[0])))[0]
    if seen.size < 8:
        return float("nan")
    last = float(times[seen[-1]])
    at = [int(np.searchsorted(times, share * last)) for share in (0.25, 0.5)] + [int(seen[-1])]
    logs, t = np.log(envelope[at]), np.asarray(times)[at]
    early, late = (logs[0] - logs[1]) / (t[1] - t[0]), (logs[1] - logs[2]) / (t[2] - t[1])
    return float(late / early) if early > 0 else float("nan")


def log_law(mf: Any) -> str:
    """The law by `fit_decay`, or "undecided (the likeliest)"; "none" where nothing is above the noise."""
    try:
        found = mf.fit()
    except ArgumentError:
        return "none"
    return found.law if found.law != "undecided" else f"undecided ({found.best_law})"


def kept_points(count: int, most: int = 120) -> list[int]:
    """Indices of at most `most` of `count` points, even, first and last among them.

    >>> kept_points(10, 4)
    [0, 3, 6, 9]
    """
    return sorted({round(i) for i in np.linspace(0, count - 1, min(most, count)).tolist()})
