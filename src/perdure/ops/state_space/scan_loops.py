r"""The states of many inputs, compiled: h_k = a h_{k-1} + x_k in place, between two matrix products.

Forward, x becomes h. Backward, g_k = dL/dh_k by the outputs becomes m_k = g_k + conj(a) m_{k+1}, all of it, with dL/da += m_k conj(h_{k-1}).
After every TILE steps the state is corrected for the rounding of a, as in `fused_loops`. A call works through some rows and some steps of
them; steps past the end of a row are left as they are.
"""

from __future__ import annotations

from perdure.ops.machine_code import compiled
from perdure.ops.state_space.simd import BYTES, accumulate, less, load, more, plus, splat, store, times

TILE = 64
ONE, TWO, FOUR = (0,), (0, 0), (0, 0, 0, 0)  # widths in registers: the wider, the better the latencies of its parts hide one another


@compiled
def _forward_complex(width, x, p, h, steps, at, size):
    ar, ai = load(p, at, width), load(p, size + at, width)
    hr, hi = load(h, at, width), load(h, size + at, width)
    for first in range(0, steps, TILE):
        end = min(first + TILE, steps)
        for t in range(first, end):
            i = 2 * size * t + at
            new = more(less(load(x, i, width), ai, hi), ar, hr)
            hi = more(more(load(x, i + size, width), ai, hr), ar, hi)
            hr = new
            if t == end - 1:
                part = splat(p.dtype.type((end - first) / TILE), width)
                qr, qi = times(part, load(p, 2 * size + at, width)), times(part, load(p, 3 * size + at, width))
                new = less(more(hr, qr, hr), qi, hi)
                hi = more(more(hi, qi, hr), qr, hi)
                hr = new
            store(x, i, hr)
            store(x, i + size, hi)
    store(h, at, hr)
    store(h, size + at, hi)


@compiled
def _forward_real(width, x, p, h, steps, at, size):
    a, state = load(p, at, width), load(h, at, width)
    for first in range(0, steps, TILE):
        end = min(first + TILE, steps)
        for t in range(first, end):
            state = more(load(x, size * t + at, width), a, state)
            if t == end - 1:
                state = more(state, times(splat(p.dtype.type((end - first) / TILE), width), load(p, size + at, width)), state)
            store(x, size * t + at, state)
    store(h, at, state)


@compiled
def _backward_complex(width, g, h, before, p, m, sums, steps, at, size):
    ar, ai = load(p, at, width), load(p, size + at, width)
    mr, mi = load(m, at, width), load(m, size + at, width)
    for tile in range((steps - 1) // TILE, -1, -1):
        first = tile * TILE
        end = min(first + TILE, steps)
        by_ar = splat(p.dtype.type(0), width)
        by_ai = by_ar
        for t in range(end - 1, first - 1, -1):
            i = 2 * size * t + at
            mr, mi = plus(mr, load(g, i, width)), plus(mi, load(g, i + size, width))
            if t == end - 1:
                part = splat(p.dtype.type((end - first) / TILE), width)
                qr, qi = times(part, load(p, 2 * size + at, width)), times(part, load(p, 3 * size + at, width))
                new = more(more(mr, qr, mr), qi, mi)
                mi = less(more(mi, qr, mi), qi, mr)
                mr = new
            store(g, i, mr)
            store(g, i + size, mi)
            if t > 0:
                hr, hi = load(h, i - 2 * size, width), load(h, i - size, width)
            else:
                hr, hi = load(before, at, width), load(before, size + at, width)
            by_ar = more(more(by_ar, mr, hr), mi, hi)
            by_ai = less(more(by_ai, mi, hr), mr, hi)
            new = more(times(ai, mi), ar, mr)
            mi = less(times(ar, mi), ai, mr)
            mr = new
        accumulate(sums, at, by_ar)
        accumulate(sums, size + at, by_ai)
    store(m, at, mr)
    store(m, size + at, mi)


@compiled
def _backward_real(width, g, h, before, p, m, sums, steps, at, size):
    a, adjoint = load(p, at, width), load(m, at, width)
    for tile in range((steps - 1) // TILE, -1, -1):
        first = tile * TILE
        end = min(first + TILE, steps)
        by_a = splat(p.dtype.type(0), width)
        for t in range(end - 1, first - 1, -1):
            adjoint = plus(adjoint, load(g, size * t + at, width))
            if t == end - 1:
                adjoint = more(adjoint, times(splat(p.dtype.type((end - first) / TILE), width), load(p, size + at, width)), adjoint)
            store(g, size * t + at, adjoint)
            if t > 0:
                by_a = more(by_a, adjoint, load(h, size * (t - 1) + at, width))
            else:
                by_a = more(by_a, adjoint, load(before, at, width))
            adjoint = times(a, adjoint)
        accumulate(sums, at, by_a)
    store(m, at, adjoint)


@compiled
def forward_complex(x, p, h, steps):
    """X (R, n, P N) in place; poles and corrections p (2 P N,); states h (R, P, N) before and after; steps (R,), how many of the n are meant."""
    unit, size = BYTES // p.itemsize, h.shape[2]
    for r in range(x.shape[0]):
        states, state = x[r].ravel(), h[r].ravel()
        at = 0
        while at < size:
            if size - at >= 4 * unit:
                _forward_complex(FOUR, states, p, state, steps[r], at, size)
                at += 4 * unit
            elif size - at >= 2 * unit:
                _forward_complex(TWO, states, p, state, steps[r], at, size)
                at += 2 * unit
            else:
                _forward_complex(ONE, states, p, state, steps[r], at, size)
                at += unit


@compiled
def forward_real(x, p, h, steps):
    """X (R, n, P N) in place; poles and corrections p (2 P N,); states h (R, P, N) before and after; steps (R,), how many of the n are meant."""
    unit, size = BYTES // p.itemsize, h.shape[2]
    for r in range(x.shape[0]):
        states, state = x[r].ravel(), h[r].ravel()
        at = 0
        while at < size:
            if size - at >= 4 * unit:
                _forward_real(FOUR, states, p, state, steps[r], at, size)
                at += 4 * unit
            elif size - at >= 2 * unit:
                _forward_real(TWO, states, p, state, steps[r], at, size)
                at += 2 * unit
            else:
                _forward_real(ONE, states, p, state, steps[r], at, size)
                at += unit


@compiled
def backward_complex(g, h, before, p, m, sums, steps):
    """G (R, n, P N) in place; states h (R, n, P N), and `before` (R, P, N) the first; adjoints m (R, P, N) after and before; sums (P N,) += dL/da."""
    unit, size = BYTES // p.itemsize, m.shape[2]
    for r in range(g.shape[0]):
        signal, states, start, adjoint = g[r].ravel(), h[r].ravel(), before[r].ravel(), m[r].ravel()
        at = 0
        while at < size:
            if size - at >= 4 * unit:
                _backward_complex(FOUR, signal, states, start, p, adjoint, sums, steps[r], at, size)
                at += 4 * unit
            elif size - at >= 2 * unit:
                _backward_complex(TWO, signal, states, start, p, adjoint, sums, steps[r], at, size)
                at += 2 * unit
            else:
                _backward_complex(ONE, signal, states, start, p, adjoint, sums, steps[r], at, size)
                at += unit


@compiled
def backward_real(g, h, before, p, m, sums, steps):
    """G (R, n, P N) in place; states h (R, n, P N), and `before` (R, P, N) the first; adjoints m (R, P, N) after and before; sums (P N,) += dL/da."""
    unit, size = BYTES // p.itemsize, m.shape[2]
    for r in range(g.shape[0]):
        signal, states, start, adjoint = g[r].ravel(), h[r].ravel(), before[r].ravel(), m[r].ravel()
        at = 0
        while at < size:
            if size - at >= 4 * unit:
                _backward_real(FOUR, signal, states, start, p, adjoint, sums, steps[r], at, size)
                at += 4 * unit
            elif size - at >= 2 * unit:
                _backward_real(TWO, signal, states, start, p, adjoint, sums, steps[r], at, size)
                at += 2 * unit
            else:
                _backward_real(ONE, signal, states, start, p, adjoint, sums, steps[r], at, size)
                at += unit


# by number of real coordinates of a state
FORWARD = {1: forward_real, 2: forward_complex}
BACKWARD = {1: backward_real, 2: backward_complex}
