"""The charts of an audit's page, made from its plain data."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure._typing import Array
from perdure.audits.reading import law_of
from perdure.report.chart import LINES, MARKERS, Chart, Series, tones
from perdure.report.interactive import specification

if TYPE_CHECKING:
    from perdure.audits.result import Audit

DEEP = 1e-12  # of the peak: less is not drawn
TICKS = 18  # on the axis of a heat map, at most


@dataclass(frozen=True)
class Heatmap:
    """A matrix as colours on a logarithmic scale.

    Attributes:
        name, title, x_label, y_label, caption: as of a `Chart`.
        x: (N,) names of the columns, which stand side by side whatever they cover.
        rows: (M,) names of the rows.
        values: (M, N), non-negative.
        unit: of the values, by the colour bar.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    x: tuple[str, ...] = field(repr=False)
    rows: tuple[str, ...] = ()
    values: Array = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    unit: str = ""
    caption: str = ""


def memory_charts(audit: Audit) -> list[Chart]:
    """Every memory curve and the fitted law of the one that speaks, over linear time (exponentials are straight) and over logarithmic time."""
    memory = audit.part("memory")
    if memory is None:
        return []
    curves = memory["curves"]
    charts = []
    for log in (False, True):
        series = curve_series(curves, log, memory["headline"])
        low, high = heights(series)
        where = "logarithmic" if log else "linear"
        line = "power laws" if log else "exponentials"
        charts.append(
            Chart(
                f"plot-memory-{where}",
                f"memory functions, {where} time ({line} are straight lines)",
                time_label(audit.dt),
                "memory (output / input / time)",
                tuple(series),
                "Values, not envelopes. Circles: the law fitted to the curve that speaks for the model, on the window it was fitted on. "
                "What is within the noise floor, or below 1e-12 of the peak, is not drawn.",
                x_log=log,
                y_log=True,
                y_range=(low, high),
            )
        )
    return charts


def curve_series(curves: Mapping[str, Mapping[str, Any]], log: bool, fitted: str = "") -> list[Series]:
    """Curves by name, and the law of one of them as circles."""
    series = []
    for i, ((name, curve), tone) in enumerate(zip(curves.items(), tones(len(curves)), strict=False)):
        t, v = np.asarray(curve["times"], float), np.asarray(curve["values"], float)
        drawn = (v > max(float(curve["noise_floor"]), DEEP * float(v.max()))) & ((t > 0) | (not log))
        if drawn.sum() > 1:
            end = int(np.flatnonzero(drawn)[-1]) + 1
            series.append(Series(safe(name), t[:end][(t > 0)[:end] | (not log)], np.where(drawn, v, np.nan)[:end][(t > 0)[:end] | (not log)],
                                 tone, LINES[i % len(LINES)]))  # fmt: skip
        if name == fitted:
            fit = law_of(curve)
            last = float(t[drawn][-1]) if drawn.any() else 0.0
            if fit is not None and fit.best_law != "finite" and min(fit.window[1], last) > max(fit.window[0], 1e-9):
                first = max(fit.window[0], float(t[t > 0][0])) if log else fit.window[0]
                at = (np.geomspace if log else np.linspace)(first, min(fit.window[1], last), 14)
                series.append(Series(f"{fit.best_law} law", at, fit.predict(at), None, None, "circle", thin=False))
    return series


def heights(series: Sequence[Series]) -> tuple[float, float]:
    """Limits of a logarithmic axis: whole powers of ten around what is drawn."""
    values = np.concatenate([s.y[np.isfinite(s.y) & (s.y > 0)] for s in series]) if series else np.empty(0)
    if not values.size:
        return 1e-3, 1.0
    low, high = math.floor(math.log10(values.min()) + 1e-9), math.ceil(math.log10(values.max()) - 1e-9)
    return 10.0**low, 10.0 ** max(high, low + 1)


def lengths_chart(audit: Audit) -> Chart | None:
    """Memory beyond the training length, which is marked."""
    found = audit.part("lengths")
    if found is None:
        return None
    series = curve_series({"memory": found["curve"]}, True)
    low, high = heights(series)
    mark = audit.horizon * audit.dt
    series.append(Series("training length", np.array([mark, mark]), np.array([low, high]), None, "dot"))
    caption = "The curve that speaks for the model, measured anew over the longest length that the budget and the model allowed."
    return Chart("plot-lengths", "memory beyond the training length", time_label(audit.dt), "memory (output / input / time)", tuple(series), caption,
                 x_log=True, y_log=True, y_range=(low, high))  # fmt: skip


def plane_chart(name: str, title: str, groups: Mapping[str, Array], caption: str) -> Chart:
    """Eigenvalues in the complex plane with the unit circle; one group of points for each matrix."""
    angle = np.linspace(0, 2 * np.pi, 181)
    series = [Series("unit circle", np.cos(angle), np.sin(angle), None, "dot")]
    for i, ((label, values), tone) in enumerate(zip(groups.items(), tones(len(groups)), strict=True)):
        series.append(Series(safe(label), np.real(values), np.imag(values), tone, None, MARKERS[i % len(MARKERS)], thin=False))
    return Chart(name, title, "real part", "imaginary part", tuple(series), caption)


def specify(chart: Chart | Heatmap) -> dict[str, Any]:
    """What plotly draws; a chart of the complex plane keeps its proportions."""
    if isinstance(chart, Heatmap):
        return _heat(chart)
    made = specification(chart)
    if chart.x_label == "real part":
        made["layout"]["yaxis"] |= {"scaleanchor": "x", "scaleratio": 1}
    return made


def _heat(chart: Heatmap) -> dict[str, Any]:
    with np.errstate(divide="ignore"):
        level = np.log10(np.asarray(chart.values, float))
    finite = level[np.isfinite(level)]
    low, high = (math.floor(finite.min()), math.ceil(finite.max())) if finite.size else (-1, 0)
    low = max(low, high - 12)
    step, places = max(1, (high - low) // 6), ticks_at(chart.x)
    ticks = list(range(low, high + 1, step))
    trace = {
        "type": "heatmap",
        "x": list(range(len(chart.x))),
        "y": [safe(name) for name in chart.rows],
        "z": [[float(v) if np.isfinite(v) else None for v in row] for row in level],
        "zmin": low,
        "zmax": high,
        "colorscale": "Viridis",
        "colorbar": {
            "title": {"text": safe(chart.unit), "side": "right"},
            "tickvals": ticks,
            "ticktext": [f"1e{k}" for k in ticks],
            "thickness": 12,
        },
        "text": [[safe(name) for name in chart.x]] * len(chart.rows),
        "hovertemplate": "%{y}, %{text}: 10^%{z:.2f}<extra></extra>",
        "meta": None,
    }
    layout = {
        "xaxis": {
            "title": {"text": safe(chart.x_label)},
            "type": "linear",
            "tickmode": "array",
            "tickvals": places,
            "ticktext": [safe(tick(chart.x[i])) for i in places],
        },
        "yaxis": {"title": {"text": safe(chart.y_label)}, "type": "category", "autorange": "reversed"},
    }
    return {"name": chart.name, "data": [trace], "layout": layout}


def ticks_at(names: Sequence[str]) -> list[int]:
    """Which columns get a tick: of those whose end nearer to 0 is 0 or a power of two, on either side, as many as fit; every so many where there are no numbers.

    >>> ticks_at(["-4", "-3", "-1", "0", "1", "2", "3", "4 … 5", "6 … 8", "9 … 17"])
    [0, 2, 3, 4, 5, 7]
    """
    ends = [tick(name) for name in names]
    wanted = [i for i, end in enumerate(ends) if end.lstrip("-").isdigit() and (abs(int(end)) & (abs(int(end)) - 1)) == 0]
    if not wanted:
        return list(range(0, len(names), max(1, len(names) // 8)))
    middle = min(wanted, key=lambda i: abs(int(ends[i])))
    kept = [middle]
    for side in ([i for i in wanted if i > middle], [i for i in reversed(wanted) if i < middle]):
        last = middle
        for i in side:
            if abs(i - last) >= len(names) / TICKS:
                kept.append(i)
                last = i
    return sorted(kept)


def tick(name: str) -> str:
    """A column's name, of a range the end that is nearer to 0.

    >>> tick("32 … 34"), tick("-34 … -32"), tick("a")
    ('32', '-32', 'a')
    """
    first, _, last = name.partition(" … ")
    return last if last and first.startswith("-") else first


def time_label(dt: float) -> str:
    """The time axis with its unit."""
    return "time since the input (steps)" if dt == 1.0 else f"time since the input (steps × dt, dt = {dt:g})"


def safe(text: str) -> str:
    """A name as plotly may show it: its few tags and templates are switched off.

    >>> safe("<b>a</b> %{x}")
    '&lt;b&gt;a&lt;/b&gt; %&#123;x}'
    """
    return html.escape(str(text), quote=False).replace("{", "&#123;")
