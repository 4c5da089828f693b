"""Fig. 4: the sums of Fig. 1b with their rates trained through exp and softplus. No finite nudge of the trained value makes a mode grow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from perdure.experiments import curves
from perdure.experiments.base import Claim, Outcome, Spec
from perdure.experiments.linear_figures import ALL, EXACT, PUBLISHED, LinearFigure, LinearSpec, profiles
from perdure.report.chart import Chart

WIDER = (16, 32, 64, 96, 128)
MEET = 1.0  # factor by which sampled curves may differ


class _Stable(LinearFigure):
    """Polynomial memory under a stable map."""

    method = (
        "As Fig. 1b, with the recurrent eigenvalue trained through the map. Wider sums are added, because at the paper's widths E_m(0) is still a tenth "
        "of the norm and more, and the radius has not settled; and one claim is ours: what happens when all weights are moved."
    )
    profiles: ClassVar[Mapping[str, Spec]] = profiles(WIDER, all_weights=True)
    target = "polynomial"

    def charts(self, table: Any, spec: LinearSpec) -> list[Chart]:
        """Exact, as published, wider sums, and the radii against the width."""
        exact = curves.chosen(table, method=EXACT)
        text = f"Target ρ(t) = (1 + t)^-{spec.power:g}, map {self.map}."
        label, kernel = f"Fig. {self.name[3:]}", f"(1 + t)^-{spec.power:g}"
        wide = exact[exact["width"].isin(spec.wider)]
        radii = {
            "recurrent weights": curves.by_width(exact, "kept"),
            f"recurrent, {spec.samples} samples": curves.by_width(curves.chosen(table, method=PUBLISHED), "kept"),
        }
        if spec.all_weights:
            radii["all weights"] = curves.by_width(curves.chosen(table, method=ALL), "kept")
        return [
            *self.panels(table, spec, label, kernel),
            *([curves.chart(f"{self.name}-wider", f"{label}: wider sums", wide, f"{text} As the first panel, at larger widths.", "nudge β of the recurrent weights (max norm)")] if len(wide) else []),
            curves.radius_chart(f"{self.name}-radius", "Radius against width", radii, f"{text} Nudge that adds a tenth of the norm to the error."),
        ]  # fmt: skip

    def claims(self, table: Any, spec: LinearSpec) -> list[Claim]:
        """Stable exactly; as published; and ours: with all weights moved."""
        exact, sampled = curves.chosen(table, method=EXACT), curves.chosen(table, method=PUBLISHED)
        decision = curves.decide(curves.by_width(exact, "kept"), curves.by_width(exact, "nominal"))
        few = exact[exact["width"].isin(spec.widths)]
        narrow = curves.decide(curves.by_width(few, "kept"), curves.by_width(few, "nominal"))
        finite = bool(exact["error"].map(math.isfinite).all())
        kept = curves.by_width(sampled, "kept")
        level: Outcome = "agrees" if curves.alike(kept, spec.smallest * 2.0**spec.doublings, 1 + MEET) else "differs"
        found = [
            Claim(
                f"With {self.map} the polynomial memory is stably approximated.",
                "curves of all widths tend to 0 with β together",
                f"{decision.words}; {'no error is infinite' if finite else 'some errors are infinite'}",
                curves.outcome_of(decision.outcome, "stable"),
                f"Widths beyond the paper's were added once it was seen that r_m has not settled at those; by the paper's alone the same rule says {narrow.outcome}. "
                "Recurrent weights moved; exact norms on the infinite horizon, the supremum by ascent.",
                curves.RULE,
            ),
            Claim(
                "The published protocol shows curves that lie close together for all widths.",
                "curves close together",
                f"{spec.samples} samples: {curves.numbers('r', kept, 'beyond the grid')}",
                level,
                "The largest of a few random nudges, so radii are too large.",
                f"Agrees where the sampled r_m of all widths lie within a factor of {1 + MEET:g} of one another.",
            ),
        ]
        if spec.all_weights:
            moved = curves.chosen(table, method=ALL)
            other = curves.decide(curves.by_width(moved, "kept"), curves.by_width(moved, "nominal"))
            found.append(
                Claim(
                    f"{self.map} is stable also when input and readout weights are moved with the recurrent ones.",
                    "Def. 3.4 moves all weights; the figure does not say which were",
                    other.words,
                    curves.outcome_of("unstable" if other.outcome == "unstable" else other.outcome, "stable"),
                    "A readout weight moved by β adds β / λ to the norm, λ the slowest rate, which no map of the recurrent weights changes.",
                    curves.RULE,
                    "ours",
                )
            )
        return found


class Fig4a(_Stable):
    """exp."""

    name = "fig4a"
    title = "Linear networks, polynomial memory, exp"
    source = "Wang, Li & Li 2024, Fig. 4 (exp)"
    map = "exp"


class Fig4b(_Stable):
    """softplus."""

    name = "fig4b"
    title = "Linear networks, polynomial memory, softplus"
    source = "Wang, Li & Li 2024, Fig. 4 (softplus)"
    map = "softplus"
