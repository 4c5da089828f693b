r"""Perturbation curves as rows of a table, and back: what Fig. 1, 2, 3, 4, 7, 8, 12 and App. C share.

Stable approximation asks that E_m(0) falls with the width m and that E(beta) = limsup_m E_m(beta) is continuous at 0. From finitely many widths both
are read as trends (`perdure.stability.trend`): of E_m(0), and of

    r_m = sup { beta : E_m(beta) <= E_m(0) + threshold * ||H|| },

the radius up to which a nudge adds little to the error that is there without one. If E is continuous at 0, r_m stays above some beta_0 > 0; if r_m
shrinks without end, E jumps there. Unlike the radius of a fixed error, r_m exists at every width, also where E_m(0) itself is large.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perdure._typing import Array
from perdure.experiments.base import Job, Outcome, Row
from perdure.experiments.curse import Panel
from perdure.report.chart import Chart, Series
from perdure.report.charts import panel_chart
from perdure.stability.curve import PerturbationCurve
from perdure.stability.trend import LOSS, fit

THRESHOLD = 0.1  # of the target's norm
NEGLIGIBLE = 0.01  # relative E_m(0) that counts as approximated, whatever its trend


def grid(job: Job) -> Array:
    """The radii of a job: 0 and `smallest` doubled 0 to `doublings` times; below them powers of ten from `finest` on, `per_decade` in each.

    >>> grid({"smallest": 0.5, "doublings": 2, "finest": 0.01, "per_decade": 1}).tolist()
    [0.0, 0.01, 0.1, 0.5, 1.0, 2.0]
    """
    smallest, finest, per = float(job["smallest"] or 0), float(job.get("finest") or 0), int(job.get("per_decade") or 1)
    low = round(per * math.log10(finest)) if finest > 0 else 0
    below = [10.0 ** (k / per) for k in range(low, 1) if finest > 0 and 10.0 ** (k / per) < 0.99 * smallest]
    return np.array([0.0, *below, *(smallest * 2.0**k for k in range(int(job["doublings"] or 0) + 1))])


def rows_of(curve: PerturbationCurve, kept: float, **more: Any) -> list[Row]:
    """One row a radius; what belongs to the whole curve stands in each of them.

    Args:
        curve: E_m(beta).
        kept: r_m.
        more: further columns, the same in each row.
    """
    nominal = float(curve.raw[0]) if curve.radii[0] == 0 else math.nan
    whole: dict[str, Any] = {
        "kept": float(kept), "nominal": nominal / curve.target_norm, "norm": float(curve.target_norm), "divergence_radius": float(curve.divergence_radius),
        "states": int(curve.width), "status": curve.status, "ball": curve.ball, "length": math.inf if curve.horizon is None else float(curve.horizon),
    }  # fmt: skip
    return [
        {"radius": float(radius), "error": float(error), "raw": float(raw), "upper": float(upper), **whole, **more}
        for radius, error, raw, upper in zip(curve.radii, curve.error, curve.raw, curve.upper, strict=True)
    ]


def kept(curve: PerturbationCurve, level: float) -> float:
    """r_m read off a curve: infinity where its last radius does not reach the level, so that r_m lies beyond the grid."""
    return math.inf if curve.error[-1] <= level else curve.radius_below(level)


def by_width(table: Any, column: str) -> dict[int, float]:
    """A quantity of the whole curve, by width; the median over seeds where there are several."""
    return {int(m): float(value) for m, value in table.groupby("width")[column].median().items()}


def curve_of(table: Any) -> PerturbationCurve:
    """The curve of the rows of one width, in the order of the radii."""
    rows = table.sort_values("radius")
    first = rows.iloc[0]
    return PerturbationCurve(
        radii=rows["radius"].to_numpy(float), error=rows["error"].to_numpy(float), raw=rows["raw"].to_numpy(float), by_group={},
        divergence_radius=float(first["divergence_radius"]), upper=rows["upper"].to_numpy(float), status=str(first["status"]), method="", groups=(),
        parametrization="", ball=str(first["ball"]), horizon=None, width=int(first["width"]), target_norm=float(first["norm"]), seed=0,
    )  # fmt: skip


def chart(name: str, title: str, table: Any, caption: str, x_label: str, zero: float | None = None) -> Chart:
    """E_m(beta) over the norm of the target, one line a width: the first seed of each.

    Args:
        name: of the chart.
        title: one line.
        table: rows of several widths.
        caption: what a reader must know; the sentence about triangles is added here.
        x_label: what is moved, with unit.
        zero: radii below are left out; None draws all of them.
    """
    shown = table if zero is None else table[(table["radius"] == 0) | (table["radius"] >= zero)]
    if "seed" in shown:
        shown = shown[shown["seed"] == shown["seed"].min()]
    curves = {int(m): curve_of(rows) for m, rows in shown.groupby("width")}
    drawn = {m: curve for m, curve in curves.items() if np.isfinite(curve.relative[0]) and curve.relative[0] < 10}
    left = sorted(set(curves) - set(drawn))
    if left:
        caption += f" Not drawn, an error of more than ten norms without a nudge: m = {', '.join(map(str, left))}."
    if not drawn:
        return Chart(name, title, x_label, "perturbation error, share of the target's norm", (), caption)
    found = panel_chart(Panel(name, title, "", "", drawn, {}))
    if any(math.isfinite(curve.divergence_radius) for curve in drawn.values()):
        caption += " Triangles near the top edge: the error is infinite from there on."
    if min(float(curve.relative.min()) for curve in drawn.values()) < 1e-6:
        caption += " Errors below 1e-6 are drawn there."
    return replace(found, title=title, caption=caption, x_label=x_label)


def radius_chart(name: str, title: str, radii: Mapping[str, Mapping[int, float]], caption: str) -> Chart:
    """Radii against the width, both logarithmic: what survives is level.

    Args:
        name: of the chart.
        title: one line.
        radii: label -> radius by width.
        caption: what a reader must know.
    """
    styles = (("solid", "circle"), ("dash", "square"), ("dot", "diamond"), ("dashdot", "triangle-down"))
    series, widths = [], set()
    for i, (label, values) in enumerate(radii.items()):
        x = np.array(sorted(values), dtype=float)
        y = np.array([values[int(m)] for m in x])
        y = np.where(np.isfinite(y) & (y > 0), y, np.nan)
        widths |= set(x.tolist())
        line, marker = styles[i % len(styles)]
        series.append(Series(label, x, y, i / max(1, len(radii) - 1), line, marker))
    all_widths = sorted(widths)
    apart = [m for i, m in enumerate(all_widths) if i == 0 or m / all_widths[i - 1] > 1.3]
    ticks = tuple((m, f"{m:g}") for m in apart)
    found = np.concatenate([s.y[np.isfinite(s.y)] for s in series]) if series else np.empty(0)
    span = (float(found.min()) / 3, float(found.max()) * 3) if found.size else None  # level lines look level
    return Chart(name, title, "width m", "radius β", tuple(series), caption, True, True, y_range=span, x_ticks=ticks)


@dataclass(frozen=True)
class Decision:
    """Whether a family of widths is a stable approximation.

    Attributes:
        outcome: "stable", "unstable", "not approximated" or "undecided".
        words: the numbers, as text.
    """

    outcome: str
    words: str


def decide(kept: Mapping[int, float], nominal: Mapping[int, float]) -> Decision:
    """From r_m and the relative E_m(0) by width.

    * unstable: r_m shrinks (a loss of more than 10 % a doubling of the width with 95 % confidence, or an octave and more at every step), or falls to 0;
    * not approximated: E_m(0) does not fall below 1 % and does not shrink with the width;
    * an r_m beyond the grid (infinity) takes no part in the trend;
    * stable: r_m survives (less than that with 95 % confidence, or each of the last two steps loses less than 3.5 % a doubling) and E_m(0) falls;
    * undecided: else.

    >>> falling = {4: 0.1, 8: 0.03, 16: 0.009}
    >>> decide({4: 0.2, 8: 0.2, 16: 0.2}, falling).outcome, decide({4: 1e-2, 8: 1e-4, 16: 1e-8}, falling).outcome
    ('stable', 'unstable')
    """
    widths = sorted(kept)
    radii, errors = [kept[m] for m in widths], [nominal[m] for m in widths]
    words = f"{numbers('r', kept, 'beyond the grid')}; {numbers('E(0)', nominal)} of the norm"
    if len(widths) < 3:
        return Decision("undecided", f"{words}; {len(widths)} widths show no trend")
    inside = [m for m in widths if math.isfinite(kept[m])]
    trend = fit(inside, [kept[m] for m in inside])
    if trend is not None:
        words += f"; r: {trend}"
    if radii[-1] == 0 and radii[0] > 0:
        return Decision("unstable", f"{words}; r falls to 0")
    error = fit(widths, [max(value, 1e-300) for value in errors]) if all(map(math.isfinite, errors)) else None
    falls = errors[-1] <= NEGLIGIBLE or (error is not None and error.direction == "shrinks")
    if trend is not None and trend.direction == "shrinks":
        return Decision("unstable", words)
    if all(map(math.isfinite, errors)) and not falls:
        return Decision("not approximated", f"{words}; E(0) does not fall")
    if trend is None or not all(map(math.isfinite, errors)):
        return Decision("undecided", f"{words}; no trend of r")
    return Decision("stable" if trend.direction == "survives" else "undecided", words)


def alike(kept: Mapping[int, float], end: float, factor: float = 2.0) -> bool:
    """Whether the r_m of all widths lie within a factor of one another, those beyond the grid taken to be at its end.

    >>> alike({4: 0.3, 8: 0.5}, 1.0), alike({4: 0.3, 8: float("inf")}, 1.0), alike({4: float("inf"), 8: float("inf")}, 1.0)
    (True, False, True)
    """
    found = [min(value, end) for value in kept.values()]
    return min(found) > 0 and max(found) <= factor * min(found)


def edges(table: Any) -> str:
    """From which radius on the error is infinite, by width, as text."""
    found = by_width(table, "divergence_radius")
    if not any(map(math.isfinite, found.values())):
        return "no error is infinite"
    return f"infinite from {numbers('β', found, 'never')} on"


RULE = (
    f"r_m is the radius up to which a nudge adds less than {THRESHOLD:g} of the target's norm to the error without one. Where r_m has settled (each of the last two "
    f"steps loses less than 3.5% a doubling of the width) it survives, whatever the fitted slope; else it survives where it loses less than {1 - 2**-LOSS:.0%} a doubling beyond "
    "doubt (95 %), and shrinks where it loses more, or half at every step. Unstable: r_m shrinks; stable: it survives and E_m(0) falls; else undecided."
)


def outcome_of(found: str, claimed: str) -> Outcome:
    """Whether what was found is what is claimed: "stable" or "unstable". Networks that do not approximate the target show neither.

    >>> outcome_of("unstable", "unstable"), outcome_of("stable", "unstable"), outcome_of("not approximated", "stable")
    ('agrees', 'differs', 'could not be tested')
    """
    if found not in ("stable", "unstable"):
        return "could not be tested"
    return "agrees" if found == claimed else "differs"


def numbers(name: str, values: Mapping[int, float], infinite: str = "inf") -> str:
    """Numbers by width, as text.

    >>> numbers("r", {4: 0.25, 8: 1e-9}), numbers("r", {4: float("inf")}, "never")
    ('r = 0.25 (m = 4), 1e-09 (8)', 'r = never (m = 4)')
    """
    parts = [
        f"{infinite if math.isinf(value) else f'{value:.2g}'} ({'m = ' if i == 0 else ''}{m})"
        for i, (m, value) in enumerate(sorted(values.items()))
    ]
    return f"{name} = {', '.join(parts)}"


def spread(table: Any, low: float = 0.0, high: float = math.inf) -> tuple[float, int]:
    """Largest max/min - 1 over widths of the error, and at how many radii in [low, high] all are finite and above rounding."""
    worst, used = 0.0, 0
    for radius, rows in table.groupby("radius"):
        values = rows["error"].to_numpy(float)
        if low <= radius <= high and np.isfinite(values).all() and values.min() > 1e-9 * float(rows["norm"].iloc[0]):
            worst, used = max(worst, float(values.max() / values.min() - 1)), used + 1
    return worst, used


def chosen(table: Any, **columns: Any) -> Any:
    """The rows with these values."""
    for name, value in columns.items():
        table = table[table[name] == value]
    return table


def listed(values: Iterable[Any]) -> str:
    """Things separated by commas."""
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
