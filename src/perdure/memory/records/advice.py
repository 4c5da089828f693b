"""From a memory to a layer: which one, how wide, with which time constants; and what the records cannot tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.errors import ArgumentError
from perdure.memory.law import DecayFit
from perdure.memory.records import bands
from perdure.memory.records.excitation import POOR

if TYPE_CHECKING:
    from perdure.memory.records.result import MemoryEstimate

WIDTHS = (1, 2, 4, 8, 16, 32)
RANGE = (1e-3, 0.3)  # of the relative error a width is chosen for
CALLED = 0.9  # weight from which a law is called
SHORT = 20  # steps: gated layers as they are initialised learn this
STATES = 128  # lags at most in the matrix whose singular values count the states of a response without a law
LEVEL = 0.05  # share of the peak that is asked for at the end of the window


@dataclass(frozen=True)
class Advice:
    """What follows for a model.

    Attributes:
        layer: which layer, in words.
        width: states that reach the accuracy the records support; None where no memory is seen.
        error: relative error with which that width holds the memory.
        accuracy: relative error of the estimate itself (sum of its sds over the sum of |rho|), which the width need not beat.
        shortest: time constant to begin with, for `perdure.nn.init.timescales_`.
        longest: the largest.
        law: by which the memory falls, or "undecided".
        code: lines that make the layer; empty where no memory is seen.
        reasons: why, each with a number.
        warnings: what the records cannot tell.
    """

    layer: str
    width: int | None
    error: float
    accuracy: float
    shortest: float
    longest: float
    law: str
    code: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for strict JSON."""
        found = {name: getattr(self, name) for name in ("layer", "width", "error", "accuracy", "shortest", "longest", "law", "code")}
        finite = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in found.items()}
        return {**finite, "reasons": list(self.reasons), "warnings": list(self.warnings)}

    def __str__(self) -> str:
        """The advice as text."""
        width = "" if self.width is None else f", {self.width} states, time constants {self.shortest:.3g} to {self.longest:.3g}"
        return "\n".join([f"{self.layer}{width}", *(f"  {r}" for r in self.reasons), *(f"  caution: {w}" for w in self.warnings)])


def advise(est: MemoryEstimate) -> Advice:
    """Advice from an estimate."""
    warnings = _warnings(est)
    accuracy, seen = _accuracy(est)
    if seen.size == 0:
        reason = f"nothing stands out of the noise at any of {est.times.size} lags: the inputs do not act linearly on the outputs, or too weakly for these records"
        return Advice("no recurrent layer", None, math.nan, accuracy, est.dt, est.dt, "undecided", "", (reason,), warnings)
    last = float(est.times[seen[-1]])
    law, name, called = call_law(est)
    width, error, how = _width(est, law if name != "undecided" else None, accuracy)
    longest = _longest(est, law, name, last)
    layer, why = _layer(est, law, name, longest)
    reasons = [
        f"the memory is seen up to lag {last:.3g}; half of it is left after {est.half_life:.3g}",
        f"{why} ({called})",
        f"{width} states hold it with a relative error of {error:.2g} ({how}); the records give it to {accuracy:.2g}",
    ]
    if est.static is not None:
        reasons.append(
            f"a static nonlinearity {'after' if est.static.kind == 'wiener' else 'before'} the layer: it explains more of the held-out steps"
        )
    code = (
        f"layer = perdure.nn.DiagonalSSM({est.response.shape[1]}, {est.response.shape[2]}, state_size={max(width, 1)}, dt={est.dt!r})\n"
        f"perdure.nn.init.timescales_(layer, shortest={est.dt!r}, longest={longest!r})"
    )
    return Advice(layer, width, error, accuracy, est.dt, longest, name, code, tuple(reasons), warnings)


def call_law(est: MemoryEstimate) -> tuple[DecayFit | None, str, str]:
    """The fit of the laws, the law called, and by what.

    The estimate is smooth, so that its errors are correlated from lag to lag, and the fit alone often cannot call a law. Then the evidence of the records
    decides, if it prefers priors of the law that fits best.
    """
    try:
        fit = est.fit()
    except ArgumentError:  # seen at fewer lags than a law needs
        return None, "undecided", "too few lags are seen for a law"
    if fit.law != "undecided":
        return fit, fit.law, f"law by its fit: {fit.reason}"
    families = {"exponential": ("tc", "dc", "ss"), "polynomial": ("power", "power-ss")}.get(fit.best_law, ())
    weight = sum(est.evidence.get(name, 0.0) for name in families)
    if est.static is None and len(est.evidence) > 1 and weight >= CALLED and fit.evidence[fit.best_law] >= 0.5:
        return (
            fit,
            fit.best_law,
            f"law by the evidence of the records for a prior of that kind, weight {weight:.3f}, and by its fit, weight {fit.evidence[fit.best_law]:.3f}",
        )
    return fit, "undecided", fit.reason


def _accuracy(est: MemoryEstimate) -> tuple[float, np.ndarray]:
    """Relative error of the estimate, and the lags at which something is seen."""
    if est.static is not None:
        floor = est.noise_floor
        return float(np.clip(0.5 * floor * est.memory.size / est.memory.sum(), *RANGE)), np.flatnonzero(est.memory > 2 * floor)
    spread = float(est.response_sd.sum() / max(np.abs(est.response).sum(), 1e-300))
    return float(np.clip(spread, *RANGE)), np.flatnonzero((np.abs(est.response) > bands.SEEN * est.response_sd).any((1, 2)))


def _longest(est: MemoryEstimate, law: DecayFit | None, name: str, last: float) -> float:
    """The time constant of an exponential; elsewhere the last lag at which something is seen."""
    if law is not None and name == "exponential":
        return float(min(max(1.0 / law.parameters["rate"], est.dt), 10.0 * est.steps * est.dt))
    return max(last, est.dt)


def _layer(est: MemoryEstimate, law: DecayFit | None, name: str, longest: float) -> tuple[str, str]:
    if name == "finite" and law is not None:
        return (
            "a causal convolution",
            f"nothing is left after a lag of {law.parameters['lag']:.3g}: {round(law.parameters['lag'] / est.dt) + 1} taps see all of it",
        )
    if name in ("polynomial", "stretched", "persistent"):
        spread = "DiagonalSSM with a stable parametrisation, time constants spread evenly in their logarithm"
        return spread, f"the memory falls slowly ({name}): one time constant does not hold it, and gates as initialised do not reach it"
    if name == "exponential" and longest <= SHORT * est.dt:
        return (
            "any recurrent layer (GRU, LSTM, ContinuousRNN, DiagonalSSM)",
            f"an exponential memory with a time constant of {longest / est.dt:.3g} steps is short",
        )
    if name == "exponential":
        return (
            "DiagonalSSM or ContinuousRNN with a stable parametrisation",
            f"an exponential memory with a time constant of {longest / est.dt:.3g} steps",
        )
    return (
        "DiagonalSSM with a stable parametrisation",
        "no law of decay could be called: time constants from one step to the last lag seen cover it",
    )


def _width(est: MemoryEstimate, law: DecayFit | None, accuracy: float) -> tuple[int, float, str]:
    """States, their relative error, and how it was found."""
    if law is not None and law.best_law == "polynomial" and est.response.shape[1:] == (1, 1) and law.parameters["power"] > 1.01:
        from perdure.approximation import approximate
        from perdure.functionals import polynomial

        target = polynomial(power=law.parameters["power"], scale=max(law.parameters["scale"], 0.1 * est.dt))
        width, error = WIDTHS[0], math.inf
        for width in WIDTHS:
            error = float(approximate(target, width, horizon=float(est.times[-1])).error or 0.0)
            if error <= accuracy:
                break
        return width, error, "perdure.approximate of the fitted power law"
    return _hankel(est.response if est.static is None else est.memory[:, None, None], accuracy)


def _hankel(response: np.ndarray, accuracy: float) -> tuple[int, float, str]:
    """States from the Hankel singular values of the response: truncation errs by at most twice the sum of those cut, in the frequency domain."""
    n, d, o = response.shape
    size = min(n // 2, STATES)
    lag = np.arange(size)[:, None] + np.arange(size)[None, :]
    blocks = response[1:][np.minimum(lag, n - 2)] * (lag <= n - 2)[..., None, None]
    values = np.linalg.svd(blocks.transpose(0, 3, 1, 2).reshape(size * o, size * d), compute_uv=False)
    total = float(np.linalg.norm(np.abs(response).sum(0), 2))
    left = 2.0 * np.append(np.cumsum(values[::-1])[::-1], 0.0) / max(total, 1e-300)
    width = max(int(np.count_nonzero(left > accuracy)), 1)
    return width, float(left[min(width, left.size - 1)]), "Hankel singular values of the estimate, an upper bound"


def _warnings(est: MemoryEstimate) -> tuple[str, ...]:
    out = []
    end = float(est.times[-1])
    open_end = est.static is None and math.isinf(est.interval(LEVEL)[1])
    _, lags = _accuracy(est)
    seen = bool(lags.size and lags[-1] >= est.times.size - max(1, est.times.size // 20) and est.horizon(LEVEL) == math.inf)
    if lags.size and (seen or open_end):
        word = "exceeds" if seen else "may exceed"
        grow = (
            "pass a larger horizon"
            if 4 * est.times.size < est.steps
            else f"records of {est.steps} steps are too short for it: record for longer"
        )
        out.append(
            f"the memory {word} the window: more than {LEVEL:.0%} of the peak {'is' if seen else 'could be'} left at lag {end:.3g}; {grow}"
        )
    if est.condition > POOR:
        size = "inf" if math.isinf(est.condition) else f"{est.condition:.1e}"
        out.append(f"the inputs hardly tell some lags apart (condition number {size}): excite the system more broadly")
    if est.static is None and np.isfinite(est.explained).any() and float(np.nanmin(est.explained)) < 0.1:
        out.append(
            f"the linear part explains {float(np.nanmin(est.explained)):.2f} of the held-out variance: try method='nonlinear', or look for other inputs"
        )
    return tuple(out)
