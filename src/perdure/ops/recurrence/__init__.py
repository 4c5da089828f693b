r"""h_k = h_{k-1} + p sigma(W h_{k-1} + x_k): the nonlinear recurrence, for one weight set or many at once."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.ops.recurrence import reference
from perdure.ops.recurrence.activations import ACTIVATIONS, get_activation
from perdure.ops.recurrence.function import Recurrence, Transformable, compiled_recurrence

KERNELS = ("fast", "reference")
_functorch = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


def transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work."""
    return _functorch() or torch.autograd.forward_ad._current_level >= 0


def recurrence(
    x: Tensor,
    weight: Tensor,
    h0: Tensor | None = None,
    *,
    step: float | Tensor = 1.0,
    activation: str = "tanh",
    kernel: str = "fast",
) -> tuple[Tensor, Tensor]:
    r"""The states h_k = h_{k-1} + p sigma(W h_{k-1} + x_k), k = 1, ..., T, and the last of them.

    With p = dt this is Euler's method for dh/dt = sigma(W h + x), the discretisation of Wang, Li & Li (2024). The fast kernel is
    one operation with a backward pass written by hand: on the CPU in float32 and float64 compiled loops with one matrix product a step,
    elsewhere plain torch; forward-mode differentiation, torch.func and torch.compile understand it.

    Args:
        x: drive U u + b, (T, B, m); for copies that do not share it, (E, T, B, m).
        weight: W, (m, m), or its diagonal (m,), or E of either: (E, m, m), (E, 1, m).
        h0: (B, m) or (E, B, m); None for zeros.
        step: p, a number or one for each state, (m,) or (E, m).
        activation: sigma, one of tanh, hardtanh, linear, relu, sigmoid, softplus, elu, gelu, silu, softsign.
        kernel: "fast", or "reference" (plain torch operations, differentiable any number of times).

    Returns:
        States (T, B, m) and the last one (B, m); with copies (E, T, B, m) and (E, B, m). Without steps the last state is h0.

    Raises:
        ArgumentError: shapes that do not fit, an unknown name.
        ArgumentTypeError: tensors of different types.

    >>> x = torch.ones(3, 1, 1, dtype=torch.float64)
    >>> states, last = recurrence(x, torch.tensor([[-1.0]], dtype=torch.float64), step=0.5, activation="linear")
    >>> states.flatten().tolist()
    [0.5, 0.75, 0.875]
    """
    copies, diagonal = _shapes(x, weight, h0)
    m = x.shape[-1]
    _checks.choice(kernel, "kernel", KERNELS)
    get_activation(activation)
    first = (weight if copies else weight[None]).reshape(-1, m) if diagonal else (weight if copies else weight[None])
    if not copies and x.ndim == 4:
        first = first.expand(x.shape[0], *first.shape[1:])
    drive = x if x.ndim == 4 else x[None]
    start = x.new_zeros(1, x.shape[-2], m) if h0 is None else (h0 if h0.ndim == 3 else h0[None])
    given = step if isinstance(step, Tensor) else x.new_full((1,), step)
    gain = given.expand(first.shape[0], m)
    args = (drive, first, start, gain)
    if kernel == "reference":
        states, last = reference.recurrence(*args, activation)
    else:
        learns = torch.is_grad_enabled() and any(t.requires_grad for t in args)
        always = transformed()
        keep, keep_value = learns or always, always or (learns and gain.requires_grad)
        operation = compiled_recurrence if torch.compiler.is_compiling() else (Transformable if _functorch() else Recurrence).apply
        states, last, *_ = operation(*args, activation, keep, keep_value)
    if copies or x.ndim == 4:
        return states, last
    return states.squeeze(0), last.squeeze(0)  # the gradient of an index would be copied into zeros


def _shapes(x: Tensor, weight: Tensor, h0: Tensor | None) -> tuple[bool, bool]:
    """Whether there are copies, and whether the weight is a diagonal."""
    if x.ndim not in (3, 4):
        raise _checks.fail("x", "of shape (T, B, m) or (E, T, B, m)", tuple(x.shape), "time first")
    m = x.shape[-1]
    shape = tuple(weight.shape)
    diagonal = shape == (m,) or (weight.ndim == 3 and shape[1:] == (1, m) and m > 1)
    if not diagonal and shape[-2:] != (m, m):
        raise _checks.fail("weight", f"of shape ({m}, {m}), ({m},), (E, {m}, {m}) or (E, 1, {m})", shape, "x has that many states")
    copies = weight.ndim == 3
    if x.ndim == 4 and copies and x.shape[0] not in (1, shape[0]):
        raise _checks.fail("x", f"of {shape[0]} copies, as `weight`", tuple(x.shape), "give each copy its own drive, or all one (T, B, m)")
    if h0 is not None and (h0.ndim not in (2, 3) or tuple(h0.shape[-2:]) != (x.shape[-2], m)):
        raise _checks.fail("h0", f"of shape ({x.shape[-2]}, {m}) or (E, {x.shape[-2]}, {m})", tuple(h0.shape), "one state for each row")
    for name, tensor in (("weight", weight), ("h0", h0)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise ArgumentTypeError(f"expected argument `{name}` to be of {x.dtype}, as `x`, but got {tensor.dtype}: convert one of them")
    return copies, diagonal


__all__ = ["ACTIVATIONS", "get_activation", "recurrence"]
