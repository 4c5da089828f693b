r"""Fig. 10: do two probes of memory, a switched-on constant and a pulse, see the same? On randomly initialised layers.

For a linear model both are |rho(t)| exactly. For others the two are compared model by model: on the upper envelopes, which decay is a statement
about, by the correlation of their logarithms over the times at which both lie above rounding, and by the ratio of the times after which 1 % of the peak is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from perdure._random import isolated
from perdure._typing import Array
from perdure.experiments.base import Claim, Data, Experiment, Job, Outcome, Row, Spec
from perdure.experiments.random_layers import KINDS, RandomLayers
from perdure.memory.measure import memory_function
from perdure.report.chart import Chart, Series, tones

PROBES = ("heaviside", "impulse")
DEPTHS = {"RNN": 4, "GRU": 4, "LSTM": 4, "S4": 3}
LINES = ("solid", "dash", "dot", "dashdot")
LEVEL, ALIKE, FACTOR = 0.01, 0.9, 2.0
POINTS = 240  # times of a curve that are kept
DRAWN = 4  # times the noise floor: what is below is rounding
FIT = ("law", "best_law", "forgotten", "floor", "status")
AGREE = ("correlation", "log_ratio")


class Fig10Spec(Spec):
    """Of Fig. 10.

    Attributes:
        repeats: random initialisations of each model.
        width: states of a layer.
        short: steps measured of RNN, GRU and LSTM.
        long: steps measured of S4.
        depth: most layers.
        probes: inputs tried for the sup over inputs; 0 leaves it to `memory_function`.
    """

    repeats: int = Field(default=20, ge=1)
    width: int = Field(default=32, ge=1)
    short: int = Field(default=120, ge=8)
    long: int = Field(default=2000, ge=8)
    depth: int = Field(default=4, ge=1)
    probes: int = Field(default=0, ge=0)


class Fig10(Experiment):
    """Heaviside and impulse memories of random layers, side by side."""

    name = "fig10"
    title = "Heaviside and impulse memories of random layers"
    version = 2
    source = "Wang, Li & Li 2024, Fig. 10"
    method = (
        "As in the paper: randomly initialised RNN, GRU and LSTM of 1 to 4 layers to t = 120, S4 of 1 to 3 layers to t = 2000, each with a random readout. The "
        "sup over inputs of size at most 1 is searched for rather than read off one direction; S4 is a stack of DiagonalSSM with S4D-Lin's modes."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": Fig10Spec(repeats=2, width=4, short=24, long=40, depth=1, probes=8),
        "quick": Fig10Spec(repeats=5, probes=24),
        "paper": Fig10Spec(),
    }

    def jobs(self, spec: Fig10Spec) -> list[Job]:
        """One random model each."""
        return [
            {"model": kind, "layers": layers, "seed": seed, "width": spec.width, "horizon": spec.long if kind == "S4" else spec.short, "probes": spec.probes}
            for seed in range(spec.repeats)
            for kind in KINDS
            for layers in range(1, min(spec.depth, DEPTHS[kind]) + 1)
        ]  # fmt: skip

    def compute(self, job: Job, data: Data) -> list[Row]:
        """Rows of kind "curve", (probe, time, memory, envelope); one of kind "fit" a probe; and one of kind "agreement"."""
        seed, horizon = int(job["seed"] or 0), int(job["horizon"] or 0)
        with isolated(seed):
            model = RandomLayers(str(job["model"]), int(job["layers"] or 0), int(job["width"] or 0))
        rows, envelopes, forgotten, floors = [], [], [], []
        for probe in PROBES:
            found = memory_function(model, horizon=horizon, probe=probe, input_size=1, seed=seed, probes=int(job["probes"] or 0) or None)
            fit = found.fit()
            envelopes.append(found.envelope)
            floors.append(found.noise_floor)
            forgotten.append(fit.horizon(LEVEL))
            left = forgotten[-1] if math.isfinite(forgotten[-1]) else None
            said = {"law": fit.law, "best_law": fit.best_law, "forgotten": left, "floor": found.noise_floor, "status": found.status}
            rows.append(_row("fit", probe, said))
            for k in _kept(horizon):
                rows.append(
                    _row(
                        "curve",
                        probe,
                        {"time": float(found.times[k]), "memory": float(found.values[k]), "envelope": float(found.envelope[k])},
                    )
                )
        ratio = math.log(forgotten[0] / forgotten[1]) if all(math.isfinite(v) and v > 0 for v in forgotten) else None
        rows.append(_row("agreement", "both", {"correlation": correlation(*envelopes, *floors), "log_ratio": ratio}))
        return rows

    def charts(self, table: Any, spec: Fig10Spec) -> list[Chart]:
        """Eight panels: a kind of layer and a probe each."""
        return [_panel(table, kind, probe, spec) for kind in KINDS for probe in PROBES]

    def claims(self, table: Any, spec: Fig10Spec) -> list[Claim]:
        """One claim a kind of layer."""
        return [self._claim(table, kind) for kind in KINDS]

    @staticmethod
    def _claim(table: Any, kind: str) -> Claim:
        rows = table[(table["model"] == kind) & (table["kind"] == "agreement")]
        alike, ratio = rows["correlation"].astype(float).dropna(), rows["log_ratio"].astype(float).dropna()
        laws = {
            probe: ", ".join(
                f"{law} {count}" for law, count in table[(table["model"] == kind) & (table["probe"] == probe)]["law"].value_counts().items()
            )
            for probe in PROBES
        }
        outcome: Outcome = "could not be tested"
        ours = f"{len(rows)} models, too few of them above rounding to compare"
        if len(alike) * 2 > len(rows) and len(ratio) * 2 > len(rows):
            middle, spread = float(alike.median()), float(ratio.abs().median())
            outcome = "agrees" if middle >= ALIKE and spread <= math.log(FACTOR) else "differs"
            ours = (
                f"{len(rows)} models; correlation of log envelopes: median {middle:.3f}, least {alike.min():.3f}; time to {LEVEL:.0%} of the peak, heaviside over "
                f"impulse: median {math.exp(ratio.median()):.2f}, median factor either way {math.exp(spread):.2f}, largest {math.exp(ratio.abs().max()):.2f}; by layers, median correlation: "
                + ", ".join(f"{part['correlation'].astype(float).median():.3f} ({depth})" for depth, part in rows.groupby("layers"))
            )
        return Claim(
            f"Heaviside and impulse memories of random {kind} layers agree qualitatively.",
            "panels that look alike",
            f"{ours}; laws (heaviside | impulse): {laws['heaviside']} | {laws['impulse']}",
            outcome,
            "Two exponentials of any rates correlate at 1: the correlation tells shapes apart, the ratio of times their rates. Memories are lower bounds: the sup over inputs is searched.",
            f"Agrees where, over all depths and seeds, the median correlation of the log envelopes is at least {ALIKE:g} and the median factor between the "
            f"times to {LEVEL:.0%} of the peak is at most {FACTOR:g}, else differs.",
        )


def correlation(a: Array, b: Array, floor_a: float, floor_b: float) -> float | None:
    """Of log a and log b over the steps at which both lie above 4 times their floors; None for fewer than 4 such steps or a constant curve.

    >>> t = np.arange(20.0)
    >>> round(correlation(np.exp(-t), 3 * np.exp(-2 * t), 0.0, 0.0), 6)
    1.0
    """
    both = (a > DRAWN * floor_a) & (b > DRAWN * floor_b)
    if both.sum() < 4:
        return None
    x, y = np.log(a[both]), np.log(b[both])
    if np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _row(kind: str, probe: str, values: Mapping[str, Any]) -> Row:
    return {"kind": kind, "probe": probe, **dict.fromkeys(("time", "memory", "envelope", *FIT, *AGREE)), **values}


def _kept(horizon: int) -> list[int]:
    """Steps of a curve that are kept: all of a short one, else evenly spread."""
    return np.unique(np.linspace(0, horizon - 1, min(horizon, POINTS)).astype(int)).tolist()


def _panel(table: Any, kind: str, probe: str, spec: Fig10Spec) -> Chart:
    """By number of layers the median over repeats; both probes of a kind on the same axes."""
    both = table[(table["model"] == kind) & (table["kind"] == "curve")]
    floor = float(table[(table["model"] == kind) & (table["kind"] == "fit")]["floor"].astype(float).max())
    seen = both[both["envelope"].astype(float) > DRAWN * floor]
    series = []
    depths = sorted(both["layers"].unique())
    for layers, tone, line in zip(depths, tones(len(depths)), LINES, strict=False):
        rows = both[(both["layers"] == layers) & (both["probe"] == probe)]
        middle = rows.groupby("time")["envelope"].median()
        values = np.where(middle.to_numpy(float) > DRAWN * floor, middle.to_numpy(float), np.nan)
        series.append(Series(f"{layers} layer{'s' if layers > 1 else ''}", np.asarray(middle.index, dtype=float), values, tone, line, None))
    caption = (
        f"Largest memory from a time on (upper envelope), median of {spec.repeats} random {kind} models of width {spec.width}. Inputs of size at most 1. "
        f"What is below {DRAWN * floor:.0e}, near rounding, is not drawn."
    )
    x_range = (0.0, float(seen["time"].max())) if len(seen) else None
    y_range = (float(seen["envelope"].min()) / 2, 2 * float(seen["envelope"].max())) if len(seen) else None
    return Chart(
        f"fig10-{kind.lower()}-{probe}",
        f"{kind}, {probe}",
        "time (steps)",
        "largest memory from then on",
        tuple(series),
        caption,
        x_range=x_range,
        y_range=y_range,
        y_log=True,
    )
