"""The memory that a task demands, from records of its inputs and outputs alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from perdure import _checks
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.memory.records import bands
from perdure.memory.records.arguments import FEWEST, Records, read
from perdure.memory.records.excitation import condition
from perdure.memory.records.kernels import KERNELS
from perdure.memory.records.linear import Estimate, estimate
from perdure.memory.records.notes import notes_on
from perdure.memory.records.result import MemoryEstimate
from perdure.memory.records.static import with_static_part

METHODS = ("kernel", "nonlinear")
NOISES = ("auto", "white", "ar")


@one_thread()
def estimate_memory(
    inputs: Any,
    outputs: Any,
    *,
    dt: float | Any = 1.0,
    horizon: int | Any = None,
    method: str = "kernel",
    kernel: str = "auto",
    noise: str = "auto",
    intercept: bool = True,
    holdout: float | Any = 0.2,
    draws: int | Any = 400,
    seed: int | Any = 0,
) -> MemoryEstimate:
    r"""The memory that a task demands: the impulse response from its inputs to its outputs, with bands, from records alone.

        y_t = sum_{s < n} dt rho(s dt)^T u_{t-s} + c + e_t,     rho ~ GP(0, K),     M(t) = |rho(t)|_1

    the linear functional that is closest to the records, with a Gaussian process as the prior of rho: a stable spline, of order 1 or 2, in an exponential
    or a power-law warp of the lag (`perdure.memory.records.kernels`). Its hyperparameters and the family are those of the largest marginal likelihood
    of the records (empirical Bayes). No matrix of lagged inputs is formed: O(B T log T + (d n)^3).

    What the numbers are: `kernel` is the mean of the posterior, bands are Bayesian, averaged over families and hyperparameters. The truth outside the window of n lags
    is not seen; correlated inputs alias it into the window.

    Args:
        inputs: u, (T,), (T, d) of one record, or (B, T, d) of several of the same length; array or tensor. Evenly sampled, finite.
        outputs: y, in the same layout with o channels. NaN where missing.
        dt: time between steps.
        horizon: n, lags to look at, in steps; None takes a quarter of a record, at most 512.
        method: "kernel", or "nonlinear": a static nonlinearity before or after the linear part is fitted as well, the better of the two on held-out steps
            is kept if it beats the linear part there, and the memory is that of the fitted model, measured by `perdure.memory_function`.
        kernel: "auto", or a family by name: "tc", "dc", "ss", "power", "power-ss".
        noise: "white", "ar" (autoregressive), or "auto": autoregressive where the residuals of the first fit are not white.
        intercept: whether outputs have an unknown level; False says that zero in gives zero out.
        holdout: share of the steps at the end of each record on which the explained variance is measured, in [0, 0.5]. The final estimate uses all steps.
        draws: from the posterior, for simultaneous bands and intervals, at least 100.
        seed: of the draws; the global generators are left alone.

    Returns:
        A `MemoryEstimate`.

    Raises:
        ArgumentError: lengths that differ, NaN in the inputs, an input that never changes, records that are too short, an argument out of range.
        ArgumentTypeError: not real numbers.

    >>> rng = np.random.default_rng(0)
    >>> u = rng.standard_normal(2000)
    >>> y = np.convolve(u, np.exp(-0.1 * np.arange(200)))[:2000] + rng.standard_normal(2000)
    >>> found = estimate_memory(u, y, horizon=100)
    >>> round(found.half_life, 1), found.interval(0.5)  # log(2) / 0.1 = 6.9
    (6.8, (6.0, 8.0))

    References:
        Pillonetto & De Nicolao, Automatica 46, 2010; Chen, Ohlsson & Ljung, Automatica 48, 2012; Pillonetto, Dinuzzo, Chen, De Nicolao & Ljung,
        Automatica 50, 2014 (survey).
    """
    _checks.choice(method, "method", METHODS)
    _checks.choice(kernel, "kernel", ["auto", *KERNELS])
    _checks.choice(noise, "noise", NOISES)
    draws = _checks.positive_int(draws, "draws", "quantiles of a band need some", least=100)
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    share = _checks.number(holdout, "holdout")
    if not 0 <= share <= 0.5:
        raise _checks.fail("holdout", "between 0 and 0.5", share, "it is the share of steps that are held out")
    records = read(inputs, outputs, dt, horizon)
    names = list(KERNELS) if kernel == "auto" else [kernel]
    u, u_size = _scaled(records.inputs, bool(intercept))
    y, y_size = _scaled(records.outputs, bool(intercept))
    split = _split(records, share)
    rng = np.random.default_rng(seed)
    found = [
        estimate(u, y[..., o], records.lags, names, noise=noise, intercept=bool(intercept), split=split, draws=draws, rng=rng)
        for o in range(y.shape[2])
    ]
    result = _result(records, found, u, u_size, y_size, seed, bool(intercept))
    if method == "nonlinear":
        return with_static_part(result, records, names, (u, y), split=split, intercept=bool(intercept), seed=seed)
    return result


def _scaled(values: Array, centre: bool) -> tuple[Array, Array]:
    """Values (B, T, c) about their mean, in units of their size, (c,)."""
    mean = np.nanmean(values, axis=(0, 1)) if centre else np.zeros(values.shape[2])
    moved = values - mean
    size = np.sqrt(np.nanmean(moved**2, axis=(0, 1)))
    return moved / size, size


def _split(records: Records, share: float) -> int:
    """First step held out: what comes before must do for an estimate; T where there is too little."""
    steps, lags = records.steps, records.lags
    split = steps - round(share * (steps - lags + 1))
    seen = np.isfinite(records.outputs)
    enough = min(seen[:, lags - 1 : split].sum(axis=(0, 1)).min(), seen[:, split:].sum(axis=(0, 1)).min()) >= FEWEST
    return split if enough else steps


def _result(records: Records, found: list[Estimate], u: Array, u_size: Array, y_size: Array, seed: int, intercept: bool) -> MemoryEstimate:
    """Back to the units of the caller."""
    n, d, o, dt = records.lags, u.shape[2], len(found), records.dt
    unit = y_size[None, :] / (u_size[:, None] * dt)  # (d, o)
    mean, sd = np.empty((n, d, o)), np.empty((n, d, o))
    sampled = np.empty((found[0].posterior.draws.shape[0], n, d, o))
    factors = []
    for k, one in enumerate(found):
        raw = one.posterior.draws
        factors.append(bands.factor(one.posterior.mean, raw, one.posterior.sd))
        mean[..., k] = one.posterior.mean.reshape(d, n).T * unit[:, k]
        sd[..., k] = one.posterior.sd.reshape(d, n).T * unit[:, k]
        sampled[..., k] = raw.reshape(-1, d, n).transpose(0, 2, 1) * unit[:, k]
    memory = np.abs(mean).sum(1).max(1)
    noise = np.array([math.sqrt(float(np.nanmean(one.residual**2))) for one in found]) * y_size
    exciting = condition(u, n, (n - 1, records.steps), intercept)
    best = [one.evidences[0] for one in found]
    return MemoryEstimate(
        times=dt * np.arange(n),
        response=mean,
        response_sd=sd,
        factor=max(factors),
        memory=memory,
        memory_draws=np.abs(sampled).sum(2).max(2),
        noise=noise,
        explained=np.array([one.held_out for one in found]),
        priors=tuple(e.kernel.name for e in best),
        hyperparameters=tuple(_named(e, dt) for e in best),
        evidence=_weights(found),
        whiteness=tuple((one.before.p_value, None if one.after is None else one.after.p_value) for one in found),
        noise_order=tuple(one.coefficients.size for one in found),
        effective_parameters=np.array([one.posterior.parameters for one in found]),
        condition=exciting,
        dt=dt,
        steps=records.steps,
        records=records.inputs.shape[0],
        missing=int(np.isnan(records.outputs).sum()),
        input_sd=u_size,
        output_sd=y_size,
        method="kernel",
        seed=seed,
        notes=notes_on(records, found, exciting),
    )


def _named(evidence: Any, dt: float) -> tuple[dict[str, float], ...]:
    """Hyperparameters of each input; decay times, correlations and scales in time, powers without unit."""
    unit = [1.0 if name == "power" else dt for name in evidence.kernel.names]
    return tuple(
        {name: float(math.exp(x) * by) for name, x, by in zip(evidence.kernel.names, row, unit, strict=False)} for row in evidence.theta
    )


def _weights(found: list[Estimate]) -> dict[str, float]:
    """Akaike weights of the families, over all outputs together."""
    total: dict[str, float] = {}
    for one in found:
        for e in one.evidences:
            total[e.kernel.name] = total.get(e.kernel.name, 0.0) + e.penalised
    lowest = min(total.values())
    raw = {name: math.exp(-0.5 * min(value - lowest, 1400.0)) for name, value in total.items()}
    return {name: value / sum(raw.values()) for name, value in raw.items()}
