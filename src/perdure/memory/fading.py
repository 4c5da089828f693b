r"""Different pasts, the same future: do the outputs meet again?

Pairs of random inputs u, u' that differ up to step 0 and agree from then on give outputs y, y' whose distance is followed,

    delta_k = |y_k - y'_k|_inf / |y_0 - y'_0|_inf,    k = 0, 1, ... steps of common input (k = 0 is the first of them),

with |.|_inf over output channels. A model whose outputs depend on its inputs with fading memory brings delta to 0 for every pair (incremental fading;
echo states, in a reservoir). One that keeps its state, copies an early input for ever, or averages over all its past at equal weight does not, and a chaotic one
drives even neighbouring pasts apart.

*Neighbouring pasts* differ in the last step before the meeting, by 1e-6 of the bound (less precise types: by more). While their distance is far from both rounding and its final size, the slope
of its logarithm is the growth a step: an estimate of the largest Lyapunov exponent of the driven model where that is positive.

*What is called.* "forgets": at the end of the horizon no pair is farther apart than `level` of its distance at the meeting, nor anywhere in the last
quarter. "does not forget": distances of the last quarter are above the level and no smaller than 90 % of those of the quarter before last but one, or neighbours
part by a factor of ten. "undecided": still falling, not there yet. All are statements about this horizon and these pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Array
from perdure.errors import ArgumentError
from perdure.memory.law import DecayFit, fit_decay
from perdure.memory.precision import output_eps, rounding
from perdure.memory.running import Running, backgrounds, listed, run

NEAR = 1e-6  # of the bound
PARTED = 10.0  # neighbours that part by this factor are driven apart
SETTLED = 0.9
ROUNDED = 30.0  # roundings: less is nothing
CALLED = 4  # pairs in a call


@dataclass(frozen=True)
class Fading:
    """Distances of outputs since the pasts met.

    Attributes:
        times: k * dt, (T,).
        values: delta_k of each pair, (P, T).
        distances: |y_0 - y'_0| of each pair at the meeting, (P,), in units of the output.
        noise_floor: level of delta under which it is rounding.
        forgets: "forgets", "does not forget" or "undecided".
        left: the largest delta in the last quarter of the horizon.
        growth: of the distance of neighbouring pasts, in its logarithm, a step; NaN where it was within rounding from the start.
        parted: the factor by which neighbours part at most.
        level: what counts as forgotten.
        fit: the decay law of `worst`, None where nothing is to be fitted.
        past: steps before the meeting.
        dt: time between steps.
        seed: of the pasts.
        dtype: floating-point type of the measurement.
        status: how the numbers are known.
        reason: of the verdict, with its numbers.
        notes: what a reader of the numbers should know.
    """

    times: Array = field(repr=False)
    values: Array = field(repr=False)
    distances: Array = field(repr=False)
    noise_floor: float
    forgets: str
    left: float
    growth: float
    parted: float
    level: float
    fit: DecayFit | None = field(repr=False)
    past: int
    dt: float
    seed: int
    dtype: str
    status: str
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def median(self) -> Array:
        """Over pairs, (T,)."""
        return np.median(self.values, axis=0)

    @property
    def worst(self) -> Array:
        """The largest over pairs, (T,)."""
        return self.values.max(0)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; None for what is not finite."""
        names = ("noise_floor", "forgets", "left", "growth", "parted", "level", "past", "dt", "seed", "dtype", "status", "reason")
        arrays = {name: listed(getattr(self, name)) for name in ("times", "median", "worst", "distances")}
        law = None if self.fit is None else self.fit.to_dict()
        return {**{name: listed(getattr(self, name)) for name in names}, "notes": list(self.notes), "law": law, **arrays}

    def to_frame(self) -> Any:
        """A pandas table with columns time, median, worst and one for each pair."""
        import pandas as pd

        pairs = {f"pair_{i}": values for i, values in enumerate(self.values)}
        return pd.DataFrame({"time": self.times, "median": self.median, "worst": self.worst, **pairs})


def fading(
    model: Any,
    *,
    horizon: int = 512,
    dt: float = 1.0,
    past: int | None = None,
    pairs: int = 8,
    background: Any = "noise",
    bound: float = 1.0,
    level: float = 0.01,
    input_size: int | None = None,
    batch_first: bool | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    seconds: float | None = None,
) -> Fading:
    """Whether outputs after different pasts and the same future meet, and how fast.

    Args:
        model: as for `perdure.memory_function`.
        horizon: steps of common input, at least 16.
        dt: time between steps.
        past: steps of different inputs before; None takes `horizon`.
        pairs: of pasts, uniform in [-bound, bound].
        background: the common future: "noise" (another one for each pair), "zeros", or an array (T, d) or (N, T, d), of which pairs take turns.
        bound: largest |x|_inf.
        level: share of the distance at the meeting that counts as forgotten, in (0, 1).
        input_size: d; None asks the model.
        batch_first: as for `perdure.memory_function`.
        seed: of pasts and futures.
        dtype: floating-point type to measure in.
        seconds: time to spend: fewer pairs where it is short, at least one.

    Returns:
        A `Fading`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ModelError: outputs that are not finite.

    >>> leaky = lambda x: torch.stack([sum(0.8 ** (k - j) * x[:, j] for j in range(k + 1)) for k in range(x.shape[1])], 1)
    >>> found = fading(leaky, horizon=32, input_size=1)
    >>> found.forgets, found.fit.law, round(found.fit.parameters["rate"], 4), round(found.growth, 4)  # log 0.8
    ('forgets', 'exponential', 0.2231, -0.2231)

    Reference:
        Boyd & Chua, "Fading memory and the problem of approximating nonlinear operators with Volterra series", IEEE TCAS 1985; Jaeger 2001 (echo states).
    """
    horizon = _checks.positive_int(horizon, "horizon", "it takes some steps to see a decay", least=16)
    past = horizon if past is None else _checks.positive_int(past, "past", "pasts have at least one step")
    pairs = _checks.positive_int(pairs, "pairs", "pass the number of pairs of pasts")
    bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    level = _checks.positive(level, "level", "it is a share")
    if level >= 1:
        raise _checks.fail("level", "below 1", level, "it is a share of the distance at the meeting")

    def body(running: Running) -> Fading:
        return _measure(running, horizon, past, pairs, background, bound, level, dt, seed)

    return run(model, body, "fading", dtype=dtype, seed=seed, seconds=seconds, dt=dt, input_size=input_size, batch_first=batch_first)


def _measure(
    running: Running, horizon: int, past: int, pairs: int, background: Any, bound: float, level: float, dt: float, seed: int
) -> Fading:
    rng = np.random.default_rng(seed)
    futures = backgrounds(background, pairs, horizon, running.size, bound, rng)
    near = max(NEAR, float(torch.finfo(running.twin.dtype).eps) ** 0.5)
    gaps, nears, largest, eps, notes = [], [], 0.0, 0.0, list(running.notes)
    while len(gaps) < pairs:
        count = min(CALLED, pairs - len(gaps)) if gaps or running.clock.seconds is None else 1
        if gaps and not running.affords(3 * count, past + horizon):
            notes.append(f"{len(gaps)} pairs in the time there was, where {pairs} were wanted")
            break
        inputs = []
        for i in range(len(gaps), len(gaps) + count):
            one, other = rng.uniform(-bound, bound, (2, past, running.size))
            neighbour = one.copy()
            neighbour[-1] += near * rng.choice([-bound, bound], running.size)
            future = np.broadcast_to(futures[i % len(futures)], (3, horizon, running.size))
            inputs.append(np.concatenate([np.stack([one, other, neighbour]), future], 1))
        for y in running(running.tensor(np.concatenate(inputs))).split(3):
            eps, largest = max(eps, output_eps(y[0])), max(largest, float(y.abs().max()))
            after = y[:, past:]
            gaps.append((after[1] - after[0]).abs().amax(-1).double().cpu().numpy())
            nears.append((after[2] - after[0]).abs().amax(-1).double().cpu().numpy())
    gap, noise = np.stack(gaps), ROUNDED * rounding(eps, largest)
    start = gap[:, 0].copy()
    met = start <= noise
    values = np.where(met[:, None], 0.0, gap / np.where(met, 1.0, start)[:, None])
    if met.any():
        values[met] = np.where(
            gap[met] > noise, gap[met] / max(float(gap.max()), 1e-300), 0.0
        )  # unseen at the meeting: relative to the largest
        notes.append(f"{int(met.sum())} of {len(gap)} pairs give equal outputs at the meeting")
    floor = float(noise / start[~met].min()) if (~met).any() else 0.0
    growth, parted = _growth(np.stack(nears), gap, noise)
    forgets, left, reason = _verdict(values, level, growth, parted, horizon, floor)
    fit = None
    if bool((values.max(0) > floor).sum() > 3):
        try:
            fit = fit_decay(np.arange(horizon) * dt, values.max(0), noise_floor=floor)
        except ArgumentError:
            fit = None
    return Fading(
        np.arange(horizon) * dt, values, start, floor, forgets, left, growth, parted, level, fit, past, dt, seed,
        str(running.twin.dtype).removeprefix("torch."), f"seen on {len(gap)} random pairs: a lower bound of the worst", reason, tuple(notes),
    )  # fmt: skip


def _growth(near: Array, far: Array, noise: float) -> tuple[float, float]:
    """Growth a step of the distance of neighbours, and the largest factor by which they part.

    The growth is the median over pairs of the slope of the logarithm, where the distance is no rounding and below 1 % of that of strangers.
    """
    slopes, parted = [], 1.0
    for d, f in zip(near, far, strict=True):
        if d[0] <= noise:
            continue
        parted = max(parted, float(d.max() / d[0]))
        if d.max() > PARTED * d[0]:
            end = int(np.argmax(d > max(0.01 * np.median(f), PARTED * d[0]))) or len(d)
        else:
            end = int(np.argmax(d <= noise)) or len(d)
        if end >= 4:
            slopes.append(np.polyfit(np.arange(end), np.log(d[:end]), 1)[0])
    return (float(np.median(slopes)) if slopes else float("nan")), parted


def _verdict(values: Array, level: float, growth: float, parted: float, horizon: int, floor: float) -> tuple[str, float, str]:
    quarter = max(1, horizon // 4)
    worst = values.max(0)
    before, last = float(worst[-3 * quarter : -2 * quarter].max()), float(worst[-quarter:].max())
    said = f"in the last quarter of {horizon} steps the worst of {len(values)} pairs is {last:.2g} times as far apart as at the meeting"
    if last <= max(level, floor):
        if floor > level:
            return "undecided", last, f"{said}, which is within rounding ({floor:.2g}), above the level {level:g} that was asked for"
        return "forgets", last, said
    if parted >= PARTED and growth > 0 and last > 0.1:
        return (
            "does not forget",
            last,
            f"{said}, and neighbouring pasts part by a factor of {parted:.2g}, growing by {growth:.2g} a step: chaos",
        )
    if last >= SETTLED * before:
        return "does not forget", last, f"{said}, no less than two quarters before ({before:.2g})"
    return "undecided", last, f"{said}, after {before:.2g} two quarters before: still falling, measure a longer horizon"
