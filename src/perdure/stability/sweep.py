r"""One mode at a time: the ascent in the rates that also finds maxima inside the ball.

A gradient step goes to the boundary of the ball; but the error may be largest inside it, as with a map that turns (inverse, at v = 0), or
where slowing a mode first undoes and then overdoes what the others miss. So each mode in turn tries some positions of its interval (of its
disc, for a pair) and keeps the best. Changing one mode changes one exponential, so this costs no more than an evaluation a position.
"""

from __future__ import annotations

import math

import torch

from perdure._typing import Tensor
from perdure.stability.network import Move, Network
from perdure.stability.sobolev import Nodes, decay

ACROSS = (-1.0, -0.5, 0.0, 0.5, 1.0)
QUARTERS = 5  # in an interval longer than the scale of v, which is 1, positions are spaced geometrically
PIECE = 2**21  # numbers held at a time


def sweep(network: Network, move: Move, radii: Tensor, nodes: Nodes, reach: float | None = None) -> Move:
    """Every mode once, for a batch (B,) of moves in balls of the given radii.

    Args:
        network: the model.
        move: where to start, changed only where the error grows.
        radii: (B,).
        nodes: of the quadrature.
        reach: look this share of the radius around the present position; None looks at positions all over the interval.
    """
    rows = max(1, PIECE // (nodes.t.numel() * max(network.size, 40)))
    pieces = [_swept(network, move[i : i + rows], radii[i : i + rows], nodes, reach) for i in range(0, radii.numel(), rows)]
    return Move.joined(pieces)


def _swept(network: Network, move: Move, radii: Tensor, nodes: Nodes, reach: float | None) -> Move:
    v, omega = move.v.clone(), move.omega.clone()
    rates, a = network.moved(move)
    e = decay(nodes, rates)
    weight = nodes.weight[:, None, None]
    kernel, slope = e @ a, e @ (-rates[..., None] * a)  # (B, N, d)
    if e.is_complex():
        kernel, slope = kernel.real, slope.real
    kernel, slope = kernel - nodes.rho, slope - nodes.slope
    error = (weight[..., 0] * (kernel.abs() + slope.abs())).sum((1, 2))
    batch = torch.arange(v.shape[0])
    for k in range(network.size):
        dv, dw = _positions(network, k, v[:, k], omega[:, k], radii, reach)  # (B, P)
        alpha = -network.map(network.v[k] + dv).detach()
        moved = torch.complex(alpha, network.omega[k] + dw) if e.is_complex() else alpha
        own = a[:, None, k] * e[:, :, k, None]  # (B, N, d)
        own_slope = -rates[:, k, None, None] * own
        rest, rest_slope = kernel - (own.real if e.is_complex() else own), slope - (own_slope.real if e.is_complex() else own_slope)
        tried = decay(nodes, moved)  # (B, N, P)
        value = torch.zeros_like(dv)
        for j in range(a.shape[-1]):
            new = a[:, k, j, None, None] * tried
            new_slope = -moved[:, None, :] * new
            if e.is_complex():
                new, new_slope = new.real, new_slope.real
            value += (weight[..., 0] * ((rest[:, :, j, None] + new).abs() + (rest_slope[:, :, j, None] + new_slope).abs())).sum(1)
        best, at = torch.nan_to_num(value, nan=-1.0).max(1)
        at = torch.where(best > error * (1 + 1e-9), at, -1)
        won = at >= 0
        if not bool(won.any()):
            continue
        i, p = batch[won], at[won]
        v[i, k], omega[i, k], error[i] = dv[i, p], dw[i, p], best[won]
        rates[i, k] = moved[i, p]
        e[i, :, k] = tried[i, :, p]
        now = a[i, None, k] * e[i, :, k, None]
        now_slope = -rates[i, k, None, None] * now
        kernel[i] = rest[i] + (now.real if e.is_complex() else now)
        slope[i] = rest_slope[i] + (now_slope.real if e.is_complex() else now_slope)
    return Move(v, omega, move.u.clone(), move.c.clone())


def _positions(network: Network, k: int, v: Tensor, omega: Tensor, radii: Tensor, reach: float | None) -> tuple[Tensor, Tensor]:
    """Moves (B, P) of mode k within its ball."""
    r = radii[:, None]
    pair = bool(network.pair[k])
    if reach is None:
        share = list(ACROSS)
        if float(radii.max()) > 1.0:
            share = [0.0, *(sign * 0.25**i for i in range(QUARTERS) for sign in (-1.0, 1.0))]
        points = [complex(s) for s in share]
        if pair:
            points += [complex(math.cos(x), math.sin(x)) for x in (torch.arange(1, 12) * math.pi / 6).tolist() if abs(math.sin(x)) > 0.1]
            points += [0.5j, -0.5j]
        z = torch.tensor(points, dtype=torch.complex128)
        dv, dw = r * z.real, r * z.imag
        home = (0.0 * r - network.v[k]).clamp(-r, r)
        dv, dw = torch.cat([dv, home], 1), torch.cat([dw, torch.zeros_like(home)], 1)
        if pair:  # the frequency 0, if it is in reach, with the rate slowest or fastest
            still = (0.0 * r - network.omega[k]).clamp(-r, r)
            left = (r * r - still * still).clamp_min(0.0).sqrt()
            dv, dw = torch.cat([dv, left, -left], 1), torch.cat([dw, still, still], 1)
    else:
        h = reach * r
        step = [1.0, 0.5, -0.5, -1.0]
        dv = v[:, None] + h * torch.tensor(step + [0.0] * (4 if pair else 0), dtype=torch.float64)
        dw = omega[:, None] + h * torch.tensor([0.0] * 4 + (step if pair else []), dtype=torch.float64)
    if pair:
        shrink = torch.clamp(r / torch.hypot(dv, dw).clamp_min(1e-300), max=1.0)
        return dv * shrink, dw * shrink
    return torch.maximum(torch.minimum(dv, r), -r), torch.zeros_like(dv)
