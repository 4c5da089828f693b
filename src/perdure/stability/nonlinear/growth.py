r"""Does a perturbed model still forget?

On a horizon T every model looks finite. Where the state of rest has become unstable E is infinite: with enough past, an input as small as you like leaves a response that is not. A
recurrent model that `perdure.stability.linearise` understands, or one with such layers inside, is asked for the eigenvalues of a step where it comes to rest
(`perdure.stability.nonlinear.resting`); those outside the unit circle count if inputs reach them and outputs show them. Where a run ends elsewhere than at the unstable rest, in a stable one or a cycle, the response is bounded and this says nothing. Of others, and where a kink at rest leaves no derivative, the response is watched: the input that was found is made 10^8 times smaller, put to 0 after T, and the response
counts as growing where its largest values in the three octaves from T to 8 T rise like an exponential, the second time by at least 1.5 times as many powers of e as the first (an
exponential: twice as many), or a hundredfold. Slow modes that cancel at first make a response rise like a power of time only: as many powers of e both times. Growth slower than about 1/(8 T) is not seen in this way. What a large input alone may
set off, a limit cycle for instance, is bounded, and the value found on the horizon stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from perdure._typing import Tensor
from perdure.stability.nonlinear.balls import Moves
from perdure.stability.nonlinear.gap import Gap
from perdure.stability.nonlinear.resting import Parts

LONGER, SMALLER = 8, 1e-8
RISE, CONVEX, MUCH = 1e-3, 1.5, 100.0
PRECISION = 1e-4  # of the least radius at which something grows
LEAST = 1e-300
ROUNDED = 1e-12  # of the outputs: a response below is rounding


class Growth:
    """Whether copies of a model grow.

    Attributes:
        parts: the recurrent parts that are asked for their eigenvalues at rest, besides the response.
    """

    def __init__(self, gap: Gap, module: nn.Module) -> None:
        self._gap, self._module = gap, module
        self.parts = Parts(self._outputs, module, gap.steps, gap.size)

    def described(self) -> str:
        """What is called infinite, and what is not seen."""
        names = self.parts.names
        rest = f"infinite where a move makes the state of rest{' of ' + ', '.join(names) if any(names) else ''} unstable, by the eigenvalues of a step"
        if names == ("",):
            return rest
        watched = "where the response to a tiny input is seen to grow"
        slow = f"growth slower than about 1/({LONGER} horizon) = {1 / (LONGER * self._gap.steps * self._gap.dt):.1g} is not seen"
        return f"{rest}, or {watched}: elsewhere {slow}" if names else f"infinite {watched}: {slow}"

    def grows(self, moves: Moves, x: Tensor) -> Tensor:
        """(E,), for moves (E, ...) and inputs (E, R, T, d)."""
        found = torch.zeros(x.shape[0], dtype=torch.bool)
        for e in range(x.shape[0]):
            with self._moved({name: move[e] for name, move in moves.items()}):
                found[e] = self.parts.unstable()
        rest = (~found).nonzero()[:, 0]
        if rest.numel():  # a kink at rest, as that of relu, has no derivative that could tell
            found[rest] = self._rises({name: move[rest] for name, move in moves.items()}, x[rest])
        return found

    def threshold(self, moves: Moves, x: Tensor, low: float, high: float) -> float:
        """The least radius at which a direction of moves makes the model grow, between one at which it does not and one at which it does.

        Args:
            moves: one copy at the radius `high`, (1, ...) each.
            x: its inputs (1, R, T, d).
            low: a radius at which nothing grew.
            high: one at which this copy does.
        """
        top = high
        while high - low > PRECISION * high and high > LEAST:
            middle = high / 1024 if low == 0 else (low * high) ** 0.5  # for a radius may be many powers of ten too large
            if bool(self.grows({name: (middle / top) * move for name, move in moves.items()}, x)[0]):
                high = middle
            else:
                low = middle
        return high

    @torch.no_grad()
    def _outputs(self, x: Tensor) -> Tensor:
        return self._gap.copies.outputs({}, x[None])[0]

    @contextmanager
    def _moved(self, moves: Moves) -> Iterator[None]:
        parameters = dict(self._module.named_parameters())
        before = {name: parameters[name].detach().clone() for name in moves}
        try:
            with torch.no_grad():
                for name, move in moves.items():
                    parameters[name].add_(move)
            yield
        finally:
            with torch.no_grad():
                for name, value in before.items():
                    parameters[name].copy_(value)

    def _rises(self, moves: Moves, x: Tensor) -> Tensor:
        gap, (count, rows, steps, _) = self._gap, x.shape
        found = torch.zeros(count, dtype=torch.bool)
        longer = torch.nn.functional.pad(SMALLER * x, (0, 0, 0, (LONGER - 1) * steps))
        with torch.no_grad():
            for piece in gap.copies.pieces(count, rows, LONGER * steps):
                left, size = gap.outputs({name: move[piece] for name, move in moves.items()}, longer[piece])
                left, size = left.abs().amax(-1), size.abs().flatten(1).amax(1)[:, None]
                first, second, third = (left[:, :, a * steps : 2 * a * steps].amax(2).clamp_min(1e-300) for a in (1, 2, 4))
                once, again = torch.log(second / first), torch.log(third / second)
                rising = (once > RISE) & (again > RISE) & ((again > CONVEX * once) | (third > MUCH * first))
                visible = (third > 1e-9 * left[:, :, :steps].amax(2)) & (third > ROUNDED * size)
                found[piece] = ((rising & visible) | ~torch.isfinite(left).all(2)).any(1)
        return found
