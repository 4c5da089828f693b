"""One input and one output: the compiled loops as a differentiable operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from perdure._typing import Array
from perdure.ops import announce
from perdure.ops.state_space import fused_loops as loops
from perdure.ops.state_space.again import gradients
from perdure.ops.state_space.packing import Poles, coordinates, joined, numbers, padded, stacked, tensor
from perdure.ops.state_space.simd import BYTES
from perdure.ops.threads import Span, share, spans

# seconds of one thread a step, a state and a real coordinate (float32, AMD EPYC, 2024)
FORWARD, BACKWARD = 6.5e-11, 2.0e-10


class Fused(torch.autograd.Function):
    """Outputs (B, T, 1) and last states (B, N, P) of a `System` with d = o = 1, given by its fields; `keep` what the backward pass needs."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, log_modulus: Tensor, angle: Tensor | None, b: Tensor, c: Tensor, h0: Tensor | None, lengths: Tensor | None,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """One pass over the input."""
        (rows, steps, _), (n, p, _) = u.shape, b.shape
        given = u.contiguous().view(rows, steps).numpy()
        dtype = given.dtype
        poles = Poles.of(log_modulus, angle, dtype, loops.TILE)
        gain, phase = _polar(numbers(b[..., 0]))
        packed = stacked(dtype, poles.a, gain, numbers(c[0]) / phase, poles.correction)
        size = packed.shape[1]
        h = np.zeros((rows, p, size), dtype) if h0 is None else padded(coordinates(numbers(h0) / phase), dtype)
        marks = torch.empty(rows, -(-steps // loops.TILE) if keep else 0, p, size, dtype=u.dtype).numpy()
        ends = np.full(rows, steps) if lengths is None else lengths.numpy()
        parts = spans(rows, size * dtype.itemsize // BYTES, FORWARD * p * rows * steps * size)
        y, weights, run = u.new_zeros(_copies(parts), rows, steps), packed.ravel(), loops.FORWARD[p]
        out = y.numpy()

        def work(i: int, span: Span) -> None:
            run(given, weights, out[i % len(out)], h, marks, ends, *span)

        with announce.compiling(run):
            share(work, parts)
        ctx.save_for_backward(u, log_modulus, angle, b, c, h0, lengths)
        ctx.kept = poles, phase, weights, marks
        ctx.set_materialize_grads(False)
        return (y[0] if len(y) == 1 else y.sum(0))[..., None], tensor(joined(h[..., :n]) * phase, u.dtype)

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None = None, gh: Tensor | None = None, *_: Any) -> tuple[Tensor | None, ...]:
        """Gradients of u, log_modulus, angle, b, c, h0."""
        if torch.is_grad_enabled():
            return gradients(ctx, gy, gh)
        u, _, _, b, _, h0, lengths = ctx.saved_tensors
        poles, phase, weights, marks = ctx.kept
        (rows, steps, _), (n, p, _), size = u.shape, b.shape, marks.shape[3]
        given = u.contiguous().view(rows, steps).numpy()
        signal = (torch.zeros_like(u) if gy is None else gy.contiguous()).view(rows, steps).numpy()
        dtype = given.dtype
        m = np.zeros((rows, p, size), dtype) if gh is None else padded(coordinates(numbers(gh) / phase), dtype)
        ends = np.full(rows, steps) if lengths is None else lengths.numpy()
        parts = spans(rows, size * dtype.itemsize // BYTES, BACKWARD * p * rows * steps * size)
        gu, sums, run = u.new_zeros(_copies(parts), rows, steps), np.zeros((len(parts), 3 * p * size)), loops.BACKWARD[p]
        out = gu.numpy()

        def work(i: int, span: Span) -> None:
            run(given, signal, weights, out[i % len(out)], marks, m, sums[i], ends, *span)

        with announce.compiling(run):
            share(work, parts)
        by_a, by_b, by_c = joined(sums.sum(0).reshape(3, p, size)[..., :n])
        return (
            (gu[0] if len(gu) == 1 else gu.sum(0))[..., None],
            *poles.log_gradients(by_a),
            tensor(by_b * phase, b.dtype)[..., None],
            tensor(by_c * phase, b.dtype)[None],
            None if h0 is None else tensor(joined(m[..., :n]) * phase, u.dtype),
            None,
            None,
        )


def _polar(b: Array) -> tuple[Array, Array]:
    """|b| and e^(i arg b): b is real in states turned by its phase, which saves a product a step. Real b as they are, with phase 1."""
    if not np.iscomplexobj(b):
        return b, np.ones((), b.dtype)
    b = b.astype(np.complex128)
    gain = np.abs(b)
    with np.errstate(all="ignore"):
        return gain, np.where(gain == 0, 1.0, b / gain)


def _copies(parts: list[Span]) -> int:
    """Buffers for the output: parts that share rows, and differ in their states, write one each."""
    return 1 if len(parts) == 1 or parts[0][0] != parts[1][0] else len(parts)
