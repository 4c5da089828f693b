r"""What a recurrence gives, without its states and without gradients: y_k = C h_k and the last state.

    h_k = h_{k-1} + p sigma(W h_{k-1} + U u_k + b),   k = 1, ..., T,

for many copies of a network, each with its own U, b, W, C or input. `perdure.ops.recurrence.compiled_outputs` says what that saves.
"""

# torch calls the methods of a Function with as many arguments as it has inputs, whatever its stubs say
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.ops import announce
from perdure.ops.recurrence import kernels
from perdure.ops.recurrence.activations import CODES, get_activation
from perdure.ops.threads import Span, share, spans

compiled: Any
try:
    from perdure.ops.recurrence import compiled_outputs as compiled
except ImportError:  # no numba
    compiled = None

ROWS = 16  # of a batch, below which the vector units would stay empty


def outputs(
    u: Tensor,
    into: Tensor,
    bias: Tensor | None,
    weight: Tensor,
    readout: Tensor,
    *,
    step: float | Tensor = 1.0,
    activation: str = "tanh",
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Outputs y_k = C h_k of h_k = h_{k-1} + p sigma(W h_{k-1} + U u_k + b), and the last state; no gradients.

    On the CPU, in float32 and float64, the states are never stored: neither time nor memory goes into them. Elsewhere, and where a batch has
    few rows, the same numbers come by way of all states. A dimension of torch.func.vmap becomes copies.

    Args:
        u: input (T, B, d), or (E, T, B, d) for copies that do not share it; so for the others.
        into: U (m, d).
        bias: b (m,), or None.
        weight: W (m, m), or its diagonal (m,); of copies (E, m, m) or (E, 1, m).
        readout: C (o, m); without rows, (0, m), where the last state is all that is wanted.
        step: p, a number or one for each state, (m,).
        activation: sigma, as for `recurrence`.
        h0: (B, m); None for zeros.

    Returns:
        y (T, B, o) and the last state (B, m); with copies in any argument (E, T, B, o) and (E, B, m).

    Raises:
        ArgumentError: shapes that do not fit, an unknown name.
        ArgumentTypeError: tensors of different types.

    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> y, last = outputs(torch.ones(3, 1, 1, dtype=torch.float64), one, None, -one, 2 * one, step=0.5, activation="linear")
    >>> y.flatten().tolist(), last.tolist()
    ([1.0, 1.5, 1.75], [[0.875]])
    """
    get_activation(activation)
    rows, m = _size(u, "u", 3, -2), _size(into, "into", 2, -2)
    dense = tuple(weight.shape[-2:]) == (m, m)
    if not dense and (weight.ndim == 2 or weight.shape[:-1] not in ((), (weight.shape[0], 1))):
        raise _checks.fail(
            "weight", f"of shape ({m}, {m}), ({m},), (E, {m}, {m}) or (E, 1, {m})", tuple(weight.shape), "`into` has that many rows"
        )
    gain = step if isinstance(step, Tensor) else u.new_full((m,), step)
    given = {
        "u": (u, (u.shape[-3], rows, into.shape[-1])),
        "into": (into, (m, into.shape[-1])),
        "bias": (u.new_zeros(m) if bias is None else bias, (m,)),
        "weight": (weight, (m, m)) if dense else (weight if weight.ndim == 1 else weight[:, 0], (m,)),
        "readout": (readout, (_size(readout, "readout", 2, -2), m)),
        "step": (gain, (m,)),
        "h0": (u.new_zeros(rows, m) if h0 is None else h0, (rows, m)),
    }
    copies = {t.shape[0] for t, shape in given.values() if t.ndim > len(shape)}
    for name, (t, shape) in given.items():
        lead, own = tuple(t.shape[: -len(shape)]), tuple(t.shape[-len(shape) :])
        if own != shape or lead not in ((), (1,), (max(copies, default=1),)):
            fits = f"of shape {shape}" + (f" or {(max(copies), *shape)}" if copies else "")
            raise _checks.fail(name, fits, tuple(t.shape), "`into` says how many states, `u` how many steps, rows and channels")
        if t.dtype != u.dtype:
            raise ArgumentTypeError(f"expected argument `{name}` to be of {u.dtype}, as `u`, but got {t.dtype}: convert one of them")
    whole = [t if t.ndim > len(shape) else t[None] for t, shape in given.values()]
    y, last = Outputs.apply(*whole, activation)  # pyright: ignore[reportGeneralTypeIssues]
    return (y, last) if copies else (y[0], last[0])


def _size(t: Tensor, name: str, least: int, axis: int) -> int:
    """The length of an axis of a tensor that has at least so many of them."""
    if t.ndim < least:
        raise _checks.fail(name, f"with {least} axes, or {least + 1} for copies", tuple(t.shape), "add the missing ones")
    return t.shape[axis]


def serves(*tensors: Tensor) -> bool:
    """Whether no gradient of these tensors is wanted, of any kind, and the compiled loops take them; the first is u (T, B, d)."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.autograd.forward_ad._current_level >= 0:
        return False
    return compiled is not None and tensors[0].shape[-2] >= ROWS and kernels.drives(*tensors)


class Outputs(torch.autograd.Function):
    """y (E, T, B, o) and last states (E, B, m); every tensor leads with E or 1."""

    @staticmethod
    def forward(
        u: Tensor, into: Tensor, bias: Tensor, w: Tensor, readout: Tensor, p: Tensor, h0: Tensor, name: str
    ) -> tuple[Tensor, Tensor]:
        """From u (E, T, B, d), U (E, m, d), b (E, m), W (E, m, m) or its diagonal (E, m), C (E, o, m), p (E, m), h0 (E, B, m)."""
        tensors = (u, into, bias, w, readout, p, h0)
        if compiled is None or not kernels.compiles(u) or u.shape[2] < ROWS:
            return _stored(*tensors, name)
        return _run(*tensors, name)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept: there are no gradients."""
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Never called."""
        raise NotImplementedError

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        """A vmapped dimension becomes further copies; what they share stays one."""
        *tensors, name = args
        moved = [t[None] if dim is None else t.movedim(dim, 0) for t, dim in zip(tensors, in_dims, strict=False)]
        size, copies = info.batch_size, max(t.shape[1] for t in moved)
        folded = [t.flatten(0, 1) if copies == 1 else t.expand(size, copies, *t.shape[2:]).flatten(0, 1) for t in moved]
        y, last = Outputs.apply(*folded, name)  # pyright: ignore[reportGeneralTypeIssues]
        return (y.unflatten(0, (size, copies)), last.unflatten(0, (size, copies))), (0, 0)


def _stored(u: Tensor, into: Tensor, bias: Tensor, w: Tensor, readout: Tensor, p: Tensor, h0: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """By way of all states."""
    count = max(t.shape[0] for t in (u, into, bias, w, readout, p, h0))
    weight = (w if w.ndim == 3 else w[:, None]).expand(count, *([-1] * 2))
    x = u @ into.transpose(1, 2)[:, None] + bias[:, None, None]
    states, last, *_ = kernels.states(x, weight if w.ndim == 3 else weight[:, 0], h0, p.expand(count, -1), name, False, False)
    return states @ readout.transpose(1, 2)[:, None], last


def _run(u: Tensor, into: Tensor, bias: Tensor, w: Tensor, readout: Tensor, p: Tensor, h0: Tensor, name: str) -> tuple[Tensor, Tensor]:
    tensors = (u, into, bias, w, readout, p, h0)
    count, (steps, batch, d), (o, m), dense = max(t.shape[0] for t in tensors), u.shape[1:], readout.shape[1:], w.ndim == 3
    both = max(w.shape[0], into.shape[0])
    a = torch.cat((w.expand(both, -1, -1), into.expand(both, -1, -1)), -1) if dense else into
    diagonal = w.new_empty(0, 0) if dense else w
    y, last = kernels.buffer(u, count, steps, o, batch), u.new_empty(count, batch, m)
    arrays = [t.detach().contiguous().numpy() for t in (a, diagonal, bias, p, u.transpose(2, 3), readout, h0, y, last)]
    blas, sizes, code = kernels.routines(u.dtype), (steps, m, d, o), CODES[name]

    def work(_: int, span: Span) -> None:
        compiled.outputs(blas, code, *arrays, sizes, span)

    with announce.compiling(compiled.outputs):
        share(work, spans(count, batch, kernels.seconds(count * steps * batch * m, (m if dense else 0) + d + o)))
    return y.transpose(2, 3).contiguous(), last
