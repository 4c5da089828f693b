"""The recurrent layers of an audit: `perdure.audits.matrices` over every recurrent matrix that is found, as far as the budget allows."""

from __future__ import annotations

from typing import Any

import numpy as np

from perdure.audits.context import Context, Way
from perdure.audits.matrices import RecurrentMatrix, recurrent_matrices, sizes
from perdure.errors import ModelError

RADII = (512, 256, 128, 32)  # states up to which stability radius and growth are computed
CUBE = 7e-7  # seconds of a radius and a growth over the cube of the states
PLAIN = (0.05, 2e-3, 3e-8)  # seconds of a linearisation: of its own, over the states, over their cube
SHOWN = 512  # eigenvalues kept of a matrix


def recurrence(context: Context) -> list[Way]:
    """Every recurrent matrix found; stability radii of all, or of the smaller ones."""
    found = sizes(context.call)
    if not found:
        raise ModelError(
            "no recurrent layer was found (torch's RNN, GRU and LSTM, layers with step(x, state), and state-space parameters by their published names "
            "are known)"
        )
    ways = []
    for largest in RADII:
        note = f"stability radii of layers up to {largest} states" if max(found.values()) > largest != RADII[0] else ""
        ways.append(Way(sum(_seconds(n, largest) for n in found.values()), lambda n=largest: _run(context, n), note))
    return ways


def _seconds(states: int, largest: int) -> float:
    own, line, cube = PLAIN
    return own + line * states + cube * states**3 + (CUBE * states**3 if states <= largest else 0.0)


def _run(context: Context, largest: int) -> dict[str, Any]:
    limit = None if context.budget.seconds is None else max(1.0, 0.5 * context.budget.left)
    found = recurrent_matrices(context.call, largest=largest, seconds=limit, seed=context.seed)
    if not found.matrices:
        raise ModelError("; ".join(f"{name}: {why}" for name, why in found.left_out.items()))
    matrices = [_plain(matrix) for matrix in found.matrices]
    return {"matrices": matrices, "left_out": found.left_out, "stability_radius": found.stability_radius, "slowest": found.slowest}


def _plain(matrix: RecurrentMatrix) -> dict[str, Any]:
    data = matrix.to_dict()
    data.pop("time_constants")
    return {**data, "states": matrix.eigenvalues.size, "slowest": matrix.slowest, "counts": matrix.counts, "stable_map": matrix.stable_map,
            "eigenvalues": spread(matrix.eigenvalues)}  # fmt: skip


def spread(eigenvalues: np.ndarray) -> list[complex]:
    """At most `SHOWN` of them, evenly over their ranks, the first and the last among them.

    >>> spread(np.arange(3.0) + 0j), len(spread(np.arange(2000.0) + 0j)), spread(np.arange(2000.0) + 0j)[-1]
    ([0j, (1+0j), (2+0j)], 512, (1999+0j))
    """
    at = np.arange(eigenvalues.size) if eigenvalues.size <= SHOWN else np.linspace(0, eigenvalues.size - 1, SHOWN).round().astype(int)
    return eigenvalues[at].tolist()
