"""From a curve to the points a decay law is fitted on: envelope, noise floor, window, and at most 64 log-values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROUNDOFF = 1e-5  # plateaus lower than this fraction of the peak are roundoff (float32 flattens at 1e-7, with slack for large outputs)
MODEL_ERROR = 0.02  # no curve is trusted to better than 2 % a point: a smooth misfit below that is not evidence for or against a law
POINTS = 64
STARTS = (1.0, 0.5, 0.1, 0.01, 1e-3)  # candidate window starts, as fractions of the peak


@dataclass(frozen=True)
class Curve:
    """A checked curve with its upper envelope, noise floor and the part of it that is above the floor."""

    times: Array
    values: Array
    envelope: Array
    peak: float
    floor: float
    stop: int  # one past the last visible sample
    noise: float  # sd of the log-values from sample to sample
    oscillates: bool


@dataclass(frozen=True)
class Sample:
    """What a law is fitted on: times `t`, log-values `y` of variance `v`, and times `silent` at which nothing exceeds exp(`log_floor`)."""

    t: Array
    y: Array
    v: Array
    silent: Array
    log_floor: float

    @property
    def drop(self) -> float:
        """Fall of the log-values over the window, in nats (medians of a few end points, so that one noisy point does not count)."""
        few = max(1, min(5, self.t.size // 8))
        return float(np.median(self.y[:few]) - np.median(self.y[-few:]))


def slope(x: Array, y: Array) -> float:
    """Least-squares slope of y against x."""
    x = x - x.mean()
    return float(x @ y / max(float(x @ x), 1e-300))


def estimate_floor(times: Array, values: Array, envelope: Array) -> float:
    """The level below which values are roundoff and not memory.

    A trailing plateau counts as roundoff when it lies under 1e-5 of the peak and falls at less than 0.3 of the slope before it (over 1, 2
    or 4 times its own length, the steepest counts), in linear *and* in logarithmic time: a power law fails the second, an exponential
    both. The floor is then three times the highest value of the plateau's later half. Exact zeros at the end put the floor at 1e-7 of
    the peak, or at the last value seen if that is lower.
    """
    peak, size = float(envelope[0]), values.size
    tiny = max(1e-300, float(np.finfo(float).tiny) * 1e3)
    live = values > tiny
    logs, logt = np.log(np.where(live, values, 1.0)), np.log(np.where(times > 0, times, 1.0))
    for fraction in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05):  # the longest plateau first
        first = size - int(fraction * size)
        after = np.arange(first, size)[live[first:]]
        if after.size < 8 or np.median(values[after]) > ROUNDOFF * peak:
            continue
        steepest = [0.0, 0.0]
        for stretch in (1, 2, 4):
            earliest = int(np.searchsorted(times, times[first] - stretch * (times[-1] - times[first])))
            before = np.arange(earliest, first)[live[earliest:first] & (times[earliest:first] > 0)]
            if before.size >= 3:
                steepest = [min(s, slope(x[before], logs[before])) for s, x in zip(steepest, (times, logt), strict=True)]
        if min(steepest) < 0 and all(slope(x[after], logs[after]) > 0.3 * s for s, x in zip(steepest, (times, logt), strict=True)):
            return max(tiny, 3.0 * float(values[after[after.size // 2 :]].max()))
    if envelope[-1] == 0:
        return max(tiny, min(1e-7 * peak, float(envelope[envelope > 0][-1]) * 0.999))
    return tiny


def local_noise(times: Array, logs: Array) -> float:
    """Robust sd of the log-values about the straight line through their two neighbours."""
    if logs.size < 5:
        return 0.0
    weight = (times[2:] - times[1:-1]) / (times[2:] - times[:-2])
    gap = (logs[1:-1] - weight * logs[:-2] - (1 - weight) * logs[2:]) / np.sqrt(1 + weight**2 + (1 - weight) ** 2)
    return float(np.median(np.abs(gap)) / 0.6745)


def prepare(times: Array, values: Array, noise_floor: float | None) -> Curve:
    """Envelope, floor, visible part, noise, and whether more than a tenth of the samples swing to below half of the envelope."""
    envelope = np.maximum.accumulate(values[::-1])[::-1]
    floor = estimate_floor(times, values, envelope) if noise_floor is None else max(noise_floor, 1e-300)
    stop = int(np.count_nonzero(envelope > floor))
    seen = slice(0, stop)
    onset = int(np.argmax(values[seen])) if stop else 0
    tail = slice(onset, stop)
    oscillates = bool(np.mean(values[tail] < 0.5 * envelope[tail]) > 0.1) if stop > onset else False
    noise = 0.0 if oscillates else local_noise(times[tail], np.log(np.maximum(values[tail], floor)))
    return Curve(times, values, envelope, float(envelope[0]), floor, stop, noise, oscillates)


def _peaks(curve: Curve) -> tuple[Array, Array]:
    """The highest sample of each swing that reaches 0.8 of the envelope, refined by a parabola through the logs of three samples."""
    t, v, envelope = curve.times[: curve.stop], curve.values[: curve.stop], curve.envelope[: curve.stop]
    high = v >= 0.5 * envelope
    edges = np.flatnonzero(np.diff(high.astype(int), prepend=0))
    swings = np.maximum.reduceat(np.where(high, v / envelope, 0.0), edges) if edges.size else v[:0]
    label = np.cumsum(np.diff(high.astype(int), prepend=0) != 0) - 1
    top = np.maximum.reduceat(np.where(high, v, 0.0), edges) if edges.size else v[:0]
    i = np.flatnonzero(high & (label >= 0) & (v == top[label]) & (swings[label] >= 0.8)) if edges.size else edges
    i = i[(i > 0) & (i < v.size - 1)]
    i = i[(v[i] > v[i - 1]) & (v[i] >= v[i + 1])]  # of two equal samples the first: both would name the time half-way
    logs = np.log(np.maximum(v, curve.floor))
    a, b, c = logs[i - 1], logs[i], logs[i + 1]
    bend = np.maximum(2 * b - a - c, 1e-300)
    even = np.abs((t[i + 1] - t[i]) / (t[i] - t[i - 1]) - 1) < 1e-6
    # coarse sampling (neighbours under half of the peak) makes the parabola worse than the sample itself
    good = even & (np.minimum(a, c) > b - 0.7)
    shift = np.where(good, 0.5 * (c - a) / bend, 0.0)
    return t[i] + shift * (t[i] - t[i - 1]), b + np.where(good, (c - a) ** 2 / (8 * bend), 0.0)


def _thin(t: Array, y: Array, noise: float, log_floor: float) -> tuple[Array, Array, Array]:
    """Binned times, log-values and variances; what lies under the floor, half of it, adds to every value and so to the variance."""
    t, y, v = _binned(t, y, noise)
    return t, y, v + 0.25 * np.exp(np.minimum(2 * (log_floor - y), 0.0))


def _binned(t: Array, y: Array, noise: float) -> tuple[Array, Array, Array]:
    """At most 64 log-values: one a bin, with bin edges even in linear and in logarithmic time, half each.

    Noisy log-values (more than 2 %) are averaged over their bin, less half of the curvature times the variance of t, which averaging
    adds; others are represented by the middle sample of the bin.
    """
    if t.size <= POINTS:
        return t, y, np.full(t.size, MODEL_ERROR**2 + noise**2)
    span, step = t[-1] - t[0], float(np.median(np.diff(t[: max(8, t.size // 50)])))
    linear = np.linspace(0, span, POINTS // 2 + 1)
    logarithmic = np.geomspace(step, span, POINTS // 2)
    edges = np.unique(np.concatenate([linear, logarithmic]))[1:-1]
    label = np.searchsorted(edges * (1 + 1e-9), t - t[0])  # nudged off the samples, so that rounding cannot move one to another bin
    count = np.bincount(label).astype(float)
    keep = count > 0
    if noise < MODEL_ERROR:
        middle = (np.cumsum(count) - (count + 1) // 2)[keep].astype(int)
        return t[middle], y[middle], np.full(middle.size, MODEL_ERROR**2 + noise**2)
    mean_t, mean_y = (np.bincount(label, weights=x)[keep] / count[keep] for x in (t, y))
    spread = np.bincount(label, weights=(t - mean_t[np.cumsum(keep)[label] - 1]) ** 2)[keep] / count[keep]
    bend = np.pad(np.diff(np.diff(mean_y) / np.diff(mean_t)) / (mean_t[2:] - mean_t[:-2]), 1)  # half of the second derivative
    return mean_t, mean_y - bend * spread, MODEL_ERROR**2 + noise**2 / count[keep]


def _silence(times: Array) -> Array:
    """At most 16 of the times at which nothing is seen, dense at their beginning."""
    if times.size <= 16:
        return times
    return times[np.unique(np.concatenate([np.arange(8), np.linspace(8, times.size - 1, 8).astype(int)]))]


def cut_sample(curve: Curve) -> Sample | None:
    """The curve as 'flat or sloping, then nothing', when its envelope ends in a drop no smooth law makes; None when there is no such drop.

    Three cases: fewer than three samples are visible; the last visible stretch, continued, would still be ten times the floor where
    nothing is seen (at two samples or more); or the envelope falls from half of its peak to a thousandth in less than half the time it
    had lasted (a pulse at a delay).
    """
    t, e, stop = curve.times, curve.envelope, curve.stop
    half, thousandth = int(np.count_nonzero(e >= 0.5 * curve.peak)), int(np.count_nonzero(e >= 1e-3 * curve.peak))
    ends = half >= 4 and thousandth <= e.size - 2 and curve.floor < 1e-3 * curve.peak
    if ends and t[thousandth] - t[half - 1] < 0.5 * (t[half - 1] - t[0]):
        first, last, silent, floor = 0, half, t[thousandth:], 1e-3 * curve.peak
    elif stop <= e.size - 2:
        recent = slice(max(0, stop - max(3, stop // 3)), stop)
        fall = min(0.0, slope(t[recent], np.log(e[recent]))) if stop >= 3 else 0.0
        if stop >= 3 and np.log(e[stop - 1]) + fall * (t[stop] - t[stop - 1]) < np.log(10 * curve.floor):
            return None
        first, last, silent, floor = 0, stop, t[stop:], curve.floor
    else:
        return None
    points = _thin(t[first:last], np.log(e[first:last]), curve.noise, float(np.log(floor)))
    return Sample(*points, _silence(silent), float(np.log(floor)))


def windows(curve: Curve) -> Iterator[Sample]:
    """Samples of the tail, from ever later starts.

    A window starts where the envelope has fallen to 1, 1/2, 1/10, 1/100, 1/1000 of its peak and ends at the last visible sample; starts
    that leave fewer than 16 samples, or less than half of the whole fall (in nats), are not offered, the first always is.
    """
    silent, log_floor = _silence(curve.times[curve.stop :]), float(np.log(curve.floor))
    t, envelope = curve.times[: curve.stop], curve.envelope[: curve.stop]
    y, noise = np.log(np.maximum(curve.values[: curve.stop], curve.floor)), curve.noise
    if curve.oscillates:
        t_peak, y_peak = _peaks(curve)
        if t_peak.size >= 5:  # one point a swing
            t, y, noise = t_peak, y_peak, local_noise(t_peak, y_peak)
        else:
            y, noise = np.log(envelope), 0.0
    top = float(y.max())
    whole = top - float(y[-1])
    for fraction in STARTS:
        below = (
            np.flatnonzero(y >= top - max(4 * noise, 2 * MODEL_ERROR)) if fraction == 1.0 else np.flatnonzero(y <= top + np.log(fraction))
        )
        first = int(below[0]) if below.size else t.size
        if fraction == 1.0:
            first = min(first, t.size // 2)  # the highest of noisy swings that do not decay may be the last one
        if fraction < 1.0 and (t.size - first < 16 or (y[first] - y[-1]) < 0.5 * whole):
            return
        yield Sample(*_thin(t[first:], y[first:], noise, log_floor), silent, log_floor)
