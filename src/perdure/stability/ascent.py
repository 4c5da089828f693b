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
from perdure.stability.sobolev import Nodes, value_and_gradient, values

STEPS = 12
SPLITS, RANDOM = 8, 24
TOGETHER = 1.0  # radii up to this share one set of nodes


def pool(network: Network, radii: Tensor, gradient_at_zero: Move, generator: torch.Generator) -> list[Move]:
    """Starting moves, each a batch over the radii (R,).

    Both uniform shifts; the first conditional-gradient step; slow modes one way and fast ones the other, for several splits; and random ones.
    """
    batch = radii.numel()
    zero = network.zero(batch)
    along = Move(torch.ones_like(zero.v), zero.omega, *(x.expand(batch, *x.shape).conj().resolve_conj() for x in (network.u, network.c)))
    moves = [network.toward(along, radii), network.toward(along.scaled(-1.0), radii), network.toward(gradient_at_zero, radii)]
    if "recurrent" in network.groups:
        rank = torch.argsort(torch.argsort(network.v))
        for split in np.unique(np.linspace(1, network.size - 1, min(SPLITS, network.size - 1)).astype(int)) if network.size > 1 else ():
            sign = torch.where(rank < int(split), 1.0, -1.0).double().expand(batch, -1)
            for way in (sign, -sign):
                moves.append(network.toward(Move(way, zero.omega, along.u, along.c), radii))
    return moves + [network.toward(network.random(torch.ones_like(radii), generator), radii) for _ in range(RANDOM)]


def climb(network: Network, move: Move, radii: Tensor, nodes: Nodes) -> tuple[Tensor, Move]:
    """Ascent of every member of a batch within its ball; values (B,) and moves."""
    error, gradient = value_and_gradient(network, move, nodes)
    active = torch.ones_like(error, dtype=torch.bool)
    weight = torch.ones_like(error)
    for _ in range(STEPS):
        at = active.nonzero()[:, 0]
        if at.numel() == 0:
            break
        best = network.toward(gradient[at], radii[at])
        promising = (
            _gain(gradient[at], move[at], best) > 1e-9 * error[at]
        )  # else the point is stationary: no move of the ball helps to first order
        active[at[~promising]] = False
        at, best = at[promising], best[promising]
        if at.numel() == 0:
            break
        trial = move[at].mixed(best, weight[at])
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


def _gain(gradient: Move, now: Move, then: Move) -> Tensor:
    """First-order change of the error from one move to another, (B,)."""
    parts = [(getattr(gradient, name) * (getattr(then, name) - getattr(now, name))).flatten(1).sum(1) for name in ("v", "omega", "u", "c")]
    return torch.stack([part.real if part.is_complex() else part for part in parts]).sum(0)


def sup(
    network: Network, target: LinearFunctional, radii: Array, horizon: float | None, count: int, generator: torch.Generator
) -> list[tuple[float, Move, Nodes]]:
    """For each radius the best error found (by quadrature), its move (a batch of one) and the nodes it was evaluated on."""
    results: dict[int, tuple[float, Move, Nodes]] = {}
    for members in _chunks(radii):
        r = torch.as_tensor(radii[members])
        slowest, fastest = network.slowest_and_fastest(float(radii[members].max()))
        swings = network.swings(float(radii[members].max()))
        if horizon is not None:
            slowest = max(slowest, 1.0 / horizon)
        nodes = Nodes(target, max(slowest, 1e-290), fastest, swings, horizon)
        _, gradient = value_and_gradient(network, network.zero(1), nodes)
        gradient = Move.joined([gradient] * len(members))
        candidates = pool(network, r, gradient, generator)
        size = len(members)
        starts = Move.joined(candidates)
        order = values(network, starts, nodes).reshape(-1, size).argsort(0, descending=True)[:count]  # the most promising of each radius
        moves = starts[(order * size + torch.arange(size)).flatten()]
        error, moves = climb(network, moves, r.repeat(order.shape[0]), nodes)
        at = error.reshape(-1, size).argmax(0) * size + torch.arange(size)
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
