r"""An equilibrium of a bounded step map by continuation, where Newton's method finds no way.

h = (1 - s) a + s f(h) has the one solution h = a at s = 0, and the equilibria of f at s = 1. The solutions form a curve through (a, 0)
that, for almost every anchor a, has no corners or crossings; where f is smooth and bounded it cannot leave for infinity, nor come back to s
= 0, so that it reaches s = 1 (Chow, Mallet-Paret & Yorke 1978). It may turn back in s on its way, so it is followed by its length: a step
along the tangent, then Newton's method in the plane across it, with steps that lengthen while this is easy.
"""

from __future__ import annotations

import numpy as np

from perdure._typing import Array
from perdure.stability.step_map import StepMap

STEPS, LEAST, WORK = 600, 50, 6e8  # steps along the curve; fewer, but LEAST, where n^3 of them are more than WORK
SHORTEST, LONGEST = 1e-7, 0.5  # relative to the square root of n: of a step in h
CORRECTIONS = 6
ENOUGH = 1e-9


def followed(map_: StepMap, anchor: Array) -> Array | None:
    """A point near an equilibrium, from the curve that begins in `anchor` (n,); None where it is lost.

    >>> import torch
    >>> step = StepMap(lambda h: torch.cos(h), (("h", (1,)),), None, 1.0, False)
    >>> round(float(followed(step, np.array([2.0]))[0]), 1)  # near 0.739 = cos(0.739)
    0.7
    """
    n = anchor.size
    z = np.append(anchor, 0.0)
    along = np.append(np.zeros(n), 1.0)
    length, unit = 0.01, np.sqrt(n)
    for _ in range(int(np.clip(WORK / n**3, LEAST, STEPS))):
        tangent = _solve(_slope(map_, z, anchor), along, np.append(np.zeros(n), 1.0))
        if tangent is None:
            return None
        along = tangent / np.linalg.norm(tangent)
        while True:
            new = _corrected(map_, z + length * unit * along, along, anchor)
            if new is not None and np.linalg.norm(new - z) < 2 * length * unit:
                break
            length *= 0.5
            if length < SHORTEST:
                return None
        if new[-1] >= 1.0:  # across: the point between, from where Newton's method is to go on
            share = (1.0 - z[-1]) / (new[-1] - z[-1])
            return z[:-1] + share * (new[:-1] - z[:-1])
        z, length = new, min(1.4 * length, LONGEST)
    return None


def _off(map_: StepMap, z: Array, anchor: Array) -> Array:
    h, s = z[:-1], z[-1]
    return h - (1 - s) * anchor - s * map_(h)


def _slope(map_: StepMap, z: Array, anchor: Array) -> Array:
    """Derivative of `_off` in (h, s), (n, n + 1)."""
    h, s = z[:-1], z[-1]
    return np.concatenate([np.eye(h.size) - s * map_.jacobian(h), (anchor - map_(h))[:, None]], 1)


def _solve(slope: Array, along: Array, right: Array) -> Array | None:
    """X with slope x = right[:-1] and along x = right[-1]."""
    try:
        found = np.linalg.solve(np.concatenate([slope, along[None]]), right)
    except np.linalg.LinAlgError:
        return None
    return found if np.isfinite(found).all() else None


def _corrected(map_: StepMap, z: Array, along: Array, anchor: Array) -> Array | None:
    """The point of the curve in the plane through z across `along`; None where Newton's method does not get there quickly."""
    before = np.inf
    for _ in range(CORRECTIONS):
        off = _off(map_, z, anchor)
        size = float(np.abs(off).max())
        if size <= ENOUGH * (1.0 + np.abs(z).max()):
            return z
        if not size < before:  # NaN as well
            return None
        step = _solve(_slope(map_, z, anchor), along, np.append(-off, 0.0))
        if step is None:
            return None
        before, z = size, z + step
    return None
