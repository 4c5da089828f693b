r"""The supremum over balls of several radii: starts, ascent, and the exchange of what was found between neighbouring radii.

Starts of every radius: both signs of the shift of all eigenvalues (of every recurrent parameter: +-beta for a diagonal, +-beta I for a square matrix; the others
along the gradient), the point that the gradient at the unmoved weights likes best and its opposite, random directions of full length (the samples of the paper's protocol
among them). Their inputs are the best of a common pool. The most promising go on; what is best at one radius is then scaled to its neighbours and climbs again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perdure._typing import Tensor
from perdure.stability.nonlinear import balls
from perdure.stability.nonlinear.ascent import Points, better, climb, joined
from perdure.stability.nonlinear.balls import Moves
from perdure.stability.nonlinear.gap import Gap, Scores

STEPS, FIRST, EXCHANGES = 12, 2, 2
LOOKED, KEPT = 8, 3  # starts of each radius that climb a little, and that go on


@dataclass(frozen=True)
class Search:
    """What stays the same over radii and groups.

    Attributes:
        gap: the difference of model and target.
        pool: inputs to start from, (S, P, T, d): sizes, patterns.
        recurrent: names of the recurrent parameters.
        samples: random directions among them.
        seed: of the random directions.
    """

    gap: Gap
    pool: Tensor
    recurrent: frozenset[str]
    samples: int
    seed: int

    def still(self, names: tuple[str, ...], count: int) -> Moves:
        """No move, (count, ...) each."""
        weights = self.gap.copies.weights
        return {n: torch.zeros(count, *weights[n].shape, dtype=torch.promote_types(weights[n].dtype, torch.float64)) for n in names}

    def nominal(self, keep: int = 1) -> Points:
        """The best inputs for the unmoved weights, after an ascent from the `keep` best of every size."""
        names = tuple(self.gap.copies.weights)
        point = self.placed(self.still(names, 1) if names else {}, 1, keep)
        return climb(self.gap, point, {}, torch.zeros(1, dtype=torch.float64), 2 * STEPS)

    def rows(self, points: Points, keep: int) -> Points:
        """Of `keep` rows for each size and part the best one."""
        sizes, own = self.pool.shape[0], points.scores.own()
        count = own.shape[0]
        at = own.view(count, 2 * sizes, keep).argmax(2) + keep * torch.arange(2 * sizes)
        x = points.x.gather(1, at[..., None, None].expand(-1, -1, *points.x.shape[2:]))
        return Points(
            points.moves, x, Scores(*(part.gather(1, at) for part in (points.scores.level, points.scores.slope, points.scores.when)))
        )

    def placed(self, moves: Moves, count: int, keep: int = 1) -> Points:
        """Copies with the best inputs of the pool: for each size and each of level and slope the `keep` best patterns."""
        sizes, patterns, steps, d = self.pool.shape
        flat = self.pool.reshape(1, sizes * patterns, steps, d)
        scores = self.gap.scores(moves, flat.expand(count, -1, -1, -1))
        keep = min(keep, patterns)
        chosen = []
        for values in (scores.level, scores.slope):
            order = values.view(count, sizes, patterns).argsort(2, descending=True)[..., :keep]
            chosen.append((order + patterns * torch.arange(sizes)[:, None]).reshape(count, sizes * keep))
        index = torch.cat(chosen, 1)
        return Points(moves, flat[0][index], Scores(*(part.gather(1, index) for part in (scores.level, scores.slope, scores.when))))

    def sup(self, kinds: dict[str, str], radii: Tensor, nominal: Points) -> Points:
        """For each radius, among which may be 0, the best point found (E = R copies)."""
        start, radius = self._starts(kinds, radii, nominal)
        points = self._also(nominal, self.placed(start, radius.numel()))
        points, radius = self._best(points, radius, radii, LOOKED)
        points = climb(self.gap, points, kinds, radius, FIRST)
        points, radius = self._best(points, radius, radii, KEPT)
        points = climb(self.gap, points, kinds, radius, STEPS - FIRST)
        for _ in range(EXCHANGES if radii.numel() > 1 else 0):
            champions, _ = self._best(points, radius, radii, 1)
            pools, reach = [points], [radius]
            for shift in (1, -1):
                at = torch.roll(torch.arange(radii.numel()), shift)
                scale = torch.where(radii[at] > 0, radii / radii[at], torch.zeros_like(radii))
                near = champions[at]
                moves = {name: scale.view(-1, *[1] * (move.ndim - 1)) * move for name, move in near.moves.items()}
                tried = Points(moves, near.x, self.gap.scores(moves, near.x))
                pools.append(climb(self.gap, tried, kinds, radii, STEPS // 2))
                reach.append(radii)
            points, radius = self._best(joined(pools), torch.cat(reach), radii, KEPT)
        return self._best(points, radius, radii, 1)[0]

    def sampled(self, kinds: dict[str, str], radii: Tensor, nominal: Points) -> Points:
        """For each radius the best of random directions, every one with inputs that climb: the weights are sampled, the inputs searched."""
        radius = radii.repeat_interleave(self.samples)
        points = self._also(nominal, self.placed(self.drawn(kinds, radius), radius.numel()))
        points = climb(self.gap, points, {}, radius, STEPS // 2)
        return self._best(points, radius, radii, 1)[0]

    def _also(self, nominal: Points, points: Points) -> Points:
        """With the inputs of the unmoved model where they serve better."""
        x = nominal.x.expand_as(points.x)
        return better(Points(points.moves, x, self.gap.scores(points.moves, x)), points)

    def drawn(self, kinds: dict[str, str], radius: Tensor) -> Moves:
        """The same directions at every radius: the draws depend on the seed and on the order within a radius alone."""
        count = self.samples
        unit = torch.ones(count, dtype=torch.float64)
        generator = torch.Generator().manual_seed(self.seed)
        weights = self.gap.copies.weights
        drawn = {name: balls.random(weights[name], kind, unit, generator) for name, kind in kinds.items()}
        copies = radius.numel() // count
        return {name: radius.view(-1, *[1] * (d.ndim - 1)) * d.repeat(copies, *[1] * (d.ndim - 1)) for name, d in drawn.items()}

    def shifts(self, kinds: dict[str, str], radii: Tensor) -> list[Moves] | None:
        """Both shifts of all eigenvalues at every radius, with nothing else moved; None where nothing recurrent moves."""
        if not any(name in self.recurrent for name in kinds):
            return None
        still = self.still(tuple(kinds), radii.numel())
        return [{n: sign * self._shift(n, radii) if n in self.recurrent else still[n] for n in kinds} for sign in (1.0, -1.0)]

    def _starts(self, kinds: dict[str, str], radii: Tensor, nominal: Points) -> tuple[Moves, Tensor]:
        names, size = tuple(kinds), radii.numel()
        _, gradient, _ = self.gap.gradients(self.still(names, 1), nominal.x)
        ahead = {name: balls.best(gradient[name].expand(size, *gradient[name].shape[1:]), kind, radii) for name, kind in kinds.items()}
        moves = [ahead, {name: -move for name, move in ahead.items()}]
        if any(name in self.recurrent for name in names):
            for sign in (1.0, -1.0):
                moves.append({name: sign * self._shift(name, radii) if name in self.recurrent else ahead[name] for name in names})
        joint = {name: torch.cat([m[name] for m in moves]) for name in names}
        radius = radii.repeat(len(moves))
        random = self.drawn(kinds, radii.repeat_interleave(self.samples))
        joint = {name: torch.cat([joint[name], random[name]]) for name in names}
        return joint, torch.cat([radius, radii.repeat_interleave(self.samples)])

    def _shift(self, name: str, radii: Tensor) -> Tensor:
        """All eigenvalues up by the radius: of a diagonal, or of each square block of a matrix of stacked gates."""
        shape = self.gap.copies.weights[name].shape
        if len(shape) < 2:
            unit = torch.ones(shape, dtype=torch.float64)
        else:
            side, rest = shape[0], shape[1:].numel()
            blocks = max(1, side // rest)
            unit = torch.eye(rest, dtype=torch.float64).repeat(blocks + 1, 1)[:side].reshape(shape) / blocks**0.5
            unit = unit / balls.norm(unit[None], "spectral").clamp_min(1e-300)
        return radii.view(-1, *[1] * len(shape)) * unit

    def _best(self, points: Points, radius: Tensor, radii: Tensor, keep: int) -> tuple[Points, Tensor]:
        """The best points of each radius, radius by radius for keep = 1, and theirs."""
        total, chosen = points.total(), []
        for r in radii:
            mine = (radius == r).nonzero()[:, 0]
            chosen.append(mine[total[mine].argsort(descending=True)[:keep]])
        order = torch.cat(chosen)
        return points[order], radius[order]
