"""Fit every decay law to the tail of a memory function, weigh them by Akaike weights, and decide, or say why not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from perdure._checks import fail, number, positive_int
from perdure.memory.law.families import Exponential, Family, Finite, Persistent, Polynomial, Stretched
from perdure.memory.law.likelihood import Fit, correlation, cost, evidence, interval, polish
from perdure.memory.law.result import DecayFit, check_curve
from perdure.memory.law.window import Curve, Sample, cut_sample, prepare, windows

Array = npt.NDArray[Any]

LEAST_POINTS = 8
LEAST_DROP = math.log(10.0)
EDGE = 1e-3  # of the range of a parameter
ABSURD = math.log(100.0)  # amplitude of a stretched law over the peak seen: the law holds nowhere near its own beginning
SETTLING = 0.35  # of the fall in the second quarter of the record: a memory that still falls so fast in the last has not settled
RISE = 0.3  # nats from one end of the window to the other: more than noise makes


def fit_decay(
    times: npt.ArrayLike, values: npt.ArrayLike, *, noise_floor: float | None = None, threshold: float = 0.9, max_order: int = 3
) -> DecayFit:
    r"""The law by which a memory function decays, or "undecided".

    Fitted in log space on the tail of the upper envelope M_up(t) = sup_{s >= t} M(s), among

    * exponential: A t^k e^{-r t}, k = 0..max_order (k > 0 from repeated poles and Jordan blocks: still exponential in the tail);
    * polynomial: A (1 + t/s)^{-p};
    * stretched: A exp(-(t/tau)^g), 0.15 <= g <= 0.85;
    * persistent: c + A e^{-r t} with c > 0, and the fall slowing down: a memory that falls as fast at the end as before is undecided, however little it falls;
    * finite: nothing is left after a lag, or a fall that speeds up all the way (a pulse at a delay).

    Samples below the noise floor are not memory: they enter only as "at most this" (a censored likelihood), so a law that still predicts
    something visible there loses weight, and one that has sunk below does not. Where values swing below half of their envelope, the
    peaks are fitted, one a swing; otherwise the log-values, averaged in at most 64 bins, even in linear and in logarithmic time.

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
        Wang, Li & Li, "Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", ICLR 2024, section 3 (decaying memory is a
        statement about the tail); Burnham & Anderson, "Model Selection and Multimodel Inference", 2002, section 2.9 (Akaike weights).
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
            fix = f"all values are within the noise ({curve.floor:.3g}), and a law would be fitted to noise"
            raise fail("values", "above the noise floor somewhere", curve.peak, fix)
        return _decide(curve, threshold, max_order)


def _decide(curve: Curve, threshold: float, max_order: int) -> DecayFit:
    """Choose the window, fit every law there, weigh, and word the verdict."""
    sample = cut_sample(curve)
    if sample is not None:
        fits = [_cut(sample, curve)]
    else:
        sample, fits = _choose_window(curve, max_order)
    if sample.t.size >= 3:
        fits += [polish(f, f.start(sample), sample) for f in _smooth(sample, max_order)]
    likeness = correlation(min(fits, key=lambda f: f.cost).residual)
    factor = (1 - likeness) / (1 + likeness)
    weights, best = evidence(fits, sample, factor)
    best_law = max(weights, key=lambda law: weights[law])
    chosen = best[best_law]
    law, reason = _verdict(chosen, best_law, weights, sample, factor, threshold, curve.peak)
    if law == "finite" and curve.stop < 3 and curve.values[curve.stop :].any():  # a fast decay into noise looks the same
        law, reason = "undecided", f"only {curve.stop} points above the noise floor: sample more finely"
    if law == "persistent" and _still_falling(sample, curve.floor, fits):
        law, reason = (
            "undecided",
            "the memory is still falling at the end: a level that persists and a slow decay look alike there (measure a longer horizon)",
        )
    lag = chosen.family.lag if isinstance(chosen.family, Finite) else None
    return DecayFit(
        law=law,
        best_law=best_law,
        parameters={name: float(x) for name, x in chosen.family.natural(chosen.theta, sample).items()},
        interval=interval(chosen, sample, likeness) if lag is None else _lag_interval(lag, curve),
        evidence=weights,
        window=(float(sample.t[0]), float(sample.t[-1])),
        reason=reason,
        residual_sd=float(np.std(chosen.residual * np.sqrt(sample.v))),
        noise_floor=curve.floor,
        times=curve.times,
        envelope=curve.envelope,
        family=chosen.family,
        theta=chosen.theta,
        oscillates=curve.oscillates,
    )


def _still_falling(sample: Sample, floor: float, fits: list[Fit]) -> bool:
    """Whether the memory falls in the last quarter of the window by a good part of what it falls in the second, and by more than its scatter.

    A level that is approached at a rate of 3 / T, the slowest that the persistent law takes, gives e^-1.5 = 0.22; a straight line 1.
    """
    q = np.exp(np.interp(np.linspace(sample.t[0], sample.t[-1], 5), sample.t, sample.y))
    scatter = min(float(np.std(fit.residual * np.sqrt(sample.v))) for fit in fits)
    return bool(q[3] - q[4] > max(SETTLING * (q[1] - q[2]), 4 * floor, 4 * scatter * q[3]))


def _smooth(sample: Sample, max_order: int) -> list[Family]:
    """The laws without an end."""
    return [*(Exponential(k) for k in range(max_order + 1)), Polynomial(), Stretched(), Persistent(float(sample.t[-1]))]


def _choose_window(curve: Curve, max_order: int) -> tuple[Sample, list[Fit]]:
    """The earliest window in which some law fits to within twice the assumed variance; else the one where the best law fits best."""
    choices: list[tuple[float, Sample, list[Fit]]] = []
    for sample in windows(curve):
        if sample.t.size < 3:
            break
        pulse = _pulse(sample, curve)
        starts = [cost(f, f.start(sample), sample) for f in _smooth(sample, max_order)] + pulse
        choices.append((min(f.misfit for f in starts), sample, pulse))
        if choices[-1][0] <= 2.0:
            return sample, pulse
    if not choices:
        fix = "measure with a finer dt, or pass a lower noise_floor"
        raise fail("values", "above the noise floor at three times or more", int(curve.stop), fix)
    _, sample, pulse = min(choices, key=lambda c: c[0])
    return sample, pulse


def _pulse(sample: Sample, curve: Curve) -> list[Fit]:
    """A fall that speeds up all the way down (quadratic in log space, like a Gaussian pulse): finite without a sharp end."""
    if curve.oscillates or sample.t.size < 5 or sample.drop < math.log(100.0):
        return []
    family = Finite(float(sample.t[-1]), degree=2)
    theta = family.start(sample)
    bend = -theta[2] * float(np.ptp(sample.t)) ** 2
    if bend < 0.5 * sample.drop:
        return []
    low = int(np.count_nonzero(curve.envelope >= 0.01 * curve.peak))  # for a pulse without a sharp end, `lag` is where 1 % is left
    return [cost(Finite(float(curve.times[min(low, curve.times.size - 1)]), degree=2), theta, sample)]


def _cut(sample: Sample, curve: Curve) -> Fit:
    """Straight in log space up to the last visible time, then nothing."""
    lag = float(curve.times[np.searchsorted(curve.times, sample.silent[0]) - 1])  # bins end before the last visible time
    family = Finite(lag)
    return cost(family, family.start(sample), sample)


def _lag_interval(lag: float, curve: Curve) -> dict[str, tuple[float, float]]:
    """A lag lies between the last time something is seen and the next sample; the amplitude is the peak as measured."""
    after = int(np.searchsorted(curve.times, lag, side="right"))
    return {"lag": (lag, float(curve.times[min(after, curve.times.size - 1)])), "amplitude": (curve.peak, curve.peak)}


def _absurd(chosen: Fit, sample: Sample, peak: float) -> str:
    """What is wrong with the parameters of a law that fits: it is at the edge of its range, or says that far more was there than was seen."""
    index = {"polynomial": 1, "stretched": 2}.get(chosen.family.law)
    if index is None:
        return ""
    low, high = (bounds[index] for bounds in chosen.family.bounds(sample))
    name, value = ("power", "exponent")[index - 1], float(chosen.theta[index])
    if not low + EDGE * (high - low) < value < high - EDGE * (high - low):
        return f"the {chosen.family.law} law fits best at the edge of its range ({name} {value:.3g}): no law here describes the curve"
    if chosen.family.law == "stretched" and float(chosen.theta[0]) - math.log(peak) > ABSURD:
        times = math.exp(min(float(chosen.theta[0]) - math.log(peak), 700.0))
        return f"the stretched law fits only with an amplitude of {times:.2g} times the peak: no law here describes the curve"
    return ""


def _verdict(
    chosen: Fit, best_law: str, evidence: dict[str, float], sample: Sample, factor: float, threshold: float, peak: float
) -> tuple[str, str]:
    """The law, or "undecided" with what is missing."""
    n = sample.t.size
    weight = evidence[best_law]
    if best_law != "finite" and n < LEAST_POINTS:
        fix = "(sample more finely or measure a longer horizon)"
        return "undecided", f"only {n} points (or peaks) above the noise floor: {LEAST_POINTS} are needed {fix}"
    unseen = best_law == "persistent" and chosen.theta[0] < sample.log_floor + 1  # zeros all the way, and a peak at the end
    if best_law != "finite" and (unseen or sample.drop < -RISE):
        return (
            "undecided",
            f"the memory is still rising, by a factor of {math.exp(-sample.drop):.3g} in the window: measure a longer horizon",
        )
    if best_law not in ("finite", "persistent") and sample.drop < LEAST_DROP:
        return "undecided", (
            f"the memory falls by a factor of {math.exp(sample.drop):.3g} within the window: a factor of 10 is needed to tell laws apart "
            "(measure a longer horizon)"
        )
    if best_law != "finite" and n * factor < LEAST_POINTS / 2:
        return "undecided", f"the residuals are so correlated that {n} points count as {n * factor:.1f}: no law here describes the curve"
    spread = float(np.std(chosen.residual * np.sqrt(sample.v)))
    if best_law != "finite" and spread > (1.5 if best_law == "persistent" else 0.3 * float(np.std(sample.y))):
        return "undecided", f"no law here describes the curve: the best leaves residuals of sd {spread:.2g} in log-values"
    absurd = _absurd(chosen, sample, peak)
    if absurd:
        return "undecided", absurd
    if weight < threshold:
        second = sorted(evidence, key=lambda law: -evidence[law])[1]
        return "undecided", (
            f"{best_law} (Akaike weight {weight:.2f}) and {second} ({evidence[second]:.2f}) fit alike: {threshold:g} is needed "
            "(measure a longer horizon or with less noise)"
        )
    return best_law, f"Akaike weight {weight:.3f} over a fall by a factor of {math.exp(min(sample.drop, 700.0)):.3g}"
