"""The sensitivity part of an audit: `perdure.audits.sensitivity` of every group of weights, as far as the budget allows."""

from __future__ import annotations

from typing import Any

from perdure.audits.context import FIT, Context, Way, without_nan
from perdure.audits.sensitivity import ASCENT, FUNCTIONALS, ROWS, groups_of, sensitivity
from perdure.errors import ModelError

SHARES = (1e-3, 1e-2)
LONGEST = 128  # steps
LEAST = 16
SEARCH = 60.0  # seconds foreseen, the most for a search beyond first steps
FLOP = 3e-10  # seconds of a floating-point operation in products and eigenvalues of matrices, norms and moves together


def weights(context: Context) -> list[Way]:
    """First steps along several outputs and both signs, without a budget an ascent too; then along one output; then over fewer steps."""
    module = context.call.module
    if module is None or not any(True for _ in module.parameters()):
        raise ModelError("the model has no parameters to move")
    runs = len(SHARES) * len(groups_of(module))
    moves = sum(_polar(p.shape) for p in module.parameters() if p.ndim > 1)
    full = min(LONGEST, context.horizon if context.limit is None else min(context.horizon, context.limit))
    ways = []
    for steps, passes, ascent in ((full, 2 * FUNCTIONALS, True), (full, 2 * FUNCTIONALS, False), (full, 1, False),
                                  (max(LEAST, full // 2), 1, False), (max(LEAST, full // 5), 1, False)):  # fmt: skip
        functionals = max(1, passes // 2)
        seconds = (1 + passes * runs) * context.cost.forward(ROWS, steps) + functionals * (context.cost.gradient(2, steps) + moves)
        seconds += runs * context.cost.forward(ASCENT, steps) if ascent else 0.0
        seconds += passes * runs * FIT
        if ascent and (context.budget.seconds is not None or seconds > SEARCH):  # what a search takes cannot be foreseen well
            continue
        notes = ["along the fastest move of one output"] if passes == 1 else []
        notes += [f"over {steps} steps"] if steps < full else []
        ways.append(Way(seconds, lambda t=steps, a=ascent, s=seconds: _run(context, t, a, s), "; ".join(notes)))
    return ways


def _polar(shape: Any) -> float:
    """Seconds of the direction in which a matrix moves."""
    n, m = sorted((shape[0], shape[1:].numel()))
    return FLOP * (4 * m + 12 * n) * n**2


def _run(context: Context, steps: int, ascent: bool, seconds: float) -> dict[str, Any]:
    found = sensitivity(
        context.call, horizon=steps, dt=context.dt, shares=SHARES, bound=context.bound, ascent=ascent, seed=context.seed, dtype=context.dtype,
        seconds=context.allowed(seconds),
    )  # fmt: skip
    return {
        **found.to_dict(), "rows": [without_nan(vars(row)) for row in found.rows], "half_life": found.half_life, "steps": steps,
        "shares": list(SHARES), "readable": "memory" in context.found,
    }  # fmt: skip
