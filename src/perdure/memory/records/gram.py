r"""Sums of products of lagged inputs, without the matrix of lagged inputs.

The regressor of step t is x_t = (u_j(t - s)) for channels j and lags s = 0 .. n - 1, and the estimate needs R = sum_t x_t x_t^T,
r = sum_t x_t y_t and the means, over the steps t in [a, b) that count, a >= n - 1 (whose lags all lie inside the record). R is almost
Toeplitz:

    R_{jk}(s + 1, s' + 1) = R_{jk}(s, s') + u_j(a - 1 - s) u_k(a - 1 - s') - u_j(b - 1 - s) u_k(b - 1 - s'),

so its first row and column, which are correlations by FFT, and n - 1 steps along the diagonals give it all: O(T log T + n^2) for each pair of
channels, in memory n^2. Where outputs are missing, the few x_t x_t^T that do not count are taken off again (or, where they are most, those that
count are added up). Everything is centred at the end, which is what an intercept with a flat prior does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.fft import irfft, rfft
from scipy.fft import next_fast_len

from perdure._typing import Array

CHUNK = 4096  # rows of lagged inputs written out at once


@dataclass(frozen=True)
class Moments:
    """Sums over the steps that count, about their means.

    Attributes:
        R: (p, p), p = d n, channel by channel.
        r: (p,).
        c: sum of squares of the output.
        count: how many steps.
        x_mean: (p,), zero where there is no intercept.
        y_mean: zero where there is no intercept.
    """

    R: Array
    r: Array
    c: float
    count: int
    x_mean: Array
    y_mean: float


def moments(u: Array, y: Array, lags: int, span: tuple[int, int], intercept: bool) -> list[Moments]:
    """One `Moments` for each output channel.

    Args:
        u: inputs (B, T, d).
        y: outputs (B, T, o), NaN where missing.
        lags: n.
        span: (a, b): steps a <= t < b count, a >= n - 1.
        intercept: whether the means are taken off.
    """
    a, b = span
    d = u.shape[2]
    full, seen = _full(u, lags, a, b), np.isfinite(y[:, a:b])
    found: dict[bytes, tuple[Array, Array]] = {}
    out = []
    for o in range(y.shape[2]):
        here = seen[..., o]
        key = here.tobytes()
        if key not in found:
            found[key] = _of(u, lags, a, here, full)
        R, total = found[key]
        count, values = int(here.sum()), np.where(here, y[:, a:b, o], 0.0)
        r, c, y_total = _against(u, values, lags, a, b), float((values**2).sum()), float(values.sum())
        if intercept:
            x_mean, y_mean = total / count, y_total / count
            values = np.where(here, values - y_mean, 0.0)
            out.append(Moments(R - count * np.outer(x_mean, x_mean), r - total * y_mean, float((values**2).sum()), count, x_mean, y_mean))
        else:
            out.append(Moments(R, r, c, count, np.zeros(d * lags), 0.0))
    return out


def _of(u: Array, lags: int, a: int, here: Array, full: tuple[Array, Array]) -> tuple[Array, Array]:
    """R and sum of x over the steps `here`, (B, b - a)."""
    if here.all():
        return full
    most = here.mean() > 0.5
    R, total = _written_out(u, lags, a, ~here if most else here)
    return (full[0] - R, full[1] - total) if most else (R, total)


def _written_out(u: Array, lags: int, a: int, here: Array) -> tuple[Array, Array]:
    """R and sum of x of the steps `here`, row by row."""
    windows = np.lib.stride_tricks.sliding_window_view(u, lags, axis=1)[:, a - lags + 1 :, :, ::-1]  # (B, T - a, d, n)
    size = u.shape[2] * lags
    R, total = np.zeros((size, size)), np.zeros(size)
    record, step = np.nonzero(here)
    for first in range(0, record.size, CHUNK):
        part = slice(first, first + CHUNK)
        x = windows[record[part], step[part]].reshape(-1, size)
        R += x.T @ x
        total += x.sum(0)
    return R, total


def _correlated(left: Array, right: Array, lags: int) -> Array:
    """sum_t left(t) right(t - s) for s < lags: left (B, b - a), right (B, b - a + lags - 1) begins lags - 1 steps earlier; (lags,)."""
    size = next_fast_len(right.shape[1] + left.shape[1] - 1, real=True)
    product = (rfft(right, size, axis=1) * np.conj(rfft(left, size, axis=1))).sum(0)
    return irfft(product, size)[:lags][::-1]


def _against(u: Array, values: Array, lags: int, a: int, b: int) -> Array:
    """Sum of x_t times the values, (d lags,)."""
    before = u[:, a - lags + 1 : b]
    return np.concatenate([_correlated(values, before[..., j], lags) for j in range(u.shape[2])])


def _full(u: Array, lags: int, a: int, b: int) -> tuple[Array, Array]:
    """R and sum of x over all the steps a <= t < b."""
    d = u.shape[2]
    before, own = u[:, a - lags + 1 : b], u[:, a:b]
    lead = u[:, a - lags + 1 : a][:, ::-1]  # u(a - 1 - s), s < lags - 1
    last = u[:, b - lags + 1 : b][:, ::-1]
    R = np.empty((d, lags, d, lags))
    for j in range(d):
        for k in range(d):
            R[j, 0, k] = _correlated(own[..., j], before[..., k], lags)
            R[k, :, j, 0] = R[j, 0, k]
    for j in range(d):
        for k in range(j, d):
            change = lead[..., j].T @ lead[..., k] - last[..., j].T @ last[..., k]
            for s in range(lags - 1):
                R[j, s + 1, k, 1:] = R[j, s, k, :-1] + change[s]
            R[k, :, j] = R[j, :, k].T
    cumulative = np.concatenate([np.zeros((1, d)), np.cumsum(u.sum(0), axis=0)])
    total = np.stack([cumulative[b - s] - cumulative[a - s] for s in range(lags)], axis=1)
    return R.reshape(d * lags, d * lags), total.ravel()
