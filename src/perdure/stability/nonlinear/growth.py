r"""Does a perturbed model still forget?

On a horizon T every model looks finite. Where the state of rest has become unstable, E is infinite, for with enough past an input as small as you like leaves a response that is not.
So the input that was found is made 10^8 times smaller, put to 0 after T, and the response watched up to 8 T: it counts as growing where its largest values in (T, 2T], (2T, 4T] and
(4T, 8T] rise like an exponential, the second time by at least 1.5 times as many powers of e as the first (an exponential: twice as many), or a hundredfold (what is left when it saturates).
Slow modes that cancel at first make a response rise too, but like a power of time: as many powers of e both times. Growth so slow that it is hidden by what decays within 8 T
is not seen; nor is what a large input alone may set off, a limit cycle for instance: it is bounded, and the value found on the horizon stands.
"""

from __future__ import annotations

import torch

from perdure._typing import Tensor
from perdure.stability.nonlinear.balls import Moves
from perdure.stability.nonlinear.gap import Gap

LONGER, SMALLER = 8, 1e-8
RISE, CONVEX, MUCH = 1e-3, 1.5, 100.0
SCALES, ROUNDS = 12, 3


def grows(gap: Gap, moves: Moves, x: Tensor) -> Tensor:
    """Whether the response of each copy, (E,), to any of its inputs (E, R, T, d), made small, grows after the input has ended."""
    count, rows, steps, _ = x.shape
    found = torch.zeros(count, dtype=torch.bool)
    longer = torch.nn.functional.pad(SMALLER * x, (0, 0, 0, (LONGER - 1) * steps))
    with torch.no_grad():
        for piece in gap.copies.pieces(count, rows, LONGER * steps):
            left = gap.responses({name: move[piece] for name, move in moves.items()}, longer[piece]).abs().amax(-1)
            first, second, third = (left[:, :, a * steps : 2 * a * steps].amax(2).clamp_min(1e-300) for a in (1, 2, 4))
            once, again = torch.log(second / first), torch.log(third / second)
            rising = (once > RISE) & (again > RISE) & ((again > CONVEX * once) | (third > MUCH * first))
            visible = third > 1e-9 * left[:, :, :steps].amax(2)
            found[piece] = ((rising & visible) | ~torch.isfinite(left).all(2)).any(1)
    return found


def threshold(gap: Gap, moves: Moves, x: Tensor, low: float, high: float) -> float:
    """The least radius at which a direction of moves makes the model grow, between one at which it does not and one at which it does.

    Args:
        gap: model and target.
        moves: one copy at the radius `high`, (1, ...) each.
        x: its inputs (1, R, T, d).
        low: a radius at which nothing grew.
        high: one at which this copy does.
    """
    top = high
    for _ in range(ROUNDS):
        scale = torch.linspace(low, high, SCALES + 2, dtype=torch.float64)[1:-1]
        tried = {name: (scale / top).view(-1, *[1] * (move.ndim - 1)) * move for name, move in moves.items()}
        grown = grows(gap, tried, x.expand(SCALES, -1, -1, -1)).nonzero()[:, 0]
        first = int(grown[0]) if grown.numel() else SCALES
        high = float(scale[first]) if first < SCALES else high
        low = float(scale[first - 1]) if first else low
    return high
