"""Does the model forget? `perdure.memory.fading` amid noise, over a future as long as the horizon, after pasts half as long."""

from __future__ import annotations

from typing import Any

from perdure.audits.context import Context, Way
from perdure.errors import ModelError
from perdure.memory.fading import CALLED, fading

PAIRS = 8
LEAST = 16  # steps of a future
ROWS = 3  # of a pair: the two pasts and a neighbour of one


def forgetting(context: Context) -> list[Way]:
    """Eight pairs of pasts; fewer, and a shorter future, where that is too dear."""
    if context.known("causal") is False:
        raise ModelError("the model sees the future (measured): past and future cannot be told apart")
    past, future = max(4, context.horizon // 2), context.horizon
    if context.limit is not None and past + future > context.limit:
        past, future = context.limit // 3, context.limit - context.limit // 3
    if future < LEAST:
        raise ModelError(f"the model takes at most {context.limit} steps: a future of {LEAST} steps after a past does not fit")
    ways = []
    for pairs, share in ((PAIRS, 1), (2, 1), (2, 4)):
        p, f = max(4, past // share), max(LEAST, future // share)
        notes = [f"{pairs} pairs of pasts"] if pairs < PAIRS else []
        notes += [f"over {f} steps"] if f < future else []
        seconds = -(-pairs // CALLED) * context.cost.forward(ROWS * min(pairs, CALLED), p + f)
        ways.append(Way(seconds, lambda n=pairs, p=p, f=f: _run(context, n, p, f), "; ".join(notes)))
    return ways


def _run(context: Context, pairs: int, past: int, future: int) -> dict[str, Any]:
    found = fading(
        context.served(past + future), horizon=future, past=past, pairs=pairs, dt=context.dt, bound=context.bound, seed=context.seed, dtype=context.dtype,
    )  # fmt: skip
    return {**found.to_dict(), "pairs": len(found.values), "future": future}
