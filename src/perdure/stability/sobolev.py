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

from collections.abc import Callable

import numpy as np
import torch

from perdure._typing import Array, Tensor
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import finite_w1
from perdure.stability.network import Move, Network

NODES_PER_PANEL, RATIO = 8, 2.0  # for the ascent; SCAN: samples a panel in which sign changes are looked for
SCAN = 12
HALVINGS = 27
PERIODS, PHASES = 100, 32  # periods of a mode that are resolved one by one; and points a period where it swings on
PIECE = 2**17  # exponentials evaluated at a time where no gradient is wanted
LATEST = 1e307  # where nodes end at the latest; the closed form takes what lies beyond
FADED = 690.0  # e^-690 is near the least normal number


class Nodes:
    """Quadrature nodes for every kernel whose rates lie in [slowest, fastest], with the target's values there.

    swings lists (frequency, lifetime) of the oscillating modes.
    """

    def __init__(
        self,
        target: LinearFunctional,
        slowest: float,
        fastest: float,
        swings: list[tuple[float, float]],
        horizon: float | None,
        order: int = NODES_PER_PANEL,
    ) -> None:
        mesh = target.mesh()
        first = min(0.1 / fastest, float(mesh[1]))
        last = max(45.0 / max(slowest, 45.0 / LATEST), float(mesh[-1])) if horizon is None else horizon
        last = min(last, LATEST)
        count = int(np.ceil((np.log(last) - np.log(first)) / np.log(RATIO)))
        panels = [np.exp(np.log(first) + np.log(RATIO) * np.arange(count))] if count > 0 else []
        if mesh.size > 2 and np.median(mesh[2:] / mesh[1:-1]) < 1.8:  # an even mesh: the kernel has a time scale of its own far from 0
            panels.append(mesh[:: max(1, mesh.size // 300)])
        grid = np.unique(np.concatenate([[0.0], *panels, [last]]))
        grid = grid[grid <= last]
        grid = grid[np.concatenate([[True], np.diff(grid) > 1e-9 * grid[1:]])]
        self.panels = _finer(grid, [(0.5 * np.pi / frequency, min(lifetime, 50 * np.pi / frequency)) for frequency, lifetime in swings])
        x, w = np.polynomial.legendre.leggauss(order)
        half = 0.5 * np.diff(self.panels)[:, None]
        t, weight = (self.panels[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
        self.t, self.weight = torch.as_tensor(t), torch.as_tensor(weight)
        self.last, self.far = float(last), bool(last > 1e250)  # far: weights so large that e^-690 is not nothing
        self.rho, self.slope = torch.as_tensor(target._kernel(t)), torch.as_tensor(target._kernel_derivative(t))
        self.start = torch.as_tensor(target._kernel(np.zeros(1)))


def decay(nodes: Nodes, rates: Tensor) -> Tensor:
    """e^{-lambda t}, (B, N, K), for the nodes' times (N,) and rates (B, K), kept out of the denormal range (where arithmetic is slow)."""
    exponent = nodes.t[:, None] * (rates.real if rates.is_complex() else rates)[:, None, :]
    faded = exponent > FADED if nodes.far else None
    length = torch.exp(-exponent.clamp_(max=FADED))
    length = length if faded is None else length.masked_fill_(faded, 0.0)
    if not rates.is_complex():
        return length
    turn = nodes.t[:, None] * rates.imag[:, None, :]
    turn = turn if faded is None else turn.masked_fill_(faded, 0.0)
    return torch.complex(length * torch.cos(turn), -length * torch.sin(turn))  # several times faster than torch.polar


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
    return torch.cat([_difference(r, part, decay(nodes, r), nodes)[2] for r, part in pieces])


def value_and_gradient(network: Network, move: Move, nodes: Nodes) -> tuple[Tensor, Move]:
    """E (B,) by quadrature, and its gradient in the trained values."""
    rates, a = network.moved(move)
    e = decay(nodes, rates)
    d = a.shape[-1]
    difference, at_zero, error = _difference(rates, a, e, nodes)
    s = nodes.weight[:, None] * difference.sign()
    late = nodes.t[:, None] / nodes.last  # t in units of the last node, for t^2 may overflow
    moments = e.transpose(1, 2) @ torch.cat([s, late * s], dim=-1).to(e.dtype)  # (B, K, 4d): s, s', t s, t s'
    s0, s1, t0, t1 = moments[..., :d], moments[..., d : 2 * d], moments[..., 2 * d : 3 * d], moments[..., 3 * d :]
    by_a = s0 - rates[..., None] * s1 + at_zero.sign()[:, None].to(e.dtype)
    alpha_slope = network.slope(move)
    scale = alpha_slope * nodes.last
    by_v = scale * (a * (rates[..., None] * t1 - t0)).sum(-1) - alpha_slope * (a * s1).sum(-1)
    u, c = network.u + move.u, network.c + move.c
    omega = torch.zeros_like(move.omega)
    if e.is_complex():  # d lambda = i d omega
        omega = -(nodes.last * (a * (rates[..., None] * t1 - t0)).sum(-1) - (a * s1).sum(-1)).imag
    gradient = Move(by_v.real if by_v.is_complex() else by_v, omega, by_a * c[..., None], (by_a * u).sum(-1))
    if nodes.far:  # the direction still means something where its size has left the numbers
        gradient = Move(*(torch.nan_to_num(part) for part in (gradient.v, gradient.omega, gradient.u, gradient.c)))
    return error, gradient


def exact(network: Network, move: Move, at: int, target: LinearFunctional, nodes: Nodes, horizon: float | None) -> float:
    """E of one member of a batch, exact to rounding while no mode swings more than `PERIODS` times; from there on by the mean over a period."""
    rates, a = network.functional(move, at)
    if horizon is None and bool((rates.real <= 0).any()):  # a rate just above the radius, rounded to 0
        return float("inf")

    def kernel(t: Array) -> Array:
        return np.real(_decay(t, rates) @ a) - target._kernel(t)

    def derivative(t: Array) -> Array:
        return np.real(_decay(t, rates) @ (-rates[:, None] * a)) - target._kernel_derivative(t)

    def tail(t: Array) -> Array:
        return np.real(_decay(t, rates) @ (a / rates[:, None])) - target._tail(t)

    panels, cut = _resolved(nodes.panels, rates)
    late = 0.0
    if cut < panels[-1]:
        late = swinging(kernel, derivative, rates, a, cut, float(panels[-1]))
        panels = np.append(panels[panels < cut], cut)
    elif horizon is not None:
        return finite_w1(kernel, derivative, panels, horizon)
    t = (panels[:-1, None] + np.diff(panels)[:, None] * (np.arange(SCAN) + 0.5) / SCAN).ravel()
    d0, d1 = kernel(t), derivative(t)
    end = np.array([cut])
    total = 0.0
    for j in range(a.shape[1]):
        roots = np.concatenate([[0.0], _roots(lambda s, j=j: kernel(s)[:, j], t, d0[:, j])])
        total += float(np.abs(np.diff(np.append(tail(roots)[:, j], tail(end)[0, j] if late else 0.0))).sum())
        turns = np.concatenate([[0.0], _roots(lambda s, j=j: derivative(s)[:, j], t, d1[:, j])])
        at_turns = kernel(turns)[:, j]
        total += float(np.abs(np.diff(np.append(at_turns, kernel(end)[0, j] if late else 0.0))).sum()) + abs(float(at_turns[0]))
    return total + late


def _resolved(panels: Array, rates: Array) -> tuple[Array, float]:
    """Panels of a quarter period for every oscillating mode, and the time up to which they are; inf if that is its whole life."""
    cut, limits = np.inf, []
    for rate in rates:
        if abs(rate.imag) > max(0.1 * rate.real, 0.0):
            period, lifetime = 2 * np.pi / abs(rate.imag), 45.0 / max(float(rate.real), 45.0 / LATEST)
            until = PERIODS * period
            cut = until if lifetime > until and until < cut else cut
            limits.append((0.25 * period, min(lifetime, until)))
    return _finer(panels, limits), float(cut)


def _finer(panels: Array, limits: list[tuple[float, float]]) -> Array:
    """The panels cut so that for each (width, time) none is wider than `width` before that time."""
    if not limits:
        return panels
    width, until = np.array(sorted(limits, key=lambda pair: pair[1])).T
    grid = np.unique(np.concatenate([panels, until[until < panels[-1]]]))
    grid = grid[np.concatenate([[True], np.diff(grid) > 1e-9 * grid[1:]])]
    narrowest = np.append(np.minimum.accumulate(width[::-1])[::-1], np.inf)  # of all that last at least until then
    pieces = np.ceil(np.diff(grid) / narrowest[np.searchsorted(until, grid[:-1], side="right")]).clip(1).astype(int)
    first = np.cumsum(pieces) - pieces
    share = (np.arange(pieces.sum()) - np.repeat(first, pieces)) / np.repeat(pieces, pieces)
    return np.append(np.repeat(grid[:-1], pieces) + share * np.repeat(np.diff(grid), pieces), grid[-1])


def swinging(
    kernel: Callable[[Array], Array], derivative: Callable[[Array], Array], rates: Array, a: Array, start: float, end: float
) -> float:
    """Int |D|_1 + |D'|_1 from start to end for modes that swing very many times: Gauss's rule in log time of means over one period.

    The period is that of the mode which is largest at the node.
    """
    edges = np.geomspace(start, end, int(np.ceil(np.log2(end / start))) + 1)
    x, w = np.polynomial.legendre.leggauss(NODES_PER_PANEL)
    half = 0.5 * np.diff(edges)[:, None]
    t, weight = (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
    size = np.log(np.maximum(np.abs(a).sum(1), 1e-300)) - np.multiply.outer(t, rates.real)
    size[:, rates.imag == 0] = -np.inf
    period = 2 * np.pi / np.abs(rates.imag[size.argmax(1)])
    times = (t[:, None] + period[:, None] * (np.arange(PHASES) + 0.5) / PHASES).ravel()
    mean = (np.abs(kernel(times)) + np.abs(derivative(times))).sum(1).reshape(-1, PHASES).mean(1)
    return float((weight * mean).sum())


def _decay(t: Array, rates: Array) -> Array:
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):  # e^-(huge) is 0
        exponent = np.multiply.outer(t, rates.real)
        length = np.exp(-exponent)
        if np.isrealobj(rates):
            return length
        return length * np.exp(-1j * np.where(length > 0, np.multiply.outer(t, rates.imag), 0.0))


def _roots(f: Callable[[Array], Array], t: Array, values: Array) -> Array:
    """Sign changes of f between the samples, to 2^-HALVINGS of the gap between them; samples that are exactly 0 are passed over.

    The roots are extrema of the antiderivative that is taken there, so that its error is the square of theirs: rounding.
    """
    kept = np.nonzero(values)[0]
    t, values = t[kept], np.sign(values[kept])
    at = np.nonzero(values[:-1] * values[1:] < 0)[0]
    low, high, sign = t[at].copy(), t[at + 1].copy(), values[at]
    for _ in range(HALVINGS if at.size else 0):
        middle = 0.5 * (low + high)
        same = np.sign(f(middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return 0.5 * (low + high)
