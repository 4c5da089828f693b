"""Charts as matplotlib figures, saved as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.report.chart import Chart, Series, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
MARKER = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-down": "v",
    "triangle-up": "^",
    "x": "x",
    "cross": "P",
    "pentagon": "p",
    "star": "*",
}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.92",
    "axes.edgecolor": "0.4",
    "legend.frameon": False,
    "svg.hashsalt": "perdure",  # the same file for the same numbers
}


def figure(charts: Sequence[Chart], width: float = 4.6, height: float = 3.6) -> Figure:
    """The charts side by side; panels with the same y label share it when their ranges agree.

    Args:
        charts: at least one.
        width: of each, inches.
        height: of each, inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width * len(charts), height), layout="constrained", dpi=150)
        FigureCanvasAgg(fig)  # no global pyplot state
        for ax, chart in zip(np.atleast_1d(np.asarray(fig.subplots(1, len(charts)))), charts, strict=True):
            draw(chart, ax)
    return fig


def draw(chart: Chart, ax: Axes) -> None:
    """One chart on existing axes."""
    for series in chart.series:
        _draw_series(series, ax)
    ax.set(xlabel=chart.x_label, ylabel=chart.y_label, title=chart.title)
    if chart.x_log:
        ax.set_xscale("log")
    if chart.y_log:
        ax.set_yscale("log")
    if chart.x_range:
        ax.set_xlim(*chart.x_range)
    if chart.y_range:
        ax.set_ylim(*chart.y_range)
    if chart.x_ticks:
        ax.set_xticks([at for at, _ in chart.x_ticks], [text for _, text in chart.x_ticks])
        ax.minorticks_off()
    if chart.zero_at is not None:  # a broken axis: left of the line is beta = 0
        ax.axvline(chart.zero_at * 1.8, color="0.7", lw=0.8, ls=(0, (2, 2)))
    if any(series.label for series in chart.series):
        ax.legend(fontsize=8, ncols=2 if sum(bool(s.label) for s in chart.series) > 5 else 1)


def _draw_series(series: Series, ax: Axes) -> None:
    shade = "0.15" if series.tone is None else colour(series.tone)
    every = max(1, series.x.size // 24) if series.line or series.thin else 1
    ax.plot(
        series.x,
        series.y,
        color=shade,
        linestyle=LINE[series.line] if series.line else "",
        marker=MARKER[series.marker] if series.marker else None,
        markersize=6 if series.marker == "triangle-up" else 4,
        markevery=every,
        markerfacecolor=shade if series.line else "none",
        linewidth=1.5,
        label=series.label or "_",
        zorder=3,
    )


def render(fig: Figure, kind: str) -> bytes:
    """A figure as the bytes of a "png" or "svg" file, the same for the same numbers."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        fig.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()
