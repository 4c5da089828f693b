"""The precision part of an audit: `perdure.audits.precision` with the probe that speaks for the model, as far as the budget allows."""

from __future__ import annotations

from typing import Any

from perdure.audits.context import FIT, Context, Way, without_nan
from perdure.audits.precision import FORMATS, INPUTS, TYPES, precision
from perdure.errors import ModelError

SLOW = 5  # seconds of a call in float16 over those in the type of the audit, about
FEWER = ("bfloat16", "float16", "int8 per channel")
LEAST = 16  # steps


def formats(context: Context) -> list[Way]:
    """All formats, of the weights and of the whole model; then the weights alone; then fewer formats and steps."""
    if context.call.module is None or not any(True for _ in context.call.module.parameters()):
        raise ModelError("the model has no parameters to be rounded")
    full = context.horizon if context.limit is None else min(context.horizon, context.limit)
    rows = 1 + min(INPUTS, context.input_size)
    found = context.found.get("memory")
    alone = [] if found else ["the outputs alone: there is no memory curve"]
    ways = []
    for names, whole, steps in ((FORMATS, True, full), (FORMATS, False, full), (FEWER, False, full), (FEWER, False, max(LEAST, full // 4))):
        calls = 1 + len(names) + (len(TYPES) - 1 + SLOW if whole else 0)
        notes = [*alone, *([] if whole else ["the weights alone"]), *([f"over {steps} steps"] if steps < full else [])]
        seconds = calls * (context.cost.forward(rows, steps) + FIT)
        ways.append(Way(seconds, lambda n=names, w=whole, t=steps, s=seconds: _run(context, n, w, t, s), "; ".join(notes)))
    return ways


def _run(context: Context, names: tuple[str, ...], whole: bool, steps: int, seconds: float) -> dict[str, Any]:
    memory = context.found.get("memory")
    probe, around = [*memory["headline"].split(", "), "zeros"][:2] if memory else ["impulse", "noise"]
    found = precision(
        context.call, horizon=steps, dt=context.dt, probe=probe if probe == "heaviside" else "impulse", formats=names, activations=whole,
        background=context.data[:1, :steps] if around == "data" else around, bound=context.bound, seed=context.seed, dtype=context.dtype,
        seconds=context.allowed(seconds),
    )  # fmt: skip
    return {
        **found.to_dict(), "reference": without_nan(vars(found.reference)), "rows": [without_nan(vars(row)) for row in found.rows], "steps": steps,
        "background": around, "readable": memory is not None, "noise_floor": found.noise_floor,
    }  # fmt: skip
