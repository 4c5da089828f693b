"""Many inputs and outputs: two matrix products with the compiled scan between them, a piece at a time, so that the states stay in the cache.

Neither pass keeps the states: the forward pass leaves those at the start of each piece, and the backward pass forms the others again. The rows are
shared out over threads, each with its own products; a single row is worked through by one thread, and its products use all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perdure._typing import Array
from perdure.ops import announce
from perdure.ops.recurrence.blas import ADDRESSES, own_threads
from perdure.ops.state_space import scan_loops as loops
from perdure.ops.state_space.again import gradients
from perdure.ops.state_space.packing import Poles, joined, stacked
from perdure.ops.threads import WORTH, Span, share, spans

PIECE = 1 << 17  # numbers in the states of a piece: half a megabyte of float32, which a core keeps in its second cache
FEW = 24  # columns
SECONDS = 1.0e-11  # of one thread a multiplication (float32, AMD EPYC, 2024)


class Projected(torch.autograd.Function):
    """Outputs (B, T, o) and last states (B, N, P) of a `System`, given by its fields; `keep` what the backward pass needs."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, log_modulus: Tensor, angle: Tensor | None, b: Tensor, c: Tensor, h0: Tensor | None, lengths: Tensor | None,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """One pass over the input."""
        (rows, steps, d), (n, p, _), o = u.shape, b.shape, c.shape[0]
        ctx.save_for_backward(u, log_modulus, angle, b, c, h0, lengths)
        ctx.set_materialize_grads(False)
        u = u.detach().contiguous()
        poles = Poles.of(log_modulus, angle, u.numpy().dtype, loops.TILE)
        weights = stacked(u.numpy().dtype, poles.a, poles.correction)
        size = weights.shape[1]
        into, out, weights = _columns(b.permute(2, 1, 0), size), _columns(c.transpose(1, 2), size), weights.ravel()
        h, y, ends = u.new_zeros(rows, p, size), u.new_empty(rows, steps, o), _ends(lengths, rows, steps)
        if h0 is not None:
            h[..., :n] = h0.detach().transpose(1, 2)
        parts, alone = _parts(rows, SECONDS * rows * steps * p * size * (d + o))
        plans = [list(_pieces(first, last, steps, p * size)) for first, last, _, _ in parts]
        marks, run = [[h[:0]] * len(plan) for plan in plans], loops.FORWARD[p]

        def work(i: int, span: Span) -> None:
            with _products_of_its_own(alone):
                buffer = u.new_empty(_largest(plans[i]), p * size)
                for k, (first, last, start, end) in enumerate(plans[i]):
                    if keep:
                        marks[i][k] = h[first:last].clone()
                    count, wanted = (last - first) * (end - start), np.clip(ends[first:last] - start, 0, end - start)
                    x = torch.mm(u[first:last, start:end].view(count, d), into, out=buffer[:count])
                    run(x.view(last - first, end - start, p * size).numpy(), weights, h[first:last].numpy(), wanted)
                    _project(x, out, y[first:last, start:end].view(count, o))

        with announce.compiling(run):
            share(work, parts)
        ctx.kept = poles, weights, into, out, parts, alone, plans, marks
        return y, h[..., :n].transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None = None, gh: Tensor | None = None, *_: Any) -> tuple[Tensor | None, ...]:
        """Gradients of u, log_modulus, angle, b, c, h0."""
        if torch.is_grad_enabled():
            return gradients(ctx, gy, gh)
        u, _, _, b, c, h0, lengths = ctx.saved_tensors
        poles, weights, into, out, parts, alone, plans, marks = ctx.kept
        (rows, steps, d), (n, p, _), o = u.shape, b.shape, c.shape[0]
        u, size = u.detach().contiguous(), into.shape[1] // p
        by_y = u.new_zeros(rows, steps, o) if gy is None else gy.contiguous()
        m, by_u, ends = u.new_zeros(rows, p, size), torch.empty_like(u), _ends(lengths, rows, steps)
        if gh is not None:
            m[..., :n] = gh.transpose(1, 2)
        by_into, by_out = into.new_zeros(len(parts), *into.shape), out.new_zeros(len(parts), *out.shape)
        sums, forth, run = np.zeros((len(parts), p * size)), loops.FORWARD[p], loops.BACKWARD[p]

        def work(i: int, span: Span) -> None:
            with _products_of_its_own(alone):
                states, adjoints = u.new_empty(2, _largest(plans[i]), p * size)
                for (first, last, start, end), mark in zip(reversed(plans[i]), reversed(marks[i]), strict=True):
                    shape, count = (last - first, end - start, p * size), (last - first) * (end - start)
                    wanted = np.clip(ends[first:last] - start, 0, end - start)
                    given, signal = u[first:last, start:end].view(count, d), by_y[first:last, start:end].view(count, o)
                    x = torch.mm(given, into, out=states[:count])
                    forth(x.view(shape).numpy(), weights, mark.clone().numpy(), wanted)
                    by_out[i].addmm_(signal.T, x)
                    g = torch.mm(signal, out, out=adjoints[:count])
                    run(g.view(shape).numpy(), x.view(shape).numpy(), mark.numpy(), weights, m[first:last].numpy(), sums[i], wanted)
                    by_into[i].addmm_(given.T, g)
                    _project(g, into, by_u[first:last, start:end].view(count, d))

        with announce.compiling(run):
            share(work, parts)
        by_b = by_into.sum(0).view(d, p, size)[..., :n].permute(2, 1, 0)
        by_c = by_out.sum(0).view(o, p, size)[..., :n].transpose(1, 2)
        by_h0 = m[..., :n].transpose(1, 2) if h0 is not None else None
        return by_u, *poles.log_gradients(joined(sums.sum(0).reshape(p, size)[:, :n])), by_b, by_c, by_h0, None, None


def _parts(rows: int, seconds: float) -> tuple[list[Span], bool]:
    """Rows for each thread, and whether the products of a thread stay on it: not those of one long row, which are worth sharing out."""
    if not ADDRESSES[2]:  # products cannot be kept to the thread that asks for them
        return [(0, rows, 0, 1)], False
    parts = spans(rows, 1, seconds)
    return parts, len(parts) > 1 or seconds < 2 * WORTH


@contextmanager
def _products_of_its_own(alone: bool) -> Iterator[None]:
    """Matrix products of this thread stay on it if `alone`; no graph is recorded."""
    before = own_threads(ADDRESSES[2], 1) if alone else 0
    try:
        with torch.no_grad():
            yield
    finally:
        if alone:
            own_threads(ADDRESSES[2], before)


def _pieces(first: int, last: int, steps: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """(first row, last row, start, end): several short rows together, or a part of one long row, whole tiles long."""
    budget = max(1, PIECE // width)
    if steps <= budget:
        together = budget // steps
        yield from ((r, min(r + together, last), 0, steps) for r in range(first, last, together))
        return
    part = max(1, budget // loops.TILE) * loops.TILE
    yield from ((r, r + 1, t, min(t + part, steps)) for r in range(first, last) for t in range(0, steps, part))


def _largest(pieces: list[tuple[int, int, int, int]]) -> int:
    return max((last - first) * (end - start) for first, last, start, end in pieces)


def _ends(lengths: Tensor | None, rows: int, steps: int) -> Array:
    return np.full(rows, steps) if lengths is None else lengths.numpy()


def _project(x: Tensor, weights: Tensor, to: Tensor) -> None:
    """X weights^T, (count, k), into `to`: for few columns by way of its transpose, which MKL computes up to four times faster."""
    if weights.shape[0] < FEW:
        to.copy_(torch.mm(weights, x.T).T)
    else:
        torch.mm(x, weights.T, out=to)


def _columns(t: Tensor, size: int) -> Tensor:
    """`t` (rows, P, N) with zeros up to `size` states: (rows, P size)."""
    out = t.new_zeros(t.shape[0], t.shape[1], size)
    out[..., : t.shape[2]] = t.detach()
    return out.view(t.shape[0], -1)
