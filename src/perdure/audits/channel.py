"""The memory capacity part of an audit: `perdure.memory.capacity` over as many delays as the horizon has steps, or fewer where the model ends earlier."""

from __future__ import annotations

from typing import Any

from perdure.audits.context import Context, Way
from perdure.errors import ModelError
from perdure.memory.capacity import LEAST, PER_OUTPUT, memory_capacity

OUTPUTS = 256  # channels read at most; of more, mixtures


def capacity(context: Context) -> list[Way]:
    """Over the horizon, or over a quarter of it."""
    if context.known("causal") is False:
        raise ModelError("the model sees the future (measured): it can copy what it has not yet been given")
    longest = min(2 * context.horizon, context.limit or max(context.lengths) * context.horizon)  # a length that is known to run
    size = min(context.call.output_size or 1, OUTPUTS)
    ways = []
    for delays in dict.fromkeys((longest // 2, max(4, longest // 8))):
        rows = -(-max(LEAST, PER_OUTPUT * size) // delays)
        note = "" if delays == longest // 2 else f"delays up to {delays} steps"
        ways.append(Way(context.cost.forward(rows, 2 * delays), lambda k=delays: _run(context, k), note))
    return ways


def _run(context: Context, delays: int) -> dict[str, Any]:
    found = memory_capacity(
        context.served(2 * delays), horizon=delays, bound=context.bound, dt=context.dt, outputs=OUTPUTS, seed=context.seed,
        dtype=context.dtype, seconds=None if context.budget.seconds is None else max(1.0, context.budget.left),
    )  # fmt: skip
    return {"capacity": found.capacity, "total": found.total, "delays": found.delays, "shares": found.values, "level": found.threshold,
            "most": found.bound, "samples": found.samples, "error": found.error, "status": found.status, "notes": list(found.notes)}  # fmt: skip
