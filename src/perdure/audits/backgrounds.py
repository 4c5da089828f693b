"""The memory amid different inputs: for models whose gates or attention make it depend on what they read."""

from __future__ import annotations

from typing import Any

import numpy as np

from perdure.audits.context import FEW, FIT, Context, Way
from perdure.audits.reading import crossing
from perdure.audits.recall import LEVELS
from perdure.errors import ArgumentError, ModelError
from perdure.memory.ensemble import MemoryEnsemble, memory_ensemble

EXTRA = 8  # rows of the checks
READ = ("half_life", "horizon_1")


def backgrounds(context: Context) -> list[Way]:
    """The impulse amid zeros and amid sequences of noise, or of the user's data where there are some."""
    if context.known("causal") is False:
        raise ModelError("the model sees the future (measured): a memory function is defined for causal models")
    if context.known("linear"):
        raise ModelError("the model is linear (measured): its memory is the same amid every input")
    steps = context.horizon if context.limit is None else min(context.horizon, context.limit)
    few = FEW if context.input_size > FEW else None
    ways = []
    for directions, probes, count, length in (
        (None, 32, 6, steps),
        (few, 24, 6, steps),
        (few, 8, 3, steps),
        (few, 8, 3, max(16, steps // 4)),
    ):
        d = directions or context.input_size
        seconds = (1 + count) * (context.cost.forward(max(probes, d) + EXTRA, length) + FIT)
        notes = [f"through {directions} of {context.input_size} input directions"] if directions else []
        notes += [f"{count} backgrounds, {probes} inputs each"] if count < 6 else []
        notes += [f"over {length} steps"] if length < steps else []
        ways.append(Way(seconds, lambda k=directions, p=probes, n=count, t=length: _run(context, k, p, n, t), "; ".join(notes)))
    return ways


def _run(context: Context, directions: int | None, probes: int, count: int, steps: int) -> dict[str, Any]:
    given = "noise" if context.data is None or directions is not None else context.data[:count, :steps]
    found = memory_ensemble(
        context.served(steps, directions), background=given, count=count, probes=max(probes, 8), **context.options(steps)
    )
    data = found.to_dict()
    data.pop("values")
    rows = zip(found.labels, found.values, strict=True)
    return {**data, "members": [{"label": label, **_read(found, values)} for label, values in rows],
            "readings": {"median": _read(found, found.median), "worst case": _read(found, found.worst)}}  # fmt: skip


def _read(found: MemoryEnsemble, values: Any) -> dict[str, Any]:
    curve = {"times": found.times, "values": np.asarray(values), "noise_floor": found.noise_floor, "status": found.curves[0].status}
    made: dict[str, Any] = {}
    for name in READ:
        try:
            made[name] = crossing(curve, LEVELS[name]).to_dict()
        except ArgumentError:
            made[name] = None
    return made
