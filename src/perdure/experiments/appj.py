r"""App. J: the linearisation of a GRU at h = 0.

With no input and zero biases of the candidate, h = 0 is an equilibrium of dh/dt = (1 - z)(n - h), and

    d/dt h = A h,   A = Diag(s(-b_z)) (U_n Diag(s(b_r)) - I),   b_z, b_r the sums of input and recurrent bias

(torch's convention, in which z is the paper's 1 - z; `perdure.stability.gates` shows that the place of the reset gate does not change the eigenvalues). Here
the formula is written out from the weights and compared with the Jacobian of a step of torch's own GRU by central differences. And what it says of the
memory is compared with the measured one: with D = Diag(s(b_r)), torch's Jacobian is I + D A D^-1, and an impulse x leaves

    h_k = D (I + A)^k D^-1 Diag(s(-b_z)) U_in x,      M(k) = |h_k|_inf / |x|,

up to what is not linear, of the order of x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from perdure._random import isolated
from perdure._typing import Array
from perdure.experiments import curves
from perdure.experiments.base import Claim, Data, Experiment, Job, Row, Spec
from perdure.memory import memory_function
from perdure.report.chart import Chart, Series, tones
from perdure.stability.gates import gru_jacobian

STEP = 1e-5  # of the differences
CLOSE = 1e-7  # of eigenvalues, absolute: the precision of the differences
ALIKE = 1e-4  # of memories, relative
SMALL, VISIBLE = 1e-6, 1e-8  # size of the input; share of the peak down to which memories are compared


class AppJSpec(Spec):
    """Of App. J.

    Attributes:
        widths: of the GRUs.
        gains: sizes of U_n and of the biases of the gates, in standard deviations (of U_n over the root of the width).
        seeds: repeats.
        horizon: steps over which the memory is measured.
    """

    widths: tuple[int, ...] = (8, 32)
    gains: tuple[float, ...] = (0.5, 1.0, 2.0)
    seeds: int = Field(default=5, ge=1)
    horizon: int = Field(default=400, ge=16)


class AppJ(Experiment):
    """Eigenvalues by the formula and by differences."""

    name = "appj"
    title = "Linearisation of a GRU at rest"
    source = "Wang, Li & Li 2024, App. J"
    method = (
        "The paper derives the matrix Diag(s(b_z)) (U_h Diag(s(b_r)) - I). Here its eigenvalues, for random GRUs of torch (whose z is the paper's 1 - z), are "
        "compared with those of the Jacobian of one step by central differences in float64, and the memory that it predicts with the measured one."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": AppJSpec(widths=(4,), gains=(0.5, 1.0), seeds=2, horizon=200),
        "quick": AppJSpec(),
        "paper": AppJSpec(widths=(8, 32, 128), seeds=20, horizon=1000),
    }

    def jobs(self, spec: AppJSpec) -> list[Job]:
        """One GRU each."""
        return [
            {"width": m, "gain": gain, "seed": seed, "horizon": spec.horizon}
            for m in spec.widths
            for gain in spec.gains
            for seed in range(spec.seeds)
        ]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row an eigenvalue of A."""
        m, gain = int(job["width"] or 0), float(job["gain"] or 0)
        layer = random_gru(m, gain, int(job["seed"] or 0))
        formula = formula_matrix(layer)
        numerical = differences(layer) - np.eye(m)
        closed = gru_jacobian(layer) - np.eye(m)
        a, b = np.linalg.eigvals(formula), np.linalg.eigvals(numerical)
        at = nearest(a, b)
        stable = bool(np.abs(1 + a).max() < 1)
        whole: dict[str, Any] = {
            "paper_to_differences": float(np.abs(a - b[at]).max()),
            "closed_to_differences": float(np.abs(closed - numerical).max()),
            "rate": float(-np.log(np.abs(1 + a).max())),
            "memory_difference": memory_difference(layer, formula, int(job["horizon"] or 0)) if stable else float("nan"),
            "stable": stable,
        }
        return [
            {"real": float(x.real), "imag": float(x.imag), "numerical_real": float(y.real), "numerical_imag": float(y.imag), **whole}
            for x, y in zip(a, b[at], strict=True)
        ]

    def charts(self, table: Any, spec: AppJSpec) -> list[Chart]:
        """Eigenvalues of one GRU for each gain, and rates against rates."""
        m = max(spec.widths)
        series = []
        for gain, tone in zip(spec.gains, tones(len(spec.gains)), strict=True):
            rows = curves.chosen(table, width=m, gain=gain, seed=0)
            series.append(
                Series(
                    f"formula, gain {gain:g}", rows["real"].to_numpy(float), rows["imag"].to_numpy(float), tone, None, "circle", thin=False
                )
            )
            series.append(
                Series("", rows["numerical_real"].to_numpy(float), rows["numerical_imag"].to_numpy(float), tone, None, "x", thin=False)
            )
        caption = f"m = {m}, one GRU a gain. Circles: the formula; crosses: central differences of a step, less I."
        plane = Chart("appj-eigenvalues", "Eigenvalues at h = 0", "real part (1/step)", "imaginary part (1/step)", tuple(series), caption)
        rows = one_each(table)
        points = []
        for gain, tone in zip(spec.gains, tones(len(spec.gains)), strict=True):
            part = curves.chosen(rows, gain=gain)
            points.append(
                Series(
                    f"gain {gain:g}",
                    part["rate"].to_numpy(float),
                    part["memory_difference"].to_numpy(float),
                    tone,
                    None,
                    "circle",
                    thin=False,
                )
            )
        caption = (
            f"Largest relative difference of the impulse memory, for an input of {SMALL:g}, from that of the matrix, down to {VISIBLE:g} of the peak. GRUs whose rest is "
            "unstable are left out."
        )
        memory = Chart(
            "appj-memory", "Memory by the matrix", "slowest rate (1/step)", "difference of memories", tuple(points), caption, False, True
        )
        return [plane, memory]

    def claims(self, table: Any, spec: AppJSpec) -> list[Claim]:
        """The formula, and what it says of the memory."""
        rows = one_each(table)
        worst, own = float(rows["paper_to_differences"].max()), float(rows["closed_to_differences"].max())
        seen = rows.loc[rows["stable"], "memory_difference"]
        return [
            Claim(
                "At h = 0 a GRU linearises to Diag(s(b_z)) (U_h Diag(s(b_r)) - I).",
                "eigenvalues of that matrix",
                f"{len(rows)} random GRUs: largest distance of an eigenvalue from those by differences {worst:.1g}; of perdure.gru_jacobian's entries {own:.1g}",
                "agrees" if max(worst, own) <= CLOSE else "differs",
                f"Agrees up to {CLOSE:g}, the precision of the differences. It takes zero biases of the candidate (else h = 0 is no equilibrium), and torch's z is the "
                "paper's 1 - z.",
            ),
            Claim(
                "Near rest the memory of a GRU is that of the linear network with this matrix: a sum of exponentials.",
                "follows from the linearisation",
                f"{len(seen)} of {len(rows)} GRUs are stable at rest; largest relative difference of their memories from the matrix's {float(seen.max()) if len(seen) else 0.0:.1g}",
                "could not be tested" if not len(seen) else "agrees" if float(seen.max()) <= ALIKE else "differs",
                f"Agrees up to {ALIKE:g}, for an input of {SMALL:g}: of large ones the matrix says nothing.",
            ),
        ]


def random_gru(width: int, gain: float, seed: int) -> nn.GRU:
    """A GRU of one input in float64 whose rest is h = 0."""
    with isolated(seed):
        layer = nn.GRU(1, width, batch_first=True, dtype=torch.float64)
        with torch.no_grad():
            weights = dict(layer.named_parameters())
            weights["weight_hh_l0"].normal_().mul_(gain / width**0.5)
            for name in ("bias_ih_l0", "bias_hh_l0"):
                weights[name].normal_().mul_(gain)
                weights[name][2 * width :] = 0.0
    return layer


def formula_matrix(layer: nn.GRU) -> Array:
    """A, from the weights, (m, m)."""
    m, weights = layer.hidden_size, {name: value.detach().numpy() for name, value in layer.named_parameters()}
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    reset, update = 1 / (1 + np.exp(-bias[:m])), 1 / (1 + np.exp(bias[m : 2 * m]))
    return update[:, None] * (weights["weight_hh_l0"][2 * m :] * reset[None, :] - np.eye(m))


@torch.no_grad()
def differences(layer: nn.GRU) -> Array:
    """The Jacobian of a step at h = 0 by central differences, (m, m)."""
    m = layer.hidden_size
    moves = torch.cat([STEP * torch.eye(m, dtype=torch.float64), -STEP * torch.eye(m, dtype=torch.float64)])
    _, after = layer(torch.zeros(2 * m, 1, 1, dtype=torch.float64), moves[None])
    return ((after[0, :m] - after[0, m:]) / (2 * STEP)).T.numpy()


def nearest(a: Array, b: Array) -> Array:
    """Places of b that pair it with a at the least total distance."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(np.abs(a[:, None] - b[None, :]))[1]


def memory_difference(layer: nn.GRU, formula: Array, horizon: int) -> float:
    """Largest relative difference of the measured impulse memory from that of the matrix, where that is visible."""
    m, weights = layer.hidden_size, {name: value.detach().numpy() for name, value in layer.named_parameters()}
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    reset, update = 1 / (1 + np.exp(-bias[:m])), 1 / (1 + np.exp(bias[m : 2 * m]))
    state: Array = update * weights["weight_ih_l0"][2 * m :, 0] / reset
    mf = memory_function(layer, horizon=horizon, probe="impulse", bound=SMALL, probes=8)
    predicted = np.empty(horizon)
    for k in range(horizon):
        predicted[k] = np.abs(reset * state).max()
        state = state + formula @ state
    seen = predicted > VISIBLE * predicted.max()
    return float((np.abs(mf.values - predicted) / predicted)[seen].max())


def one_each(table: Any) -> Any:
    """The first row of each GRU."""
    return table.drop_duplicates(["width", "gain", "seed"])
