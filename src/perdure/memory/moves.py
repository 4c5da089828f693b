"""Where to look for the worst input: starts, corners, and moves around the best inputs found so far."""

from __future__ import annotations

import heapq

import numpy as np

from perdure._typing import Array

ENOUGH = 2e-4  # relative gains below this are not worth an input
DOUBT = 0.1  # relative gain, per unit of log |x|, that a gap may hide from a parabola


def spread(steps: int, count: int) -> Array:
    """At most `count` step indices from 0 to steps - 1, evenly in log time.

    >>> spread(100, 5).tolist()
    [0, 2, 9, 31, 99]
    """
    return np.unique(np.rint(np.geomspace(1, steps, max(count, 2))).astype(int) - 1)


def starts(d: int, count: int, smallest: float, bound: float, rng: np.random.Generator) -> Array:
    """First inputs, (about count, d), at sizes from `smallest` to `bound`.

    In one dimension both signs of sizes spread half evenly (saturating units answer most to |u x| near |w| t) and half evenly in logarithm
    (other units answer the smallest inputs best). Else corners and interior points of the cube by turns.
    """
    if d == 1:
        half = max(count // 2, 4)
        linear = np.linspace(0, bound, half // 2 + 1)[1:]
        sizes = np.union1d(linear, np.geomspace(smallest, bound, half - half // 2 + 1)[:-1])
        return np.concatenate([-sizes[::-1], sizes])[:, None]
    count = max(count, 4)
    direction = rng.uniform(-1, 1, (count, d))
    direction[::2] = np.sign(direction[::2])
    direction[:2] = [[1.0] * d, [-1.0] * d]
    sizes = np.geomspace(bound, smallest, (count + 1) // 2).repeat(2)[:count]
    sizes[2::3] = bound * rng.uniform(0, 1, sizes[2::3].size) + smallest
    sizes = sizes.clip(smallest, bound)
    return direction / np.abs(direction).max(1, keepdims=True) * sizes[:, None]


def scaled(corners: Array, count: int, smallest: float, bound: float, rng: np.random.Generator) -> Array:
    """At most `count` of the corners, (n, d), at the largest, the smallest and a middle size."""
    every = np.concatenate([corners * size for size in (bound, smallest, 0.3 * bound)])
    return every[rng.permutation(every.shape[0])[:count]]


def between(x: Array, ratios: Array, count: int) -> Array:
    """`count` inputs of one dimension, (count, 1), where they promise most: at the tops of parabolas through the best so far.

    At each of some steps, the parabola in log |x| through the best input and its two neighbours says where the sup lies and by how much it
    is missed; wide gaps are distrusted on top. The input that promises the largest relative gain at any step is taken, what the parabolas
    expect of it is believed at every step, and so on. What is left over goes into the gaps beside the best.

    Args:
        x: inputs tried, (R, 1).
        ratios: what they gave at each step, (R, T).
        count: how many are wanted.
    """
    x, found = _thinned(x, ratios)
    result: list[float] = []
    while len(result) < count:
        gain, tops, values = _tops(x, found)
        best = int(gain.argmax()) if gain.size else 0
        if not gain.size or gain[best] < ENOUGH:
            return np.array(result + _gaps(x, found, count - len(result))).reshape(-1, 1)
        top = tops[best]
        at = int(np.searchsorted(x, top))
        share = (top - x[at - 1]) / (x[at] - x[at - 1])
        expected = np.maximum((1 - share) * found[at - 1] + share * found[at], np.where(tops == top, values, 0.0))
        x, found = np.insert(x, at, top), np.insert(found, at, expected, axis=0)
        result.append(float(top))
    return np.array(result).reshape(-1, 1)


def missed(x: Array, ratios: Array) -> float:
    """By how much, relative, the parabolas of `between` say that the sup is missed at some step."""
    gain, _, _ = _tops(*_thinned(x, ratios))
    return float(gain.max()) if gain.size else 0.0


def _thinned(x: Array, ratios: Array) -> tuple[Array, Array]:
    """Distinct inputs in order, (R,), and what they gave at some steps at which any gave something, (R, S)."""
    x, first = np.unique(x[:, 0], return_index=True)
    steps = np.union1d(spread(ratios.shape[1], 96), np.linspace(0, ratios.shape[1] - 1, 96).astype(int))
    found = ratios[first][:, steps]
    return x, found[:, found.max(0) > 0]


def _tops(x: Array, found: Array) -> tuple[Array, Array, Array]:
    """For each step, (S,): the relative gain that a parabola in log |x| promises, at which input, and its value there."""
    steps = np.arange(found.shape[1])
    b = found.argmax(0)
    low, high = _inside(x, b - 1, b), _inside(x, b + 1, b)
    # at an end of the range, or where the sign changes, there is one gap only, and the next one beyond it
    left = np.where(low, b - 1, np.minimum(b + 2, x.size - 1))
    right = np.where(high, b + 1, np.maximum(b - 2, 0))
    u = np.log(np.abs(x))
    h1, h2 = u[left] - u[b], u[right] - u[b]
    f0 = found[b, steps]
    d1, d2 = found[left, steps] / f0 - 1, found[right, steps] / f0 - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = (d1 / h1 - d2 / h2) / (h1 - h2)
        slope = d1 / h1 - curvature * h1
        vertex = -slope / (2 * curvature)
    ends = np.where(low, h1, 0.0), np.where(high, h2, 0.0)
    near, far = np.minimum(*ends), np.maximum(*ends)
    wider = np.where(np.abs(near) > far, near, far)  # signed width of the wider gap
    sound = np.isfinite(vertex) & (curvature < 0) & (vertex > near) & (vertex < far)
    # not into the immediate neighbourhood of a point that is known: a tenth of the gap off at least, on the side of the wider gap at the centre
    gap = np.where(vertex > 0, far, near)
    move = np.where(sound, np.sign(gap) * np.clip(np.abs(vertex), 0.1 * np.abs(gap), 0.9 * np.abs(gap)), 0.5 * wider)
    with np.errstate(over="ignore", invalid="ignore"):  # a parabola that is not sound may have infinite coefficients
        promised = np.where(sound, slope * move + curvature * move**2, 0.0)
    gain = np.where(np.abs(wider) > 0, np.maximum(promised, 0.0) + DOUBT * np.abs(np.where(sound, gap, wider)), 0.0)
    return gain, x[b] * np.exp(move), f0 * (1 + np.maximum(promised, 0.0))


def _inside(x: Array, neighbour: Array, best: Array) -> Array:
    """Whether the neighbour exists and has the sign of the best."""
    legal = (neighbour >= 0) & (neighbour < x.size)
    return legal & (x[np.clip(neighbour, 0, x.size - 1)] * x[best] > 0)


def _gaps(x: Array, found: Array, count: int) -> list[float]:
    """At most `count` inputs in the gaps beside the best: those first in which many steps have their best, wide ones before narrow."""
    weight = np.zeros(x.size)
    if found.size:
        best = found.argmax(0)
        weight = np.bincount(np.concatenate([best, best - 1]).clip(0), minlength=x.size).astype(float)
    gaps = [(-w * np.log(b / a) ** 2, w, a, b) for w, a, b in zip(weight, x[:-1], x[1:], strict=False) if a * b > 0]
    heapq.heapify(gaps)
    result: list[float] = []
    while gaps and len(result) < count:
        score, w, a, b = heapq.heappop(gaps)
        middle = float(np.sign(a) * np.sqrt(a * b))
        result.append(middle)
        heapq.heappush(gaps, (score / 4, w, a, middle))
        heapq.heappush(gaps, (score / 4, w, middle, b))
    return result


def around(best: Array, count: int, scale: float, smallest: float, bound: float, rng: np.random.Generator) -> Array:
    """`count` inputs around the `best`, (n, d), one for each stretch of time in order.

    By turns: scaled by up to 1 + 4 `scale`; moved in all directions by up to `scale` of its size; with coordinates flipped or taken
    from the best of another stretch; between the best of this stretch and of the next, since the worst input moves steadily with time.
    """
    d = best.shape[1]
    result: list[Array] = []
    for i in range(count):
        x = best[i % len(best)]
        size = np.abs(x).max()
        move = (i // len(best) + i + int(rng.integers(2))) % 4
        if move == 0:
            result.append(x * np.clip(size * (1 + 4 * scale) ** rng.uniform(-1, 1), smallest, bound) / size)
        elif move == 1:
            result.append(np.clip(x + scale * size * rng.uniform(-1, 1, d), -bound, bound))
        elif move == 2:
            other = best[rng.integers(len(best))]
            mixed = np.where(rng.random(d) < 0.5, x, other / np.abs(other).max() * size)
            result.append(np.where(rng.random(d) < 1 / d, -mixed, mixed))
        else:
            share = rng.uniform(0.2, 0.8)
            result.append(share * x + (1 - share) * best[(i + 1) % len(best)])
    moved = np.array(result).reshape(count, d)
    return np.where(np.abs(moved).max(1, keepdims=True) >= 0.1 * smallest, moved, smallest)  # opposite inputs may have cancelled
