r"""The W1 error of many perturbed kernels at once: fast with gradients for the ascent, exact for what is reported.

With D = rho~ - rho the error is E = int |D|_1 + |D(0)|_1 + int |D'|_1.

*Fast*: Gauss's rule on panels that are even in log time. Its derivative in the weights needs only the signs s = sign D, s' = sign D':
with e_k = e^{-lambda_k t} and A_k = c_k u_k,

    dE = Re sum_k ( G_k dA_k + H_k d lambda_k ),   G_k = int s e_k - lambda_k int s' e_k + sign D(0),
    H_k = A_k ( -int s t e_k - int s' e_k + lambda_k int s' t e_k ).

*Exact*: between two sign changes the integral of |D| is a difference of the antiderivative, which is known in closed form, and that of |D'|
a difference of D itself; E is a sum over roots. The sum is stationary in the roots, so bisection to 1e-12 of a panel leaves rounding only.
"""

from __future__ import annotations

import numpy as np
import torch

from perdure._typing import Array, Tensor
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import finite_w1, refine
from perdure.stability.network import Move, Network

NODES_PER_PANEL, RATIO = 8, 2.0  # for the ascent; SCAN: samples a panel in which sign changes are looked for
SCAN = 12
PIECE = 2**17  # exponentials evaluated at a time where no gradient is wanted


class Nodes:
    """Quadrature nodes for every kernel whose rates lie in [slowest, fastest], with the target's values there.

    swings lists (frequency, lifetime) of the oscillating modes.
    """

    def __init__(
        self, target: LinearFunctional, slowest: float, fastest: float, swings: list[tuple[float, float]], horizon: float | None
    ) -> None:
        mesh = target.mesh()
        first = min(0.1 / fastest, float(mesh[1]))
        last = max(45.0 / slowest, float(mesh[-1])) if horizon is None else horizon
        last = min(last, 1e290)
        count = int(np.ceil((np.log(last) - np.log(first)) / np.log(RATIO)))
        panels = [np.exp(np.log(first) + np.log(RATIO) * np.arange(count))] if count > 0 else []
        if mesh.size > 2 and np.median(mesh[2:] / mesh[1:-1]) < 1.8:  # an even mesh: the kernel has a time scale of its own far from 0
            panels.append(mesh[:: max(1, mesh.size // 300)])
        grid = np.unique(np.concatenate([[0.0], *panels, [last]]))
        grid = grid[grid <= last]
        grid = grid[np.concatenate([[True], np.diff(grid) > 1e-9 * grid[1:]])]
        for frequency, lifetime in sorted(swings, key=lambda s: -s[1]):  # oscillating modes: eight panels a period while they last
            grid = refine(grid, 0.25 * np.pi / frequency, min(lifetime, 50 * np.pi / frequency))
        self.panels = grid
        x, w = np.polynomial.legendre.leggauss(NODES_PER_PANEL)
        half = 0.5 * np.diff(self.panels)[:, None]
        t, weight = (self.panels[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
        self.t, self.weight = torch.as_tensor(t), torch.as_tensor(weight)
        self.rho, self.slope = torch.as_tensor(target._kernel(t)), torch.as_tensor(target._kernel_derivative(t))
        self.start = torch.as_tensor(target._kernel(np.zeros(1)))


def decay(t: Tensor, rates: Tensor) -> Tensor:
    """e^{-lambda t}, (B, N, K), for t (N,) and rates (B, K), kept out of the denormal range (where arithmetic is slow)."""
    exponent = t[:, None] * rates[:, None, :]
    if exponent.is_complex():
        return torch.polar(torch.exp(-exponent.real.clamp(max=690.0)), -exponent.imag)
    return torch.exp(-exponent.clamp_(max=690.0))


def _difference(rates: Tensor, a: Tensor, e: Tensor, nodes: Nodes) -> tuple[Tensor, Tensor, Tensor]:
    """D and D' at the nodes (B, N, 2d), D(0) (B, d), and E (B,)."""
    moved, start = e @ torch.cat([a, -rates[..., None] * a], dim=-1), a.sum(1)
    if e.is_complex():
        moved, start = moved.real, start.real
    difference, at_zero = moved - torch.cat([nodes.rho, nodes.slope], dim=-1), start - nodes.start
    return difference, at_zero, (nodes.weight[:, None] * difference.abs()).sum((1, 2)) + at_zero.abs().sum(1)


def values(network: Network, move: Move, nodes: Nodes) -> Tensor:
    """E (B,) by quadrature, in pieces that stay in the cache."""
    rates, a = network.moved(move)
    rows = max(1, PIECE // (nodes.t.numel() * network.size))
    pieces = zip(rates.split(rows), a.split(rows), strict=True)
    return torch.cat([_difference(r, part, decay(nodes.t, r), nodes)[2] for r, part in pieces])


def value_and_gradient(network: Network, move: Move, nodes: Nodes) -> tuple[Tensor, Move]:
    """E (B,) by quadrature, and its gradient in the trained values."""
    rates, a = network.moved(move)
    e = decay(nodes.t, rates)
    d = a.shape[-1]
    difference, at_zero, error = _difference(rates, a, e, nodes)
    s = nodes.weight[:, None] * difference.sign()
    moments = e.transpose(1, 2) @ torch.cat([s, nodes.t[:, None] * s], dim=-1).to(e.dtype)  # (B, K, 4d): s, s', t s, t s'
    s0, s1, t0, t1 = moments[..., :d], moments[..., d : 2 * d], moments[..., 2 * d : 3 * d], moments[..., 3 * d :]
    by_a = s0 - rates[..., None] * s1 + at_zero.sign()[:, None].to(e.dtype)
    by_rate = (a * (rates[..., None] * t1 - t0 - s1)).sum(-1)
    u, c = network.u + move.u, network.c + move.c
    alpha_slope = network.slope(move)
    return error, Move(
        alpha_slope * (by_rate.real if by_rate.is_complex() else by_rate),
        -by_rate.imag if by_rate.is_complex() else torch.zeros_like(move.omega),  # d lambda = i d omega
        by_a * c[..., None],
        (by_a * u).sum(-1),
    )


def exact(network: Network, move: Move, at: int, target: LinearFunctional, nodes: Nodes, horizon: float | None) -> float:
    """E of one member of a batch, exact to rounding."""
    rates, a = network.functional(move, at)

    def kernel(t: Array) -> Array:
        return np.real(_decay(t, rates) @ a) - target._kernel(t)

    def derivative(t: Array) -> Array:
        return np.real(_decay(t, rates) @ (-rates[:, None] * a)) - target._kernel_derivative(t)

    if horizon is not None:
        return finite_w1(kernel, derivative, nodes.panels, horizon)

    def tail(t: Array) -> Array:
        return np.real(_decay(t, rates) @ (a / rates[:, None])) - target._tail(t)

    t = (nodes.panels[:-1, None] + np.diff(nodes.panels)[:, None] * (np.arange(SCAN) + 0.5) / SCAN).ravel()
    d0, d1 = kernel(t), derivative(t)
    total = 0.0
    for j in range(a.shape[1]):
        roots = np.concatenate([[0.0], _roots(lambda s, j=j: kernel(s)[:, j], t, d0[:, j])])
        total += float(np.abs(np.diff(np.append(tail(roots)[:, j], 0.0))).sum())
        turns = np.concatenate([[0.0], _roots(lambda s, j=j: derivative(s)[:, j], t, d1[:, j])])
        at_turns = kernel(turns)[:, j]
        total += float(np.abs(np.diff(np.append(at_turns, 0.0))).sum()) + abs(float(at_turns[0]))
    return total


def _decay(t: Array, rates: Array) -> Array:
    with np.errstate(under="ignore", over="ignore"):  # e^-(huge) is 0
        return np.exp(-np.multiply.outer(t, rates))


def _roots(f, t: Array, values: Array) -> Array:
    at = np.nonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)[0]
    low, high, sign = t[at].copy(), t[at + 1].copy(), np.sign(values[at])
    for _ in range(40 if at.size else 0):
        middle = 0.5 * (low + high)
        same = np.sign(f(middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return 0.5 * (low + high)
