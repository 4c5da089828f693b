r"""The recurrence as a differentiable operation.

    h_k = h_{k-1} + p sigma(W h_{k-1} + x_k),   k = 1, ..., T

for E copies at once (shapes in `perdure.ops.recurrence.kernels`). Backward, with d_k = sigma'(z_k), q_k = dL/dx_k and g_T = dL/dh_T:

    q_k = p d_k g_k,   g_{k-1} = g_k + W^T q_k + dL/dh_{k-1},   dL/dW = sum_k q_k h_{k-1}^T,   dL/dp = sum_k g_k sigma(z_k).

Forward mode, for tangents (dx, dW, dh_0, dp):   dh_k = dh_{k-1} + p d_k (W dh_{k-1} + dW h_{k-1} + dx_k) + dp sigma(z_k).

Three wrappings of the same two kernels: `Recurrence` for ordinary use, `Transformable` for torch.func (which costs a little more a call),
and two custom operators for torch.compile, which sees them as black boxes.
"""

# torch calls the methods of a Function with as many arguments as it has inputs, whatever its stubs say
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.ops.recurrence.kernels import gradients, states

ONCE = "the fast kernel of perdure.ops.recurrence is differentiable once: pass kernel='reference' (plain torch operations) for second derivatives"


class Recurrence(torch.autograd.Function):
    """States (E, T, B, m) and the last of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool) -> Any:
        """The states, the last one, sigma'(z) and sigma(z)."""
        output = states(x, w, h0, p, name, keep_slope, keep_value)
        _keep(ctx, (x, w, h0, p), output)
        return output

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, grad_last: Tensor | None, *_: Any) -> Any:
        """Gradients of x, w, h0, p."""
        args: Any = (*ctx.saved_tensors, grad_out, grad_last, ctx.shared_x, ctx.needs_input_grad[1])
        found: Any = Gradient.apply(*args) if torch.is_grad_enabled() else gradients(*args)
        return (*found, None, None, None)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None, dh0: Tensor | None, dp: Tensor | None, *_: Any) -> Any:
        """Tangents of the states and of the last one."""
        w, h0, p, out, slope, value = ctx.saved_tensors
        dense, copies, gain = w.ndim == 3, w.shape[0], p[:, None]
        h = h0.expand(copies, -1, -1)
        dh = torch.zeros_like(h) if dh0 is None else dh0.expand(copies, -1, -1)
        tangents = []
        for k in range(out.shape[1]):
            dz = dh @ w.transpose(1, 2) if dense else w[:, None] * dh
            if dw is not None:
                dz = dz + (h @ dw.transpose(1, 2) if dense else dw[:, None] * h)
            if dx is not None:
                dz = dz + dx[:, k]
            dh = dh + gain * slope[:, k] * dz
            if dp is not None:
                dh = dh + dp[:, None] * value[:, k]
            tangents.append(dh)
            h = out[:, k]
        return torch.stack(tangents, 1) if tangents else torch.zeros_like(out), dh, None, None


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    x, w, h0, p = inputs
    out, _, slope, value = output
    ctx.mark_non_differentiable(slope, value)
    ctx.set_materialize_grads(False)
    ctx.shared_x = x.shape[0] != w.shape[0]
    ctx.save_for_backward(w, h0, p, out, slope, value)
    ctx.save_for_forward(w, h0, p, out, slope, value)


class Transformable(torch.autograd.Function):
    """`Recurrence` for torch.func: grad, vmap, jvp and their compositions."""

    jvp = Recurrence.jvp

    @staticmethod
    def forward(x: Tensor, w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool) -> Any:
        """The states, the last one, sigma'(z) and sigma(z)."""
        return states(x, w, h0, p, name, keep_slope, keep_value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep what both modes of differentiation need."""
        _keep(ctx, inputs[:4], output)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, grad_last: Tensor | None, *_: Any) -> Any:
        """Gradients of x, w, h0, p."""
        found = Gradient.apply(*ctx.saved_tensors, grad_out, grad_last, ctx.shared_x, ctx.needs_input_grad[1])
        return (*found, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, w: Tensor, h0: Tensor, p: Tensor, *rest: Any) -> tuple[Any, Any]:
        """A vmapped dimension becomes further copies: one call for all of them."""
        size, copies = info.batch_size, _copies(w, in_dims[1])
        args = [_folded(t, dim, size, copies) for t, dim in zip((x, w, h0, p), in_dims, strict=False)]
        return _unfolded(Transformable.apply(*args, *rest), size, copies)


class Gradient(torch.autograd.Function):
    """The backward pass as an operation of its own: vmap sees it, and a second differentiation is refused by name."""

    @staticmethod
    def forward(*args: Any) -> Any:
        """Gradients of x, w, h0, p; arguments as for `gradients`."""
        return gradients(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept: there is no way on from here."""

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Refused."""
        raise RuntimeError(ONCE)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        """Refused."""
        raise RuntimeError(ONCE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        """Fold a vmapped dimension into the copies, as `Transformable.vmap` does."""
        *tensors, shared_x, wants_w = args
        size, copies = info.batch_size, _copies(args[0], in_dims[0])
        shared_h0 = _copies(args[1], in_dims[1]) != copies
        folded = [None if t is None else _folded(t, dim, size, copies) for t, dim in zip(tensors, in_dims, strict=False)]
        parts: Any = Gradient.apply(*folded, False, wants_w)
        q, by_w, by_h0, by_p = (None if t is None else t.unflatten(0, (size, copies)) for t in parts)
        q = q.sum(1, keepdim=True) if q is not None and shared_x and copies > 1 else q
        by_h0 = by_h0.sum(1, keepdim=True) if by_h0 is not None and shared_h0 else by_h0
        found = (q, by_w, by_h0, by_p)
        return found, tuple(None if t is None else 0 for t in found)


def _copies(t: Tensor, dim: int | None) -> int:
    """E of a tensor that may have a vmapped dimension besides."""
    return t.shape[0] if dim is None or dim > 0 else t.shape[1]


def _folded(t: Tensor, dim: int | None, size: int, copies: int) -> Tensor:
    if t.numel() == 0 and t.ndim <= 2 + (dim is not None):  # something that was not kept
        return t if dim is None else t.select(dim, 0)
    t = t.movedim(dim, 0) if dim is not None else t.expand(size, *t.shape)
    return t.expand(size, copies, *t.shape[2:]).flatten(0, 1)


def _unfolded(results: tuple[Tensor, ...], size: int, copies: int) -> tuple[Any, Any]:
    out, last, *kept = results
    whole = [t.unflatten(0, (size, copies)) if t.numel() else t for t in kept]
    found = (out.unflatten(0, (size, copies)), last.unflatten(0, (size, copies)), *whole)
    return found, (0, 0, *(0 if t.numel() else None for t in kept))


# schemas are written out: torch reads them off annotations only where nothing wraps the function, as type checkers at run time do
@torch.library.custom_op(
    "perdure::recurrence",
    mutates_args=(),
    schema="(Tensor x, Tensor w, Tensor h0, Tensor p, str name, bool keep_slope, bool keep_value) -> (Tensor, Tensor, Tensor, Tensor)",
)
def compiled_recurrence(
    x: Tensor, w: Tensor, h0: Tensor, p: Tensor, name: str, keep_slope: bool, keep_value: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`states`, as torch.compile sees it."""
    return states(x, w, h0, p, name, keep_slope, keep_value)


@compiled_recurrence.register_fake
def _(x, w, h0, p, name, keep_slope, keep_value):
    out = x.new_empty(w.shape[0], *x.shape[1:])
    kept = [torch.empty_like(out) if keep else x.new_empty(0) for keep in (keep_slope, keep_value)]
    return out, x.new_empty(w.shape[0], *h0.shape[1:]), *kept


@torch.library.custom_op(
    "perdure::recurrence_gradients",
    mutates_args=(),
    schema="(Tensor w, Tensor h0, Tensor p, Tensor out, Tensor slope, Tensor value, Tensor grad_out, Tensor grad_last, bool shared_x)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def compiled_gradients(
    w: Tensor, h0: Tensor, p: Tensor, out: Tensor, slope: Tensor, value: Tensor, grad_out: Tensor, grad_last: Tensor, shared_x: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`gradients`, as torch.compile sees them."""
    q, by_w, by_h0, by_p = gradients(w, h0, p, out, slope, value, grad_out, grad_last, shared_x, True)
    return q, torch.zeros_like(w) if by_w is None else by_w, by_h0, torch.zeros_like(p) if by_p is None else by_p


@compiled_gradients.register_fake
def _(w, h0, p, out, slope, value, grad_out, grad_last, shared_x):
    return out.new_empty(1 if shared_x else out.shape[0], *out.shape[1:]), torch.empty_like(w), torch.empty_like(h0), torch.empty_like(p)


def _compiled_backward(ctx: Any, grad_out: Tensor, grad_last: Tensor, *_: Any) -> Any:
    return (*compiled_gradients(*ctx.saved_tensors, grad_out, grad_last, ctx.shared_x), None, None, None)


def _compiled_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, w, h0, p, *_ = inputs
    ctx.shared_x = x.shape[0] != w.shape[0]
    ctx.save_for_backward(w, h0, p, output[0], output[2], output[3])


compiled_recurrence.register_autograd(_compiled_backward, setup_context=_compiled_setup)
