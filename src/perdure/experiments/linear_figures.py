"""What Fig. 1 and Fig. 4 share: linear networks that are near-optimal exponential sums, moved in their recurrent weights, exactly and as published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from perdure import functionals as F
from perdure.approximation import approximate
from perdure.experiments import curves
from perdure.experiments.base import Data, Experiment, Job, Row, Spec
from perdure.experiments.curse import RADII, SAMPLES, WIDTHS
from perdure.functionals import LinearFunctional
from perdure.report.chart import Chart
from perdure.stability import perturbation_error
from perdure.stability.verdict import Options, judge

EXACT, PUBLISHED, ALL = "exact", "published", "all weights"
RECURRENT = "nudge β of the recurrent weights (max norm)"
NORM = "W1 norm on the infinite horizon, in closed form."


class LinearSpec(Spec):
    """Of Fig. 1 and Fig. 4.

    Attributes:
        widths: of the paper.
        wider: further ones, where a trend needs them.
        smallest: radius above 0; the others are its doublings.
        doublings: how many.
        samples: random perturbations of the published protocol.
        rate: of the exponential target e^(-rate t).
        power: of the polynomial target (1 + t)^-power.
        all_weights: whether input and readout are moved as well, beside the rest.
        seeds: of random starts and samples.
    """

    widths: tuple[int, ...] = WIDTHS
    wider: tuple[int, ...] = ()
    smallest: float = Field(default=RADII[1], gt=0)
    doublings: int = Field(default=len(RADII) - 2, ge=1)
    samples: int = Field(default=SAMPLES, ge=1)
    rate: float = Field(default=0.10536051565782628, gt=0)  # -ln 0.9
    power: float = Field(default=1.1, gt=1)
    all_weights: bool = False
    seeds: int = Field(default=1, ge=1)


class LinearFigure(Experiment):
    """E_m(beta) of linear networks of several widths.

    Attributes:
        target: "exponential" or "polynomial".
        map: of the trained value to the recurrent eigenvalue.
        finest: least radius of the exact curves, 0 for those of the paper alone.
    """

    target: ClassVar[str]
    map: ClassVar[str]
    finest: ClassVar[float] = 0.0

    def jobs(self, spec: LinearSpec) -> list[Job]:
        """A width by a method: exact at every width, as published at the paper's, all weights moved (by ascent) at the paper's."""
        parameter = spec.rate if self.target == "exponential" else spec.power
        base: dict[str, Any] = {
            "target": self.target,
            "parameter": parameter,
            "map": self.map,
            "smallest": spec.smallest,
            "doublings": spec.doublings,
        }
        found: list[Job] = []
        for seed in range(spec.seeds):
            found += [
                {**base, "method": EXACT, "width": m, "samples": 1, "seed": seed, "finest": self.finest, "per_decade": 2}
                for m in (*spec.widths, *spec.wider)
            ]
            found += [
                {**base, "method": PUBLISHED, "width": m, "samples": spec.samples, "seed": seed, "finest": 0.0, "per_decade": 2}
                for m in spec.widths
            ]
            if spec.all_weights:
                found += [
                    {**base, "method": ALL, "width": m, "samples": 1, "seed": seed, "finest": 0.0, "per_decade": 2} for m in spec.widths
                ]
        return found

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row a radius."""
        target, m, seed = target_of(job), int(job["width"] or 0), int(job["seed"] or 0)
        model = approximate(target, m)
        size, radii, error = target.norm(), curves.grid(job), float(model.error or 0.0)
        level = (error + curves.THRESHOLD) * size
        if job["method"] == PUBLISHED:
            curve = perturbation_error(
                model, target, radii, groups="recurrent", method="sample", parametrization=str(job["map"]), perturbations=int(job["samples"] or 1), seed=seed
            )  # fmt: skip
            kept = curves.kept(curve, level)
        else:
            groups = "recurrent" if job["method"] == EXACT else "all"
            found = judge("", {m: model}, Options(target, size, radii, level, groups, str(job["map"]), seed))
            curve, kept = found.curves[m], found.radius[m]
        return curves.rows_of(curve, kept, approximation=error)

    def panels(self, table: Any, spec: LinearSpec, title: str, kernel: str) -> list[Chart]:
        """The figure exactly and as published, at the paper's widths."""
        narrow = table[table["width"].isin(spec.widths)]
        text = f"Target ρ(t) = {kernel}, map {self.map}; near-optimal exponential sums. {NORM}"
        return [
            curves.chart(f"{self.name}-exact", f"{title}: the supremum", curves.chosen(narrow, method=EXACT),
                         f"{text} The supremum by ascent from several starts.", RECURRENT),
            curves.chart(f"{self.name}-published", f"{title}: as published", curves.chosen(narrow, method=PUBLISHED),
                         f"{text} The largest of {spec.samples} random perturbations, as in the paper: a lower bound.", RECURRENT),
        ]  # fmt: skip


def target_of(job: Job) -> LinearFunctional:
    """The functional of a job."""
    value = float(job["parameter"] or 0)
    return F.exponential(value) if job["target"] == "exponential" else F.polynomial(value)


def profiles(wider: tuple[int, ...], all_weights: bool = False) -> Mapping[str, Spec]:
    """By name; the quick one differs from the published protocol by nothing but further widths, the paper's by more seeds."""
    return {
        "tiny": LinearSpec(widths=(2, 4, 8), wider=wider[:1], smallest=0.004, doublings=5, samples=3, all_weights=all_weights),
        "quick": LinearSpec(wider=wider, all_weights=all_weights),
        "paper": LinearSpec(wider=wider, all_weights=all_weights, seeds=3),
    }
