r"""Up to which radius curves E_m(beta) of growing width show stable approximation: a bracket of beta_0.

Stable approximation up to beta_0 (Wang, Li & Li 2024, Def. 3.5) asks that E_m(0) -> 0 and that E(beta) = limsup_m E_m(beta) is continuous
on [0, beta_0]. Judged from finitely many widths, radius by radius:

* nothing is shown unless E_m(0) falls with the width, and unless three widths resolve the target (E_m(0) at most a quarter of the
  threshold); models in time steps are taken at the latter alone, for steps and training leave an error that no width takes away, and the
  reason says so;
* every positive radius is refuted where the radius r_m up to which E_m stays below the threshold shrinks with the width without end (E
  jumps at 0), or the radius does so where E_m becomes infinite;
* else a radius is refuted if E_m is infinite there at both of the largest widths;
* where r_m survives, it is also refuted if E_m is infinite there at the largest width or grows with the width without end, and shown if E_m
  is finite there at every resolved width of the larger half and settles. The rest is open.

A trend over finitely many widths is no proof of a limit, and continuity is checked on the radii only: "shown" means shown as far as these
go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from perdure._typing import Array
from perdure.stability.curve import PerturbationCurve
from perdure.stability.trend import Trend, fit

ROUNDING = 1e-9  # a relative error below this has converged, whatever its trend


@dataclass(frozen=True)
class Premise:
    """What curves say about stable approximation.

    Attributes:
        radii: positive radii, (R,).
        said: "shown", "refuted" or "open" for each.
        radius: r_m by width, 0 where it lies below the least radius.
        divergence: the least radius with an infinite error, by width.
        trend: how r_m goes with m, or, where it shrinks and too few widths have an r_m, the least radius with an infinite error; None with fewer than
            three points or a value of 0.
        shrinks: whether r_m shrinks without end, so that beta_0 = 0.
        reason: in words, with numbers.
    """

    radii: Array
    said: tuple[str, ...]
    radius: dict[int, float]
    divergence: dict[int, float]
    trend: Trend | None
    shrinks: bool
    reason: str

    @property
    def bracket(self) -> tuple[float, float]:
        """The largest radius shown (0 if none) and the least refuted (inf if none); where the radius shrinks, 0 and the one at the largest width."""
        if self.shrinks:
            return 0.0, min(self.radius[max(self.radius)] or math.inf, self.divergence[max(self.divergence)])
        low = max((float(r) for r, s in zip(self.radii, self.said, strict=True) if s == "shown"), default=0.0)
        high = min((float(r) for r, s in zip(self.radii, self.said, strict=True) if s == "refuted"), default=math.inf)
        return low, high

    @property
    def beta0(self) -> float | None:
        """The largest radius shown; 0 where the radius shrinks; None where neither is seen."""
        low, _ = self.bracket
        return 0.0 if self.shrinks else low if low > 0 else None


def premise(curves: dict[int, PerturbationCurve], threshold: float) -> Premise:
    """The judgement of curves by width on common radii.

    Args:
        curves: by width, increasing.
        threshold: relative to ||H||_{W1}, to which r_m refers.
    """
    sizes = list(curves)
    size = curves[sizes[-1]].target_norm
    level = threshold * size
    radii = curves[sizes[0]].radii
    at_zero = {m: float(curve.error[0]) for m, curve in curves.items()}
    radius = {m: 0.0 if at_zero[m] > level else min(curve.radius_below(level), curve.divergence_radius) for m, curve in curves.items()}
    divergence = {m: curve.divergence_radius for m, curve in curves.items()}
    resolved = [m for m in sizes if at_zero[m] <= 0.25 * level]
    error_trend = fit(sizes, [max(e, 1e-300) for e in at_zero.values()])
    radius_trend = fit(resolved, [radius[m] for m in resolved])
    last = at_zero[sizes[-1]] / size
    falls = last <= ROUNDING or (error_trend is not None and error_trend.high < 0)
    measured = any(curve.dt is not None for curve in curves.values())  # steps and training leave an error that no width takes away
    edges = fit(sizes, list(divergence.values())) if all(map(math.isfinite, divergence.values())) else None
    at = [i for i, beta in enumerate(radii) if beta > 0]
    said = ["refuted" if not np.isfinite([curves[m].error[i] for m in sizes[-2:]]).any() else "open" for i in at]
    shrinks = by_edge = False
    if falls and radius_trend is not None and radius_trend.direction == "shrinks":
        shrinks, reason = (
            True,
            _goes("the radius below the threshold", radius, resolved, radius_trend) + "; it shrinks without end, so that E jumps at 0",
        )
    elif falls and edges is not None and edges.direction == "shrinks":
        shrinks, by_edge, reason = (
            True,
            True,
            _goes("the radius where the error becomes infinite", divergence, sizes, edges)
            + "; it shrinks without end, so that E is infinite past 0",
        )
    elif len(resolved) < 3:
        reason = (
            f"{len(resolved)} of the widths {', '.join(map(str, sizes))} approximate the target well enough (E_m(0) at most a quarter of the threshold; "
            f"the relative error at m = {sizes[-1]} is {last:.2g}), and three are needed: add widths"
        )
    elif not (falls or measured):
        reason = (
            f"the error without a move does not clearly fall with the width ({last:.2g} of the norm at m = {sizes[-1]}): add larger widths"
        )
    elif radius_trend is None:
        reason = f"the error passes the threshold below the least positive radius, {radii[at].min():.3g}: add smaller radii"
    elif radius_trend.direction == "survives":
        larger = resolved[len(resolved) // 2 :] if len(resolved) > 3 else resolved
        said = _ordered([_at(curves, resolved, larger, i) for i in at])
        reason = _goes("the radius below the threshold", radius, resolved, radius_trend) + "; it survives"
    else:
        reason = (
            _goes("the radius below the threshold", radius, resolved, radius_trend) + "; whether it survives cannot be told: add widths"
        )
    said = ["refuted"] * len(at) if shrinks else said
    if measured and not falls:
        reason += f"; without a move the error does not fall to 0 but stays at {last:.2g} of the norm (time steps and training count in it)"
    found = Premise(radii[at], tuple(said), radius, divergence, edges if shrinks and by_edge else radius_trend, shrinks, reason)
    return _within_horizon(found, curves)


def _goes(what: str, values: dict[int, float], widths: list[int], trend: Trend) -> str:
    first, last = widths[0], widths[-1]
    return f"{what} goes from {values[first]:.3g} at m = {first} to {values[last]:.3g} at m = {last}; fitted: {trend}"


def _at(curves: dict[int, PerturbationCurve], resolved: list[int], larger: list[int], i: int) -> str:
    """One radius, by how E_m goes with m."""
    values = {m: float(curves[m].error[i]) for m in resolved}
    if not math.isfinite(values[resolved[-1]]):
        return "refuted"
    if not all(math.isfinite(values[m]) for m in larger):
        return "open"
    finite = [m for m in resolved if math.isfinite(values[m])]
    trend = fit(finite, [1.0 / max(values[m], 1e-300) for m in finite])  # what shrinks is 1 / E
    return "open" if trend is None else {"shrinks": "refuted", "survives": "shown"}.get(trend.direction, "open")


def _ordered(said: list[str]) -> list[str]:
    """E grows with the radius: nothing is shown past what is not, and all is refuted past what is."""
    result, worst = [], 0
    for each in said:
        worst = max(worst, ("shown", "open", "refuted").index(each))
        result.append(("shown", "open", "refuted")[worst])
    return result


def _within_horizon(found: Premise, curves: dict[int, PerturbationCurve]) -> Premise:
    """On a finite horizon T a mode that grows by less than 1/T is not seen to grow: such radii alone show nothing."""
    ends = [curve.horizon for curve in curves.values() if curve.horizon is not None]
    low = found.bracket[0]
    if not ends or low == 0.0 or low >= 1.0 / min(ends):
        return found
    said = tuple("open" if each == "shown" else each for each in found.said)
    reason = f"{found.reason}; but on a horizon of {min(ends):.3g} radii below {1.0 / min(ends):.3g} show nothing: lengthen the horizon"
    return replace(found, said=said, reason=reason)
