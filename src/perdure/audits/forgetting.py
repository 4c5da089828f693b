"""Does the model forget? Different pasts, the same future: do the outputs meet?

Inputs u_i = (past_i, future) with random pasts and one random future. With y_i the outputs, D(k) = max_ij |y_i - y_j|_inf at step k of the future is
what is left of the past amid ordinary input. A model forgets where D goes to 0 (fading memory, the echo state property for these inputs): here, where
less than 1 % of the largest difference is left at the end. It does not where D settles at a level: stays within a tenth over the second half. The pasts are a sample, so D is a lower bound of the supremum over pasts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from perdure.adapters import frozen
from perdure.audits.context import Context, Way
from perdure.audits.recall import described
from perdure.errors import ModelError
from perdure.memory.precision import output_eps, rounding

PASTS = 8
SETTLED = 0.9  # least over largest difference in the second half of the future: it falls no more
GONE = 0.01  # of the largest difference: less at the end counts as forgotten


def forgetting(context: Context) -> list[Way]:
    """Differences over a future as long as the horizon, after pasts half as long."""
    if context.known("causal") is False:
        raise ModelError("the model sees the future (measured): past and future cannot be told apart")
    past, future = max(4, context.horizon // 2), context.horizon
    if context.limit is not None and past + future > context.limit:
        past, future = context.limit // 3, context.limit - context.limit // 3
    ways = []
    for share in (1, 4):
        p, f = max(4, past // share), max(8, future // share)
        ways.append(Way(context.cost.forward(PASTS, p + f), lambda p=p, f=f: _run(context, p, f), "" if share == 1 else f"over {f} steps"))
    return ways


def _run(context: Context, past: int, future: int) -> dict[str, Any]:
    rng = np.random.default_rng(context.seed)
    u = rng.uniform(-context.bound, context.bound, (PASTS, past + future, context.input_size))
    u[:, past:] = u[0, past:]
    u[0, :past] = 0.0
    with torch.no_grad(), frozen(context.served(past + future), context.dtype) as twin:
        y = torch.cat([twin.model(part) for part in torch.as_tensor(u).to(twin.device, twin.dtype).split(PASTS)])
    y = y.double()
    gap = (y[:, past:].amax(0) - y[:, past:].amin(0)).amax(-1).cpu().numpy()
    floor = rounding(output_eps(y[1]), float(y.abs().max()))
    times = np.arange(future) * context.dt
    curve = described({"times": times, "values": gap, "noise_floor": floor, "status": "lower bound (sample)", "notes": []})
    peak = float(gap.max())
    if peak <= floor:
        forgets, why = True, "outputs meet in the first step"
    else:
        left = float(gap[-max(1, future // 16) :].max()) / peak
        settled = float(gap[-max(1, future // 2) :].min()) > SETTLED * float(gap[-max(1, future // 2) :].max())
        if left <= GONE:
            forgets, why = True, f"{left:.2g} of the largest difference is left after {future} steps"
        elif settled:
            forgets, why = False, f"the difference settles at {left:.2g} of its largest"
        else:
            forgets, why = None, f"{left:.2g} of the largest difference is still there after {future} steps: measure a longer horizon"
    return {"curve": curve, "forgets": forgets, "reason": why, "past": past, "future": future, "pasts": PASTS}
