r"""The periodic orbit of dz/dt = W tanh(z) for W = [[1, 1], [-4, -3]]: see `perdure.experiments.fig11`."""

from __future__ import annotations

from typing import Any

import numpy as np

from perdure._typing import Array

MATRIX = ((1.0, 1.0), (-4.0, -3.0))
LOWEST, HIGHEST = 1.0, 8.0  # between which the orbit meets the axis z1 = 0


def field(z: Array) -> Array:
    """W tanh(z), z (..., 2)."""
    return np.tanh(z) @ np.array(MATRIX).T


def rk4(z: Array, step: Any) -> Array:
    """One classical Runge-Kutta step of dz/dt = W tanh(z); `step` a number or (..., 1)."""
    a = field(z)
    b = field(z + 0.5 * step * a)
    c = field(z + 0.5 * step * b)
    d = field(z + step * c)
    return z + step / 6 * (a + 2 * b + 2 * c + d)


def crossing(heights: Array, step: float) -> tuple[Array, Array]:
    """Where orbits from (0, a), a > 0, next meet z1 = 0, as the height below it, and when: (K,), (K,); NaN for those that do not within 60 units of time."""
    z = np.stack([np.zeros(len(heights)), np.asarray(heights, float)], -1)
    down, when = np.full(len(heights), np.nan), np.full(len(heights), np.nan)
    for k in range(round(60 / step)):
        after = rk4(z, step)
        met = np.nonzero((z[:, 0] > 0) & (after[:, 0] <= 0) & np.isnan(when))[0]
        if met.size:
            part = np.zeros((met.size, 1))
            for _ in range(30):  # Newton in the length of the last step
                end = rk4(z[met], part)
                part = part - (end[:, :1] / field(end)[:, :1])
            down[met], when[met] = -rk4(z[met], part)[:, 1], k * step + part[:, 0]
            if not np.isnan(when).any():
                break
        z = after
    return down, when


def periodic_orbit(step: float, points: int = 17, rounds: int = 12) -> tuple[float, float]:
    """Height a > 0 of the periodic orbit on z1 = 0, and half its period.

    >>> height, half = periodic_orbit(0.02)
    >>> round(height, 3), round(2 * half, 3)
    (5.375, 26.321)
    """
    low, high = LOWEST, HIGHEST
    for _ in range(rounds):
        heights = np.linspace(low, high, points)
        grows = np.nan_to_num(crossing(heights, step)[0], nan=-np.inf) > heights
        first = int(grows.argmax())
        low, high = heights[max(0, first - 1)], heights[first]
    height = 0.5 * (low + high)
    return float(height), float(crossing(np.array([height]), step)[1][0])
