"""The linear estimate of one output: prior by evidence, coloured noise filtered off, posterior, held-out part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.fft import irfft, rfft
from scipy.fft import next_fast_len

from perdure._typing import Array
from perdure.memory.records.gram import moments
from perdure.memory.records.marginal_likelihood import Evidence, search
from perdure.memory.records.posterior import Posterior, point, posterior
from perdure.memory.records.whiteness import Whiteness, autoregression, ljung_box, whitened

COLOURED = 1e-3  # p-value of the whiteness test below which the noise is filtered


@dataclass(frozen=True)
class Estimate:
    """One output channel, in scaled units.

    Attributes:
        evidences: of the families, best first.
        posterior: under the best, from all steps.
        held_out: share of the variance explained on the last steps by the posterior from the others; NaN without held-out steps.
        residual: of all steps that have all their lags, (B, T - n + 1), NaN where missing.
        before: whiteness of the residuals of the fit that takes the noise for white.
        after: whiteness once the noise was filtered; None where it was not.
        coefficients: of the autoregression of the noise, (q,).
    """

    evidences: Sequence[Evidence]
    posterior: Posterior
    held_out: float
    residual: Array
    before: Whiteness
    after: Whiteness | None
    coefficients: Array


def predict(u: Array, response: Array) -> Array:
    """Convolution of inputs (B, T, d) with a response (d, n), at the steps that have all their lags: (B, T - n + 1)."""
    lags = response.shape[1]
    size = next_fast_len(u.shape[1] + lags - 1, real=True)
    spectrum = (rfft(u, size, axis=1) * rfft(response, size, axis=1).T).sum(2)
    return irfft(spectrum, size, axis=1)[:, lags - 1 : u.shape[1]]


def explained(y: Array, prediction: Array, level: float) -> float:
    """1 - sum (y - prediction)^2 / sum (y - level)^2 over what is not missing."""
    seen = np.isfinite(y)
    return 1.0 - float(((y - prediction)[seen] ** 2).sum()) / max(float(((y[seen] - level) ** 2).sum()), 1e-300)


def estimate(
    u: Array, y: Array, lags: int, names: Sequence[str], *, noise: str, intercept: bool, split: int, draws: int, rng: np.random.Generator
) -> Estimate:
    """Estimate from inputs (B, T, d) and one output (B, T), NaN where missing; steps from `split` on are held out once.

    Args:
        u: inputs, scaled.
        y: output, scaled.
        lags: n.
        names: families of priors.
        noise: "white", "ar", or "auto": autoregressive where the residuals are not white.
        intercept: whether there is one.
        split: first step held out; T for none.
        draws: from the posterior.
        rng: that makes them.
    """
    steps, d = u.shape[1], u.shape[2]

    def fitted(u: Array, y: Array) -> tuple[Sequence[Evidence], Posterior]:
        (m,) = moments(u, y[..., None], lags, (lags - 1, u.shape[1]), intercept)
        evidences = search(m, names, lags, d, intercept)
        return evidences, posterior(m, evidences, lags, intercept, draws, rng)

    def left(found: Posterior) -> Array:
        return y[:, lags - 1 :] - predict(u, found.mean.reshape(d, lags)) - found.intercept

    evidences, found = fitted(u, y)
    before, after, a = ljung_box(left(found)), None, np.zeros(0)
    if noise == "ar" or (noise == "auto" and before.p_value < COLOURED):
        a = autoregression(left(found))
        if steps - a.size <= lags + a.size or np.isfinite(whitened(y[..., None], a)[:, lags - 1 :]).sum() < 2 * lags:
            a = np.zeros(0)  # gaps leave too little
    u_white, y_white = whitened(u, a), whitened(y[..., None], a)[..., 0]
    if a.size:
        evidences, found = fitted(u_white, y_white)
        wide = float(1.0 - a.sum())
        found = replace(found, intercept=found.intercept / wide if abs(wide) > 1e-6 else 0.0)
        after = ljung_box(whitened(left(found)[..., None], a)[..., 0])
    held_out = float("nan")
    if split < steps:
        (m,) = moments(u_white, y_white[..., None], lags, (lags - 1, split - a.size), intercept)
        response = point(m, evidences[0], lags, intercept)[0].reshape(d, lags)
        prediction = predict(u, response)
        past = (y[:, lags - 1 :] - prediction)[:, : split - lags + 1]
        level = float(np.nanmean(past)) if intercept else 0.0
        mean = float(np.nanmean(y[:, lags - 1 : split])) if intercept else 0.0
        held_out = explained(y[:, split:], prediction[:, split - lags + 1 :] + level, mean)
    return Estimate(evidences, found, held_out, left(found), before, after, a)
