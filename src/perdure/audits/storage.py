"""What storing the weights in fewer bits does to the memory: the curve that speaks for the model, measured again with rounded weights.

Weights are rounded to the format and the arithmetic stays in double precision, so that what is seen is the effect of storage alone. int8 is
symmetric, one scale for each row of a matrix. A discrete pole stored as a = 1 - 1/tau in a format of unit roundoff eps cannot hold a time constant
tau beyond about 1/eps steps (bfloat16 256, float16 2048, float32 1.7e7); stored as a logarithm it can.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from perdure._typing import Tensor
from perdure.adapters import frozen
from perdure.audits.context import FEW, Context, Way
from perdure.audits.recall import reason, summary
from perdure.errors import ModelError
from perdure.memory import memory_function

HOLDS = {"bfloat16": 2.0**8, "float16": 2.0**11, "int8": 2.0**7, "float32": 2.0**24}


def int8(w: Tensor) -> Tensor:
    """Symmetric rounding to 255 levels, one scale a row (a vector: one scale).

    >>> int8(torch.tensor([1.0, 0.5, 0.001])).double().round(decimals=4).tolist()
    [1.0, 0.5039, 0.0]
    """
    scale = w.abs().amax(-1, keepdim=True).clamp_min(1e-300 if w.dtype == torch.float64 else 1e-30) / 127.0
    return (w / scale).round() * scale


FORMATS: dict[str, Callable[[Tensor], Tensor]] = {
    "bfloat16": lambda w: w.to(torch.bfloat16).to(w.dtype),
    "float16": lambda w: w.to(torch.float16).to(w.dtype),
    "int8": int8,
}


def storage(context: Context) -> list[Way]:
    """Outputs, and where there is one the headline curve, with the weights as given and in each format."""
    if context.call.module is None or not any(True for _ in context.call.module.parameters()):
        raise ModelError("the model has no parameters to be stored")
    steps = context.horizon if context.limit is None else min(context.horizon, context.limit)
    found = context.found.get("memory")
    if found is None:
        return [
            Way(
                (1 + len(FORMATS)) * context.cost.forward(2, steps),
                lambda: _run(context, steps, "", 0, None),
                "the outputs alone: there is no memory curve",
            )
        ]
    curve = found["curves"][found["headline"]]
    directions = found["directions"] or (FEW if context.input_size > FEW else None)
    d = directions or context.input_size
    ways = []
    for probes in (24, 8):
        rows = 3 * d + 16 if curve["probe"] == "jacobian" else max(probes, d + 9)
        seconds = (1 + len(FORMATS)) * context.cost.forward(rows + 2, steps)
        ways.append(Way(seconds, lambda n=probes: _run(context, steps, curve["probe"], n, directions)))
    ways.append(
        Way(
            (1 + len(FORMATS)) * context.cost.forward(2, steps),
            lambda: _run(context, steps, "", 0, None),
            "over budget but for the outputs",
        )
    )
    return ways


def _run(context: Context, steps: int, probe: str, probes: int, directions: int | None) -> dict[str, Any]:
    rng = np.random.default_rng(context.seed)
    u = torch.as_tensor(rng.uniform(-context.bound, context.bound, (2, steps, context.input_size)))
    exact = _outputs(context, context.call, u)
    rows = [{"format": "as given", "output": 0.0, **_measure(context, context.call, steps, probe, probes, directions)}]
    for name, rounded in FORMATS.items():
        context.tick(f"weights in {name}")
        module = copy.deepcopy(context.call.module)
        moved = size = 0.0
        with torch.no_grad():
            for w in module.parameters():
                if w.is_floating_point():
                    near = rounded(w)
                    moved, size = moved + float((near - w).double().square().sum()), size + float(w.double().square().sum())
                    w.data = near.to(w.dtype)
        call = context.call.on(module)
        change = float((_outputs(context, call, u) - exact).norm() / exact.norm().clamp_min(1e-300))
        share = (moved / size) ** 0.5 if size else 0.0
        rows.append(
            {
                "format": name,
                "moved": share,
                "holds": HOLDS[name],
                "output": change,
                **_measure(context, call, steps, probe, probes, directions),
            }
        )
    return {"probe": probe, "rows": rows}


def _outputs(context: Context, call: Any, u: Tensor) -> Tensor:
    with torch.no_grad(), frozen(call, context.dtype) as twin:
        return twin.model(u.to(twin.device, twin.dtype)).double()


def _measure(context: Context, call: Any, steps: int, probe: str, probes: int, directions: int | None) -> dict[str, Any]:
    """Readings and law of the curve, empty without a probe."""
    if not probe:
        return {"readings": None, "law": None, "reason": ""}
    given = replace(context, call=call)
    count = None if probe == "jacobian" else probes
    try:
        curve = summary(memory_function(given.served(steps, directions), probe=probe, probes=count, **given.options(steps)))
    except Exception as error:  # weights that overflow the format
        return {"readings": None, "law": None, "reason": reason(error)}
    return {"readings": curve["readings"], "law": curve["law"], "reason": ""}
