r"""One input and one output, compiled: the states stay in registers, memory sees the inputs and the outputs only.

For each row and each group of states, with real input gain g (the phase of b is moved into h and c),

    h_k = a h_{k-1} + g u_k,   y_k += Re(conj(c) h_k),

and backward, with m_k = dL/dh_k as a complex number,

    m_k = conj(a) m_{k+1} + c dL/dy_k,   dL/du_k += g Re(m_k),
    dL/da += m_k conj(h_{k-1}),   dL/dg += m_k u_k,   dL/dc += h_k dL/dy_k.

a is rounded to the type of the inputs, and after every TILE steps, or what is left of them, q h is added to the state, q = (a / rounded a)^TILE - 1, or its part:
the rounding of a does not add up over the length of the memory. The backward pass starts each tile from the state that the forward pass left in `marks` and forms the states of
the tile again. Sums over time are kept in float64 from tile to tile.
"""

from __future__ import annotations

import numpy as np

from perdure.ops.machine_code import compiled
from perdure.ops.state_space.simd import BYTES, accumulate, less, load, more, splat, store, times, total

TILE = 64
ONE, TWO, FOUR = (0,), (0, 0), (0, 0, 0, 0)  # widths in registers: the wider, the better the latencies of its parts hide one another


@compiled
def _forward_complex(width, u, p, y, h, marks, steps, at, size):
    ar, ai, g = load(p, at, width), load(p, size + at, width), load(p, 2 * size + at, width)
    cr, ci = load(p, 3 * size + at, width), load(p, 4 * size + at, width)
    hr, hi = load(h, at, width), load(h, size + at, width)
    for first in range(0, steps, TILE):
        end = min(first + TILE, steps)
        if marks.size > 0:
            mark = 2 * size * (first // TILE) + at
            store(marks, mark, hr)
            store(marks, mark + size, hi)
        for t in range(first, end):
            new = more(less(times(g, splat(u[t], width)), ai, hi), ar, hr)
            hi = more(times(ai, hr), ar, hi)
            hr = new
            y[t] += total(more(times(cr, hr), ci, hi))
        part = splat(p.dtype.type((end - first) / TILE), width)
        qr, qi = times(part, load(p, 5 * size + at, width)), times(part, load(p, 6 * size + at, width))
        new = less(more(hr, qr, hr), qi, hi)
        hi = more(more(hi, qi, hr), qr, hi)
        hr = new
    store(h, at, hr)
    store(h, size + at, hi)


@compiled
def _forward_real(width, u, p, y, h, marks, steps, at, size):
    a, g, c, x = load(p, at, width), load(p, size + at, width), load(p, 2 * size + at, width), load(h, at, width)
    for first in range(0, steps, TILE):
        end = min(first + TILE, steps)
        if marks.size > 0:
            store(marks, size * (first // TILE) + at, x)
        for t in range(first, end):
            x = more(times(g, splat(u[t], width)), a, x)
            y[t] += total(times(c, x))
        x = more(x, times(splat(p.dtype.type((end - first) / TILE), width), load(p, 3 * size + at, width)), x)
    store(h, at, x)


@compiled
def _backward_complex(width, u, gy, p, gu, marks, m, sums, past, steps, at, size):
    lanes = len(width) * BYTES // p.itemsize
    ar, ai, g = load(p, at, width), load(p, size + at, width), load(p, 2 * size + at, width)
    cr, ci = load(p, 3 * size + at, width), load(p, 4 * size + at, width)
    mr, mi = load(m, at, width), load(m, size + at, width)
    zero = splat(p.dtype.type(0), width)
    for tile in range((steps - 1) // TILE, -1, -1):
        first = tile * TILE
        end = min(first + TILE, steps)
        part = splat(p.dtype.type((end - first) / TILE), width)
        qr, qi = times(part, load(p, 5 * size + at, width)), times(part, load(p, 6 * size + at, width))
        new = more(more(mr, qr, mr), qi, mi)
        mi = less(more(mi, qr, mi), qi, mr)
        mr = new
        hr, hi = load(marks, 2 * size * tile + at, width), load(marks, 2 * size * tile + size + at, width)
        store(past, 0, hr)
        store(past, lanes, hi)
        for t in range(first, end):
            new = more(less(times(g, splat(u[t], width)), ai, hi), ar, hr)
            hi = more(times(ai, hr), ar, hi)
            hr = new
            store(past, 2 * lanes * (t - first + 1), hr)
            store(past, 2 * lanes * (t - first + 1) + lanes, hi)
        by_ar, by_ai, by_gr, by_gi, by_cr, by_ci = zero, zero, zero, zero, zero, zero
        for t in range(end - 1, first - 1, -1):
            e, x = splat(gy[t], width), splat(u[t], width)
            mr, mi = more(mr, cr, e), more(mi, ci, e)
            gu[t] += total(times(g, mr))
            by_gr, by_gi = more(by_gr, mr, x), more(by_gi, mi, x)
            by_cr, by_ci = more(by_cr, hr, e), more(by_ci, hi, e)
            hr, hi = load(past, 2 * lanes * (t - first), width), load(past, 2 * lanes * (t - first) + lanes, width)
            by_ar = more(more(by_ar, mr, hr), mi, hi)
            by_ai = less(more(by_ai, mi, hr), mr, hi)
            new = more(times(ai, mi), ar, mr)
            mi = less(times(ar, mi), ai, mr)
            mr = new
        accumulate(sums, at, by_ar)
        accumulate(sums, size + at, by_ai)
        accumulate(sums, 2 * size + at, by_gr)
        accumulate(sums, 3 * size + at, by_gi)
        accumulate(sums, 4 * size + at, by_cr)
        accumulate(sums, 5 * size + at, by_ci)
    store(m, at, mr)
    store(m, size + at, mi)


@compiled
def _backward_real(width, u, gy, p, gu, marks, m, sums, past, steps, at, size):
    lanes = len(width) * BYTES // p.itemsize
    a, g, c, mx = load(p, at, width), load(p, size + at, width), load(p, 2 * size + at, width), load(m, at, width)
    zero = splat(p.dtype.type(0), width)
    for tile in range((steps - 1) // TILE, -1, -1):
        first = tile * TILE
        end = min(first + TILE, steps)
        mx = more(mx, times(splat(p.dtype.type((end - first) / TILE), width), load(p, 3 * size + at, width)), mx)
        h = load(marks, size * tile + at, width)
        store(past, 0, h)
        for t in range(first, end):
            h = more(times(g, splat(u[t], width)), a, h)
            store(past, lanes * (t - first + 1), h)
        by_a, by_g, by_c = zero, zero, zero
        for t in range(end - 1, first - 1, -1):
            e = splat(gy[t], width)
            mx = more(mx, c, e)
            gu[t] += total(times(g, mx))
            by_g, by_c = more(by_g, mx, splat(u[t], width)), more(by_c, h, e)
            h = load(past, lanes * (t - first), width)
            by_a = more(by_a, mx, h)
            mx = times(a, mx)
        accumulate(sums, at, by_a)
        accumulate(sums, size + at, by_g)
        accumulate(sums, 2 * size + at, by_c)
    store(m, at, mx)


@compiled
def forward_complex(u, p, y, h, marks, lengths, row, last_row, group, last_group):
    """Rows row:last_row and registers group:last_group of the states: y (B, T) is added to, h (B, P, N) becomes the last states."""
    unit, size = BYTES // p.itemsize, h.shape[2]
    for r in range(row, last_row):
        state, kept = h[r].ravel(), marks[r].ravel()
        k = group
        while k < last_group:
            if last_group - k >= 4:
                _forward_complex(FOUR, u[r], p, y[r], state, kept, lengths[r], k * unit, size)
                k += 4
            elif last_group - k >= 2:
                _forward_complex(TWO, u[r], p, y[r], state, kept, lengths[r], k * unit, size)
                k += 2
            else:
                _forward_complex(ONE, u[r], p, y[r], state, kept, lengths[r], k * unit, size)
                k += 1


@compiled
def forward_real(u, p, y, h, marks, lengths, row, last_row, group, last_group):
    """Rows row:last_row and registers group:last_group of the states: y (B, T) is added to, h (B, P, N) becomes the last states."""
    unit, size = BYTES // p.itemsize, h.shape[2]
    for r in range(row, last_row):
        state, kept = h[r].ravel(), marks[r].ravel()
        k = group
        while k < last_group:
            if last_group - k >= 4:
                _forward_real(FOUR, u[r], p, y[r], state, kept, lengths[r], k * unit, size)
                k += 4
            elif last_group - k >= 2:
                _forward_real(TWO, u[r], p, y[r], state, kept, lengths[r], k * unit, size)
                k += 2
            else:
                _forward_real(ONE, u[r], p, y[r], state, kept, lengths[r], k * unit, size)
                k += 1


@compiled
def backward_complex(u, gy, p, gu, marks, m, sums, lengths, row, last_row, group, last_group):
    """The same rows and states backward: gu (B, T) and sums (3 P N,) are added to, m (B, P, N) becomes the adjoint of the first states."""
    unit, size = BYTES // p.itemsize, m.shape[2]
    past = np.empty(2 * (TILE + 1) * 2 * unit, p.dtype)
    for r in range(row, last_row):
        state, kept = m[r].ravel(), marks[r].ravel()
        k = group
        while k < last_group:
            if last_group - k >= 2:
                _backward_complex(TWO, u[r], gy[r], p, gu[r], kept, state, sums, past, lengths[r], k * unit, size)
                k += 2
            else:
                _backward_complex(ONE, u[r], gy[r], p, gu[r], kept, state, sums, past, lengths[r], k * unit, size)
                k += 1


@compiled
def backward_real(u, gy, p, gu, marks, m, sums, lengths, row, last_row, group, last_group):
    """The same rows and states backward: gu (B, T) and sums (3 P N,) are added to, m (B, P, N) becomes the adjoint of the first states."""
    unit, size = BYTES // p.itemsize, m.shape[2]
    past = np.empty(2 * (TILE + 1) * 2 * unit, p.dtype)
    for r in range(row, last_row):
        state, kept = m[r].ravel(), marks[r].ravel()
        k = group
        while k < last_group:
            if last_group - k >= 2:
                _backward_real(TWO, u[r], gy[r], p, gu[r], kept, state, sums, past, lengths[r], k * unit, size)
                k += 2
            else:
                _backward_real(ONE, u[r], gy[r], p, gu[r], kept, state, sums, past, lengths[r], k * unit, size)
                k += 1


# by number of real coordinates of a state
FORWARD = {1: forward_real, 2: forward_complex}
BACKWARD = {1: backward_real, 2: backward_complex}
