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
ORDINARY = (Tensor, torch.nn.Parameter)
LARGE = 2**20  # bytes


def states(
    x: Tensor, w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All states, the last one (E, B, m), and sigma'(z), sigma(z) where they are to be kept, else empty."""
    if compiles(x):
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
    if compiles(out):
        q, by_h0, by_w, by_p = _compiled_gradients(w, h0.contiguous(), p, out, slope, value, grad_out, last.contiguous(), wants_w)
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


def compiles(tensor: Tensor) -> bool:
    """Whether the compiled loops know this device and type."""
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
    undriven = x.new_empty(0, 0, 0), x.new_empty(0, 0), x.new_empty(0)
    return _run(x, undriven, w, h0, p, name, keep_slope, keep_value)


def driven_states(
    u: Tensor, into: Tensor, bias: Tensor | None, w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """States, sigma'(z) and sigma(z) of one copy that is driven by U u + b, u (T, B, d), U (m, d); only where `drives` says so."""
    bias = into.new_zeros(into.shape[0]) if bias is None else bias
    drive = (u.contiguous(), into.T.contiguous(), bias.contiguous())
    return _run(u.new_empty(0, 0, 0, 0), drive, w, h0.contiguous(), p, name, keep_slope, keep_value)


def _run(
    x: Tensor, drive: tuple[Tensor, Tensor, Tensor], w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool
) -> tuple[Tensor, Tensor, Tensor]:
    steps, batch = (drive[0] if drive[0].numel() else x[0]).shape[:2]
    copies, m, dense, nothing = w.shape[0], w.shape[-1], w.ndim == 3, x.new_empty(0, 0, 0, 0)
    out = buffer(w, copies, steps, batch, m)
    slope = buffer(w, *out.shape) if keep_slope else nothing
    value = buffer(w, *out.shape) if keep_value else nothing
    turned = w.transpose(1, 2).contiguous() if dense else w.contiguous()[:, None]
    arrays = [t.numpy() for t in (turned, p.contiguous(), x, *drive, h0, out, slope, value)]
    blas, sizes, code = routines(w.dtype), (steps, batch, m), CODES[name]

    def work(_: int, span: Span) -> None:
        weights, *rest = arrays
        compiled.forward(blas, code, weights, dense, *rest, sizes, span)

    with announce.compiling(compiled.forward):
        share(work, spans(copies, batch, seconds(out.numel(), (m if dense else 0) + drive[0].shape[2])))
    return out, slope, value


def _compiled_gradients(
    w: Tensor, h0: Tensor, p: Tensor, out: Tensor, slope: Tensor, value: Tensor, grad_out: Tensor | None, grad_last: Tensor, wants_w: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Of x, h0, w and p."""
    nothing, q = out.new_empty(0, 0, 0), buffer(out, *out.shape)
    by_h0, by_w, by_p, _, _ = _run_back(w, nothing, out.new_empty(0, 0), h0, p, out, slope, value, grad_out, grad_last, q, nothing, wants_w)
    return q, by_h0, by_w, by_p


def driven_gradients(
    u: Tensor, into: Tensor, w: Tensor, h0: Tensor, p: Tensor, kept: tuple[Tensor, Tensor, Tensor], grad_out: Tensor | None, grad_last: Tensor | None,
    wants_u: bool, wants_w: bool,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor | None, Tensor, Tensor | None]:  # fmt: skip
    """Gradients of u, U, b, W, h0 and p after `driven_states`, whose results are in `kept`."""
    last = w.new_zeros(1, *h0.shape[1:]) if grad_last is None else grad_last.contiguous()
    by_u = buffer(u, *u.shape) if wants_u else u.new_empty(0, 0, 0)
    by_h0, by_w, by_p, by_into, by_bias = _run_back(
        w, u.contiguous(), into.contiguous(), h0.contiguous(), p, *kept, grad_out, last, u.new_empty(0, 0, 0, 0), by_u, wants_w
    )
    return by_u if wants_u else None, by_into, by_bias, by_w, by_h0, by_p


def _run_back(
    w: Tensor, u: Tensor, into: Tensor, h0: Tensor, p: Tensor, out: Tensor, slope: Tensor, value: Tensor, grad_out: Tensor | None,
    grad_last: Tensor, q: Tensor, by_u: Tensor, wants_w: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor, Tensor]:  # fmt: skip
    """Fills q and by_u; gradients of h0, w, p, U and b."""
    copies, steps, batch, m = out.shape
    dense, blas = w.ndim == 3, routines(out.dtype)
    parts = spans(copies, batch, seconds(out.numel(), 2 * ((m if dense else 0) + u.shape[2])))
    apart = len(parts) if copies == 1 else 1  # parts of several copies add to different ones
    with_w = wants_w and (not dense or blas[0] != 0)
    by_w = w.new_zeros(apart, copies, m if dense else 1, m) if with_w else w.new_empty(apart, 0, 0, 0)
    by_p, by_h0 = w.new_zeros(apart, copies, m), torch.empty_like(grad_last)
    by_into, by_bias = into.new_zeros(apart, *into.shape), into.new_zeros(apart, m)
    given = out.new_empty(0, 0, 0, 0) if grad_out is None else grad_out.contiguous()
    weights = w.contiguous() if dense else w.contiguous()[:, None]
    arrays = [t.numpy() for t in (weights, p.contiguous(), u, into, given, grad_last, h0, out, slope, value, q, by_h0)]
    sums, for_u = [t.numpy() for t in (by_w, by_p, by_into, by_bias)], by_u.numpy()

    def work(i: int, span: Span) -> None:
        first, *rest = arrays
        for_w, for_p, for_into, for_bias = (total[i if apart > 1 else 0] for total in sums)
        compiled.backward(blas, first, dense, *rest, for_w, for_p, for_u, for_into, for_bias, (steps, batch, m), span)

    with announce.compiling(compiled.backward):
        share(work, parts)
    by_w, by_p, by_into, by_bias = (total[0] if apart == 1 else total.sum(0) for total in (by_w, by_p, by_into, by_bias))
    return by_h0, (by_w if dense else by_w[:, 0]) if with_w else None, by_p if value.numel() else None, by_into, by_bias


def drives(*tensors: Tensor | None) -> bool:
    """Whether `driven_states` takes these tensors: plain ones of one type on the CPU, with something in them, and with a BLAS."""
    first = tensors[0]
    if first is None or not compiles(first) or ADDRESSES[0] == 0:
        return False
    kind = first.dtype
    return all(t is None or (type(t) in ORDINARY and t.dtype == kind and t.device.type == "cpu" and t.numel()) for t in tensors)


def seconds(numbers: int, products: int) -> float:
    """About what one thread takes: a nanosecond a number for the elementwise work, 50 GFLOP/s for the products."""
    return numbers * (1e-9 + 4e-11 * products)


def routines(dtype: torch.dtype) -> tuple[int, int]:
    """Addresses of the matrix product and of the thread setting, zeros for none."""
    return (ADDRESSES[0] if dtype == torch.float32 else ADDRESSES[1]), ADDRESSES[2]
