r"""The Jacobian of one step of a GRU and an LSTM, written out.

GRU, in torch's convention (see `perdure.stability.cells`). Differentiating h' = (1 - z) n + z h,

    J = Diag(z) + Diag(h - n) Diag(z (1 - z)) W_hz + Diag(1 - z) N,
    N = Diag(1 - n^2) [ Diag(r) W_hn + Diag(b_n) Diag(r (1 - r)) W_hr ],   b_n = W_hn h + b_hn.

At an equilibrium n = h, because h' - h = (1 - z)(n - h) and z < 1: the update gate's own weights drop out, and

    J - I = Diag(1 - z) (N - I).

h = 0 is an equilibrium where n = 0, W_in x + b_in + r b_hn = 0 (no input and no biases b_in, b_hn, say). There

    J - I = Diag(s(-a_z)) [ Diag(s(a_r)) W_hn + Diag(b_hn s(a_r) s(-a_r)) W_hr - I ],   a = W_i x + b_i + b_h by gate.

One step of torch's GRU is Euler's step of length 1 for dh/dt = (1 - z)(n - h), so J - I is also the linearisation in continuous time. Wang,
Li & Li (2024, app. J) have Diag(s(b_z)) (U_h Diag(s(b_r)) - I): their z is 1 - z here, so b_z changes its sign, and their reset gate stands
inside the product, U_h (r h). For b_hn = 0 both matrices have the same eigenvalues: with D = Diag(s(a_r)), Diag(1 - z) (U D - I) = D^-1 [
Diag(1 - z) (D U - I) ] D, as diagonal matrices commute. Their stability radii differ.

LSTM, state (h, c). With A = dc'/dh and q = 1 - tanh(c')^2,

    A = Diag(c f (1 - f)) W_hf + Diag(g i (1 - i)) W_hi + Diag(i (1 - g^2)) W_hg,      dc'/dc = Diag(f),
    dh'/dh = P [ Diag(tanh(c') o (1 - o)) W_ho + Diag(o q) A ],                          dh'/dc = P Diag(o q f).

At h = c = 0, an equilibrium where g = 0: A = Diag(i) W_hg and dh' = P Diag(o) dc', so the nonzero eigenvalues of J are those of the m x m
matrix Diag(f) + Diag(i) W_hg P Diag(o), and 0 takes the other places (p of them).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.adapters import frozen
from perdure.errors import ArgumentTypeError
from perdure.stability.cells import Weights, kind_of, weights_of


def gru_jacobian(layer: nn.Module, h: Any = None, x: Any = None) -> Array:
    r"""dh'/dh of one step of a GRU, in closed form, (m, m).

    Args:
        layer: `torch.nn.GRU` with one layer, or `torch.nn.GRUCell`.
        h: state, (m,); None for zeros.
        x: input, (d,); None for zeros.

    Returns:
        J with J[i, j] = dh'_i / dh_j, float64. J - I is the linearisation of dh/dt = (1 - z)(n - h).

    Raises:
        ArgumentError: several layers, both directions, h or x of a wrong size.
        ArgumentTypeError: no GRU.
        ModelError: NaN or infinite weights.

    >>> cell = nn.GRUCell(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = cell.weight_hh.copy_(torch.tensor([[0.0], [0.0], [-1.0]]))
    >>> gru_jacobian(cell).tolist()  # 1 + (1 - 1/2) (1/2 (-1) - 1)
    [[0.25]]

    Reference:
        Wang, Li & Li, "Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", ICLR 2024, appendix J.
    """
    w = _only_layer(layer, "gru")
    m = w.recurrent.shape[1]
    h_, x_ = _vector(h, "h", m), _vector(x, "x", w.input.shape[1])
    (ar, az, an), (br, bz, bn) = w.drive(x_).chunk(3), w.feedback(h_).chunk(3)
    to_r, to_z, to_n = w.recurrent.chunk(3)
    r, z = torch.sigmoid(ar + br), torch.sigmoid(az + bz)
    n = torch.tanh(an + r * bn)
    inner = (1 - n * n)[:, None] * (r[:, None] * to_n + (bn * r * (1 - r))[:, None] * to_r)
    return (torch.diag(z) + ((h_ - n) * z * (1 - z))[:, None] * to_z + (1 - z)[:, None] * inner).numpy()


def lstm_jacobian(layer: nn.Module, h: Any = None, c: Any = None, x: Any = None) -> Array:
    r"""d(h', c')/d(h, c) of one step of an LSTM, in closed form, (p + m, p + m).

    Args:
        layer: `torch.nn.LSTM` with one layer, or `torch.nn.LSTMCell`.
        h: output state, (p,), p = m without a projection; None for zeros.
        c: cell state, (m,); None for zeros.
        x: input, (d,); None for zeros.

    Returns:
        J, float64; h comes first.

    Raises:
        ArgumentError: several layers, both directions, h, c or x of a wrong size.
        ArgumentTypeError: no LSTM.
        ModelError: NaN or infinite weights.

    >>> cell = nn.LSTMCell(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = cell.weight_hh.fill_(1.0)
    >>> lstm_jacobian(cell).tolist()  # all gates 1/2, g' = 1
    [[0.25, 0.25], [0.5, 0.5]]
    """
    w = _only_layer(layer, "lstm")
    p, m = w.recurrent.shape[1], w.recurrent.shape[0] // 4
    h_, c_, x_ = _vector(h, "h", p), _vector(c, "c", m), _vector(x, "x", w.input.shape[1])
    to_i, to_f, to_g, to_o = w.recurrent.chunk(4)
    ai, af, ag, ao = (w.drive(x_) + w.feedback(h_)).chunk(4)
    i, f, g, o = torch.sigmoid(ai), torch.sigmoid(af), torch.tanh(ag), torch.sigmoid(ao)
    t = torch.tanh(f * c_ + i * g)
    a = (c_ * f * (1 - f))[:, None] * to_f + (g * i * (1 - i))[:, None] * to_i + (i * (1 - g * g))[:, None] * to_g
    q = o * (1 - t * t)
    top = torch.cat([(t * o * (1 - o))[:, None] * to_o + q[:, None] * a, torch.diag(q * f)], 1)
    top = top if w.projection is None else w.projection @ top
    return torch.cat([top, torch.cat([a, torch.diag(f)], 1)]).numpy()


def _only_layer(layer: Any, kind: str) -> Weights:
    name = kind.upper()
    if kind_of(layer) != kind:
        raise ArgumentTypeError(
            f"expected argument `layer` to be torch.nn.{name} or torch.nn.{name}Cell, but got {type(layer).__name__}: perdure.linearise takes more kinds"
        )
    with frozen(layer, torch.float64) as twin:
        found = weights_of(twin.model)
    if len(found) != 1:
        raise _checks.fail("layer", "a single layer", f"num_layers={len(found)}", "perdure.linearise takes stacks")
    return found[0]


def _vector(value: Any, name: str, size: int) -> Tensor:
    if value is None:
        return torch.zeros(size, dtype=torch.float64)
    array = _checks.finite_array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value, name).reshape(-1)
    if array.size != size:
        raise _checks.fail(name, f"of shape ({size},)", array.shape, "one number a channel")
    return torch.as_tensor(array.copy())
