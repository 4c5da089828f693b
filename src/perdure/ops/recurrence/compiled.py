r"""The recurrence h_k = h_{k-1} + p sigma(W h_{k-1} + x_k), compiled: a product a step and one pass over memory for everything else.

A call works through some copies (weight sets) and some rows of the batch, from the first step to the last; several threads share out the
rows or the copies and never wait for one another. Arrays are time-major and flat. The forward pass keeps d_k = sigma'(z_k), so that the
backward pass is the same for every sigma:

    g <- g + dL/dh_k,   q_k = p d_k g  (= dL/dx_k),   g <- g + W^T q_k,   dL/dW = sum_k q_k h_{k-1}^T.

For one copy the drive may be x_k = U u_k + b. Then neither x nor q is ever whole: products with U, and those for dL/dW, dL/dU = sum_k q_k u_k^T
and dL/du_k = U^T q_k, are taken for a few steps at a time, while their numbers are still in the cache.
"""

from __future__ import annotations

import numpy as np

from perdure.ops.machine_code import compiled
from perdure.ops.recurrence.blas import own_threads, product
from perdure.ops.recurrence.elementwise import activate

ROWS, STATES = 4, 8  # up to this many rows or states, and where there is no BLAS, plain loops over the columns of W
TOGETHER = 256  # rows of a product that covers several steps


@compiled
def by_columns(a, b, c):
    """C <- C + B A, as `product`, for A (m, n) and flat B, C: eight, four or single rows of A at a time are added to a row of C."""
    m, n = a.shape
    eights = m - m % 8 if m >= 16 else 0
    fours = m - m % 4
    for r in range(b.size // m):
        h, to = b[r * m : (r + 1) * m], c[r * n : (r + 1) * n]
        for j in range(0, eights, 8):
            a0, a1, a2, a3, a4, a5, a6, a7 = a[j], a[j + 1], a[j + 2], a[j + 3], a[j + 4], a[j + 5], a[j + 6], a[j + 7]
            h0, h1, h2, h3, h4, h5, h6, h7 = h[j], h[j + 1], h[j + 2], h[j + 3], h[j + 4], h[j + 5], h[j + 6], h[j + 7]
            for i in range(n):
                low = (h0 * a0[i] + h1 * a1[i]) + (h2 * a2[i] + h3 * a3[i])
                to[i] += low + ((h4 * a4[i] + h5 * a5[i]) + (h6 * a6[i] + h7 * a7[i]))
        for j in range(eights, fours, 4):
            a0, a1, a2, a3 = a[j], a[j + 1], a[j + 2], a[j + 3]
            h0, h1, h2, h3 = h[j], h[j + 1], h[j + 2], h[j + 3]
            for i in range(n):
                to[i] += (h0 * a0[i] + h1 * a1[i]) + (h2 * a2[i] + h3 * a3[i])
        for j in range(fours, m):
            h0, a0 = h[j], a[j]
            for i in range(n):
                to[i] += h0 * a0[i]


@compiled
def _at_once(rows, batch):
    """Steps that a product may cover: several where the rows of a step follow those of the step before."""
    return max(1, TOGETHER // max(1, rows)) if rows == batch else 1


@compiled
def forward(blas, code, w, dense, p, x, u, into, bias, h0, out, slope, value, sizes, span):
    """States of copies span[0]:span[1] and rows span[2]:span[3].

    Args:
        blas: addresses (gemm, thread setting), zeros for none.
        code: of the activation.
        w: (E, m, m), transposed (row j holds what h_j adds), or (E, 1, m) for a diagonal.
        dense: which of the two.
        p: (E, m), gain of each state.
        x: (1 or E, T, B, m), not read where there is a u.
        u: (T, B, d) for one copy and with a BLAS, or of size 0.
        into: (d, m), U transposed.
        bias: (m,).
        h0: (1 or E, B, m).
        out: (E, T, B, m), the states after each step.
        slope: (E, T, B, m) for sigma'(z), or of size 0 where it is not kept.
        value: the same for sigma(z).
        sizes: T, B, m.
        span: first and last copy, first and last row.
    """
    steps, batch, m = sizes
    rows, d, driven = span[3] - span[2], u.shape[2], u.size > 0
    n, together = rows * m, _at_once(rows, batch) if driven else 1
    block, spare, h = np.empty(together * n, out.dtype), np.empty(n, out.dtype), np.empty(n, out.dtype)
    tiled, gain = np.empty(n, out.dtype), np.empty(n, out.dtype)
    scale, letters = np.array([1.0, 1.0]).astype(out.dtype), np.array([78, 78], np.int8)
    dims, drive = np.array([m, rows, m, m, m], np.int32), np.array([m, rows, d, m, d], np.int32)
    use_blas = dense and blas[0] != 0 and rows > ROWS and m > STATES
    before = own_threads(blas[1], 1) if use_blas or driven else np.int32(0)
    keep_slope, keep_value = slope.size > 0, value.size > 0
    flat_x, flat_u, flat_into = x.reshape(-1), u.reshape(-1), into.reshape(-1)
    flat_out, flat_slope, flat_value = out.reshape(-1), slope.reshape(-1), value.reshape(-1)
    stride = batch * m
    for e in range(span[0], span[1]):
        from_x = (e if x.shape[0] > 1 else 0) * steps * stride + span[2] * m
        from_h = e if h0.shape[0] > 1 else 0
        at = e * steps * stride + span[2] * m
        weight = w[e].reshape(-1)
        for r in range(rows):
            for i in range(m):
                h[r * m + i] = h0[from_h, span[2] + r, i]
                gain[r * m + i] = p[e, i]
                if not dense:
                    tiled[r * m + i] = weight[i]
        previous = h
        for first in range(0, steps, together):
            here = min(together, steps - first)
            if driven:
                for r in range(here * rows):
                    block[r * m : (r + 1) * m] = bias
                drive[1] = here * rows
                from_u = (first * batch + span[2]) * d
                product(blas[0], letters, drive, scale, flat_into, flat_u[from_u : from_u + here * rows * d], block)
            for k in range(here):
                now, z = flat_out[at : at + n], block[k * n : (k + 1) * n]
                if not driven:
                    z[:] = flat_x[from_x : from_x + n]
                    from_x += stride
                if use_blas:
                    product(blas[0], letters, dims, scale, weight, previous, z)
                elif dense:
                    by_columns(w[e], previous, z)
                else:
                    for i in range(n):
                        z[i] += tiled[i] * previous[i]
                activate(code, z, flat_slope[at : at + n] if keep_slope else spare)
                for i in range(n):
                    now[i] = previous[i] + gain[i] * z[i]
                if keep_value:
                    flat_value[at : at + n] = z
                previous = now
                at += stride
    if use_blas or driven:
        own_threads(blas[1], before)


@compiled
def backward(
    blas,
    w,
    dense,
    p,
    u,
    into,
    grad_out,
    grad_last,
    h0,
    out,
    slope,
    value,
    q,
    grad_h0,
    grad_w,
    grad_p,
    grad_u,
    grad_into,
    grad_bias,
    sizes,
    span,
):
    """Gradients of copies span[0]:span[1] and rows span[2]:span[3].

    Of the arguments that `forward` has not:

    w (E, m, m) and into (m, d) are not transposed here; grad_out (E, T, B, m) may be of size 0 for none, grad_last (E, B, m) is that of the last
    state besides. Written: q (E, T, B, m), the gradient of x, where there is no u; grad_h0 (E, B, m); grad_u (T, B, d) unless of size 0.
    Added to: grad_w (E, m, m) or (E, 1, m), over the rows of the span, unless of size 0, and for a matrix only with a BLAS; grad_p (E, m) where
    `value` is kept; grad_into (m, d) and grad_bias (m,).
    """
    steps, batch, m = sizes
    rows, d, driven = span[3] - span[2], u.shape[2], u.size > 0
    with_out, with_value, with_w = grad_out.size > 0, value.size > 0, dense and grad_w.size > 0
    n, together = rows * m, _at_once(rows, batch) if driven or with_w else 1
    g, tiled, gain = np.empty(n, out.dtype), np.empty(n, out.dtype), np.empty(n, out.dtype)
    start, by_w, by_p, by_b = np.empty(n, out.dtype), np.empty(n, out.dtype), np.empty(n, out.dtype), np.zeros(n, out.dtype)
    block = np.empty(together * n if driven else 0, out.dtype)
    add, put = np.array([1.0, 1.0]).astype(out.dtype), np.array([1.0, 0.0]).astype(out.dtype)
    plain, turned = np.array([78, 78], np.int8), np.array([78, 84], np.int8)
    dims, outer = np.array([m, rows, m, m, m], np.int32), np.array([m, m, rows, m, m], np.int32)
    back, over = np.array([d, rows, m, d, m], np.int32), np.array([d, m, rows, d, m], np.int32)
    use_blas = dense and blas[0] != 0 and rows > ROWS and m > STATES
    limited = use_blas or driven or with_w
    before = own_threads(blas[1], 1) if limited else np.int32(0)
    flat_g, flat_out, flat_slope, flat_value = grad_out.reshape(-1), out.reshape(-1), slope.reshape(-1), value.reshape(-1)
    flat_q, flat_u, flat_into, flat_grad_u, by_into = (
        q.reshape(-1),
        u.reshape(-1),
        into.reshape(-1),
        grad_u.reshape(-1),
        grad_into.reshape(-1),
    )
    stride = batch * m
    for e in range(span[0], span[1]):
        from_h = e if h0.shape[0] > 1 else 0
        weight = w[e].reshape(-1)
        for r in range(rows):
            for i in range(m):
                at = r * m + i
                g[at] = grad_last[e, span[2] + r, i]
                start[at] = h0[from_h, span[2] + r, i]
                gain[at] = p[e, i]
                tiled[at] = weight[i]
                by_w[at] = by_p[at] = 0
        begin = e * steps * stride + span[2] * m
        last = steps
        while last > 0:
            first = max(0, last - together)
            at = begin + first * stride
            many = block if driven else flat_q[at : at + (last - first - 1) * stride + n]
            for k in range(last - 1, first - 1, -1):
                at = begin + k * stride
                now, slopes = many[(k - first) * n : (k - first + 1) * n], flat_slope[at : at + n]
                if with_out:
                    given = flat_g[at : at + n]
                    for i in range(n):
                        g[i] += given[i]
                if with_value:
                    s = flat_value[at : at + n]
                    for i in range(n):
                        by_p[i] += g[i] * s[i]
                for i in range(n):
                    now[i] = gain[i] * slopes[i] * g[i]
                if use_blas:
                    product(blas[0], plain, dims, add, weight, now, g)
                elif dense:
                    by_columns(w[e], now, g)
                else:
                    previous = start if k == 0 else flat_out[at - stride : at - stride + n]
                    for i in range(n):
                        by_w[i] += now[i] * previous[i]
                        g[i] += tiled[i] * now[i]
                if driven:
                    for i in range(n):
                        by_b[i] += now[i]
            if with_w:
                into_w = grad_w[e].reshape(-1)
                after = max(first, 1)
                if first == 0:
                    outer[2] = rows
                    product(blas[0], turned, outer, add, start, many[:n], into_w)
                if last > after:
                    outer[2] = (last - after) * rows
                    at = begin + (after - 1) * stride
                    product(blas[0], turned, outer, add, flat_out[at : at + outer[2] * m], many[(after - first) * n :], into_w)
            if driven:
                count = (last - first) * rows
                back[1] = over[2] = count
                from_u = (first * batch + span[2]) * d
                product(blas[0], turned, over, add, flat_u[from_u : from_u + count * d], many, by_into)
                if grad_u.size > 0:
                    product(blas[0], plain, back, put, flat_into, many, flat_grad_u[from_u : from_u + count * d])
            last = first
        for r in range(rows):
            for i in range(m):
                grad_h0[e, span[2] + r, i] = g[r * m + i]
                if not dense and grad_w.size > 0:
                    grad_w[e, 0, i] += by_w[r * m + i]
                if with_value:
                    grad_p[e, i] += by_p[r * m + i]
                if driven:
                    grad_bias[i] += by_b[r * m + i]
    if limited:
        own_threads(blas[1], before)
