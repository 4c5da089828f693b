"""What Fig. 2, 7 and 8 share: nonlinear networks on the polynomial memory (1 + t)^-1.5, placed and searched, and trained and sampled as published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from perdure import functionals as F
from perdure._random import isolated
from perdure.experiments import curves
from perdure.experiments.base import Claim, Data, Experiment, Job, Row, Spec
from perdure.experiments.nonlinear_figures import POWER
from perdure.nn import ContinuousRNN
from perdure.report.chart import Chart
from perdure.stability import perturbation_error
from perdure.stability.verdict import judge
from perdure.training.fit import fit
from perdure.training.verdict import Searched, trained, usual_structure

SUP, PUBLISHED, EIGENVALUES = "sup", "published", "eigenvalues"
MOVED = {SUP: "recurrent", PUBLISHED: "recurrent", EIGENVALUES: "recurrent_l0.raw"}
DT, HORIZON, TESTED = 0.1, 25.6, 10.0  # step; how long inputs last when searched, and in the published test
LEARNED = 0.5  # relative E_m(0) above which a trained network shows nothing of the target
UNKNOWN = "which weights the paper moves in its figures is not said: the recurrent ones here"


class NetworkSpec(Spec):
    """Of Fig. 2, 7 and 8.

    Attributes:
        widths: of the networks.
        searched: radii of the search above 0: the least one, and how often it is doubled.
        doublings: see above.
        directions: random directions among the starts of the search.
        sampled: the least radius of the published protocol.
        sampled_doublings: how often it is doubled.
        samples: random perturbations of the published protocol.
        epochs: of the published training, at most.
        sequences: of the published training.
        horizon: time that inputs last in the search.
        seeds: of training, starts and samples.
    """

    widths: tuple[int, ...] = (8, 16, 32, 64)
    searched: float = Field(default=1e-4, gt=0)
    doublings: int = Field(default=14, ge=1)
    directions: int = Field(default=8, ge=1)
    sampled: float = Field(default=1e-11, gt=0)
    sampled_doublings: int = Field(default=35, ge=1)
    samples: int = Field(default=3, ge=1)
    epochs: int = Field(default=1000, ge=1)
    sequences: int = Field(default=12_800, ge=1)
    horizon: float = Field(default=HORIZON, gt=0)
    seeds: int = Field(default=1, ge=1)


class NetworkFigure(Experiment):
    """E_m(beta) of nonlinear networks of several widths.

    Attributes:
        activation: of the networks.
        map: of the trained value to the recurrent eigenvalue.
        claimed: what the paper finds.
        ways: of the figure, among "sup", "published" and "eigenvalues".
        finest: least radius of the search, 0 for those of the spec alone.
        known: what a reader must know of the search's outcome.
    """

    activation: ClassVar[str]
    map: ClassVar[str]
    claimed: ClassVar[Literal["stable", "unstable"]]
    ways: ClassVar[tuple[str, ...]] = (SUP, PUBLISHED)
    finest: ClassVar[float] = 0.0
    known: ClassVar[str] = ""
    method = (
        "The paper trains networks by Adam on sequences up to time 3.2, tests up to 10, and draws 3 random perturbations. That is done here, and beside it "
        "networks are placed after the exponential sum of least error on [0, ∞) (perdure.fit) and weights and inputs searched by ascent. Both errors are "
        "lower bounds of the supremum in the W1 norm, on a finite horizon; infinite where the state of rest becomes unstable."
    )

    def jobs(self, spec: NetworkSpec) -> list[Job]:
        """A width by a way."""
        structure = usual_structure(self.activation, self.map)
        base: dict[str, Any] = {"power": POWER, "activation": self.activation, "map": self.map, "structure": structure}
        found: list[Job] = []
        for seed in range(spec.seeds):
            for way in self.ways:
                own: dict[str, Any]
                if way == PUBLISHED:
                    own = {"smallest": spec.sampled, "doublings": spec.sampled_doublings, "perturbations": spec.samples, "epochs": spec.epochs,
                           "sequences": spec.sequences, "horizon": TESTED, "finest": 0.0}  # fmt: skip
                else:
                    own = {"smallest": spec.searched, "doublings": spec.doublings, "perturbations": spec.directions, "epochs": 0, "sequences": 0,
                           "horizon": spec.horizon, "finest": self.finest}  # fmt: skip
                found += [{"way": way, "width": m, "seed": seed, **base, **own} for m in spec.widths]
        return found

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row a radius."""
        return _published(job) if job["way"] == PUBLISHED else _searched(job)

    def charts(self, table: Any, spec: NetworkSpec) -> list[Chart]:
        """A panel a way, and the radii against the width."""
        label = f"Fig. {self.name[3:]}"
        network = (
            f"{self.activation} networks, map {self.map}, W {usual_structure(self.activation, self.map)}, on ρ(t) = (1 + t)^-{POWER:g}"
        )
        search = f"placed by perdure.fit; inputs last {spec.horizon:g}. Lower bounds by ascent in weights and inputs, |x| ≤ 1."
        said = {
            SUP: (f"{label}: the search", f"{network}, {search}", "nudge β of the recurrent weights"),
            EIGENVALUES: (f"{label}: eigenvalues alone moved", f"{network}, {search}", "nudge β of the eigenvalues' raw values"),
            PUBLISHED: (f"{label}: as published", f"{network}, trained by Adam on t ≤ 3.2, tested to {TESTED:g}. {_training(spec)} The largest of {spec.samples} "
                        "random perturbations.", "nudge β of the recurrent weights"),
        }  # fmt: skip
        panels, radii = [], {}
        for way in self.ways:
            rows = curves.chosen(table, way=way)
            title, caption, x_label = said[way]
            low = 1e-4 if way == PUBLISHED and float(rows["nominal"].replace(np.inf, np.nan).min()) > 1e-3 else None
            if low is not None:
                caption += " Below 1e-4 the curves are level."
            panels.append(curves.chart(f"{self.name}-{way}", title, rows, caption, x_label, zero=low))
            radii[way] = curves.by_width(rows, "kept")
        text = f"{network}. Nudge that adds a tenth of the norm to the error."
        return [*panels, curves.radius_chart(f"{self.name}-radius", "Radius against width", radii, text)]

    def claims(self, table: Any, spec: NetworkSpec) -> list[Claim]:
        """Stable or not, by the search, with eigenvalues alone, and as published."""
        what = "is stably approximated" if self.claimed == "stable" else "is not stably approximated"
        seen = f"Inputs last {spec.horizon:g}: memory beyond that is not seen, so that r_m is an upper bound of its value on [0, ∞)."
        said = {
            SUP: (f"Polynomial memory {what} by {self.activation} networks with {self.map}.", f"{self.known} Networks placed by perdure.fit, recurrent weights moved, searched. {seen}".strip()),
            EIGENVALUES: (f"The same with the eigenvalues alone moved: it {what}.", f"Networks placed by perdure.fit; the basis of W stays. {seen}"),
            PUBLISHED: ("The published protocol (Adam, random perturbations) shows it.", f"{_training(spec)} {UNKNOWN[0].upper()}{UNKNOWN[1:]}."),
        }  # fmt: skip
        paper = (
            "curves of all widths tend to E(0) with β together" if self.claimed == "stable" else "the larger m, the earlier the curve rises"
        )
        found = []
        for way in self.ways:
            rows = curves.chosen(table, way=way)
            kept, nominal = curves.by_width(rows, "kept"), curves.by_width(rows, "nominal")
            decision = curves.decide(kept, nominal)
            outcome, rule = curves.outcome_of(decision.outcome, self.claimed), curves.RULE
            if way == PUBLISHED and self.claimed == "stable":
                close = curves.alike(kept, spec.sampled * 2.0**spec.sampled_doublings)
                outcome = "could not be tested" if not max(nominal.values()) <= LEARNED else "agrees" if close else "differs"
                rule = f"Agrees where the r_m of all widths lie within a factor of 2 of one another, as in Fig. 4; not tested where E_m(0) is above {LEARNED:g} of the norm at some width."
            statement, why = said[way]
            found.append(
                Claim(
                    statement,
                    paper,
                    f"{decision.outcome}: {decision.words}; {curves.edges(rows)}",
                    outcome,
                    why,
                    rule,
                    "ours" if way == EIGENVALUES else "paper",
                )
            )
        return found


def _training(spec: NetworkSpec) -> str:
    return f"Training: Adam 0.005, batches of 128, {spec.sequences} sequences, at most {spec.epochs} epochs (published: 12800 and 1000)."


def _searched(job: Job) -> list[Row]:
    target, m, seed = F.polynomial(float(job["power"] or 0)), int(job["width"] or 0), int(job["seed"] or 0)
    models, _ = trained(target, [m], str(job["activation"]), str(job["map"]), str(job["structure"]), DT, float(job["horizon"] or 0), seed)
    return searched_rows(models[m], target, job, MOVED[str(job["way"])])


def searched_rows(model: Any, target: Any, job: Job, group: str) -> list[Row]:
    """The rows of one network by ascent, r_m refined between the radii."""
    m = int(job["width"] or 0)
    options = Searched(
        target,
        1.0,
        curves.grid(job),
        0.0,
        [group],
        "direct",
        int(job["seed"] or 0),
        float(job["horizon"] or 0),
        1.0,
        int(job["perturbations"] or 1),
    )
    still = options.curve(model, np.array([0.0]))
    if not np.isfinite(still.raw[0]):  # unstable as it is
        endless = np.full(options.radii.shape, np.inf)
        return curves.rows_of(replace(still, radii=options.radii, error=endless, raw=endless, upper=endless), 0.0)
    size = still.target_norm
    found = judge("", {m: model}, replace(options, size=size, level=float(still.raw[0]) + curves.THRESHOLD * size))
    return curves.rows_of(found.curves[m], found.radius[m])


def _published(job: Job) -> list[Row]:
    target, m, seed = F.polynomial(float(job["power"] or 0)), int(job["width"] or 0), int(job["seed"] or 0)
    with isolated(seed):
        model = ContinuousRNN(
            1, m, activation=str(job["activation"]), parametrization=str(job["map"]), structure=str(job["structure"]), dt=DT, output_size=1, batch_first=True
        )  # fmt: skip
    fit(
        model,
        target,
        dt=DT,
        horizon=TESTED,
        protocol="paper",
        steps=int(job["epochs"] or 1),
        sequences=int(job["sequences"] or 1),
        seed=seed,
    )
    return sampled_rows(model, target, job, MOVED[PUBLISHED])


def sampled_rows(model: Any, target: Any, job: Job, group: str) -> list[Row]:
    """The rows of one network by random perturbations."""
    curve = perturbation_error(
        model, target, curves.grid(job), groups=[group], method="sample", perturbations=int(job["perturbations"] or 1), horizon=float(job["horizon"] or 0),
        seed=int(job["seed"] or 0), dt=DT,
    )  # fmt: skip
    still = float(curve.raw[0])
    return curves.rows_of(curve, curves.kept(curve, still + curves.THRESHOLD * curve.target_norm) if np.isfinite(still) else 0.0)


def profiles(widths: tuple[int, ...]) -> Mapping[str, Spec]:
    """By name: the quick one trains less, the paper's is the published protocol on three seeds."""
    return {
        "tiny": NetworkSpec(widths=(2, 4), searched=0.01, doublings=1, directions=1, sampled=0.01, sampled_doublings=2, epochs=1, sequences=128, horizon=1.6),
        "quick": NetworkSpec(widths=widths, epochs=40, sequences=6_400),
        "paper": NetworkSpec(widths=widths, seeds=3),
    }  # fmt: skip
