"""What the sections on layers, formats and weights show: influence, recurrent matrices, precision, sensitivity."""

from __future__ import annotations

from typing import Any

import numpy as np

from perdure.audits.charts import Heatmap, curve_series, heights, plane_chart, safe, time_label
from perdure.audits.headline import within
from perdure.audits.quantities import needed
from perdure.audits.result import Audit
from perdure.audits.words import listed, number
from perdure.report.chart import Chart, Series
from perdure.report.table import Table

PLANES = 8  # matrices in a chart of the complex plane
GROUPS = 24  # of weights in a chart


def reach(audit: Audit) -> dict[str, Any]:
    """Heat map by layer and lag, or a line for the model alone; lags within which shares of the influence lie."""
    found = needed(audit, "reach")
    names = tuple("output" if name == "output" else str(name) for name in found["blocks"])
    rms = np.array([[np.nan if v is None else v for v in row] for row in found["rms"]], float)
    peaks = np.maximum(np.nanmax(rms, 1, keepdims=True), 1e-300)
    share = np.where(rms > np.array(found["noise_floor"])[:, None], rms, 0.0) / peaks
    rows = [
        (name, number(float(peak)), number(float(floor / peak)), *lags)
        for name, peak, floor, *lags in zip(names, peaks[:, 0], found["noise_floor"], within(found, "0.5"), within(found, "0.9"), within(found, "0.99"), strict=True)
    ]  # fmt: skip
    table = Table(
        "Lag within which a share of the squared influence on each layer lies (steps); output: the whole model.",
        ("layer", "largest influence", "rounding, as a share", "half of it", "90 % of it", "99 % of it"), tuple(rows),
    )  # fmt: skip
    side = "Negative lags: the layer answers before the input comes." if found["signed"] else "Lag 0: the same step."
    which = "the middle step" if found["signed"] else "the first step"
    caption = (f"How much each layer's output moves when {which} of {found['steps']} is nudged, by lag: root mean square over channels, as a share of its own "
               f"largest value. {side} {found['status'][:1].upper()}{found['status'][1:]}; {found['dtype']}. What is within rounding is left blank.")  # fmt: skip
    if len(names) > 1:
        charts: list[Any] = [
            Heatmap("plot-reach", "influence by layer and lag", "lag (steps)", "layer", _lag_labels(found), names, share, "share of the largest", caption)
        ]  # fmt: skip
    else:
        seen = share[0] > 0
        at = (np.array(found["lags"], float) / 2 + np.array(found["last"], float) / 2)[seen]
        series = Series("output", at, share[0][seen], 0.2, "solid", "circle", thin=False)
        charts = [Chart("plot-reach", "influence by lag", "lag (steps)", "share of the largest influence", (series,), caption, y_log=True,
                        y_range=(heights([series])[0], 2.0))]  # fmt: skip
    return {"texts": tuple(f"{note[:1].upper()}{note[1:]}." for note in found["notes"]), "charts": charts, "tables": [table]}


def _lag_labels(found: dict[str, Any]) -> tuple[str, ...]:
    """Bins of lags as text."""
    return tuple(str(a) if a == b else f"{a} … {b}" for a, b in zip(found["lags"], found["last"], strict=True))


def recurrence(audit: Audit) -> dict[str, Any]:
    """Eigenvalues in the plane, and one row a matrix."""
    found = needed(audit, "recurrence")
    shown = sorted(found["matrices"], key=lambda m: m["kind"] == "candidate")[:PLANES]
    groups = {m["name"]: np.array([complex(*z) for z in m["eigenvalues"]]) for m in shown}
    caption = "Eigenvalues of one step of each recurrent layer at the equilibrium it reaches without input. Inside the circle a mode fades; near it, slowly."
    if len(shown) < len(found["matrices"]):
        caption += f" {PLANES} of {len(found['matrices'])} matrices."
    rows = [
        (m["name"], m["kind"], str(m["states"]), number(m["spectral_radius"]),
         *(number(m[key]) if m["counts"] else "–" for key in ("slowest", "stability_radius", "growth")), "yes" if m["stable_map"] else "no", m["status"])
        for m in found["matrices"]
    ]  # fmt: skip
    rows += [(name, "not measured", "–", "–", "–", "–", "–", "–", why) for name, why in found["left_out"].items()]
    columns = ("layer", "kind", "states", "spectral radius", "slowest (steps)", "radius", "growth", "stable map", "equilibrium")
    about = (
        "Each layer and direction by itself, exact for the linearisation. Slowest: its longest time constant. Radius: size of the smallest change of the step's matrix that "
        "keeps a mode alive for ever (complex changes allowed). Growth: how much a disturbance can swell before it fades. Stable map: trained through a map that makes "
        "every value of the weights stable."
    )
    where = {m["what"]: [n["name"] for n in found["matrices"] if n["what"] == m["what"]] for m in found["matrices"]}
    remarks = {note: [m["name"] for m in found["matrices"] if note in m["notes"]] for m in found["matrices"] for note in m["notes"]}
    texts = [f"{listed(names)}: {text}." for text, names in [*where.items(), *remarks.items()]]
    return {
        "texts": tuple(texts),
        "charts": [plane_chart("plot-plane", "eigenvalues of the recurrent layers", groups, caption)],
        "tables": [Table(about, columns, tuple(rows))],
    }


WHERE = {"weights": "weights alone", "activations": "whole model", "weights and activations": "whole model"}
VISIBLE = 0.01  # of the peak: a smaller change is not drawn


def precision(audit: Audit) -> dict[str, Any]:
    """The curves that a format changes, changes by format, and what formats can hold."""
    found = needed(audit, "precision")
    readable = found["readable"]
    rows = []
    for row in (found["reference"], *found["rows"]):
        times = [number(row[key]) if readable else "–" for key in ("half_life", "horizon_1", "ratio")]
        how = row["status"] if readable else row["status"].split(";")[0]
        rows.append((row["format"], WHERE[row["where"]], number(row["error"]), *times, how))
    changes = Table(
        "“Weights alone”: rounded, states and sums in the type of the audit. “Whole model”: weights, states, activations and sums in that type. Change: the largest change of a "
        "response, over the peak. ∞: never.",
        ("format", "of", "largest change", "half-life", "1 % left", "half-life / as it is", "how"), tuple(rows),
    )  # fmt: skip
    holds = Table(
        "What a format can hold of a time constant, in closed form: stored as a pole a < 1, and the error of one of a million steps that is stored as its logarithm.",
        ("format", "longest time constant as a pole (steps)", "error as a logarithm"),
        tuple((row["format"], f"{row['pole']:,.0f}".replace(",", " "), f"{100 * row['log_error']:.2g} %") for row in found["holds"]),
    )  # fmt: skip
    off = ["as it is", *(f"{row['format']} {row['where']}" for row in found["rows"] if row["error"] is not None and row["error"] > VISIBLE)]
    curves = {
        name.replace("activations", "throughout"): {"times": found["times"], "values": found["curves"][name], "noise_floor": found["noise_floor"]}
        for name in off if name in found["curves"]
    }  # fmt: skip
    series = curve_series(curves, True) if readable and len(curves) > 1 else []
    amid = "" if found["background"] == "zeros" else f" amid {found['background']}"
    caption = (f"{found['status'][:1].upper()}{found['status'][1:]}{amid}. The curve as it is may lie below the supremum shown above. Not drawn: formats that change a response "
               f"by less than {100 * VISIBLE:g} % of the peak. A level at which a format ends is its rounding.")  # fmt: skip
    charts = [Chart("plot-precision", "memory in coarser formats", time_label(audit.dt), "memory (output / input / time)", tuple(series), caption,
                    x_log=True, y_log=True, y_range=heights(series))] if series else []  # fmt: skip
    return {"texts": tuple(f"{note[:1].upper()}{note[1:]}." for note in found["notes"]), "charts": charts, "tables": [changes, holds]}


def sensitivity(audit: Audit) -> dict[str, Any]:
    """Gains by group of weights, the riskiest first."""
    found = needed(audit, "sensitivity")
    by_group = {
        name: [row for row in found["rows"] if row["group"] == name] for name in dict.fromkeys(row["group"] for row in found["rows"])
    }
    order = [*found["ranking"], *(name for name in by_group if name not in found["ranking"])]
    shown = found["ranking"][:GROUPS]
    place = np.arange(len(shown), dtype=float)
    series = []
    for i, (share, tone, marker) in enumerate(zip(found["shares"], (0.1, 0.8), ("circle", "square"), strict=True)):
        gains = [by_group[name][i]["gain"] for name in shown]
        y = np.array([g if g is not None and 0 < g < np.inf else np.nan for g in gains], float)
        series.append(Series(f"moved by {100 * share:g} %", place, y, tone, None, marker, thin=False))
    ticks = tuple((float(i), safe(name[-18:])) for i, name in enumerate(shown)) if len(shown) <= 8 else ()
    caption = (
        "Change of the outputs (their size and their slope, over that of the model as it is) per change of the weights, each tensor moved by the same share of its own norm (spectral for matrices) in the worst "
        f"direction found, over {found['steps']} steps. 1: one per cent makes one per cent. {found['status'][:1].upper()}{found['status'][1:]}."
    )
    chart = Chart("plot-sensitivity", "change of the outputs per change of the weights", "group of weights, the riskiest first", "relative change per relative change",
                  tuple(series), caption, y_log=True, x_ticks=ticks, y_range=heights(series), x_range=(-0.5, max(len(shown), 1) - 0.5))  # fmt: skip
    rows = []
    for name in order:
        first, last = by_group[name]
        half = number(last["half_life"]) if found["readable"] else "–"
        rows.append((name, f"{first['parameters']:,}".replace(",", " "), *(number(row["relative"]) for row in (first, last)),
                     number(last["gain"]), half, first["method"] if first["method"] == last["method"] else f"{first['method']}; {last['method']}"))  # fmt: skip
    before = f" Half-life as it is, by the same pulses: {number(found['half_life'])}." if found["readable"] else ""
    table = Table(
        f"By group, the riskiest first; relative changes of the outputs, attained by weights that far away.{before}",
        ("weights of", "parameters", *(f"weights by {100 * share:g} %" for share in found["shares"]), f"gain at {100 * found['shares'][-1]:g} %",
         f"half-life, moved {100 * found['shares'][-1]:g} %", "found by"), tuple(rows),
    )  # fmt: skip
    return {"texts": tuple(f"{note[:1].upper()}{note[1:]}." for note in found["notes"]), "charts": [chart], "tables": [table]}
