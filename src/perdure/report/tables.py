"""The tables of the page: headings and rows of text, every number from the results."""

from __future__ import annotations

import math

from perdure.experiments.co2 import CO2Result
from perdure.experiments.curse import Curse
from perdure.report.charts import pretty
from perdure.report.table import Table

AT = 0.064  # radius at which errors and bounds are tabulated


def curse_table(curse: Curse) -> Table:
    """One row a curve: what the sum reaches, where it breaks, and the error with its bounds at one radius."""
    rows = []
    for panel in curse.panels.values():
        for m, curve in panel.curves.items():
            i = min(range(curve.radii.size), key=lambda j: abs(curve.radii[j] - AT))
            bounds = [number(float(v) / curve.target_norm) for v in (curve.error[i], curve.upper[i])]
            row = (
                pretty(panel.kernel),
                panel.parametrization,
                str(m),
                number(panel.approximation[m]),
                number(curve.divergence_radius),
                *bounds,
            )
            rows.append(row)
    caption = (
        f"Recurrent weights perturbed; W1 norm on the infinite horizon, as a share of the target's. Approximation error and divergence "
        f"radius are "
        f"exact; E(β) at β = {AT:g} is bracketed by a lower bound (ascent) and an upper one (mode by mode)."
    )
    columns = (
        "kernel",
        "map",
        "width m",
        "approximation error, exact",
        "divergence radius, exact",
        "E(β), lower bound",
        "E(β), upper bound",
    )
    return Table(caption, columns, tuple(rows))


def radius_table(curse: Curse) -> Table:
    """Divergence radii and their fit."""
    trend = curse.trend
    rows = zip(trend.widths.tolist(), trend.radii.tolist(), trend.predict(trend.widths).tolist(), strict=True)
    caption = "Divergence radius of the direct map on the target of Fig. 1b, per unit time: exact. Last column: the straight line in √m."
    return Table(
        caption, ("width m", "divergence radius, exact", "fitted e^(b - a √m)"), tuple((str(m), number(r), number(f)) for m, r, f in rows)
    )


def forecast_table(co2: CO2Result) -> Table:
    """Held-out errors."""
    models = [(m.name, f"{m.error:.3f}") for m in co2.models]
    baselines = [("baseline: as this week", f"{co2.persistence:.3f}"), ("baseline: changes as a year ago", f"{co2.seasonal:.3f}")]
    caption = (
        f"Root mean square error of next week's CO₂ over {co2.record.inputs.size - co2.record.split} held-out weeks. "
        f"{co2.record.gaps[0]} gaps in the training years were interpolated; {co2.record.gaps[1]} in the held-out ones were filled."
    )
    return Table(caption, ("model", "error (ppm)"), (*models, *baselines) if models else tuple(baselines))


def memory_table(co2: CO2Result) -> Table:
    """Laws, half-lives and horizons by model and probe."""
    rows = []
    for model in co2.models:
        for probe, law in model.law.items():
            weight = law.evidence[law.best_law]
            rows.append(
                (
                    model.name,
                    probe,
                    law.law,
                    law.best_law,
                    f"{weight:.2f}",
                    number(law.half_life),
                    number(law.horizon(0.01)),
                    model.memory[probe].status,
                    law.reason,
                )
            )
    columns = (
        "model",
        "probe",
        "law",
        "likeliest law",
        "Akaike weight",
        "half-life (weeks)",
        "1 % left (weeks)",
        "memory is",
        "why this law, or what is missing",
    )
    caption = "Time after which the envelope of the memory stays below half of its peak, and below 1 % of it; 95 % intervals of all "
    "parameters are in co2.json."
    return Table(caption, columns, tuple(rows))


def number(value: float) -> str:
    """Three significant digits; infinity and zero by their sign.

    >>> number(0.0123456), number(math.inf), number(0.0), number(3.2e-15)
    ('0.0123', '∞', '0', '3.2e-15')
    """
    if math.isinf(value):
        return "∞"
    return "0" if value == 0 else f"{value:.3g}"
