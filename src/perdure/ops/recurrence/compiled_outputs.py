r"""The forward pass of many copies of which only the outputs are wanted: h_k = h_{k-1} + p sigma(W h_{k-1} + U u_k + b), y_k = C h_k.

Storing the states of copies costs as much as their products do: fresh memory, the way there and back, and a drive of the same size to be read. Here the
state of some rows of the batch stays in the cache from the first step to the last, one copy after the other. It lies there state by state, H (m, rows), so
that a step is

    Z = b 1^T + [W U] [H; U_k],   H <- H + diag(p) sigma(Z),   Y_k = C H,

with long rows for the vector units whatever m is: eight states of 128 rows take a quarter of the time that they need row by row.
"""

from __future__ import annotations

import numpy as np

from perdure.ops.machine_code import compiled
from perdure.ops.recurrence.blas import own_threads, product
from perdure.ops.recurrence.compiled import STATES, by_columns
from perdure.ops.recurrence.elementwise import TANH, activate, tanh

TOGETHER = 256  # rows whose states stay in the cache together


@compiled
def _add_product(blas, letters, dims, scale, a, b, c):
    """C <- C + B A for A (inner, rows) and flat B (n, inner), C (n, rows): by BLAS where that pays."""
    inner, rows = a.shape
    if blas != 0 and inner > STATES and c.size > STATES * rows:
        dims[0], dims[1], dims[2], dims[3], dims[4] = rows, c.size // rows, inner, rows, inner
        product(blas, letters, dims, scale, a.reshape(-1), b, c)
    else:
        by_columns(a, b, c)


@compiled
def _advance(code, z, slope, gain, h):
    """H <- H + diag(gain) sigma(Z) for Z and H (m, rows); for tanh in one pass. `slope` is room for numbers that nobody reads."""
    m, rows = z.shape
    if code == TANH:
        for i in range(m):
            factor = gain[i]
            for r in range(rows):
                h[i, r] += factor * tanh(z[i, r])
    else:
        activate(code, z.reshape(-1), slope)
        for i in range(m):
            factor = gain[i]
            for r in range(rows):
                h[i, r] += factor * z[i, r]


@compiled
def outputs(blas, code, a, diagonal, bias, p, u, readout, h0, y, last, sizes, span):
    """Outputs and last states of copies span[0]:span[1] and rows span[2]:span[3].

    Args:
        blas: addresses (gemm, thread setting), zeros for none.
        code: of the activation.
        a: [W U], (E, m, m + d); U alone, (E, m, d), for a diagonal W.
        diagonal: of W, (E, m), or of size 0.
        bias: (E, m).
        p: (E, m), gain of each state.
        u: (E, T, d, B).
        readout: C, (E, o, m).
        h0: (E, B, m).
        y: (E, T, o, B), written.
        last: (E, B, m), written; this E is that of all copies, the others may be 1 for what they share.
        sizes: T, m, d, o.
        span: first and last copy, first and last row.
    """
    steps, m, d, o = sizes
    dense, rows = diagonal.size == 0, span[3] - span[2]
    most = -(-rows // -(-rows // TOGETHER))
    room, drive = np.empty((m + d) * most, y.dtype), np.empty(m * most, y.dtype)
    spare, short = np.empty(m * most, y.dtype), np.empty(o * most, y.dtype)
    scale, letters, dims = np.array([1.0, 1.0]).astype(y.dtype), np.array([78, 78], np.int8), np.empty(5, np.int32)
    before = own_threads(blas[1], 1)
    for e in range(span[0], span[1]):
        weights, shift = a[e if a.shape[0] > 1 else 0].reshape(-1), bias[e if bias.shape[0] > 1 else 0]
        gain, seen = p[e if p.shape[0] > 1 else 0], readout[e if readout.shape[0] > 1 else 0].reshape(-1)
        start, given = h0[e if h0.shape[0] > 1 else 0], u[e if u.shape[0] > 1 else 0]
        own = shift if dense else diagonal[e if diagonal.shape[0] > 1 else 0]
        for first in range(span[2], span[3], most):
            here = min(most, span[3] - first)
            both = room[: (m + d) * here].reshape(m + d, here)
            h, flat_z, slope, out = both[:m], drive[: m * here], spare[: m * here], short[: o * here]
            z = flat_z.reshape(m, here)
            for i in range(m):
                for r in range(here):
                    h[i, r] = start[first + r, i]
            for k in range(steps):
                for i in range(d):
                    both[m + i] = given[k, i, first : first + here]
                for i in range(m):
                    constant, factor = shift[i], own[i]
                    if dense:
                        for r in range(here):
                            z[i, r] = constant
                    else:
                        for r in range(here):
                            z[i, r] = constant + factor * h[i, r]
                _add_product(blas[0], letters, dims, scale, both if dense else both[m:], weights, flat_z)
                _advance(code, z, slope, gain, h)
                out[:] = 0
                _add_product(blas[0], letters, dims, scale, h, seen, out)
                for i in range(o):
                    y[e, k, i, first : first + here] = out[i * here : (i + 1) * here]
            for r in range(here):
                for i in range(m):
                    last[e, first + r, i] = h[i, r]
    own_threads(blas[1], before)
