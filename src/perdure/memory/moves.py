"""Where to look for the worst input: starts, corners, and moves around the best inputs found so far."""

from __future__ import annotations

import heapq

import numpy as np

from perdure._typing import Array


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
    """`count` inputs of one dimension, (count, 1), between the best so far and their neighbours.

    Args:
        x: inputs tried, (R, 1).
        ratios: what they gave at each step, (R, T).
        count: how many are wanted. Gaps in which many steps have their best input come first, wide ones before narrow.
    """
    x, first = np.unique(x[:, 0], return_index=True)
    steps = np.union1d(spread(ratios.shape[1], 32), np.linspace(0, ratios.shape[1] - 1, 32).astype(int))
    found = ratios[first][:, steps]
    best = found.argmax(0)[found.max(0) > 0]
    weight = np.bincount(np.concatenate([best, best - 1]).clip(0), minlength=x.size).astype(float)
    gaps = [(-w * np.log(b / a) ** 2, w, a, b) for w, a, b in zip(weight, x[:-1], x[1:], strict=False) if a * b > 0]
    heapq.heapify(gaps)
    result = []
    while gaps and len(result) < count:
        score, w, a, b = heapq.heappop(gaps)
        middle = np.sign(a) * np.sqrt(a * b)
        result.append(middle)
        heapq.heappush(gaps, (score / 4, w, a, middle))
        heapq.heappush(gaps, (score / 4, w, middle, b))
    return np.array(result).reshape(-1, 1)


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
