r"""The Jacobian of a one-layer ContinuousRNN in closed form: what forward-mode differentiation gives, several times faster.

With z_j = W h_{j-1} + U x_j + b, h_j = h_{j-1} + dt sigma(z_j) and y_k = c^T h_k, let A_kj = dy_k / dh_j. Then

    A_kk = c,   q_kj = dy_k / dz_j = dt sigma'(z_j) A_kj,   A_k,j-1 = A_kj + W^T q_kj,

    dy_k / dW = sum_j q_kj h_{j-1}^T,   dy_k / dU = sum_j q_kj x_j^T,   dy_k / db = sum_j q_kj,   dy_k / dc = h_k.

All k go back together, one product a step, so T products replace one pass over the sequence for each parameter. What W is made of comes last, by the chain rule.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.nn import functional

from perdure._typing import Tensor
from perdure.nn import ContinuousRNN
from perdure.ops.recurrence import get_activation, recurrence
from perdure.parametrizations.structures import Diagonal, Structure

NUMBERS = 2**23  # of q held at a time
CELL = "recurrent_l0."


def has_closed_form(model: Any) -> bool:
    """Whether `sensitivities` knows the model: a ContinuousRNN by Euler's method, of one layer and direction, with one output."""
    return (
        isinstance(model, ContinuousRNN)
        and model.num_layers == 1
        and not model.bidirectional
        and model.output_size == 1
        and model.integrator == "euler"
    )


@torch.no_grad()
def sensitivities(model: ContinuousRNN, x: Tensor) -> dict[str, Tensor]:
    """dy_k / d(parameter), (B, T, p), for each parameter by name.

    Args:
        model: see `has_closed_form`.
        x: inputs (B, T, d).
    """
    cell = cast(Structure, model.recurrent_l0)
    diagonal = isinstance(cell, Diagonal)
    W = cell.vector() if isinstance(cell, Diagonal) else cell()
    rows = max(1, NUMBERS // (x.shape[1] ** 2 * model.hidden_size))
    pieces = [_rows(model, part, W) for part in x.split(rows)]
    by_w, by_u, by_b, by_c = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    found = {"weight_ih_l0": by_u, "readout.weight": by_c}
    if model.bias:
        found["bias_l0"] = by_b
    for name, slope in _inside(cell, diagonal).items():
        found[CELL + name] = by_w * slope if slope.ndim == 1 else by_w @ slope
    return found


def _rows(model: ContinuousRNN, x: Tensor, W: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """By W (its diagonal, or row by row), U, b and c for some rows."""
    sigma, dt = get_activation(model.activation), model.dt
    (batch, steps, d), m = x.shape, model.hidden_size
    assert model.readout is not None  # checked by `has_closed_form`
    c, bias = model.readout.weight[0], cast(Tensor, model.bias_l0) if model.bias else None
    drive = functional.linear(x, model.weight_ih_l0, bias)
    h, _ = recurrence(drive.transpose(0, 1), W, step=dt, activation=model.activation)
    h = h.transpose(0, 1)
    before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
    z = drive + (before * W if W.ndim == 1 else before @ W.T)
    gain = dt * sigma.slope(z)
    q = x.new_zeros(batch, steps, steps, m)  # q[:, j, k], zero for k < j
    A = x.new_zeros(batch, steps, m)
    for j in range(steps - 1, -1, -1):
        A[:, j] = c
        part = torch.mul(gain[:, j, None], A[:, j:], out=q[:, j, j:])
        A[:, j:] += part * W if W.ndim == 1 else part @ W
    flat = q.flatten(2)  # (B, j, k m)
    by_u = (flat.transpose(1, 2) @ x).view(batch, steps, m * d)
    by_b = q.sum(1)
    if W.ndim == 1:
        by_w = torch.einsum("bjki,bji->bki", q, before)
    else:
        by_w = (flat.transpose(1, 2) @ before).view(batch, steps, m * m)
    return by_w, by_u, by_b, h


def _inside(cell: Structure, diagonal: bool) -> dict[str, Tensor]:
    """The derivative of W (m m,), or of its diagonal (m,), in each raw parameter: (m m, p); (p,) where it is entry by entry."""
    raw = {name: p.detach() for name, p in cell.named_parameters()}
    if diagonal or (cell.name == "dense" and not cell.map.stable):
        return {name: cell.map.derivative(p).flatten() for name, p in raw.items()}

    def weight(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(cell, values, ()).flatten()

    found = {}
    for name, p in raw.items():
        unit = torch.eye(p.numel(), dtype=p.dtype).view(-1, *p.shape)
        found[name] = torch.func.vmap(lambda e, name=name, p=p: torch.func.jvp(lambda v: weight({**raw, name: v}), (p,), (e,))[1])(unit).T
    return found
