r"""Joint ascent in weights and inputs.

Both live in balls, and each step goes to the point of its ball that the gradient likes best (conditional gradient): for an input of size s that is
s sign(gradient), for the weights see `perdure.stability.nonlinear.balls`. An input whose value is attained early is put off until the end of the horizon, where it may
have more past. Each input keeps the old or the new, whichever serves it, then the new weights are tried with these; weights that do not gain try a quarter of the way, and a copy in which nothing gains any more stops. Every accepted value was really attained by some
weights and inputs, so that it is a lower bound of the supremum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perdure._typing import Tensor
from perdure.stability.nonlinear.balls import Moves, best
from perdure.stability.nonlinear.gap import Gap, Scores

GAIN = 1e-9
SHORTEST = 0.05


@dataclass
class Points:
    """Where E copies stand.

    Attributes:
        moves: of the weights, by parameter name, (E, ...).
        x: inputs (E, R, T, d).
        scores: their values, (E, R).
    """

    moves: Moves
    x: Tensor
    scores: Scores

    def __getitem__(self, at: Tensor) -> Points:
        moves = {name: move[at] for name, move in self.moves.items()}
        return Points(moves, self.x[at], self.scores[at])

    def put(self, at: Tensor, part: Points) -> None:
        """Replace some copies."""
        for name, move in part.moves.items():
            self.moves[name][at] = move
        self.x[at] = part.x
        for name in ("level", "slope", "when"):
            getattr(self.scores, name)[at] = getattr(part.scores, name)

    def total(self) -> Tensor:
        """(E,)."""
        return self.scores.total()


def joined(points: list[Points]) -> Points:
    """Several batches as one."""
    moves = {name: torch.cat([p.moves[name] for p in points]) for name in points[0].moves}
    return Points(moves, torch.cat([p.x for p in points]), Scores.joined([p.scores for p in points]))


def climb(gap: Gap, points: Points, kinds: dict[str, str], radius: Tensor, steps: int) -> Points:
    """Ascend from every point.

    Args:
        gap: what to maximise.
        points: starts; they are changed.
        kinds: the ball of each parameter that moves.
        radius: of each copy, (E,).
        steps: at most so many.
    """
    count = points.x.shape[0]
    reach, active = torch.ones(count, dtype=torch.float64), torch.isfinite(points.total())
    for _ in range(steps):
        at = active.nonzero()[:, 0]
        if at.numel() == 0:
            break
        now = points[at]
        before = now.total()
        scores, by_moves, by_x = gap.gradients(now.moves, now.x)
        now.scores = scores
        size = now.x.abs().flatten(2).amax(2)[..., None, None]
        x = _later(torch.where(by_x == 0, now.x, size * by_x.sign()), scores.when)
        stay = better(now, Points(now.moves, x, gap.scores(now.moves, x)))
        moved = torch.zeros(at.numel(), dtype=torch.bool)
        if kinds:
            moves = {}
            for name, kind in kinds.items():
                goal = best(by_moves[name], kind, radius[at])
                share = reach[at].view(-1, *[1] * (goal.ndim - 1))
                moves[name] = now.moves[name] + share * (goal - now.moves[name])
            go = Points(moves, stay.x, gap.scores(moves, stay.x))
            moved = go.total() > stay.total() * (1 + GAIN)
            stay.put(moved.nonzero()[:, 0], go[moved])
            reach[at] = torch.where(moved, torch.ones_like(reach[at]), 0.25 * reach[at])
        points.put(at, stay)
        gained = stay.total() > before * (1 + GAIN)
        active[at] = torch.isfinite(stay.total()) & (gained | (bool(kinds) & (reach[at] > SHORTEST)))
    return points


def _later(x: Tensor, when: Tensor) -> Tensor:
    """Inputs (E, R, T, d) moved back in time, so that what happens at the step `when` (E, R) happens at the last one; zeros come before."""
    steps = x.shape[2]
    source = torch.arange(steps) - (steps - 1 - when)[..., None]
    moved = x.gather(2, source.clamp_min(0)[..., None].expand_as(x)) * (source >= 0)[..., None]
    whole = moved.abs().flatten(2).amax(2) == x.abs().flatten(2).amax(2)  # nothing that matters is pushed out
    return torch.where(whole[..., None, None], moved, x)


def better(one: Points, other: Points) -> Points:
    """The same weights with, for every row, the input that serves it better."""
    mask = one.scores.own() >= other.scores.own()
    return Points(one.moves, torch.where(mask[..., None, None], one.x, other.x), one.scores.where(mask, other.scores))
