"""Memory capacity: how many steps of white noise can be read off the output by a linear readout (Jaeger 2001).

One input channel (or one direction of signs) is driven by white noise u, uniform in [-B, B]. For each delay tau the best linear readout of the output
y_k predicts u_{k - tau}; capacity = sum_tau R^2(tau), at most the number of output channels for a linear model. The readout is fitted on the first half
and scored on the second; shuffled targets give the level under which R^2 counts as 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from perdure._typing import Array
from perdure.adapters import frozen
from perdure.audits.context import Context, Way
from perdure.audits.served import Served
from perdure.errors import ModelError

SAMPLES = 2048
RIDGE = 1e-9


def capacity(context: Context) -> list[Way]:
    """Driven by one long sequence, or a shorter one."""
    if context.known("causal") is False:
        raise ModelError("the model sees the future (measured): it can copy what it has not yet been given")
    ways = []
    for samples in (SAMPLES, 512):
        steps = min(samples, context.limit or max(context.lengths) * context.horizon)  # a length that is known to run
        note = "" if samples == SAMPLES else f"{samples} samples"
        rows = -(-samples // steps)
        ways.append(Way(context.cost.forward(2 * rows, steps), lambda n=samples, s=steps: _run(context, n, s), note))
    return ways


def _run(context: Context, samples: int, steps: int) -> dict[str, Any]:
    rng = np.random.default_rng(context.seed)
    count = 2 * -(-samples // steps)
    u = rng.uniform(-context.bound, context.bound, (count, steps, 1))
    model = Served(context.call, directions=1, rows=context.cost.rows_in(context.memory, steps), seed=context.seed)
    with torch.no_grad(), frozen(model, context.dtype) as twin:
        y = twin.model(torch.as_tensor(u).to(twin.device, twin.dtype)).double().cpu().numpy()
    delays = min(steps // 4, context.horizon)
    shares, level = profile(u[..., 0], y, delays)
    return {"capacity": float(shares.sum()), "delays": list(range(delays)), "shares": shares.tolist(), "level": level, "outputs": int(y.shape[2]),
            "samples": count * steps, "bound": "lower" if shares[-1] > 0 else "none"}  # fmt: skip


def profile(u: Array, y: Array, delays: int) -> tuple[Array, float]:
    """R^2 by delay, (delays,), with what chance gives set to 0, and that level.

    Args:
        u: inputs, (N, T); the first half of the sequences fits, the second scores.
        y: outputs, (N, T, o).
        delays: how many, from 0.
    """
    n, steps, o = y.shape
    half = n // 2
    first = slice(delays, steps)
    X = [y[part, first].reshape(-1, o) for part in (slice(0, half), slice(half, n))]
    mean = X[0].mean(0)
    X = [np.column_stack([x - mean, np.ones(len(x))]) for x in X]
    scale = np.maximum(np.abs(X[0]).max(0), 1e-300)
    X = [x / scale for x in X]
    gram = X[0].T @ X[0]
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    targets = [
        np.stack([u[part, delays - tau : steps - tau].ravel() for tau in range(delays)], 1) for part in (slice(0, half), slice(half, n))
    ]
    weights = np.linalg.solve(gram, X[0].T @ targets[0])
    shares = _scores(X[1] @ weights, targets[1])
    rng = np.random.default_rng(0)
    chance = np.stack([rng.permutation(targets[0][:, 0]) for _ in range(32)], 1)
    blind = _scores(X[1] @ np.linalg.solve(gram, X[0].T @ chance), np.stack([rng.permutation(targets[1][:, 0]) for _ in range(32)], 1))
    level = float(3 * blind.max())
    return np.where(shares > level, shares, 0.0), level


def _scores(guess: Array, truth: Array) -> Array:
    """Squared correlation of columns."""
    g, t = guess - guess.mean(0), truth - truth.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (g * t).sum(0) ** 2 / ((g * g).sum(0) * (t * t).sum(0))
    return np.nan_to_num(r)
