"""States and gradients of the recurrence as plain numbers, by the fastest way there is for the tensors at hand; nothing here is traced.

Shapes, for E copies: x (1 or E, T, B, m), w (E, m, m) or the diagonal (E, m), h0 (1 or E, B, m), p (E, m), states (E, T, B, m).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perdure.ops import announce
from perdure.ops.recurrence import plain
from perdure.ops.recurrence.activations import ACTIVATIONS, CODES
from perdure.ops.threads import Span, share, spans

compiled: Any
try:
    from perdure.ops.recurrence import compiled
    from perdure.ops.recurrence.blas import ADDRESSES
except ImportError:  # without numba plain torch gives the same results, more slowly
    compiled, ADDRESSES = None, (0, 0, 0)

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
LARGE = 2**20  # bytes


def states(
    x: Tensor, w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All states, the last one (E, B, m), and sigma'(z), sigma(z) where they are to be kept, else empty."""
    if _compiles(x):
        out, slope, value = _compiled_states(x.contiguous(), w, h0.contiguous(), p, name, keep_slope, keep_value)
    else:
        out, slope, value = plain.states(ACTIVATIONS[name], x, w, h0, p, keep_slope, keep_value)
    last = out[:, -1].clone() if out.shape[1] else h0.expand(w.shape[0], -1, -1).clone()
    return out, last, slope, value


def gradients(
    w: Tensor,
    h0: Tensor,
    p: Tensor,
    out: Tensor,
    slope: Tensor,
    value: Tensor,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    shared_x: bool,
    wants_w: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """Gradients of x, w, h0 and p; that of w only if wanted, that of p only if sigma(z) was kept."""
    copies, by_w = w.shape[0], None
    last = out.new_zeros(copies, *h0.shape[1:]) if grad_last is None else grad_last
    if _compiles(out):
        q, by_h0, by_w, by_p = _compiled_gradients(w, h0.contiguous(), p, out, slope, value, grad_out, last.contiguous())
    else:
        q, by_h0, by_p = plain.gradients(w, p, grad_out, last, slope, value)
    if wants_w and by_w is None:
        by_w = _weight_gradient(q, out, h0, dense=w.ndim == 3)
    if shared_x and copies > 1:
        q = q.sum(0, keepdim=True)
    if h0.shape[0] != copies:
        by_h0 = by_h0.sum(0, keepdim=True)
    return q, by_w, by_h0, by_p


def buffer(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor on the CPU. numpy asks the system for huge pages where an array is large: fresh memory then costs a fourth."""
    if math.prod(shape) * like.element_size() < LARGE:
        return like.new_empty(shape)
    return torch.from_numpy(np.empty(shape, NUMPY[like.dtype]))


def _compiles(tensor: Tensor) -> bool:
    return compiled is not None and tensor.device.type == "cpu" and tensor.dtype in NUMPY


def _weight_gradient(q: Tensor, out: Tensor, h0: Tensor, dense: bool) -> Tensor:
    """sum_k q_k h_{k-1}^T, (E, m, m), or its diagonal (E, m)."""
    copies, steps, batch, m = q.shape
    if steps == 0:
        return q.new_zeros(copies, m, m) if dense else q.new_zeros(copies, m)
    h0 = h0.expand(copies, -1, -1)
    if not dense:
        return (q[:, 0] * h0).sum(1) + (q[:, 1:] * out[:, :-1]).sum((1, 2))
    rest = (steps - 1) * batch
    late, early = q[:, 1:].reshape(copies, rest, m), out[:, :-1].reshape(copies, rest, m)
    if copies == 1:
        return torch.addmm(q[0, 0].T @ h0[0], late[0].T, early[0])[None]
    return torch.baddbmm(q[:, 0].transpose(1, 2) @ h0, late.transpose(1, 2), early)


def _compiled_states(
    x: Tensor, w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool
) -> tuple[Tensor, Tensor, Tensor]:
    copies, (steps, batch, m), dense = w.shape[0], x.shape[1:], w.ndim == 3
    out, nothing = buffer(x, copies, steps, batch, m), x.new_empty(0, 0, 0, 0)
    slope = buffer(x, *out.shape) if keep_slope else nothing
    value = buffer(x, *out.shape) if keep_value else nothing
    turned = w.transpose(1, 2).contiguous() if dense else w.contiguous()[:, None]
    arrays = [t.numpy() for t in (turned, p.contiguous(), x, h0, out, slope, value)]
    blas, sizes, code = _blas(x.dtype), (steps, batch, m), CODES[name]

    def work(_: int, span: Span) -> None:
        weights, *rest = arrays
        compiled.forward(blas, code, weights, dense, *rest, sizes, span)

    with announce.compiling(compiled.forward):
        share(work, spans(copies, batch, _seconds(out.numel(), m if dense else 0)))
    return out, slope, value


def _compiled_gradients(
    w: Tensor, h0: Tensor, p: Tensor, out: Tensor, slope: Tensor, value: Tensor, grad_out: Tensor | None, grad_last: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    copies, steps, batch, m = out.shape
    dense, keeps = w.ndim == 3, value.numel() > 0
    parts = spans(copies, batch, _seconds(out.numel(), m if dense else 0))
    q, by_h0 = buffer(out, *out.shape), torch.empty_like(grad_last)
    by_w, by_p = out.new_zeros(len(parts), copies, m), out.new_zeros(len(parts), copies, m)
    given = out.new_empty(0, 0, 0, 0) if grad_out is None else grad_out.contiguous()
    weights = w.contiguous() if dense else w.contiguous()[:, None]
    arrays = [t.numpy() for t in (p.contiguous(), given, grad_last, h0, out, slope, value, q, by_h0)]
    weights, for_w, for_p, blas, sizes = weights.numpy(), by_w.numpy(), by_p.numpy(), _blas(out.dtype), (steps, batch, m)

    def work(i: int, span: Span) -> None:
        compiled.backward(blas, weights, dense, *arrays, for_w[i], for_p[i], sizes, span)

    with announce.compiling(compiled.backward):
        share(work, parts)
    return q, by_h0, None if dense else by_w.sum(0), by_p.sum(0) if keeps else None


def _seconds(numbers: int, products: int) -> float:
    """About what one thread takes: a nanosecond a number for the elementwise work, 50 GFLOP/s for the products."""
    return numbers * (1e-9 + 4e-11 * products)


def _blas(dtype: torch.dtype) -> tuple[int, int]:
    return (ADDRESSES[0] if dtype == torch.float32 else ADDRESSES[1]), ADDRESSES[2]
