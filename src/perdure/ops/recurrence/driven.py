r"""The recurrence together with the linear map that drives it, as one differentiable operation.

    h_k = h_{k-1} + p sigma(W h_{k-1} + U u_k + b),   k = 1, ..., T.

As two operations they pass x = U u + b and its gradient q through memory of the size of all states, and more time goes into that and into
products over all steps than into the recurrence itself. The compiled loops do both for a few steps at a time:

    dL/du_k = U^T q_k,   dL/dU = sum_k q_k u_k^T,   dL/db = sum_k q_k;   the others are those of `perdure.ops.recurrence.function`.
"""

# torch calls the methods of a Function with as many arguments as it has inputs, whatever its stubs say
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from perdure.ops.recurrence import kernels, recurrence, transformed
from perdure.ops.recurrence.function import ONCE


class Driven(torch.autograd.Function):
    """States (1, T, B, m) and the last of them, by the compiled loops."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, into: Tensor, bias: Tensor | None, w: Tensor, h0: Tensor, p: Tensor, name: str, keep: bool, keep_value: bool
    ) -> Any:
        """From u (T, B, d), U (m, d), b (m,), W (1, m, m) or its diagonal (1, m), h0 (1, B, m), p (1, m)."""
        out, slope, value = kernels.driven_states(u, into, bias, w, h0, p, name, keep, keep_value)
        if keep:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(u, into, w, h0, p, out, slope, value)
        return out, out[:, -1].clone()

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, grad_last: Tensor | None) -> Any:
        """Gradients of u, U, b, W, h0, p."""
        args: Any = (*ctx.saved_tensors, grad_out, grad_last, *ctx.needs_input_grad[:4])
        found: Any = DrivenGradient.apply(*args) if torch.is_grad_enabled() else _gradients(*args)
        return (*found, None, None, None)


class DrivenGradient(torch.autograd.Function):
    """The backward pass as an operation of its own, so that a second differentiation is refused by name."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """As `_gradients`."""
        return _gradients(*args)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Refused."""
        raise RuntimeError(ONCE)


def _gradients(
    u: Tensor, into: Tensor, w: Tensor, h0: Tensor, p: Tensor, out: Tensor, slope: Tensor, value: Tensor, grad_out: Tensor | None,
    grad_last: Tensor | None, wants_u: bool, wants_into: bool, wants_bias: bool, wants_w: bool,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    kept = (out, slope, value)
    by_u, by_into, by_bias, *rest = kernels.driven_gradients(u, into, w, h0, p, kept, grad_out, grad_last, wants_u, wants_w)
    return by_u, by_into if wants_into else None, by_bias if wants_bias else None, *rest


def driven(
    u: Tensor, into: Tensor, bias: Tensor | None, weight: Tensor, h0: Tensor, *, step: float | Tensor = 1.0, activation: str = "tanh"
) -> tuple[Tensor, Tensor]:
    r"""`recurrence` of x = U u + b: the states h_k = h_{k-1} + p sigma(W h_{k-1} + U u_k + b) and the last of them.

    Args:
        u: input (T, B, d).
        into: U (m, d).
        bias: b (m,), or None.
        weight: W (m, m), or its diagonal (m,).
        h0: (B, m).
        step: p, a number or one for each state (m,).
        activation: sigma, as for `recurrence`.

    Returns:
        States (T, B, m) and the last one (B, m).
    """
    if torch.compiler.is_compiling() or transformed() or not kernels.drives(u, into, bias, weight, h0):
        return recurrence(functional.linear(u, into, bias), weight, h0, step=step, activation=activation)
    m = into.shape[0]
    p = step.expand(1, m) if isinstance(step, Tensor) else u.new_full((1, m), step)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (u, into, bias, weight, h0, p))
    args: Any = (u, into, bias, weight[None], h0[None], p, activation, learns, learns and p.requires_grad)
    states, last = Driven.apply(*args)  # pyright: ignore[reportGeneralTypeIssues]
    return states.squeeze(0), last.squeeze(0)  # the gradient of an index would be copied into zeros
