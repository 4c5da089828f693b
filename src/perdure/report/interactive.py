"""Charts as plotly specifications; colours are left to the page, which knows whether it is light or dark."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from perdure._typing import Array
from perdure.report.chart import Chart, Series, colour

POINTS = 2000  # of a line; a longer one keeps the least and the greatest value of each stretch, which looks the same
SYMBOL = {"triangle-up": "triangle-up-open", "triangle-down": "triangle-down"}


def specification(chart: Chart) -> dict[str, Any]:
    """Traces and layout for `Plotly.newPlot`, with light and dark colour of each trace in its `meta`; valid as strict JSON."""
    x_axis: dict[str, Any] = {"title": {"text": chart.x_label}, "type": "log" if chart.x_log else "linear"}
    y_axis: dict[str, Any] = {"title": {"text": chart.y_label}, "type": "log" if chart.y_log else "linear", "exponentformat": "power"}
    if chart.y_log:  # within two decades whole powers alone may leave a single label
        decades = _decades(chart)
        y_axis["dtick"] = max(1, decades // 6) if decades > 2 else "D2"
    for axis, limits, log in ((x_axis, chart.x_range, chart.x_log), (y_axis, chart.y_range, chart.y_log)):
        if limits:
            axis["range"] = [math.log10(v) for v in limits] if log else list(limits)
    if chart.x_ticks:
        x_axis |= {"tickmode": "array", "tickvals": [at for at, _ in chart.x_ticks], "ticktext": [text for _, text in chart.x_ticks]}
    layout: dict[str, Any] = {"xaxis": x_axis, "yaxis": y_axis}
    if chart.zero_at is not None:
        at = chart.zero_at * 1.8
        line = {"width": 1, "dash": "dot"}
        layout["shapes"] = [{"type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": line}]
    return {"name": chart.name, "data": [_trace(s, chart) for s in chart.series], "layout": layout}


def _trace(series: Series, chart: Chart) -> dict[str, Any]:
    x, y = outline(series.x, series.y) if series.line else (series.x, series.y)
    step = max(1, x.size // 40) if series.line is None and series.thin and x.size > 60 else 1
    mode = "+".join(name for name, used in (("lines", series.line), ("markers", series.marker)) if used)
    trace: dict[str, Any] = {
        "x": _plain(x[::step]),
        "y": _plain(y[::step]),
        "name": series.label,
        "mode": mode,
        "showlegend": bool(series.label),
        "meta": None if series.tone is None else {"light": colour(series.tone), "dark": colour(series.tone, dark=True)},
        "hovertemplate": series.hover + "<extra></extra>" if series.hover else f"%{{x:.4g}}, %{{y:.3g}}<extra>{series.label}</extra>",
    }
    if series.line:
        trace["line"] = {"dash": series.line, "width": 2}
    if series.marker:
        symbol = SYMBOL.get(series.marker, series.marker)
        trace["marker"] = {"symbol": symbol if series.line else symbol.removesuffix("-open") + "-open", "size": 9 if "up" in symbol else 7}
    if len(chart.series) == 1:
        trace["showlegend"] = False
    return trace


def outline(x: Array, y: Array, points: int = POINTS) -> tuple[Array, Array]:
    """A line of at most `points` points that spans the same heights: least and greatest value of each of points / 2 stretches, in their order.

    Args:
        x: (N,).
        y: (N,); NaN stands for a break and is kept where a stretch holds nothing else.
        points: as many as that stay as they are.

    >>> x, y = outline(np.arange(100_000.0), np.sin(np.arange(100_000.0)))
    >>> x.size, bool(y.max() > 0.999999), bool((np.diff(x) >= 0).all())
    (2000, True, True)
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if y.size <= points:
        return x, y
    edges = np.linspace(0, y.size, points // 2 + 1).astype(int)
    kept = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = y[start:stop]
        low, high = np.argmin(np.where(np.isnan(part), np.inf, part)), np.argmax(np.where(np.isnan(part), -np.inf, part))
        kept += sorted((start + int(low), start + int(high)))
    return x[kept], y[kept]


def _plain(values: Any) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values]


def _decades(chart: Chart) -> int:
    """How many powers of ten the y axis spans; 1 where nothing can be drawn on it."""
    heights = [y for s in chart.series for y in (np.asarray(s.y, float),) if y.size]
    shown = np.concatenate([y[(y > 0) & np.isfinite(y)] for y in heights]) if heights else np.empty(0)
    if not chart.y_range and not shown.size:
        return 1
    low, high = chart.y_range or (float(shown.min()), float(shown.max()))
    return max(1, math.ceil(math.log10(high) - math.log10(low)))
