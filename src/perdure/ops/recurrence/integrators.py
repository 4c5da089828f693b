r"""Other ways than Euler's to step dh/dt = sigma(W h + x), the input x held over the step.

Exponential Euler treats the linear part exactly. With f = W h + (sigma(W h + x) - W h) and phi_1(z) = (e^z - 1) / z,

    h_{k+1} = e^{W dt} h_k + dt phi_1(W dt) (sigma(z_k) - W h_k) = h_k + P sigma(z_k),   P = dt phi_1(W dt),

because e^{W dt} - 1 = W P: the same recurrence with a matrix P in place of dt. It is exact for linear sigma, of order 1 otherwise. For a diagonal
W the matrix P is diagonal, and the fast kernel takes it as it is. RK4 is the classical method of order 4 (for inputs held over the step).
"""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.ops.recurrence.activations import get_activation


def exponential_gain(weight: Tensor, dt: float) -> Tensor:
    """P = dt phi_1(W dt): (m, m) for a matrix, (m,) for a diagonal.

    The diagonal goes through expm1; where |w dt| is below rounding it is dt (1 + w dt / 2). The matrix is read off exp([[W, I], [0, 0]] dt).

    >>> exponential_gain(torch.tensor([-1.0], dtype=torch.float64), 1.0).round(decimals=6).item()  # 1 - 1/e
    0.632121
    """
    if weight.ndim == 1:
        z = weight * dt
        small = z.abs() < 1e-4
        safe = torch.where(small, torch.ones_like(z), z)
        return dt * torch.where(small, 1 + z / 2 * (1 + z / 3), torch.expm1(safe) / safe)
    m = weight.shape[0]
    block = torch.zeros(2 * m, 2 * m, dtype=weight.dtype, device=weight.device)
    identity = torch.eye(m, dtype=weight.dtype, device=weight.device)
    block = torch.cat([torch.cat([weight, identity], 1), block[:m]], 0)
    return torch.linalg.matrix_exp(block * dt)[:m, m:]


def with_gain(x: Tensor, weight: Tensor, gain: Tensor, h0: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """h_k = h_{k-1} + P sigma(W h_{k-1} + x_k) for matrices W and P, x (T, B, m): states (T, B, m) and the last one."""
    sigma, states, h = get_activation(activation).value, [], h0
    for drive in x.unbind(0):
        h = torch.addmm(h, sigma(torch.addmm(drive, h, weight.T)), gain.T)
        states.append(h)
    return torch.stack(states) if states else x.new_empty(x.shape), h


def rk4(x: Tensor, weight: Tensor, h0: Tensor, dt: float, activation: str) -> tuple[Tensor, Tensor]:
    """The classical Runge-Kutta step of order 4, weight (m, m) or a diagonal (m,), x (T, B, m): states (T, B, m) and the last one."""
    sigma = get_activation(activation).value
    turned = weight.T if weight.ndim == 2 else weight

    def slope(h: Tensor, drive: Tensor) -> Tensor:
        return sigma((h @ turned if turned.ndim == 2 else turned * h) + drive)

    states, h = [], h0
    for drive in x.unbind(0):
        k1 = slope(h, drive)
        k2 = slope(h + 0.5 * dt * k1, drive)
        k3 = slope(h + 0.5 * dt * k2, drive)
        k4 = slope(h + dt * k3, drive)
        h = h + dt / 6 * (k1 + 2 * (k2 + k3) + k4)
        states.append(h)
    return torch.stack(states) if states else x.new_empty(x.shape), h
