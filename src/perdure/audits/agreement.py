r"""Do the probes agree, and what does it mean where they do not?

For a linear functional all four probes give |rho(t)|_1. Where their curves differ, the model is not linear, or a probe cannot see what it remembers. Curves are
compared by shape: with the envelopes e(t) = M_up(t) / M_up(0), cut off at the larger noise floor, the distance of two curves is

    d = mean over lags t_j of | log10 e_1(t_j) - log10 e_2(t_j) |      (decades),    t_j spread evenly in log t from one step to the horizon.

It does not change when a curve is scaled: 0.1 is a factor of 1.26 on average, 1 a factor of ten.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.audits.reading import crossing, law_of
from perdure.errors import ArgumentError, ArgumentTypeError
from perdure.memory.function import MemoryFunction
from perdure.memory.running import listed

AGREE = 0.1  # decades
POINTS = 64
SAME = 1.25  # ratio of half-lives
BLIND = 1e-9  # of the peak


@dataclass(frozen=True)
class PairRow:
    """Two curves beside one another.

    Attributes:
        first, second: their names.
        distance: mean |log10| ratio of the normalised envelopes over logarithmically spread lags, in decades.
        half_life_ratio: half-life of the first over that of the second; None where one has none, or a lower bound alone.
        peak_ratio: largest value of the first over that of the second.
    """

    first: str
    second: str
    distance: float
    half_life_ratio: float | None
    peak_ratio: float | None


@dataclass(frozen=True)
class Agreement:
    """How the probes of one model compare.

    Attributes:
        pairs: every two curves.
        half_lives: of each curve, inf for never, None where it cannot be read.
        agree: whether no two curves are more than a tenth of a decade apart.
        sentences: what the differences mean, each with the numbers behind it.
        status: how the numbers are known.
        notes: what a reader of the numbers should know.
    """

    pairs: tuple[PairRow, ...]
    half_lives: dict[str, float | None]
    agree: bool
    sentences: tuple[tuple[str, dict[str, Any]], ...]
    status: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        return {
            "pairs": [{k: listed(v) for k, v in vars(pair).items()} for pair in self.pairs],
            "half_lives": {name: listed(value) for name, value in self.half_lives.items()},
            "agree": self.agree, "sentences": [{"text": text, "numbers": {k: listed(v) for k, v in numbers.items()}} for text, numbers in self.sentences],
            "status": self.status, "notes": list(self.notes),
        }  # fmt: skip

    def to_frame(self) -> Any:
        """A pandas table, one row a pair."""
        import pandas as pd

        return pd.DataFrame([vars(pair) for pair in self.pairs])


def agreement(curves: Mapping[str, Any]) -> Agreement:
    """Compare memory curves of one model by shape and half-life.

    Args:
        curves: by name, at least two: `MemoryFunction`s, or mappings with times, values, noise_floor and status (such as their `to_dict()`). The part of a
            name before a comma is taken for the probe: "impulse, noise" is an impulse amid noise.

    Returns:
        An `Agreement`.

    Raises:
        ArgumentError: fewer than two curves.
        ArgumentTypeError: a curve of another type.

    >>> t = np.arange(200.0)
    >>> curve = lambda rate: {"times": t, "values": np.exp(-rate * t), "noise_floor": 0.0, "status": "exact"}
    >>> found = agreement({"heaviside": curve(0.05), "impulse": curve(0.05), "jacobian": curve(0.1)})
    >>> [(p.first, p.second, round(p.distance, 2), round(p.half_life_ratio, 2)) for p in found.pairs][:2]
    [('heaviside', 'impulse', 0.0, 1.0), ('heaviside', 'jacobian', 1.15, 2.0)]
    """
    if len(curves) < 2:
        raise _checks.fail("curves", "at least two", list(curves), "measure the memory by another probe")
    plain = {name: _plain(name, curve) for name, curve in curves.items()}
    halves = {name: _half_life(curve) for name, curve in plain.items()}
    pairs = tuple(_pair(a, b, plain, halves) for a, b in itertools.combinations(plain, 2))
    blind = [name for name, curve in plain.items() if _blind(curve)]
    agree = all(pair.distance <= AGREE for pair in pairs)
    exact = all(curve["status"] == "exact" for curve in plain.values())
    status = "exact, up to interpolation" if exact else "estimates: some curves are lower bounds found by search"
    return Agreement(pairs, halves, agree, tuple(_words(plain, pairs, halves, blind, agree)), status)


def _plain(name: str, curve: Any) -> Mapping[str, Any]:
    if isinstance(curve, MemoryFunction):
        return curve.to_dict()
    if not isinstance(curve, Mapping) or any(key not in curve for key in ("times", "values", "noise_floor", "status")):
        raise ArgumentTypeError(
            f"expected argument `curves[{name!r}]` to be a MemoryFunction or a mapping with times, values, noise_floor and status, but got "
            f"{type(curve).__name__}: pass memory_function(...).to_dict()"
        )
    return curve


def _envelope(curve: Mapping[str, Any]) -> tuple[Array, float]:
    """e(t), (T,), and the noise floor relative to the peak."""
    values = np.asarray(curve["values"], float)
    peak = float(values.max())
    if peak <= 0:
        return np.zeros_like(values), 0.0
    return np.maximum.accumulate(values[::-1])[::-1] / peak, float(curve["noise_floor"]) / peak


def _blind(curve: Mapping[str, Any]) -> bool:
    envelope, floor = _envelope(curve)
    return bool(envelope.size < 2 or envelope[1] <= max(4 * floor, BLIND))


def _half_life(curve: Mapping[str, Any]) -> float | None:
    try:
        found = crossing(curve, 0.5, law_of(curve))
    except ArgumentError:
        return None
    return None if found.is_bound else float(found.value)


def _pair(a: str, b: str, curves: Mapping[str, Any], halves: Mapping[str, float | None]) -> PairRow:
    (one, floor_1), (two, floor_2) = _envelope(curves[a]), _envelope(curves[b])
    floor = max(floor_1, floor_2, 1e-12)
    last = min(one.size, two.size) - 1
    at = np.unique(np.geomspace(1, max(last, 1), POINTS).round().astype(int))
    at = at[at <= last]
    logs = [np.log10(np.maximum(e[at], floor)) for e in (one, two)]
    seen = (logs[0] > np.log10(floor)) | (logs[1] > np.log10(floor))
    distance = float(np.abs(logs[0] - logs[1])[seen].mean()) if seen.any() else 0.0
    first, second = halves[a], halves[b]
    ratio = None
    if first is not None and second is not None and math.isfinite(first) and math.isfinite(second) and second > 0:
        ratio = first / second
    peaks = [float(np.max(curves[name]["values"])) for name in (a, b)]
    return PairRow(a, b, distance, ratio, peaks[0] / peaks[1] if peaks[1] > 0 else None)


def _words(curves: Mapping[str, Any], pairs: tuple[PairRow, ...], halves: Mapping[str, float | None], blind: list[str], agree: bool):
    seeing = [name for name in curves if name not in blind]
    if agree:
        worst = max(pair.distance for pair in pairs)
        yield (
            "The probes agree: the memory does not depend on how it is asked for, as in a linear model.",
            {"largest distance (decades)": worst},
        )
        return
    if not seeing:
        yield "No probe sees anything after the first step: the model has no memory.", {}
        return
    table = {frozenset((pair.first, pair.second)): pair for pair in pairs}
    if "heaviside" in blind:
        other = seeing[0]
        yield (
            f"The Heaviside probe is blind here while {other} sees a memory: an answer to a constant input that is constant from its first step on, as attention "
            "gives that averages equal values. That is a property of the probe, not of the model: go by the others.",
            {f"half-life by {other}": halves[other], "half-life by heaviside": halves["heaviside"]},
        )
    for name in blind:
        if name != "heaviside":
            yield (
                f"Nothing is left after the first step by the probe {name}, while {seeing[0]} sees a memory.",
                {f"half-life by {seeing[0]}": halves[seeing[0]]},
            )
    for a, b, text in (
        (
            "impulse",
            "jacobian",
            "A pulse of full size and an infinitesimal one fade differently: units saturate, or gates answer to the pulse itself.",
        ),
        (
            "heaviside",
            "reversed",
            "Switching on and switching off fade differently: the state that a constant input drives the model to has another memory than rest.",
        ),
        (
            "heaviside",
            "impulse",
            "A constant input and a pulse fade differently: the step drives the model away from rest, and it remembers from there.",
        ),
    ):
        pair = table.get(frozenset((a, b)))
        if pair is not None and a in seeing and b in seeing and pair.distance > AGREE:
            numbers = {"distance (decades)": pair.distance, f"half-life by {a}": halves[a], f"half-life by {b}": halves[b]}
            yield text, numbers
    for name in seeing:
        probe, _, where = name.partition(", ")
        pair = table.get(frozenset((name, probe)))
        if where and pair is not None and probe in seeing and pair.distance > AGREE:
            numbers = {"distance (decades)": pair.distance, f"half-life by {probe}": halves[probe], f"half-life by {name}": halves[name]}
            yield (
                f"The memory depends on what is being read: amid {where} it fades differently than in silence (gates, attention, saturation).",
                numbers,
            )
