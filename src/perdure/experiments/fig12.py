r"""Fig. 12: a random causal Transformer has a memory that does not decay, and tanh networks do not approximate it stably.

The target is `torch.nn.TransformerEncoder` with a causal mask, sinusoidal positions and random weights. To a constant input attention without positions answers
with an average of equal values, the same at all times: the Heaviside probe would see nothing (its slope is 0 after the first step), whatever the model remembers.
With positions the slope does not settle, and the impulse probe sees the input itself, which attention may look up however long ago it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from perdure import functionals as F
from perdure._random import isolated
from perdure.experiments import curves
from perdure.experiments.base import Claim, Data, Experiment, Job, Outcome, Row, Spec
from perdure.experiments.causal_transformer import random_transformer
from perdure.experiments.decay import LEFT, kept_points, left_over, log_law
from perdure.experiments.nonlinear_networks import sampled_rows, searched_rows
from perdure.memory import memory_function
from perdure.nn import ContinuousRNN
from perdure.report.chart import LINES, Chart, Series, tones
from perdure.training.fit import fit

DT = 0.1  # time of a token
MOST = 0.9  # share of the models that must keep their memory
PROBES = ("heaviside", "impulse")


class Fig12Spec(Spec):
    """Of Fig. 12.

    Attributes:
        size: of the tokens.
        layers: of attention.
        heads: of each.
        seeds: random Transformers.
        tokens: over which the memory is measured (12a).
        widths: of the students (12b).
        length: tokens over which they learn and are tested (12b).
        epochs: of their training, at most.
        sequences: that they learn from.
        smallest: radius above 0 (12b); the others are its doublings.
        doublings: how many.
        perturbations: random directions.
        search: whether weights are searched by ascent as well.
    """

    size: int = Field(default=32, ge=2)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    seeds: int = Field(default=5, ge=1)
    tokens: int = Field(default=256, ge=8)
    widths: tuple[int, ...] = (8, 16, 32)
    length: int = Field(default=32, ge=4)
    epochs: int = Field(default=40, ge=1)
    sequences: int = Field(default=6_400, ge=1)
    smallest: float = Field(default=1e-3, gt=0)
    doublings: int = Field(default=9, ge=1)
    perturbations: int = Field(default=3, ge=1)
    search: bool = False


PROFILES: Mapping[str, Spec] = {
    "tiny": Fig12Spec(
        size=8,
        layers=1,
        heads=2,
        seeds=1,
        tokens=32,
        widths=(2, 3, 4),
        length=8,
        epochs=2,
        sequences=128,
        smallest=0.1,
        doublings=1,
        perturbations=1,
    ),
    "quick": Fig12Spec(),
    "paper": Fig12Spec(
        seeds=20, tokens=512, widths=(8, 16, 32, 64), length=32, epochs=1000, sequences=12_800, smallest=1e-4, doublings=13, search=True
    ),
}


class Fig12a(Experiment):
    """The memory of random Transformers."""

    name = "fig12a"
    title = "Memory of random causal Transformers"
    source = "Wang, Li & Li 2024, Fig. 12 (target)"
    method = (
        "The paper plots the memory of a randomly initialised Transformer. Here several are measured, causal and with positions, by two probes: the slope of the "
        "response to a constant (blind to attention without positions) and the response to one token."
    )
    profiles: ClassVar[Mapping[str, Spec]] = PROFILES

    def jobs(self, spec: Fig12Spec) -> list[Job]:
        """A Transformer by a probe."""
        return [
            {"probe": probe, "seed": seed, "size": spec.size, "layers": spec.layers, "heads": spec.heads, "tokens": spec.tokens}
            for probe in PROBES
            for seed in range(spec.seeds)
        ]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row a token (some of them)."""
        seed = int(job["seed"] or 0)
        model = random_transformer(int(job["size"] or 1), int(job["layers"] or 1), int(job["heads"] or 1), seed)
        mf = memory_function(model, horizon=int(job["tokens"] or 1), dt=1.0, probe=str(job["probe"]), probes=8, seed=seed)
        whole: dict[str, Any] = {"left": left_over(mf.values[1:]), "law": log_law(mf)}
        return [
            {"time": float(mf.times[i]), "memory": float(mf.values[i]), "envelope": float(mf.envelope[i]), **whole}
            for i in kept_points(mf.times.size, 256)
        ]

    def charts(self, table: Any, spec: Fig12Spec) -> list[Chart]:
        """M by each probe."""
        found = []
        for probe in PROBES:
            series = []
            for (seed, rows), tone, line in zip(
                curves.chosen(table, probe=probe).groupby("seed"), tones(spec.seeds), LINES * 20, strict=False
            ):
                rows = rows[rows["time"] > 0]
                y = np.maximum(rows["memory"].to_numpy(float), 1e-12)
                series.append(Series(f"seed {seed}" if spec.seeds <= 8 else "", rows["time"].to_numpy(float), y, tone, line))
            caption = f"{spec.layers} layers of causal attention, {spec.heads} heads, tokens of size {spec.size} with positions; inputs up to 1: lower bounds of the sup. The first step is left out."
            found.append(
                Chart(
                    f"fig12a-{probe}",
                    f"Random Transformers, {probe} probe",
                    "tokens since the input",
                    "memory M",
                    tuple(series),
                    caption,
                    False,
                    True,
                )
            )
        return found

    def claims(self, table: Any, spec: Fig12Spec) -> list[Claim]:
        """It does not decay."""
        each = table.drop_duplicates(["probe", "seed"])
        slope, pulse = (curves.chosen(each, probe=probe) for probe in PROBES)
        share = float((slope["left"] >= LEFT).mean())
        rule = (
            f"Agrees where {MOST:.0%} of the Transformers keep at least {LEFT:.0%} of their peak, differs where at most {1 - MOST:.0%} do."
        )
        return [
            Claim(
                "The memory of a random Transformer does not decay.",
                "a memory function that does not tend to 0",
                f"over the last quarter of {spec.tokens} tokens, share of the peak after the first step, median: {slope['left'].median():.2g} (heaviside), {pulse['left'].median():.2g} "
                f"(impulse); at least {LEFT:.0%} in {int((slope['left'] >= LEFT).sum())} and {int((pulse['left'] >= LEFT).sum())} of {len(slope)}; laws: "
                f"{curves.listed(f'{law} {count}' for law, count in each['law'].value_counts().items())}",
                _mostly(share),
                "By the paper's probe.",
                rule,
            ),
            Claim(
                "The same by a single token: its trace does not decay.",
                "not in the paper",
                f"median share left {pulse['left'].median():.2g}; at least {LEFT:.0%} in {int((pulse['left'] >= LEFT).sum())} of {len(pulse)}",
                _mostly(float((pulse["left"] >= LEFT).mean())),
                "The response to a single token falls like one over the number of tokens attended to, whatever the model can look up.",
                rule,
                "ours",
            ),
        ]


def _mostly(share: float) -> Outcome:
    return "agrees" if share >= MOST else "differs" if share <= 1 - MOST else "could not be tested"


class Fig12b(Experiment):
    """tanh networks that learn a random Transformer."""

    name = "fig12b"
    title = "tanh networks and a random Transformer"
    source = "Wang, Li & Li 2024, Fig. 12 (students)"
    method = (
        "The paper trains tanh networks on a random Transformer and perturbs them. Here they are trained "
        "by Adam on white sequences and moved by random perturbations as in the paper; the paper profile searches by ascent as well."
    )
    profiles: ClassVar[Mapping[str, Spec]] = PROFILES

    def jobs(self, spec: Fig12Spec) -> list[Job]:
        """A width by a way."""
        base: dict[str, Any] = {"size": spec.size, "layers": spec.layers, "heads": spec.heads, "seed": 0, "tokens": spec.length, "epochs": spec.epochs, "sequences": spec.sequences,
                                "smallest": spec.smallest, "doublings": spec.doublings, "perturbations": spec.perturbations, "horizon": spec.length * DT}  # fmt: skip
        return [{"way": way, "width": m, **base} for way in ("published", *(("sup",) if spec.search else ())) for m in spec.widths]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row a radius."""
        seed = int(job["seed"] or 0)
        target = F.teacher(random_transformer(int(job["size"] or 1), int(job["layers"] or 1), int(job["heads"] or 1), seed))
        with isolated(seed):
            student = ContinuousRNN(
                1, int(job["width"] or 1), activation="tanh", parametrization="direct", structure="dense", dt=DT, output_size=1, batch_first=True, dtype=torch.float64
            )  # fmt: skip
        length = float(job["horizon"] or 1)
        result = fit(
            student, target, dt=DT, horizon=length, method="adam", steps=int(job["epochs"] or 1), sequences=int(job["sequences"] or 1), seed=seed
        )  # fmt: skip
        rows = (sampled_rows if job["way"] == "published" else searched_rows)(student, target, job, "recurrent")
        return [{**row, "best_loss": float(result.best_loss), "stopped": result.stopped} for row in rows]

    def charts(self, table: Any, spec: Fig12Spec) -> list[Chart]:
        """A panel a way, and E_m(0) against the width."""
        caption = f"Students of a random causal Transformer on {spec.length} tokens of dt = {DT:g}; |x| ≤ 1, lower bounds."
        panels = [
            curves.chart(f"fig12b-{way}", "Fig. 12: students" if way == "published" else "Fig. 12: students, searched", rows,
                         f"{caption} {f'The largest of {spec.perturbations} random perturbations.' if way == 'published' else 'By ascent.'}", "nudge β of the recurrent weights")
            for way, rows in table.groupby("way")
        ]  # fmt: skip
        nominal = curves.by_width(curves.chosen(table, way="published"), "nominal")
        chart = curves.radius_chart(
            "fig12b-errors",
            "Error without a nudge",
            {"E(0), share of the norm": nominal},
            f"{caption} Trained by Adam, {spec.sequences} sequences, at most {spec.epochs} epochs.",
        )
        return [
            *panels,
            replace(chart, y_label="E(0), share of the norm"),
        ]

    def claims(self, table: Any, spec: Fig12Spec) -> list[Claim]:
        """Not stably approximated."""
        found = []
        for way, rows in table.groupby("way"):
            kept, nominal = curves.by_width(rows, "kept"), curves.by_width(rows, "nominal")
            found.append(
                Claim(
                    f"A random Transformer is not stably approximated by tanh networks{' (searched)' if way == 'sup' else ''}.",
                    "no common curve that tends to 0",
                    curves.decide(kept, nominal).words,
                    verdict(kept, nominal),
                    f"Adam, {spec.sequences} sequences of {spec.length} tokens, at most {spec.epochs} epochs, one seed, widths {curves.listed(spec.widths)} (published: to 64). "
                    f"{_unfinished(rows)} Adam took the place of Gauss-Newton, which left some errors infinite, after a first look.",
                    "Agrees where r_m shrinks, differs where E_m(0) falls and r_m survives. Where E_m(0) does not fall it is not told whether networks cannot follow or were not trained enough.",
                )
            )
        return found


def _unfinished(rows: Any) -> str:
    limited = sorted(rows[rows["stopped"].astype(str).str.contains("steps")]["width"].unique())
    return (
        f"Training ended at its limit at m = {curves.listed(limited)}, and E_m(0) of several tenths of the norm may be that."
        if limited
        else "Training ended by itself."
    )


def verdict(kept: Mapping[int, float], nominal: Mapping[int, float]) -> Outcome:
    """Whether the students break under nudges.

    >>> verdict({8: 0.1, 16: 0.1, 32: 0.1}, {8: 0.5, 16: 0.5, 32: 0.49}), verdict({8: 0.1, 16: 0.1, 32: 0.1}, {8: 0.1, 16: 0.01, 32: 0.001})
    ('could not be tested', 'differs')
    """
    return curves.outcome_of(curves.decide(kept, nominal).outcome, "unstable")
