r"""Fig. 1: linear networks with direct weights, on an exponential and on a polynomial memory.

On e^{-rt} one mode of rate r is the target, at every width: all curves are that of one mode, E(beta) = r / (r - beta) - 1 + 2 (...) and infinite from beta = r
on. On (1 + t)^-p the slowest rate of the best sum falls like e^{-a sqrt(m)}, and a nudge of that size is enough for an infinite error.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from perdure.experiments import curves
from perdure.experiments.base import Claim, Outcome, Spec
from perdure.experiments.curse import FINE, fit_trend
from perdure.experiments.linear_figures import EXACT, PUBLISHED, LinearFigure, LinearSpec, profiles
from perdure.report.chart import Chart, Series

TOGETHER = 0.05  # relative spread up to which curves lie on one another
STEEP = 10.0  # dE/dbeta per norm, in units of 1 / rate, up to which E counts as continuous at 0


class Fig1a(LinearFigure):
    """Exponential memory: are the curves of all widths one, and continuous at 0?"""

    name = "fig1a"
    title = "Linear networks, exponential memory, direct weights"
    source = "Wang, Li & Li 2024, Fig. 1a"
    method = (
        "The paper draws E_m(β) for exponential sums of growing width with 10 random perturbations. Here that is drawn, and beside it the supremum by "
        "ascent; both with the W1 norm in closed form on the infinite horizon, recurrent weights moved."
    )
    profiles: ClassVar[Mapping[str, Spec]] = profiles(())
    target = "exponential"
    map = "direct"

    def charts(self, table: Any, spec: LinearSpec) -> list[Chart]:
        """Exact, as published."""
        return self.panels(table, spec, "Fig. 1a", f"e^(-{spec.rate:.3g} t)")

    def claims(self, table: Any, spec: LinearSpec) -> list[Claim]:
        """The curves lie on one another; E is continuous at 0."""
        exact = curves.chosen(table, method=EXACT)
        gap, count = curves.spread(exact)
        sampled, _ = curves.spread(curves.chosen(table, method=PUBLISHED))
        together: Outcome = "could not be tested" if count < 2 else "agrees" if gap <= TOGETHER else "differs"
        decision = curves.decide(curves.by_width(exact, "kept"), curves.by_width(exact, "nominal"))
        slopes = _slopes(exact)
        steepest = max(slopes.values(), default=float("nan"))
        continuous = decision.outcome == "stable" and steepest * spec.rate <= STEEP
        return [
            Claim(
                "On exponential memory the curves E_m(β) of all widths lie on one another.",
                "curves of m = 2 to 14 coincide",
                f"largest difference between widths over the {count} radii with a finite error: {100 * gap:.2g} % (supremum), {100 * sampled:.2g} % "
                f"({spec.samples} samples); {curves.edges(exact)}",
                together,
                "Every sum is the target itself, m copies of its one mode, and the worst nudge moves all copies alike: the suprema coincide by construction. Samples move the copies "
                "one by one and are drawn for each width anew; the more copies, the nearer a random nudge is to its mean.",
                f"Agrees where the suprema differ by at most {TOGETHER:.0%}.",
            ),
            Claim(
                "E(β) = limsup E_m(β) is continuous at 0 and E(0) = 0: exponential memory is stably approximated.",
                "curves tend to 0 with β, alike for all m",
                f"{decision.words}; E_m(β) / β at the least radius, over the norm: {curves.numbers('slope', slopes)}",
                "agrees" if continuous else "could not be tested" if decision.outcome == "undecided" else "differs",
                "Exact, infinite horizon.",
                f"{curves.RULE} Besides, the slope at 0 is to stay below {STEEP:g} times 1 / rate at every width.",
            ),
        ]


class Fig1b(LinearFigure):
    """Polynomial memory: does the radius at which the error stays small shrink?"""

    name = "fig1b"
    title = "Linear networks, polynomial memory, direct weights"
    source = "Wang, Li & Li 2024, Fig. 1b"
    method = (
        "As Fig. 1a, on (1 + t)^-1.1. Beside the paper's radii, which begin above what wide sums survive, the radius from which the error is infinite is "
        "computed: it is the slowest rate of the sum, at any scale."
    )
    profiles: ClassVar[Mapping[str, Spec]] = profiles((16, 32, 64))
    target = "polynomial"
    map = "direct"
    finest = FINE[0]

    def charts(self, table: Any, spec: LinearSpec) -> list[Chart]:
        """Exact, as published, and the radii against the width."""
        exact = curves.chosen(table, method=EXACT)
        edge, kept = curves.by_width(exact, "divergence_radius"), curves.by_width(exact, "kept")
        widths = sorted(edge)
        trend = fit_trend(np.array(widths), np.array([edge[m] for m in widths]))
        caption = (
            "Exact: a direct weight moved by the slowest rate of the sum makes the error infinite. The other radius: E grows by a tenth of the norm. "
            "The axis is linear in √m; the line is a least-squares fit."
        )
        root = np.sqrt(widths)
        series = (
            Series("infinite error", root, trend.radii, 0.0, "solid", "circle"),
            Series("error grown by a tenth of the norm", root, np.array([kept[m] for m in widths]), 0.6, "dash", "square"),
            Series(f"e^({trend.b:.1f} - {trend.a:.1f} √m)", root, trend.predict(widths), None, "dot"),
        )
        ticks = tuple((float(np.sqrt(m)), str(m)) for m in widths if m not in (6, 14))
        radius = Chart(
            "fig1b-radius",
            "Radius against width",
            "width m (axis linear in √m)",
            "radius β (1/time)",
            series,
            caption,
            False,
            True,
            x_ticks=ticks,
        )
        return [*self.panels(table, spec, "Fig. 1b", f"(1 + t)^-{spec.power:g}"), radius]

    def claims(self, table: Any, spec: LinearSpec) -> list[Claim]:
        """The radius shrinks, exactly and as published."""
        exact, sampled = curves.chosen(table, method=EXACT), curves.chosen(table, method=PUBLISHED)
        edge = curves.by_width(exact, "divergence_radius")
        trend = fit_trend(np.array(sorted(edge)), np.array([edge[m] for m in sorted(edge)]))
        decision = curves.decide(curves.by_width(exact, "kept"), curves.by_width(exact, "nominal"))
        blown = {int(m): _first_infinite(rows) for m, rows in sampled.groupby("width")}
        falls = decision.outcome == "unstable" and trend.a > 2 * trend.a_error
        return [
            Claim(
                "On polynomial memory the radius up to which the error stays small shrinks with the width: no stable approximation with direct weights.",
                "the larger m, the earlier the curve rises",
                f"{decision.words}; divergence radius like e^(-a √m), a = {trend.a:.2f} ± {2 * trend.a_error:.2f}",
                "agrees" if falls else "differs" if decision.outcome == "stable" else "could not be tested",
                "Exact, infinite horizon.",
                f"{curves.RULE} Besides, a is to be above 0 by two standard errors.",
            ),
            Claim(
                "The published protocol (radii from 5e-4, random perturbations) shows it.",
                "curves of larger m rise at smaller β",
                f"least radius at which one of {spec.samples} samples is infinite: {curves.numbers('β', blown)}; exact: {curves.numbers('β', edge)}",
                _shown(blown, edge, spec.smallest),
                "With near-optimal sums all widths from 4 on have already failed at the least radius, so that among these the protocol shows no order.",
                "Agrees where the sampled curves blow up at radii that do not grow with the width, and at the least radius wherever the exact one lies below it; "
                "differs where one survives there.",
            ),
        ]


def _slopes(table: Any) -> dict[int, float]:
    """E_m(beta) / beta at the least radius above 0, over the norm of the target."""
    first = table[table["radius"] > 0]
    first = first[first["radius"] == first["radius"].min()]
    return {int(m): float(((rows["raw"] / rows["norm"] - rows["nominal"]) / rows["radius"]).median()) for m, rows in first.groupby("width")}


def _first_infinite(rows: Any) -> float:
    infinite = rows.loc[~np.isfinite(rows["raw"]), "radius"]
    return float(infinite.min()) if len(infinite) else float("inf")


def _shown(blown: dict[int, float], edge: dict[int, float], smallest: float) -> Outcome:
    at = [blown[m] for m in sorted(blown)]
    missed = any(edge[m] < smallest / 2 and blown[m] > smallest for m in blown)
    return "differs" if missed or any(b > a for a, b in pairwise(at)) else "agrees"
