"""A chart as data, drawn by matplotlib (`perdure.report.plots`) and by plotly (`perdure.report.interactive`) alike."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from perdure._typing import Array

LINES = ("solid", "dash", "dot", "dashdot")
MARKERS = ("circle", "square", "diamond", "triangle-down", "x", "cross", "pentagon", "star")
LIGHT, DARK = (
    (0.0, 0.72),
    (0.35, 0.97),
)  # the parts of viridis that stand out on white and on near-black; monotone in lightness, so grey prints keep the order


@dataclass(frozen=True)
class Series:
    """One curve or set of points.

    Attributes:
        label: in the legend; "" keeps it out.
        x: (N,).
        y: (N,); NaN breaks the line.
        tone: place on the colour scale in [0, 1], or None for the colour of the text.
        line: one of `LINES`, or None for points alone.
        marker: one of `MARKERS` or "triangle-up", or None for a line alone.
        hover: text of a point in the page; "" for the numbers alone.
        thin: of many points without a line some are drawn, as suits samples of a curve; False draws all, as suits a cloud.
    """

    label: str
    x: Array = field(repr=False)
    y: Array = field(repr=False)
    tone: float | None = None
    line: str | None = "solid"
    marker: str | None = None
    hover: str = ""
    thin: bool = True


@dataclass(frozen=True)
class Chart:
    """Series, axes and what to say about them.

    Attributes:
        name: file name, without ending.
        title: one line.
        x_label: with unit.
        y_label: with unit.
        series: in the order of the legend.
        caption: what a reader must know to read it: what is perturbed, which norm, which bound.
        x_log: logarithmic x axis.
        y_log: logarithmic y axis.
        x_range: limits, None for automatic ones.
        y_range: limits, None for automatic ones.
        zero_at: where on a logarithmic x axis the value for x = 0 is drawn, None if there is none.
        x_ticks: (position, text) of the x axis, empty for automatic ones.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...] = field(repr=False)
    caption: str = ""
    x_log: bool = False
    y_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    zero_at: float | None = None
    x_ticks: tuple[tuple[float, str], ...] = ()


def tones(count: int) -> list[float]:
    """`count` places spread over the colour scale.

    >>> tones(3)
    [0.0, 0.5, 1.0]
    """
    return np.linspace(0.0, 1.0, count).tolist() if count > 1 else [0.3]


def colour(tone: float, dark: bool = False) -> str:
    """The colour of a tone as #rrggbb, on a light or a dark page.

    >>> colour(0.0), colour(1.0, dark=True)
    ('#440154', '#ece51b')
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    low, high = DARK if dark else LIGHT
    return to_hex(colormaps["viridis"](low + tone * (high - low)))
