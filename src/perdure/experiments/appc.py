r"""App. C: rescaling the recurrent weights is no a-priori cure.

The targets are rho_1(t) = sum_k k^-2 e^{-t/k} and rho_2(t) = sum_k k^-2 e^{-t/k^2}; the model of width m is the sum of the first m terms, whose direct
weights are w_k = -lambda_k, lambda_k = 1/k or 1/k^2. Train V = s W in place of W, dh/dt = V h / s + U x, with a factor s = s_m that depends on the width
alone. A nudge of V by beta moves each rate by at most beta / s, so

    radius of infinite error  r_m = s_m min_k lambda_k = s_m / m (rho_1),  s_m / m^2 (rho_2).

Unscaled (s = 1) both shrink. With s_m = m the first stays at 1 and the second still shrinks like 1 / m; s_m = m^2 holds the second at 1 (and the first grows). A
factor that holds the slowest eigenvalue of V at 1 must be 1 / min lambda: it has to be known what the memory is before it is learned, and a target with
rates 1 / (k s_k) defeats any s chosen beforehand. What grows instead is |V| = s_m max lambda = s_m: the weights are not uniformly bounded, and the gradient
with respect to V falls as 1 / s_m.

By shifts of all rates by d = beta / s the first term of the W1 norm of the difference is, exactly,

    rho_1, s = m:  sum_k k^-2 (1 / (1/k - d) - k) = sum_k (1/k) d k / (1 - d k) = (1/m) sum_k beta / (1 - beta k / m)  ->  -ln(1 - beta),

bounded in m for every beta < 1: E is continuous at 0. Neither kernel is integrable, though: int rho_1 = sum 1/k and int rho_2 = sum 1 grow without end, so that
neither functional has a finite norm of Def. 3.7, and E_m is measured against the truncated sum itself: E_m(0) = 0, absolute errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from perdure import functionals as F
from perdure.experiments import curves
from perdure.experiments.base import Claim, Data, Experiment, Job, Outcome, Row, Spec
from perdure.report.chart import LINES, MARKERS, Chart, Series, tones
from perdure.stability.trend import fit
from perdure.stability.verdict import Options, judge

TARGETS = {"1/k": 1, "1/k²": 2}  # the k-th rate -> its power of 1/k
SCALES = {"1": 0, "m": 1, "m²": 2}  # the factor -> its power of m
LEVEL = 1.0  # absolute error up to which a nudge is kept
SHARE = 0.1  # the same, of the norm of the sum
EXACTLY = 1e-9


class AppCSpec(Spec):
    """Of App. C.

    Attributes:
        terms: m.
        smallest: radius above 0, of the trained V; the others are its doublings.
        doublings: how many.
    """

    terms: tuple[int, ...] = (4, 8, 16, 32, 64)
    smallest: float = Field(default=2.0**-14, gt=0)
    doublings: int = Field(default=15, ge=1)


class AppC(Experiment):
    """Radii of rescaled sums."""

    name = "appc"
    title = "Rescaled weights on two slow kernels"
    source = "Wang, Li & Li 2024, App. C"
    method = (
        "The paper argues by two kernels. Here the sums of their first m terms are moved in the trained weight V = s W, for s = 1, m and m², and the radius and "
        "the perturbation error are computed exactly, on the infinite horizon; for the derivation see the module."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": AppCSpec(terms=(2, 4, 8), smallest=2.0**-6, doublings=5),
        "quick": AppCSpec(),
        "paper": AppCSpec(terms=(4, 8, 16, 32, 64, 128)),
    }

    def jobs(self, spec: AppCSpec) -> list[Job]:
        """A kernel by a scale by a number of terms."""
        return [
            {"rates": rates, "scale": scale, "width": m, "smallest": spec.smallest, "doublings": spec.doublings, "seed": 0}
            for rates in TARGETS
            for scale in SCALES
            for m in spec.terms
        ]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row a radius of V."""
        m, seed = int(job["width"] or 0), int(job["seed"] or 0)
        k, factor = np.arange(1.0, m + 1), float(m) ** SCALES[str(job["scale"])]
        model = F.exponential_sum(k ** -TARGETS[str(job["rates"])], k**-2.0)
        radii = curves.grid(job)
        size = model.norm()
        found = {
            level: judge("", {m: model}, Options(model, size, radii / factor, level, "recurrent", "direct", seed))
            for level in (LEVEL, SHARE * size)
        }
        absolute, relative = found.values()
        curve = absolute.curves[m]
        rows = curves.rows_of(curve, factor * absolute.radius[m], kept_relative=factor * relative.radius[m])
        largest = factor  # the fastest rate is 1
        return [
            {**row, "radius": float(radius), "divergence_radius": factor * float(curve.divergence_radius), "largest_weight": largest}
            for row, radius in zip(rows, radii, strict=True)
        ]

    def charts(self, table: Any, spec: AppCSpec) -> list[Chart]:
        """The radius against m for each kernel and scale, and E_m(beta) where s = m."""
        colour = dict(zip(SCALES, tones(len(SCALES)), strict=True))
        series, widths = [], np.array(sorted(spec.terms), dtype=float)
        for (rates, line), marker in zip(zip(TARGETS, LINES, strict=False), MARKERS, strict=False):
            for scale in SCALES:
                edge = curves.by_width(curves.chosen(table, rates=rates, scale=scale), "divergence_radius")
                series.append(
                    Series(f"rates {rates}, s = {scale}", widths, np.array([edge[int(m)] for m in widths]), colour[scale], line, marker)
                )
        caption = "Nudge of the trained V = s W that makes the error infinite, exactly: s times the slowest rate. Level lines survive."
        ticks = tuple((m, f"{m:g}") for m in widths)
        radius = Chart(
            "appc-radius",
            "Radius against the number of terms",
            "terms m",
            "radius β of V",
            tuple(series),
            caption,
            True,
            True,
            x_ticks=ticks,
        )
        return [radius, *(self._errors(table, rates) for rates in TARGETS)]

    def _errors(self, table: Any, rates: str) -> Chart:
        rows = curves.chosen(table, rates=rates, scale="m")
        series = []
        for i, ((m, part), tone) in enumerate(zip(rows.groupby("width"), tones(rows["width"].nunique()), strict=True)):
            part = part[(part["radius"] > 0) & np.isfinite(part["error"])].sort_values("radius")
            line, marker = LINES[i % len(LINES)], MARKERS[i % len(MARKERS)]
            series.append(Series(f"m = {m}", part["radius"].to_numpy(float), part["error"].to_numpy(float), tone, line, marker))
        caption = f"Sum of k⁻² e^(-t · {rates}), V = m W: E_m(β) against the sum itself, W1 norm on the infinite horizon, absolute. Lines end where the error is infinite."
        return Chart(
            f"appc-{TARGETS[rates]}",
            f"Rates {rates}, rescaled by m",
            "nudge β of V",
            "perturbation error (W1)",
            tuple(series),
            caption,
            True,
            True,
        )

    def claims(self, table: Any, spec: AppCSpec) -> list[Claim]:
        """The rescaled first model works, the second does not, and what grows."""
        found = {(r, s): curves.chosen(table, rates=r, scale=s) for r in TARGETS for s in SCALES}
        first, second = found["1/k", "m"], found["1/k²", "m"]
        rule = "Works where neither the radius of infinite error nor that of an error of 1 shrinks with m (trends as elsewhere); fails where one does."
        weights, relative = (curves.by_width(found["1/k²", "m²"], column) for column in ("largest_weight", "kept_relative"))
        held = _works(found["1/k²", "m²"], "kept_relative")
        worst = max(_defect(rows, TARGETS[r], SCALES[s]) for (r, s), rows in found.items())
        grows = weights[max(weights)] > 2 * weights[min(weights)]
        cure: Outcome = "could not be tested" if held is None else "agrees" if held and grows else "differs"
        return [
            Claim("Without rescaling neither sum is stable.", "the slowest rate tends to 0", f"rates 1/k: {_radii(found['1/k', '1'])}; rates 1/k²: {_radii(found['1/k²', '1'])}",
                  _outcome([_works(found[r, "1"]) for r in TARGETS], False), rule),
            Claim("On Σ k⁻² e^(-t/k) the model rescaled by m is stable.", "the rescaled model works", _radii(first), _outcome([_works(first)], True), rule),
            Claim("On Σ k⁻² e^(-t/k²) the same rescaling is no cure.", "the rescaled model does not work", _radii(second), _outcome([_works(second)], False), rule),
            Claim("Another factor, m², holds the second sum in relative error, but it must be known beforehand, and the weights grow.", "weights are not uniformly bounded",
                  f"{_radii(found['1/k²', 'm²'])}; {curves.numbers('a tenth of the norm at β', relative)}; largest weight {curves.numbers('|V|', weights)}", cure,
                  "Held against the radius of an absolute error of 1 as the sums above, which was the first rule tried, the claim fails: the absolute "
                  "error grows with the norm of the sum, which is about m; no factor bounds it, because the functional itself is not bounded.",
                  "Agrees where the radii of infinite error and of a tenth of the norm of the sum survive and the largest weight more than doubles."),
            Claim("The radius is s times the slowest rate, exactly.", "not in the paper", f"largest relative difference from s_m m^(-1) and s_m m^(-2): {worst:.1g}",
                  "agrees" if worst <= EXACTLY else "differs", f"Agrees up to {EXACTLY:g}. Neither kernel is integrable, so that errors are absolute and taken from the sum itself.", whose="ours"),
        ]  # fmt: skip


def _works(rows: Any, error: str = "kept") -> bool | None:
    """Whether the radius of infinite error and that of a given error survive; None where that cannot be told."""
    directions = []
    for column in ("divergence_radius", error):
        values = curves.by_width(rows, column)
        trend = fit(sorted(values), [values[m] for m in sorted(values)])
        directions.append("unclear" if trend is None else trend.direction)
    if "shrinks" in directions:
        return False
    return None if "unclear" in directions else True


def _outcome(works: list[bool | None], claimed: bool) -> Outcome:
    if any(w is (not claimed) for w in works):
        return "differs"
    return "could not be tested" if None in works else "agrees"


def _radii(rows: Any) -> str:
    return f"{curves.numbers('infinite from β', curves.by_width(rows, 'divergence_radius'))}; {curves.numbers('error 1 at β', curves.by_width(rows, 'kept'))}"


def _defect(rows: Any, rate: int, scale: int) -> float:
    edge = curves.by_width(rows, "divergence_radius")
    return max(abs(value / float(m) ** (scale - rate) - 1) if math.isfinite(value) else math.inf for m, value in edge.items())
