"""A sweep of the user's own grid: the perturbation error of every cell, exact for linear models, searched for trained networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from perdure.experiments.base import Claim, Data, Experiment, Job, Row, Spec
from perdure.experiments.sweep_spec import SweepSpec, cells, sweep_spec, target_of
from perdure.report.chart import LINES, MARKERS, Chart, Series, tones

COMBINATION = ("target", "activation", "parametrization", "structure", "group")
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TOP = 30.0  # charts end where the error is this many times the target's norm


class Sweep(Experiment):
    """One job a cell: target x width x activation x parametrisation x structure x group x seed."""

    name = "sweep"
    title = "your own sweep"
    source = "the definitions of Wang, Li & Li 2024"
    method = (
        "Linear cells are exponential sums of near-optimal W1 error; norms are exact on [0, inf) and the sup over weights is searched. Other cells are networks "
        "placed and trained by perdure.fit and searched on a finite horizon."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": sweep_spec({"targets": [{"kind": "polynomial", "power": 2.0}], "widths": [2, 4], "radii": [0.0, 0.01, 0.1]}),
    }

    def jobs(self, spec: SweepSpec) -> list[Job]:
        """The cells that make sense; `perdure.experiments.sweep_spec.cells` says which do not."""
        return cells(spec)[0]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """A row a radius."""
        radii = np.array([float(text) for text in str(job["radii"]).split()])
        asked = radii if radii[0] == 0 else np.insert(radii, 0, 0.0)
        curve = _curve(job, asked)
        kind = "lower bound; norms exact" if curve.method == "exact" else "lower bound"
        return [
            {
                "radius": float(radius),
                "error": float(curve.error[i]),
                "raw": float(curve.raw[i]),
                "upper": float(curve.upper[i]),
                "relative": float(curve.relative[i]),
                "nominal": float(curve.raw[0] / curve.target_norm),
                "divergence_radius": float(curve.divergence_radius),
                "target_norm": float(curve.target_norm),
                "method": curve.method,
                "bound_kind": kind,
                "status": curve.status,
            }
            for i, radius in enumerate(asked)
            if i or radii[0] == 0
        ]

    def charts(self, table: Any, spec: SweepSpec) -> list[Chart]:
        """E against beta by width, one chart for each remaining combination."""
        groups = table.groupby(list(COMBINATION), sort=False, dropna=False)
        return [chart(f"sweep-{i}", rows) for i, (_, rows) in enumerate(groups)]

    def claims(self, table: Any, spec: SweepSpec) -> list[Claim]:
        """None: the grid is the user's."""
        return []


def _curve(job: Job, radii: Any) -> Any:
    from perdure.approximation import approximate
    from perdure.stability import perturbation_error
    from perdure.training.verdict import trained

    target, m, seed = target_of(str(job["target"])), int(job["width"] or 0), int(job["seed"] or 0)
    groups = "all" if job["group"] == "all" else str(job["group"]).split("+")
    options: dict[str, Any] = {"groups": groups, "seed": seed, "perturbations": job["perturbations"]}
    if job["activation"] == "linear":
        return perturbation_error(
            approximate(target, m), target, radii, method="exact", parametrization=str(job["parametrization"]), **options
        )
    dt, horizon = float(job["dt"] or 0), float(job["horizon"] or 0)
    models, _ = trained(target, [m], str(job["activation"]), str(job["parametrization"]), str(job["structure"]), dt, horizon, seed)
    return perturbation_error(models[m], target, radii, horizon=horizon, bound=float(job["bound"] or 0), **options)


def chart(name: str, rows: Any) -> Chart:
    """One combination: a curve a width and seed."""
    first = rows.iloc[0]
    positive = rows.loc[rows["radius"] > 0, "radius"]
    least = float(positive.min()) if len(positive) else 1.0
    zero_at, right = least / 4, 2 * float(rows["radius"].max() or least)
    widths = list(dict.fromkeys(rows["width"]))
    series: list[Series] = []
    bottom = TOP
    diverging = False
    for i, (m, tone) in enumerate(zip(widths, tones(len(widths)), strict=True)):
        for j, (_, one) in enumerate(rows[rows["width"] == m].groupby("seed", sort=False)):
            beta, error = one["radius"].to_numpy(float), one["relative"].to_numpy(float)
            shown = np.isfinite(error) & (error <= TOP)
            x, y = np.where(beta == 0, zero_at, beta)[shown], np.maximum(error[shown], 1e-6)
            bottom = min(bottom, float(y.min(initial=TOP)))
            if beta[0] == 0 and len(x):  # no line across the break of the axis
                x, y = np.insert(x, 1, np.nan), np.insert(y, 1, np.nan)
            label = "" if j else f"m = {m}"
            series.append(Series(label, x, y, tone, LINES[i % len(LINES)], MARKERS[i % len(MARKERS)]))
            radius = float(one["divergence_radius"].iloc[0])
            if zero_at < radius <= right:
                diverging = True
                hover = f"m = {m}: infinite from β = {radius:.3g} on"
                series.append(Series("", np.array([radius]), np.array([0.75 * TOP]), tone, None, "triangle-up", hover))
    low = 10.0 ** math.floor(math.log10(max(bottom, 1e-6)) + 1e-9)
    count = rows["seed"].nunique()
    structure = "" if not isinstance(first["structure"], str) else f", {first['structure']} W"
    title = f"{first['target']}: {first['activation']}, {first['parametrization']}{structure}; {first['group']}"
    ending = (
        "infinite horizon, norms exact"
        if first["activation"] == "linear"
        else f"inputs of at most {first['bound']:g} for time {first['horizon']:g}"
    )
    caption = f"Moved: {first['group']}. W1 norm, {ending}; a lower bound of the supremum. {count} seed{'s' if count > 1 else ''}."
    caption += " Triangles: the error is infinite from there on." if diverging else ""
    ticks = (
        (zero_at, "0"),
        *((10.0**k, f"10{str(k).translate(SUPERSCRIPT)}") for k in range(math.ceil(math.log10(least)), math.floor(math.log10(right)) + 1)),
    )
    return Chart(name, title, "perturbation radius β (units of the trained weights)", "perturbation error, share of the target's norm", tuple(series), caption,
                 True, True, (zero_at / 1.6, right), (low, TOP), zero_at, ticks)  # fmt: skip
