r"""The sup of the W1 error over balls of several radii, by ascent from several starts.

Two steps alternate. *Conditional gradient*: to the point of the ball that the gradient likes best (the error is convex in the readout and
in the input rows, where that is the textbook step for a maximum); where the full step does not help, quarters of it are tried; a start
that gains less than one part in 10^9 stops. *Sweep*: every rate in turn over its own interval, which finds maxima inside the ball.
What is best at one radius is tried at its neighbours. The random perturbations of method "sample" are among the candidates, and the last
word between candidates that the quadrature cannot tell apart has the exact norm, so that "exact" is never below "sample".

A move of a small ball lies in every larger one; it is kept where the larger ball's own search ended lower.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from perdure._typing import Array, Tensor
from perdure.functionals.base import LinearFunctional
from perdure.stability.network import Move, Network
from perdure.stability.sobolev import NODES_PER_PANEL, Nodes, exact, value_and_gradient, values
from perdure.stability.starts import pool
from perdure.stability.sweep import sweep

STEPS = 12
TOGETHER = 1.0  # radii up to this share one set of nodes
ZOOMS = (0.25, 0.06, 0.015, 0.004, 0.001)  # reach of the later sweeps, in radii
SWEPT, FEW = 48, 3  # modes times moves of a radius that are swept, and moves at the most
DOUBT = 3e-3  # relative error of the quadrature, at kinks
FINALISTS = 4
COARSE = 4  # nodes a panel for a first look
FINE = 32  # nodes a panel for the last climb of turning modes, whose maxima lie inside their discs or on flat arcs of them


@dataclass(frozen=True)
class Problem:
    """What stays the same over the radii."""

    network: Network
    target: LinearFunctional
    horizon: float | None
    count: int
    generator: torch.Generator

    def nodes(self, radius: float, order: int = NODES_PER_PANEL) -> Nodes:
        """Quadrature nodes for every move of a radius."""
        slowest, fastest = self.network.slowest_and_fastest(radius)
        if self.horizon is not None:
            slowest = max(slowest, 1.0 / self.horizon)
        return Nodes(self.target, slowest, fastest, self.network.swings(radius), self.horizon, order)


def sup(problem: Problem, radii: Array, samples: list[Move]) -> list[tuple[float, Move]]:
    """For each radius the largest exact error found and its move (a batch of one); samples: moves to be among the candidates, by radius."""
    results: list[tuple[float, Move]] = []
    for members in _chunks(radii):
        nodes, r = problem.nodes(float(radii[members].max())), torch.as_tensor(radii[members])
        carried = []
        if results:
            last = results[-1][1]
            carried = [last.scaled(r / radii[members[0] - 1]), last.scaled(torch.ones_like(r))]
        drawn = [samples[i] for i in members]
        found = _chunk(problem, r, nodes, carried, drawn)
        for radius, best in zip(r, found, strict=True):
            if results and best[0] < results[-1][0]:  # the smaller ball's move is better: go on from there
                again = _improved(problem, results[-1][1], radius[None], nodes, nodes)
                better = exact(problem.network, again, 0, problem.target, nodes, problem.horizon)
                best = max(best, (better, again), results[-1], key=lambda pair: pair[0])
            results.append(best)
    return results


def _chunk(problem: Problem, r: Tensor, nodes: Nodes, carried: list[Move], drawn: list[Move]) -> list[tuple[float, Move]]:
    network, size = problem.network, r.numel()
    _, gradient = value_and_gradient(network, network.zero(1), nodes)
    gradient = Move.joined([gradient] * size)
    per_radius = drawn[0].v.shape[0]
    sampled = [Move.joined([move[i : i + 1] for move in drawn]) for i in range(per_radius)]
    starts = Move.joined([*pool(network, r, gradient, problem.generator), *carried, *sampled])
    coarse = problem.nodes(float(r.max()), COARSE)
    screened = values(network, starts, coarse).reshape(-1, size)
    order = screened.argsort(0, descending=True)[: problem.count]  # the most promising of each radius
    error, moves = climb(network, starts[(order * size + torch.arange(size)).flatten()], r.repeat(order.shape[0]), nodes)
    best_samples = _top(screened[-per_radius:].flatten(), Move.joined(sampled), size, FEW)
    pools = [(values(network, best_samples, nodes), best_samples), (error, moves)]
    few = max(1, min(FEW, SWEPT // network.size))
    best = _top(error, moves, size, few)
    if "recurrent" in network.groups:
        best = _improved(problem, best, r.repeat(few), nodes, coarse)
        pools.append((values(network, best, nodes), best))
    if size > 1:  # what is best at one radius, scaled to its neighbours
        champion = _top(*_all(pools), size, 1)
        for shift in (1, -1):
            factor = r / torch.roll(r, shift).clamp_min(1e-300)
            tried = climb(network, champion[torch.roll(torch.arange(size), shift)].scaled(factor), r, nodes)
            pools.append(tried)
    error, moves = _all(pools)
    found = [_final(problem, error.reshape(-1, size)[:, i], moves, i, size, nodes) for i in range(size)]
    return _finished(problem, found, r) if network.is_complex and "recurrent" in network.groups else found


def _finished(problem: Problem, found: list[tuple[float, Move]], r: Tensor) -> list[tuple[float, Move]]:
    """The moves found, climbed once more on nodes so dense that the kinks of |D| no longer hide a gain."""
    dense = problem.nodes(float(r.max()), FINE)
    moves = _improved(problem, Move.joined([move for _, move in found]), r, dense, dense)
    results = []
    for i, best in enumerate(found):
        move = moves[i : i + 1]
        results.append(max(best, (exact(problem.network, move, 0, problem.target, dense, problem.horizon), move), key=lambda pair: pair[0]))
    return results


def _improved(problem: Problem, move: Move, radii: Tensor, nodes: Nodes, coarse: Nodes) -> Move:
    """A sweep, conditional-gradient steps again, and ever finer sweeps where a rate ended inside its ball."""
    network = problem.network
    swept = sweep(network, move, radii, coarse)
    changed = ((swept.v != move.v) | (swept.omega != move.omega)).any(1).nonzero()[:, 0]
    move = swept
    if changed.numel():
        _put(move, changed, climb(network, swept[changed], radii[changed], nodes)[1])
    inside = (torch.hypot(move.v, move.omega) < radii[:, None] * (1 - 1e-9)).any(1).nonzero()[:, 0]
    if inside.numel() == 0:
        return move
    fine, r = move[inside], radii[inside]
    for reach in ZOOMS:
        fine = sweep(network, fine, r, nodes, reach)
    if network.groups != ("recurrent",):
        fine = climb(network, fine, r, nodes)[1]
    _put(move, inside, fine)
    return move


def _put(move: Move, at: Tensor, part: Move) -> None:
    for name in ("v", "omega", "u", "c"):
        getattr(move, name)[at] = getattr(part, name)


def _all(pools: list[tuple[Tensor, Move]]) -> tuple[Tensor, Move]:
    return torch.cat([error for error, _ in pools]), Move.joined([move for _, move in pools])


def _top(error: Tensor, moves: Move, size: int, few: int) -> Move:
    """The best few of every radius, no value twice while there are others."""
    ranked, order = error.reshape(-1, size).sort(0, descending=True)
    if few > 1:
        again = torch.zeros_like(ranked, dtype=torch.bool)
        again[1:] = ranked[1:] > ranked[:-1] * (1 - 1e-7)
        order = order.gather(0, again.long().argsort(stable=True, dim=0))
    order = order[:few]
    return moves[(order * size + torch.arange(size)).flatten()]


def _final(problem: Problem, error: Tensor, moves: Move, i: int, size: int, nodes: Nodes) -> tuple[float, Move]:
    """The best by the exact norm among the candidates that the quadrature cannot tell apart."""
    order = error.argsort(descending=True)
    best: tuple[float, Move] | None = None
    seen: list[Tensor] = []
    for at in order.tolist():
        if best is not None and (error[at] < (1 - DOUBT) * error[order[0]] or len(seen) >= FINALISTS):
            break
        if any(abs(float(error[at]) - float(other)) <= 1e-5 * float(other) for other in seen):
            continue  # the same point again
        move = moves[at * size + i : at * size + i + 1]
        value = exact(problem.network, move, 0, problem.target, nodes, problem.horizon)
        seen.append(error[at])
        if best is None or value > best[0]:
            best = (value, move)
    if best is None:
        raise AssertionError("there is always a candidate")
    return best


def climb(network: Network, move: Move, radii: Tensor, nodes: Nodes) -> tuple[Tensor, Move]:
    """Conditional-gradient ascent of every member of a batch within its ball; values (B,) and moves."""
    error, gradient = value_and_gradient(network, move, nodes)
    active = torch.ones_like(error, dtype=torch.bool)
    weight = torch.ones_like(error)
    for _ in range(STEPS):
        at = active.nonzero()[:, 0]
        if at.numel() == 0:
            break
        best = network.toward(gradient[at], radii[at])
        gain = _gain(gradient[at], move[at], best)
        promising = gain > 1e-9 * error[at]  # else the point is stationary: no move of the ball helps to first order
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


def _chunks(radii: Array) -> list[list[int]]:
    together = [i for i, r in enumerate(radii) if r <= TOGETHER]
    return ([together] if together else []) + [[i] for i, r in enumerate(radii) if r > TOGETHER]


def drawn(network: Network, radii: Array, count: int, seed: int) -> list[Move]:
    """The random perturbations of method "sample", by radius."""
    generator = torch.Generator().manual_seed(seed)
    return [network.random(torch.full((count,), float(np.float64(r)), dtype=torch.float64), generator) for r in radii]
