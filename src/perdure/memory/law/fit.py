"""Fit every decay law to the tail of a memory function, weigh them by Akaike weights, and decide, or say why not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import log_ndtr
from scipy.stats import t as student

from perdure._checks import fail, number, positive_int
from perdure.memory.law.families import Exponential, Family, Finite, Persistent, Polynomial, Stretched
from perdure.memory.law.result import LAWS, DecayFit, check_curve
from perdure.memory.law.window import Curve, Sample, cut_sample, prepare, windows

Array = npt.NDArray[Any]

LEAST_POINTS = 8
LEAST_DROP = math.log(10.0)
LEAST_VARIANCE = 0.5  # relative to the assumed one: the data are never trusted more than this
SILENT_SD = 0.5  # nats a law may exceed the noise floor by where nothing is seen, before that counts against it
FLAT = 0.02  # a fit that falls by less than 2 % over the second half of its window is a level and not a decay


@dataclass(frozen=True)
class _Fit:
    """One law on one sample: parameters and minus twice the log-likelihood."""

    family: Family
    theta: Array
    residual: Array  # in units of the assumed sd, visible points only
    cost: float

    @property
    def misfit(self) -> float:
        """Mean square of the whitened residuals: about 1, or less, for a law that fits."""
        return float(np.mean(self.residual**2))


def _cost(family: Family, theta: Array, sample: Sample) -> _Fit:
    """Minus twice the log-likelihood: Gaussian for visible points, censored (Tobit) where nothing is seen."""
    residual = (sample.y - family.curve(theta, sample.t)) / np.sqrt(sample.v)
    n = residual.size
    variance = max(float(residual @ residual) / n, LEAST_VARIANCE)
    cost = n * math.log(variance) + float(residual @ residual) / variance
    if sample.silent.size:
        cost += -2.0 * float(np.sum(log_ndtr(_margin(family, theta, sample, variance))))
    return _Fit(family, theta, residual, cost)


def _margin(family: Family, theta: Array, sample: Sample, variance: float) -> Array:
    """How far under the noise floor a law lies at the silent times, in sds (capped, so that its normal tail stays finite)."""
    sd = math.sqrt(SILENT_SD**2 + variance * float(np.median(sample.v)))
    return np.clip((sample.log_floor - family.curve(theta, sample.silent)) / sd, -1e4, 1e4)


def _polish(family: Family, theta: Array, sample: Sample) -> _Fit:
    """Refine a starting point by least squares in log space; silent times join in only where the law says there should be something to see."""
    low, high = (np.array(b) for b in family.bounds(sample))
    theta = np.clip(theta, np.where(np.isfinite(low), low + 1e-9 * np.abs(low), low), np.where(np.isfinite(high), high - 1e-9 * np.abs(high), high))
    root = np.sqrt(sample.v)

    def solve(start: Array, variance: float | None) -> Array:
        sd = 1.0 if variance is None else math.sqrt(variance)

        def residual(x: Array) -> Array:
            r = (family.curve(x, sample.t) - sample.y) / (root * sd)
            if variance is None:
                return r
            return np.concatenate([r, np.sqrt(-2.0 * log_ndtr(_margin(family, x, sample, variance)))])

        def jacobian(x: Array) -> Array:
            return family.jacobian(x, sample.t) / root[:, None]

        jac: Any = jacobian if variance is None else "2-point"
        result = least_squares(residual, start, jac=jac, bounds=(low, high), x_scale="jac", max_nfev=40, ftol=1e-10, xtol=1e-10, gtol=1e-10)
        return result.x

    if not isinstance(family, Exponential | Finite) and sample.t.size > 3:  # these two are linear: their start is their optimum
        theta = solve(theta, None)
    best = _cost(family, theta, sample)
    if isinstance(family, Finite) or not sample.silent.size:
        return best
    for _ in range(3):
        variance = max(best.misfit, LEAST_VARIANCE)
        if float(np.min(_margin(family, best.theta, sample, variance))) > -1.0:
            break
        trial = _cost(family, solve(best.theta, variance), sample)
        if trial.cost > best.cost - 1e-3:
            break
        best = trial
    return best


def _families(sample: Sample, max_order: int) -> list[Family]:
    origin = float(sample.t[0])
    return [*(Exponential(k) for k in range(max_order + 1)), Polynomial(), Stretched(), Persistent(origin)]


def _pulse(sample: Sample, curve: Curve) -> _Fit | None:
    """A fall that speeds up all the way down (quadratic in log space, like a Gaussian pulse): finite without a sharp end."""
    if curve.oscillates or sample.t.size < 5 or sample.drop < math.log(100.0):
        return None
    family = Finite(float(sample.t[-1]), degree=2)
    theta = family.start(sample)
    bend = -theta[2] * float(np.ptp(sample.t)) ** 2
    if bend < 0.5 * sample.drop:
        return None
    low = int(np.count_nonzero(curve.envelope >= 0.01 * curve.peak))  # for a pulse without a sharp end, `lag` is where 1 % is left
    return _cost(Finite(float(curve.times[min(low, curve.times.size - 1)]), degree=2), theta, sample)


def _choose_window(curve: Curve, max_order: int) -> tuple[Sample, list[_Fit]]:
    """The earliest window in which some law fits to within twice the assumed variance; else the one where the best law fits best."""
    choices: list[tuple[float, Sample, _Fit | None]] = []
    for sample in windows(curve):
        if sample.t.size < 3:
            break
        pulse = _pulse(sample, curve)
        fits = [_cost(f, f.start(sample), sample) for f in _families(sample, max_order)] + ([pulse] if pulse else [])
        choices.append((min(f.misfit for f in fits), sample, pulse))
        if choices[-1][0] <= 2.0:
            break
    if not choices:
        raise fail("values", "above the noise floor at three times or more", int(curve.stop), "measure with a finer dt, or pass a lower noise_floor")
    _, sample, pulse = choices[-1] if choices[-1][0] <= 2.0 else min(choices, key=lambda c: c[0])
    return sample, [pulse] if pulse else []


def _correlation(residual: Array) -> float:
    """Lag-one autocorrelation of whitened residuals, in [0, 0.95]; residuals far below the assumed sd are rounding and count as uncorrelated."""
    if residual.size < 3:
        return 0.0
    r = residual - residual.mean()
    return float(np.clip(r[1:] @ r[:-1] / (r @ r + 0.02 * r.size), 0.0, 0.95))


def _evidence(fits: list[_Fit], factor: float, silent_matters: bool) -> tuple[dict[str, float], dict[str, _Fit]]:
    """Akaike weights by law, from costs scaled by the effective fraction of independent points."""
    best: dict[str, _Fit] = {}
    for f in fits:
        law = f.family.law
        if law not in best or f.cost < best[law].cost:
            best[law] = f
    costs = {law: factor * f.cost for law, f in best.items()}
    lowest = min(costs.values())
    raw = {law: math.exp(-0.5 * min(costs.get(law, math.inf) - lowest, 1400.0)) if law in costs else 0.0 for law in LAWS}
    total = sum(raw.values())
    return {law: w / total for law, w in raw.items()}, best


def _is_flat(fit: _Fit, sample: Sample) -> bool:
    ends = np.array([0.5 * (sample.t[0] + sample.t[-1]), sample.t[-1]])
    drop = -np.diff(fit.family.curve(fit.theta, ends))
    return bool(drop[0] < FLAT)


def _interval(fit: _Fit, sample: Sample, correlation: float) -> dict[str, tuple[float, float]]:
    """95 % intervals: Student's t times the sd from the least-squares covariance, widened for residual autocorrelation.

    With lag-one autocorrelation c, n points count as n (1 - c) / (1 + c): sds grow by sqrt((1 + c) / (1 - c)) and so does the number of degrees
    of freedom shrink. Parameters fitted as logarithms get asymmetric intervals.
    """
    family, theta, n = fit.family, fit.theta, sample.t.size
    if isinstance(family, Finite):
        return {}
    jacobian = family.jacobian(theta, sample.t) / np.sqrt(sample.v)[:, None]
    free = max(n * (1 - correlation) / (1 + correlation) - theta.size, 1.0)
    scale = float(fit.residual @ fit.residual) / max(n - theta.size, 1) * (1 + correlation) / (1 - correlation)
    unit = np.linalg.norm(jacobian, axis=0) + 1e-300
    covariance = np.linalg.pinv((jacobian / unit).T @ (jacobian / unit), rcond=1e-12) / np.outer(unit, unit)
    half = float(student.ppf(0.975, free)) * np.sqrt(scale * np.maximum(np.diag(covariance), 0.0))
    names = {"exponential": ("amplitude", "rate"), "polynomial": ("amplitude", "power", "scale"), "stretched": ("amplitude", "time_constant", "exponent"),
             "persistent": ("level", "amplitude", "rate")}[family.law]  # fmt: skip
    result: dict[str, tuple[float, float]] = {}
    for i, name in enumerate(names):
        ends = []
        for sign in (-1.0, 1.0):
            moved = theta.copy()
            moved[i] += sign * float(half[i])
            ends.append(family.natural(moved, sample)[name])
        result[name] = (min(ends), max(ends))
    if isinstance(family, Exponential):
        result["order"] = (float(family.order), float(family.order))
    return result


def fit_decay(
    times: npt.ArrayLike, values: npt.ArrayLike, *, noise_floor: float | None = None, threshold: float = 0.9, max_order: int = 3
) -> DecayFit:
    r"""The law by which a memory function decays, or "undecided".

    Fitted in log space on the tail of the upper envelope M_up(t) = sup_{s >= t} M(s), among

    * exponential: A t^k e^{-r t}, k = 0..max_order (k > 0 from repeated poles and Jordan blocks: still exponential in the tail);
    * polynomial: A (1 + t/s)^{-p};
    * stretched: A exp(-(t/tau)^g), 0.15 <= g <= 0.85;
    * persistent: c + A e^{-r t} with c > 0;
    * finite: nothing is left after a lag, or a fall that speeds up all the way (a pulse at a delay).

    Samples below the noise floor are not memory: they enter only as "at most this" (a censored likelihood), so a law that still predicts
    something visible there loses weight, and one that has sunk below does not. Where values swing below half of their envelope, the peaks are
    fitted, one a swing; otherwise the log-values, averaged in at most 64 bins that are even in linear and in logarithmic time.

    Args:
        times: sampling times, (T,), strictly increasing, from the moment the input acts; any unit.
        values: memory, (T,), non-negative, any unit.
        noise_floor: level, in the unit of the values, under which values are noise; None estimates it (see `estimate_floor`).
        threshold: Akaike weight a law needs to be called.
        max_order: largest order k tried.

    Returns:
        A `DecayFit`.

    Raises:
        ArgumentError: times not increasing or negative, values negative, NaN, of another shape, fewer than three, or all within the noise.

    >>> t = np.arange(0, 200.0)
    >>> fit = fit_decay(t, 3 * np.exp(-0.1 * t))
    >>> fit.law, round(fit.parameters["rate"], 6), round(fit.half_life, 2)
    ('exponential', 0.1, 6.93)
    >>> fit = fit_decay(t, (1 + t) ** -1.5)
    >>> fit.law, round(fit.parameters["power"], 3), round(fit.horizon(1e-6))
    ('polynomial', 1.5, 9999)
    >>> fit_decay(t[:10], np.exp(-0.1 * t[:10])).reason
    'the memory falls by a factor of 2.46 within the window: a factor of 10 is needed to tell laws apart (measure a longer horizon)'

    Reference:
        Wang, Li & Li, "Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", ICLR 2024, Definition 3.2 (decay is a statement
        about the tail); Burnham & Anderson, "Model Selection and Multimodel Inference", 2002, section 2.9 (Akaike weights).
    """
    t, v = check_curve(times, values)
    if not 0.5 <= number(threshold, "threshold") < 1:
        raise fail("threshold", "at least 0.5 and below 1", threshold, "it is the Akaike weight a law needs, for example 0.9")
    positive_int(max_order, "max_order", "pass the largest power k in t^k e^{-rt} to try", least=0)
    if noise_floor is not None and number(noise_floor, "noise_floor") < 0:
        raise fail("noise_floor", "non-negative", noise_floor, "it is a level in the unit of the values")
    with np.errstate(over="ignore", under="ignore"):
        curve = prepare(t, v, None if noise_floor is None else float(noise_floor))
        if curve.stop == 0:
            raise fail("values", "above the noise floor somewhere", curve.peak, f"all values are within the noise ({curve.floor:.3g}): a law would be fitted to noise")
        return _decide(curve, threshold, max_order)


def _decide(curve: Curve, threshold: float, max_order: int) -> DecayFit:
    cut = cut_sample(curve)
    if cut is not None:
        sample, fits = cut, [_cut_fit(cut, curve)]
    else:
        sample, fits = _choose_window(curve, max_order)
    if sample.t.size >= 3:
        fits += [_polish(f, f.start(sample), sample) for f in _families(sample, max_order)]
    leader = min(fits, key=lambda f: f.cost)
    correlation = _correlation(leader.residual)
    factor = (1 - correlation) / (1 + correlation)
    evidence, best = _evidence(fits, factor, bool(sample.silent.size))
    if "persistent" in best:  # laws that have all gone flat make the same statement about the horizon that was measured
        for law, f in best.items():
            if law != "persistent" and _is_flat(f, sample) and not sample.silent.size:
                evidence["persistent"] += evidence[law]
                evidence[law] = 0.0
    best_law = max(evidence, key=lambda law: evidence[law])
    chosen = best[best_law]
    law, reason = _verdict(chosen, best_law, evidence, sample, factor, threshold)
    interval = _interval(chosen, sample, correlation)
    if isinstance(chosen.family, Finite):
        interval = _lag_interval(chosen.family.lag, curve)
    residual_sd = float(np.std(chosen.residual * np.sqrt(sample.v)))
    window = (float(sample.t[0]), float(sample.t[-1]))
    parameters = {k: float(x) for k, x in chosen.family.natural(chosen.theta, sample).items()}
    return DecayFit(law, best_law, parameters, interval, evidence, window, reason, residual_sd, curve.floor, curve.times, curve.envelope, chosen.family, chosen.theta)


def _cut_fit(sample: Sample, curve: Curve) -> _Fit:
    family = Finite(float(sample.t[-1]), degree=1 if sample.t.size > 1 else 0)
    lag = float(curve.times[np.searchsorted(curve.times, sample.silent[0]) - 1])  # bins end before the last visible time
    family = Finite(lag, degree=1)
    return _cost(family, family.start(sample), sample)


def _lag_interval(lag: float, curve: Curve) -> dict[str, tuple[float, float]]:
    """A lag lies between the last time something is seen and the next sample; the amplitude is the peak as measured."""
    after = int(np.searchsorted(curve.times, lag, side="right"))
    return {"lag": (lag, float(curve.times[min(after, curve.times.size - 1)])), "amplitude": (curve.peak, curve.peak)}


def _verdict(chosen: _Fit, best_law: str, evidence: dict[str, float], sample: Sample, factor: float, threshold: float) -> tuple[str, str]:
    """The law, or "undecided" with what is missing."""
    n = sample.t.size
    weight = evidence[best_law]
    if best_law != "finite" and n < LEAST_POINTS:
        return "undecided", f"only {n} points (or peaks) above the noise floor: {LEAST_POINTS} are needed (sample more finely or measure a longer horizon)"
    if best_law not in ("finite", "persistent") and sample.drop < LEAST_DROP:
        return "undecided", (
            f"the memory falls by a factor of {math.exp(sample.drop):.3g} within the window: a factor of 10 is needed to tell laws apart "
            "(measure a longer horizon)"
        )
    if best_law != "finite" and n * factor < LEAST_POINTS / 2:
        return "undecided", f"the residuals are so correlated that {n} points count as {n * factor:.1f}: no law here describes the curve"
    spread = float(np.std(chosen.residual * np.sqrt(sample.v)))
    if best_law not in ("finite", "persistent") and spread > 0.3 * float(np.std(sample.y)):
        return "undecided", f"no law here describes the curve: the best leaves residuals of sd {spread:.2g} in log-values"
    if weight < threshold:
        second = sorted(evidence, key=lambda law: -evidence[law])[1]
        return "undecided", (
            f"{best_law} (Akaike weight {weight:.2f}) and {second} ({evidence[second]:.2f}) fit alike: {threshold:g} is needed "
            "(measure a longer horizon or with less noise)"
        )
    return best_law, f"Akaike weight {weight:.3f} over a fall by a factor of {math.exp(min(sample.drop, 700.0)):.3g}"
