"""The charts of the demo, made from its results."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from perdure.experiments.co2 import CO2Result
from perdure.experiments.curse import SAMPLES, Curse, Panel, RadiusTrend
from perdure.report.chart import LINES, MARKERS, Chart, Series, tones

BETA = "perturbation radius β of the recurrent weights"
ERROR = "perturbation error, share of the target's norm"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TOP = 30.0  # error axes end where the error is this many times the target's norm
PROTOCOL = (
    "Only recurrent weights move; W1 norm on the infinite horizon. Each norm is exact; the largest one is found by ascent, "
    "a lower bound of the supremum (an upper bound stands in the tables)."
)


def curse_charts(curse: Curse) -> list[Chart]:
    """Fig. 1a, Fig. 1b, the panels with a stable map, the radius trend and the comparison with sampling."""
    return [*(panel_chart(p) for p in curse.panels.values()), trend_chart(curse.trend), sampling_chart(curse)]


def panel_chart(panel: Panel) -> Chart:
    """E_m(beta) for each width, relative to the norm of the target; beta = 0 at the left edge, divergence as triangles on the top edge."""
    series, bottom, last = [], [], []
    first = next(iter(panel.curves.values())).radii
    zero_at = float(first[first > 0][0]) / 4
    widths = list(panel.curves)
    for i, (m, tone) in enumerate(zip(widths, tones(len(widths)), strict=True)):
        curve = panel.curves[m]
        shown = np.isfinite(curve.error) & (curve.relative <= TOP)
        x = np.where(curve.radii == 0, zero_at, curve.radii)[shown]
        y = np.maximum(curve.relative[shown], 1e-6)
        bottom.append(float(y.min()))
        last.append(float(x.max()))
        if curve.radii[0] == 0:  # no line across the break of the axis
            x, y = np.insert(x, 1, np.nan), np.insert(y, 1, np.nan)
        series.append(Series(f"m = {m}", x, y, tone, LINES[i % len(LINES)], MARKERS[i % len(MARKERS)]))
        if math.isfinite(curve.divergence_radius):
            at = np.array([curve.divergence_radius])
            series.append(
                Series(
                    "",
                    at,
                    np.array([0.75 * TOP]),
                    tone,
                    None,
                    "triangle-up",
                    f"m = {m}: infinite from β = {curve.divergence_radius:.3g} on",
                )
            )
            last.append(curve.divergence_radius)
    right = max(last) * 2
    low = 10.0 ** math.floor(math.log10(min(bottom)) + 1e-9)
    diverging = any(math.isfinite(c.divergence_radius) for c in panel.curves.values())
    caption = f"Target ρ(t) = {pretty(panel.kernel)}, map {panel.parametrization}. {PROTOCOL}"
    caption += " Triangles near the top edge: the error is infinite from there on." if diverging else ""
    if low == 1e-6:
        caption += " Errors below 1e-6 are drawn there."
    ticks = ((zero_at, "0"), *decades(float(first[first > 0][0]), right))
    title = f"{title_of(panel.name)}{panel.title}"
    return Chart(panel.name, title, BETA, ERROR, tuple(series), caption, True, True, (zero_at / 1.6, right), (low, TOP), zero_at, ticks)


def trend_chart(trend: RadiusTrend) -> Chart:
    """Divergence radius against sqrt(m), where e^(-a sqrt(m)) is a straight line."""
    root = np.sqrt(trend.widths)
    label = f"fit: radius = e^({trend.b:.1f} - {trend.a:.1f} √m)"
    series = (
        Series("divergence radius of the direct map", root, trend.radii, 0.3, None, "circle"),
        Series(label, root, trend.predict(trend.widths), None, "dash"),
    )
    caption = (
        "The smallest change of a recurrent weight that makes the error infinite, for near-optimal exponential sums of the polynomial "
        "target "
        "of Fig. 1b: exact, the slowest rate. The line is a least-squares fit of the logarithm."
    )
    ticks = tuple((math.sqrt(m), str(m)) for m in trend.widths.tolist() if m not in (6, 14))
    return Chart(
        "radius",
        "divergence radius against width",
        "width m (axis linear in √m)",
        "divergence radius (1/time)",
        series,
        caption,
        False,
        True,
        x_ticks=ticks,
    )


def sampling_chart(curse: Curse) -> Chart:
    """Growth of the error found by ascent and by random perturbations."""
    growths, base = [], curse.exact.error[0]
    for curve, label, tone, line, marker in (
        (curse.exact, "ascent", 0.0, "solid", "circle"),
        (curse.sampled, f"best of {SAMPLES} random perturbations", 0.8, "dash", "square"),
    ):
        growth = (curve.raw - base) / curve.target_norm
        use = (curve.radii > 0) & (growth > 0) & (growth <= TOP)
        growths.append(Series(label, curve.radii[use], growth[use], tone, line, marker))
    right = max(float(s.x.max()) for s in growths) * 2
    caption = (
        f"E(β) - E(0) at m = {curse.exact.width}, map {curse.exact.parametrization}. Both are lower bounds of the supremum, with exact "
        f"norms: "
        "the higher one is nearer to it."
    )
    ticks = decades(float(curse.exact.radii[curse.exact.radii > 0][0]), right)
    return Chart(
        "sampling",
        "what random sampling misses",
        BETA,
        "growth of the error, share of the target's norm",
        tuple(growths),
        caption,
        True,
        True,
        x_ticks=ticks,
    )


def co2_charts(result: CO2Result) -> list[Chart]:
    """The end of the forecast, and the memory functions of each model."""
    frame = result.forecasts().tail(156)
    years = (frame["week"].to_numpy() - np.datetime64("1970-01-01")) / np.timedelta64(1, "D") / 365.2425 + 1970
    series = [Series("observed", years, frame["observed"].to_numpy(), None, "solid")]
    for model, tone, line in zip(result.models, (0.2, 0.9), ("dash", "dot"), strict=False):
        series.append(Series(model.name, years, frame[model.name].to_numpy(), tone, line))
    caption = f"One-week-ahead predictions over the last {len(frame)} of {result.record.inputs.size - result.record.split} held-out weeks."
    ticks = tuple((float(year), str(year)) for year in range(math.ceil(years[0]), math.floor(years[-1] + 0.05) + 1))
    charts = [Chart("forecast", "weekly CO₂ at Mauna Loa, one week ahead", "year", "CO₂ (ppm)", tuple(series), caption, x_ticks=ticks)]
    return charts + [memory_chart(model.name, model.memory, model.law) for model in result.models]


def memory_chart(name: str, memory: dict, law: dict) -> Chart:
    """Memory functions by probe with the fitted law inside its window, logarithmic in memory (an exponential is a straight line)."""
    series, low, high = [], [], []
    styles = zip(memory, (0.1, 0.85), ("solid", "dash"), strict=False)
    for probe, tone, line in styles:
        mf, fit = memory[probe], law[probe]
        seen = mf.values > max(mf.noise_floor, 1e-12 * float(mf.values.max()))
        series.append(Series(f"{probe} probe", mf.times[seen], mf.values[seen], tone, line))
        inside = (mf.times >= fit.window[0]) & (mf.times <= fit.window[1])
        series.append(
            Series(
                f"{probe}: {fit.best_law} fit",
                mf.times[inside],
                fit.predict(mf.times[inside]),
                tone,
                None,
                "circle" if line == "solid" else "square",
            )
        )
        low.append(float(mf.values[seen].min()))
        high.append(float(mf.values.max()))
    status = next(iter(memory.values())).status
    caption = (
        f"Memory up to one standard deviation of the input: {status} over inputs. Points: the fitted law on the window it was fitted on. "
        "Values under the noise floor, or 1e-12 of the peak, are not drawn."
    )
    y_range = (10.0 ** math.floor(math.log10(min(low))), 10.0 ** math.ceil(math.log10(max(high)) + 1e-9))
    title = f"memory function of the {name}"
    return Chart(
        f"memory-{name.lower()}",
        title,
        "time since the input (weeks)",
        "memory (output / input / week)",
        tuple(series),
        caption,
        False,
        True,
        None,
        y_range,
    )


def title_of(name: str) -> str:
    """The figure's name in the paper, with a colon, or nothing."""
    return {"fig1a": "Fig. 1a: ", "fig1b": "Fig. 1b: ", "fig4-exp": "Fig. 4: ", "fig4-softplus": "Fig. 4: "}.get(name, "")


def decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Ticks at powers of ten between low and high, at most about seven.

    >>> decades(5e-4, 20.0)
    ((0.001, '0.001'), (0.01, '0.01'), (0.1, '0.1'), (1.0, '1'), (10.0, '10'))
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / 7))
    return tuple(
        (10.0**k, f"{10.0**k:g}" if -4 < k < 4 else "10" + str(k).translate(SUPERSCRIPT))
        for k in range(last - (last - first) // step * step, last + 1, step)
    )


def pretty(kernel: str) -> str:
    """A kernel's formula with its exponent raised where that is a plain number."""
    return kernel.replace("^-1.1", "⁻¹·¹").replace("^-2", "⁻²").replace("^t", "ᵗ")


def by_name(charts: Iterable[Chart]) -> dict[str, Chart]:
    """Charts by their name."""
    return {chart.name: chart for chart in charts}
