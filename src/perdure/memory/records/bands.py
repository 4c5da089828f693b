r"""From draws of the impulse response to statements about its memory that hold for all lags at once.

Simultaneous band: mean +- c sd with c such that 95 % of the draws stay inside at every lag and channel (the quantile of their largest deviation in sds).

Interval of a horizon. The time after which the memory M(s) = |rho(s)|_1 stays below a share of its peak is found from the difference
D(s) = M(s) - share * max M, whose sign alone counts: draws give its sd at each lag and the c that holds for all lags at once. The horizon is at least the
last lag at which D is above zero by c sds, and at most the last at which it is not below zero by c sds: infinite if that is the end of the window. The draws
are rougher than smooth truths are, which widens the interval and does not shift it.
"""

from __future__ import annotations

import math

import numpy as np

from perdure._typing import Array

LEVEL = 0.95
POINTWISE = 1.959963984540054  # of the normal law, for 95 %
SEEN = 3.0  # sds from 0 at which a coefficient is called seen: by chance at 0.3 % of lags


def factor(mean: Array, draws: Array, sd: Array) -> float:
    """The factor c of the simultaneous band: mean and sd (p,), draws (S, p)."""
    live = sd > 1e-9 * float(sd.max())
    largest = np.abs((draws[:, live] - mean[live]) / sd[live]).max(1)
    return float(max(np.quantile(largest, LEVEL), POINTWISE))


def horizon(times: Array, memory: Array, share: float) -> float:
    """Time after which the envelope of the memory (n,) stays below a share of its peak; inf if it does not within the window."""
    envelope = np.maximum.accumulate(memory[::-1])[::-1]
    target = share * float(envelope[0])
    first = int(np.count_nonzero(envelope >= target))
    if first == times.size:
        return math.inf
    above, below = float(envelope[first - 1]), float(envelope[first])
    if below <= 0:
        return float(times[first])
    return float(times[first - 1] + math.log(above / target) / math.log(above / below) * (times[first] - times[first - 1]))


def horizon_interval(times: Array, memory: Array, draws: Array, share: float) -> tuple[float, float]:
    """95 % interval of that time: memory (n,) of the mean, draws of the memory (S, n)."""
    gap = memory - share * float(memory.max())
    spread = draws - share * draws.max(1, keepdims=True)
    sd = np.maximum(spread.std(0), 1e-12 * float(memory.max()))
    c = float(np.quantile(np.abs((spread - spread.mean(0)) / sd).max(1), LEVEL))
    sure = np.flatnonzero(gap > c * sd)
    possible = np.flatnonzero(gap > -c * sd)
    low = float(times[sure[-1]]) if sure.size else 0.0
    last = int(possible[-1]) if possible.size else 0
    return low, math.inf if last == times.size - 1 else float(times[last + 1])
