"""How far each layer looks: `perdure.memory.influence` amid noise, at signed lags for models that see the future.

Influence is taken by central differences, so that rounding is divided by a small step: in double precision 1e-10 of the output remains, in single precision 1e-4. Where
the audit had to go over to single precision, this part stays in double as long as the budget allows.
"""

from __future__ import annotations

from typing import Any

import torch

from perdure.audits.context import FEW, Context, Way
from perdure.errors import ModelError
from perdure.memory.influence import CALLED, influence

LONGEST = 512  # steps
LEAST = 8
DOUBLE = 2.5  # seconds of a call in double precision over those in single
ROUGH = "in single precision: an influence below about 1e-4 of the output is rounding"


def reach(context: Context) -> list[Way]:
    """Two backgrounds and eight nudges (or as many as there are input channels); fewer, and over fewer steps, where that is too dear."""
    full = min(LONGEST, context.horizon if context.limit is None else min(context.horizon, context.limit))
    if full < LEAST:
        raise ModelError(f"the model takes at most {context.limit} steps: an influence by lag takes {LEAST}")
    ways = []
    for steps, count, nudges, dtype in _choices(full, [torch.float64, torch.float32] if context.hurried else [context.dtype]):
        directions = min(context.input_size, nudges)
        calls = 2 + count * -(-directions // CALLED)
        factor = DOUBLE if dtype != context.dtype else 1.0
        notes = [f"{directions} of {context.input_size} input directions"] if nudges < FEW and directions < context.input_size else []
        notes += ["one background"] if count < 2 else []
        notes += [f"over {steps} steps"] if steps < full else []
        notes += [ROUGH] if factor == 1.0 and context.hurried else []
        seconds = factor * calls * context.cost.forward(2 * min(CALLED, directions), steps)
        ways.append(Way(seconds, lambda t=steps, n=count, k=nudges, d=dtype: _run(context, t, n, k, d), "; ".join(notes)))
    return ways


def _choices(full: int, types: list[torch.dtype]) -> list[tuple[int, int, int, torch.dtype]]:
    """(steps, backgrounds, nudges, type): the precision is given up before the length, and after backgrounds and nudges."""
    long = [(full, 2, FEW), (full, 1, FEW), (full, 1, 4)]
    short = [(min(full, 128), 1, 4), (min(full, 48), 1, 2)]
    return [(*way, dtype) for ways in (long, short) for dtype in types for way in ways]


def _run(context: Context, steps: int, count: int, nudges: int, dtype: torch.dtype) -> dict[str, Any]:
    found = influence(
        context.call, horizon=steps, count=count, directions=max(2, nudges), dt=context.dt, bound=context.bound, seed=context.seed, dtype=dtype,
        causal=context.known("causal"),
    )  # fmt: skip
    return {**found.to_dict(), "steps": steps}
