r"""Does a perturbed model still forget?

On a horizon T every model looks finite. Where the state of rest has become unstable E is infinite: with enough past, an input as small as you like leaves a response that is not. A
recurrent model that `perdure.stability.linearise` understands is asked for the eigenvalues of its step where it comes to rest; those outside the unit circle count if inputs reach them and
outputs show them (`perdure.stability.nonlinear.modes`). Where a run ends elsewhere than at the unstable rest, in a stable one or a cycle, the response is bounded and this says nothing. Of others, and where a kink at rest leaves no derivative, the response is watched: the input that was found is made 10^8 times smaller, put to 0 after T, and the response
counts as growing where its largest values in the three octaves from T to 8 T rise like an exponential, the second time by at least 1.5 times as many powers of e as the first (an
exponential: twice as many), or a hundredfold. Slow modes that cancel at first make a response rise like a power of time only: as many powers of e both times. What a large input alone may
set off, a limit cycle for instance, is bounded, and the value found on the horizon stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from perdure._typing import Array, Tensor
from perdure.errors import ModelError
from perdure.stability.equilibrium import Equilibrium, find, newton
from perdure.stability.nonlinear.balls import Moves
from perdure.stability.nonlinear.gap import Gap
from perdure.stability.nonlinear.modes import grows, reached_by, seen_in
from perdure.stability.step_map import StepMap, flat_start, step_map

LONGER, SMALLER = 8, 1e-8
RISE, CONVEX, MUCH = 1e-3, 1.5, 100.0
MARGIN, STILL, STEPS = 1e-12, 1e-14, 2000  # above 1; of a state at rest; of a run that looks for it
PRECISION = 1e-4  # of the least radius at which something grows
LEAST = 1e-300
ROUNDED = 1e-12  # of the outputs: a response below is rounding


class Growth:
    """Whether copies of a model grow.

    Attributes:
        exact: whether the spectral radius at rest is asked, besides the response.
    """

    def __init__(self, gap: Gap, module: nn.Module) -> None:
        self._gap, self._module = gap, module
        self._rest: Array | None = None
        try:
            map_ = step_map(module, None, None, None)
            found = find(map_, flat_start(map_, None), STEPS)
            seen_in(module, map_, found.state)
            self._rest = found.state
        except Exception:  # whatever a `step` that means something else may raise
            pass
        self.exact = self._rest is not None

    def grows(self, moves: Moves, x: Tensor) -> Tensor:
        """(E,), for moves (E, ...) and inputs (E, R, T, d)."""
        found = torch.zeros(x.shape[0], dtype=torch.bool)
        if self._rest is not None:
            for e in range(x.shape[0]):
                with self._moved({name: move[e] for name, move in moves.items()}):
                    found[e] = self._unstable(self._rest)
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

    def _unstable(self, rest: Array) -> bool:
        """Whether outputs grow away from the rest that a run leads to, or from one that a run leaves for infinity."""
        map_ = step_map(self._module, None, None, None)
        start = flat_start(map_, None)
        try:
            if np.abs(map_(rest) - rest).max() <= STILL:
                near: Equilibrium | None = Equilibrium(rest, map_.jacobian(rest), 0.0, 0.0)
            else:
                near = newton(map_, rest)
            if near is not None and (np.abs(start - near.state).max() <= STILL or not self._grows_from(map_, near)):
                return self._grows_from(map_, near)
            near = find(map_, start, STEPS)  # the run may end elsewhere
            leaves = near.motion is not None and near.motion.kind == "diverging"
            return (leaves or near.status != "not reached") and self._grows_from(map_, near)
        except (ModelError, np.linalg.LinAlgError):  # no rest, or numbers too large to be told apart: the response will tell
            return False

    def _grows_from(self, map_: StepMap, near: Equilibrium) -> bool:
        if np.abs(np.linalg.eigvals(near.jacobian)).max() <= 1 + MARGIN:
            return False
        module, size = self._module, int(self._gap.size)
        return grows(near.jacobian, reached_by(module, near.state, size), seen_in(module, map_, near.state), MARGIN)

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
