"""The parts of an audit: for each, the ways of measuring it, the fullest first, with the seconds each is foreseen to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perdure.adapters.properties import measure
from perdure.audits.agreement import agreement
from perdure.audits.backgrounds import backgrounds
from perdure.audits.channel import capacity
from perdure.audits.context import FEW, FIT, Context, Way
from perdure.audits.forgetting import forgetting
from perdure.audits.formats import formats
from perdure.audits.reach import reach
from perdure.audits.recall import described, measure_all
from perdure.audits.recurrence import recurrence
from perdure.audits.weights import weights
from perdure.errors import ModelError
from perdure.memory import memory_function

EXTRA = 8  # rows of the checks
DERIVATIVE = 3  # a forward derivative over a plain call
PROBES = (None, 64, 24, 8)


def properties(context: Context) -> list[Way]:
    """What the model is, measured: causal, time-homogeneous, linear, stateful, random."""
    steps = max(8, min(64, context.horizon // 2, context.limit // 2 if context.limit else 64))

    def run() -> dict[str, Any]:
        return measure(context.call, steps, bound=context.bound, seed=context.seed, dtype=context.dtype).to_dict()

    return [Way(10 * context.cost.forward(4, 2 * steps), run)]


def memory(context: Context) -> list[Way]:
    """Memory by each probe around zeros, and by impulse and derivative amid the user's data where there are some."""
    if context.known("stateful"):
        raise ModelError(
            "the model keeps a state from call to call (measured): what it remembers of earlier calls would be taken for memory"
        )
    if context.known("causal") is False:
        raise ModelError(
            "the model sees the future (measured): a memory function is defined for causal models; its influence on either side is below"
        )
    horizon = context.horizon if context.limit is None else min(context.horizon, context.limit)
    where = [("zeros", None)]
    if context.data is not None:
        where.append(("data", context.data[:4, :horizon]))
    ways = []
    for directions in dict.fromkeys((None, FEW if context.input_size > FEW else None)):
        for probes in PROBES:
            ways.append(_memory_way(context, horizon, where, probes, directions))
    few = FEW if context.input_size > FEW else None
    for kept in (("heaviside", "impulse"), ("impulse",)):  # one curve is worth more than none
        if set(kept) & set(context.probes) and set(kept) != set(context.probes):
            ways.append(
                _memory_way(replace(context, probes=tuple(p for p in kept if p in context.probes)), horizon, where[:1], PROBES[-1], few)
            )
    ways.sort(key=lambda way: -way.seconds)
    return ways


def _memory_way(context: Context, horizon: int, where: list, probes: int | None, directions: int | None) -> Way:
    d = directions or context.input_size
    left_out = directions is not None and len(where) > 1  # the user's sequences do not lie in the span of a few directions
    where = where[:1] if left_out else where
    settled = horizon
    if context.limit is not None:
        settled = min(settled, max(1, context.limit - horizon))
    jobs, seconds = [], 0.0
    for background, sequences in where:
        count = 1 if sequences is None else len(sequences)
        for probe in context.probes:
            if background != "zeros" and probe not in ("impulse", "jacobian"):
                continue
            if probe == "reversed" and context.limit is not None and horizon + settled > context.limit:
                settled = max(1, horizon // 2)
            jobs.append((probe, background, sequences))
            steps = horizon + (settled if probe == "reversed" else 0)
            rows = DERIVATIVE * d + 2 * EXTRA if probe == "jacobian" else _rows(probes, d) + EXTRA
            seconds += count * context.cost.forward(rows, steps) + FIT

    def run() -> dict[str, Any]:
        model = context.served(2 * horizon, directions)
        options = {**context.options(horizon), "warmup": settled}
        bound_by = f"{directions} of {context.input_size} input directions" if directions else ""
        found = measure_all(model, jobs, options, probes, bound_by, context.tick)
        return {**found, "directions": directions, "probes": probes}

    notes = [f"probes: {', '.join(context.probes)} alone"] if len(context.probes) < 3 and probes == PROBES[-1] else []
    if directions is not None:
        notes.append(f"inputs through {directions} random sign patterns on blocks of the {context.input_size} channels: lower bounds")
    if left_out:
        notes.append("not amid the data given, which no few directions span")
    if probes is not None:
        notes.append(f"{probes} inputs tried for each supremum")
    return Way(seconds, run, "; ".join(notes))


def compared(context: Context) -> list[Way]:
    """The probes around zeros beside one another: nothing is measured anew."""
    found = context.found.get("memory")
    curves = (found or {"curves": {}})["curves"]
    if len(curves) < 2:
        raise ModelError("there are no two memory curves to compare")
    return [Way(0.0, lambda: agreement(curves).to_dict())]


def _rows(probes: int | None, d: int) -> int:
    """Rows that `perdure.memory_function` gives to a nonlinear model, at most."""
    return probes or (64 + 128 if d == 1 else max(256, 2 * d + 64))


def lengths(context: Context) -> list[Way]:
    """The curve that speaks for the model, over multiples of the training length."""
    found = context.found.get("memory")
    if found is None:
        raise ModelError("there is no memory curve to continue")
    name = found["headline"]
    probe, background = [*name.split(", "), "zeros"][:2]
    ways = []
    longest = [n for n in sorted(context.lengths, reverse=True) if n > 1]
    for multiple in longest:
        steps = multiple * context.horizon
        if context.limit is not None and steps > context.limit:
            continue
        for directions in dict.fromkeys((found["directions"], FEW if context.input_size > FEW else found["directions"])):
            for probes in (32, 8):
                ways.append(_length_way(context, probe, background, multiple, probes, directions, multiple < longest[0]))
    if not ways:
        if not longest:
            raise ModelError("no length beyond the training length was asked for")
        raise ModelError(f"the model takes at most {context.limit} steps: nothing longer than the training length can be given to it")
    return ways


def _length_way(context: Context, probe: str, background: str, multiple: int, probes: int, directions: int | None, short: bool) -> Way:
    steps = multiple * context.horizon
    d = directions or context.input_size
    count = 8 if background == "noise" else 1
    rows = DERIVATIVE * d + 2 * EXTRA if probe == "jacobian" else probes + d * (d < probes) + EXTRA
    warm = context.horizon if probe == "reversed" else 0

    def run() -> dict[str, Any]:
        context.tick(f"memory over {steps} steps")
        model = context.served(steps + warm, directions)
        options = context.options(steps)
        if probe == "reversed":
            options["warmup"] = warm
        if background == "noise":
            options["background"] = "noise"
        curve = memory_function(model, probe=probe, probes=None if probe == "jacobian" else max(probes, 8), **options).to_dict()
        curve.pop("envelope")
        bound_by = f"{directions} of {context.input_size} input directions" if directions else ""
        curve["status"] = f"lower bound ({bound_by})" if bound_by else curve["status"]
        return beyond(curve, context)

    if context.limit is not None and context.limit < max(context.lengths) * context.horizon:
        why = f"the model takes at most {context.limit} steps: measured to {multiple} times the training length"
    else:
        why = f"over budget beyond {multiple} times the training length" if short else ""
    return Way(context.cost.forward(rows * count, steps + warm) + FIT * len(context.lengths), run, why)


def beyond(curve: dict[str, Any], context: Context) -> dict[str, Any]:
    """Law, readings and what is left at the end, for each multiple of the training length that the curve covers."""
    times, values = np.asarray(curve["times"]), np.asarray(curve["values"])
    rows = []
    for multiple in sorted({1, *context.lengths}):
        steps = multiple * context.horizon
        if steps > values.size:
            break
        part = described({**curve, "times": times[:steps], "values": values[:steps]})
        law = part["law"]
        rows.append(
            {
                "multiple": multiple,
                "steps": steps,
                "law": law["law"] if law else "none",
                "best_law": law["best_law"] if law else "none",
                "parameters": law["parameters"] if law else {},
                "left": float(values[steps - 1] / values[:steps].max()) if values[:steps].max() > 0 else 0.0,
                "noise": float(curve["noise_floor"]) / float(values[:steps].max()) if values[:steps].max() > 0 else 1.0,
                "readings": part["readings"],
            }
        )
    return {"curve": curve, "rows": rows}


@dataclass(frozen=True)
class Plan:
    """How a part is measured.

    Attributes:
        title: for progress.
        ways: the ways of measuring it, the fullest first.
        share: of the budget that is left, the most that it may take.
    """

    title: str
    ways: Callable[[Context], list[Way]]
    share: float = 0.5


PARTS: dict[str, Plan] = {
    "properties": Plan("what the model is", properties),
    "memory": Plan("memory functions", memory, 0.5),
    "agreement": Plan("do the probes agree", compared),
    "backgrounds": Plan("memory amid different inputs", backgrounds, 0.3),
    "recurrence": Plan("recurrent layers at rest", recurrence, 0.3),
    "forgetting": Plan("two pasts, one future", forgetting, 0.3),
    "reach": Plan("influence by layer and lag", reach, 0.3),
    "lengths": Plan("memory beyond the training length", lengths, 0.4),
    "precision": Plan("coarser number formats", formats, 0.5),
    "sensitivity": Plan("which weights the outputs hang on", weights, 0.35),
    "capacity": Plan("memory capacity", capacity, 0.9),
}
