r"""The sup of the W1 error over balls of several radii, by conditional-gradient ascent from several starts.

Each step goes to the point of the ball that the gradient likes best (the error is convex in the readout and in the input
weights, where that is the textbook step for a maximum; in the rates the maximum sits on the boundary too in every case
we enumerated). Where the full step does not help, halves and quarters of it are tried; a start that gains less than one part in
10^9 stops. The result is a lower bound of the sup that brute force confirms on small cases.
"""

from __future__ import annotations

import numpy as np
import torch

from perdure._typing import Array, Tensor
from perdure.functionals.base import LinearFunctional
from perdure.stability.network import Move, Network
from perdure.stability.sobolev import Nodes, value_and_gradient

STEPS = 12
TOGETHER = 1.0  # radii up to this share one set of nodes


def starts(network: Network, radii: Tensor, gradient_at_zero: Move, generator: torch.Generator, count: int) -> Move:
    """count moves a radius: both uniform shifts, the first conditional-gradient step, and random points of the boundary; (R * count, ...)."""
    one = radii.numel()
    ones = network.zero(one)
    sign = Move(torch.ones_like(ones.v), ones.omega, network.u.expand(one, -1, -1).conj().resolve_conj(), network.c.expand(one, -1).conj().resolve_conj())
    slower, faster = network.toward(sign, radii), network.toward(sign.scaled(-1.0), radii)
    moves = [slower, faster, network.toward(gradient_at_zero, radii)]
    moves += [network.toward(_signs(network, one, generator), radii) for _ in range(max(count - 3, 0))]
    return Move.joined(moves[:count])


def _signs(network: Network, batch: int, generator: torch.Generator) -> Move:
    return network.random(torch.ones(batch, dtype=torch.float64), generator) if network.groups else network.zero(batch)


def climb(network: Network, move: Move, radii: Tensor, nodes: Nodes) -> tuple[Tensor, Move]:
    """Ascent of every member of a batch within its ball; values (B,) and moves."""
    error, gradient = value_and_gradient(network, move, nodes)
    active = torch.ones_like(error, dtype=torch.bool)
    weight = torch.ones_like(error)
    for _ in range(STEPS):
        at = active.nonzero()[:, 0]
        if at.numel() == 0:
            break
        trial = move[at].mixed(network.toward(gradient[at], radii[at]), weight[at])
        new, new_gradient = value_and_gradient(network, trial, nodes)
        gained = new > error[at] * (1 + 1e-9)
        won, lost = at[gained], at[~gained]
        for name in ("v", "omega", "u", "c"):
            getattr(move, name)[won] = getattr(trial, name)[gained]
            getattr(gradient, name)[won] = getattr(new_gradient, name)[gained]
        error[won] = new[gained]
        weight[won] = 1.0
        weight[lost] *= 0.25
        active[lost] = weight[lost] > 0.05
    return error, move


def sup(
    network: Network, target: LinearFunctional, radii: Array, horizon: float | None, count: int, generator: torch.Generator
) -> list[tuple[float, Move, Nodes]]:
    """For each radius the best error found (by quadrature), its move (a batch of one) and the nodes it was evaluated on."""
    results: dict[int, tuple[float, Move, Nodes]] = {}
    for members in _chunks(radii):
        r = torch.as_tensor(radii[members])
        slowest, fastest = network.slowest_and_fastest(float(radii[members].max()))
        swing = float(np.abs(network.rates.imag).max()) + (float(radii[members].max()) if network.is_complex else 0.0)
        if horizon is not None:
            slowest = max(slowest, 1.0 / horizon)
        nodes = Nodes(target, max(slowest, 1e-290), fastest, swing, horizon)
        _, gradient = value_and_gradient(network, network.zero(1), nodes)
        gradient = Move.joined([gradient] * len(members))
        moves = starts(network, r, gradient, generator, count)
        repeated = r.repeat(count)
        error, moves = climb(network, moves, repeated, nodes)
        best = error.reshape(count, -1).argmax(0)
        at = best * len(members) + torch.arange(len(members))
        error, moves = error[at], moves[at]
        if len(members) > 1:  # what is best at one radius, scaled to its neighbours
            for shift in (1, -1):
                rolled = moves[torch.roll(torch.arange(len(members)), shift)]
                factor = r / torch.roll(r, shift).clamp_min(1e-300)
                other, tried = climb(network, rolled.scaled(factor), r, nodes)
                better = other > error
                error = torch.where(better, other, error)
                for name in ("v", "omega", "u", "c"):
                    getattr(moves, name)[better] = getattr(tried, name)[better]
        for i, member in enumerate(members):
            results[member] = (float(error[i]), moves[i : i + 1], nodes)
    return [results[i] for i in range(len(radii))]


def _chunks(radii: Array) -> list[list[int]]:
    together = [i for i, r in enumerate(radii) if r <= TOGETHER]
    return ([together] if together else []) + [[i] for i, r in enumerate(radii) if r > TOGETHER]
