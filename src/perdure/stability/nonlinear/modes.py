r"""Does an unstable mode matter to what a model does with its inputs?

At rest a step is h' = A h + B x, y = C h to first order. Schur's form with the eigenvalues outside the unit circle first, A = Z [A_1 A_12; 0 A_2] Z^*, falls apart by
[1 X; 0 1] with A_1 X - X A_2 = -A_12: what the unstable part gets is B_1 = b_1 - X b_2 for Z^* B = [b_1; b_2], and what is seen of it C_1 = C Z_1. Inputs make outputs grow exactly where
one of C_1 A_1^k B_1, k < dim A_1, is not 0 (Kalman).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import nn

from perdure._typing import Array, Tensor
from perdure.stability.cells import kind_of
from perdure.stability.step_map import StepMap, step_map

SMALL = 1e-6  # of an input, for central differences
FAINT = 1e-15  # relative: below is rounding; the slowest of many modes has a weight like a power of its rate, and counts


def grows(jacobian: Array, reached: Array, seen: Array, margin: float) -> bool:
    """Whether outputs grow: A (n, n), B (n, d), C (o, n), eigenvalues beyond 1 + margin.

    >>> a, b, c = np.diag([1.5, 0.5]), np.array([[1.0], [1.0]]), np.array([[1.0, 1.0]])
    >>> grows(a, b, c, 0.0), grows(a, b * [[0.0], [1.0]], c, 0.0), grows(a, b, c * [[0.0, 1.0]], 0.0)
    (True, False, False)
    """
    parts: tuple[Any, ...] = linalg.schur(jacobian, output="complex", sort=lambda value: abs(value) > 1 + margin)
    t, z, count = parts[0], parts[1], int(parts[2])
    if count == 0:
        return False
    given, unstable = z.conj().T @ reached, t[:count, :count]
    other = linalg.solve_sylvester(unstable, -t[count:, count:], -t[:count, count:]) if count < len(t) else np.zeros((count, 0))
    b, c = given[:count] - other @ given[count:], seen @ z[:, :count]
    scale = np.linalg.norm(given[:count]) + np.linalg.norm(other) * np.linalg.norm(given[count:])
    limit = FAINT * scale * np.linalg.norm(seen)
    for _ in range(count):
        if np.linalg.norm(c @ b) > limit:
            return True
        b = unstable @ b
        b /= max(np.linalg.norm(b) / max(scale, 1e-300), 1.0)
    return False


def reached_by(module: nn.Module, state: Array, x: Array) -> Array:
    """B, (n, d), around the input x (d,), by central differences."""
    ends = [[step_map(module, x + sign * SMALL * unit, None, None)(state) for sign in (1, -1)] for unit in np.eye(len(x))]
    return np.stack([(up - down) / (2 * SMALL) for up, down in ends], 1)


def seen_in(module: nn.Module, map_: StepMap, state: Array) -> Array:
    """C, (o, n): of a torch layer its topmost h, of a module with `step` by central differences of its output."""
    if kind_of(module) is not None:
        first, last = _topmost(map_)
        return np.eye(map_.size)[first:last]
    by = SMALL * (1.0 + np.abs(state).max())
    moves = by * np.concatenate([np.eye(map_.size), -np.eye(map_.size)])
    up, down = output_at(module, map_, state + moves).double().cpu().numpy().reshape(2, map_.size, -1)
    return (up - down).T / (2 * by)


@torch.no_grad()
def output_at(module: nn.Module, map_: StepMap, states: Array) -> Tensor:
    """Outputs (B, o) for states (B, n) and the input of the step map: of a torch layer its topmost h, which at rest is what it gives; else those of a step."""
    given = map_.tensor(states)
    if kind_of(module) is not None:
        first, last = _topmost(map_)
        return given[:, first:last]
    before = given.reshape(len(states), len(map_.blocks), *map_.blocks[0][1]).transpose(0, 1)
    weight = next(module.parameters(), given)
    x = torch.as_tensor(map_.x).to(given.device, weight.dtype if weight.is_floating_point() else torch.float64)
    return module.step(x.expand(len(states), -1), before)[0]  # pyright: ignore[reportCallIssue]


def _topmost(map_: StepMap) -> tuple[int, int]:
    ends = np.cumsum([0, *(shape[0] for _, shape in map_.blocks)])
    top = max(k for k, (name, _) in enumerate(map_.blocks) if name.startswith("h_"))
    return int(ends[top]), int(ends[top + 1])
