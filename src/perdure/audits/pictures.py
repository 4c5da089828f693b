"""The charts of a page as pictures, for readers without scripts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perdure.audits.charts import Heatmap, tick, ticks_at
from perdure.report.chart import Chart


def drawn(charts: Sequence[Chart | Heatmap]) -> dict[str, str]:
    """Addresses that hold the pictures, by the charts' names."""
    from perdure.report.static import data_uri, picture, small

    return {chart.name: data_uri(small(heat(chart) if isinstance(chart, Heatmap) else picture(chart)), "image/png") for chart in charts}


def heat(chart: Heatmap) -> bytes:
    """A heat map as the bytes of a PNG file."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    from perdure.report.plots import render

    figure = Figure(figsize=(6.4, 1.6 + 0.25 * len(chart.rows)), layout="constrained")
    axes = figure.subplots()
    values = np.where(chart.values > 0, chart.values, np.nan)
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    low = float(np.nanmin(values)) if np.isfinite(values).any() else 0.1
    norm = LogNorm(min(max(low, 1e-12 * top), 0.1 * top), top)
    mesh = axes.pcolormesh(np.arange(len(chart.x)), np.arange(len(chart.rows)), values, norm=norm, cmap="viridis", shading="nearest")
    axes.set_yticks(range(len(chart.rows)), [name.replace("$", r"\$") for name in chart.rows], fontsize=7)
    places = ticks_at(chart.x)
    axes.set_xticks(places, [tick(chart.x[i]).replace("$", r"\$") for i in places], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=chart.x_label, title=chart.title)
    figure.colorbar(mesh, label=chart.unit)
    return render(figure, "png")
