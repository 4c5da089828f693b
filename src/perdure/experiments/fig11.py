r"""Fig. 11: tanh networks whose memory does not decay.

(b) With z = W h + U x and x constant from time 0 on, dh/dt = tanh(z) and dz/dt = W tanh(z), z(0) = U x. For W = [[1, 1], [-4, -3]] the trace is -2 and the
determinant 1, so that both eigenvalues are -1: Hurwitz, and small inputs fade like t e^{-t}. The equation is odd, so an orbit that goes from (0, a) to (0, -a) closes
after twice that time. With P(a) the height at which the orbit of (0, a) next meets the axis z1 = 0, downwards, a periodic orbit is a root of P(a) = a, its
Floquet multiplier P'(a)^2 (the other one is 1), which by Liouville's formula is also

    exp int_0^T tr(W Diag(1 - tanh^2 z)) dt = exp int_0^T (1 - tanh^2 z_1) - 3 (1 - tanh^2 z_2) dt.

Above 1 the orbit is unstable: inputs below it fade, those above leave it outwards. There tanh saturates, dh/dt goes round the edges of the square ever more slowly,
and does not fade either. So the memory M_B decays for small B and not for large B.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from perdure._random import isolated
from perdure.experiments import curves
from perdure.experiments.base import Claim, Data, Experiment, Job, Row, Spec
from perdure.experiments.decay import LEFT, kept_points, left_over, log_law
from perdure.experiments.odd_orbit import MATRIX, crossing, periodic_orbit, rk4
from perdure.memory import memory_function
from perdure.nn import ContinuousRNN
from perdure.report.chart import LINES, Chart, Series, tones

EXACTLY = 1e-6


class Fig11aSpec(Spec):
    """Of Fig. 11a.

    Attributes:
        width: states.
        gains: of W = gain G / sqrt(m) - shift I, G of independent normal numbers.
        shifts: of W.
        seeds: networks of each kind.
        dt: step.
        horizon: time.
        bound: largest |x|.
    """

    width: int = Field(default=16, ge=1)
    gains: tuple[float, ...] = (0.5, 1.0, 2.0)
    shifts: tuple[float, ...] = (0.0, 1.0)
    seeds: int = Field(default=5, ge=1)
    dt: float = Field(default=0.2, gt=0)
    horizon: float = Field(default=100.0, gt=0)
    bound: float = Field(default=1.0, gt=0)


class Fig11a(Experiment):
    """The memory of random tanh networks."""

    name = "fig11a"
    title = "Memory of random tanh networks"
    source = "Wang, Li & Li 2024, Fig. 11a"
    method = (
        "The paper plots the memory of randomly initialised tanh networks. Here the weights are Gaussian of several sizes, as they are and shifted by -I, the sup "
        "over inputs up to a bound is searched, and a fourth-order integrator keeps the step from making what is seen."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": Fig11aSpec(width=4, gains=(0.5, 2.0), seeds=2, horizon=40.0),
        "quick": Fig11aSpec(),
        "paper": Fig11aSpec(width=64, seeds=20, horizon=400.0, dt=0.1),
    }

    def jobs(self, spec: Fig11aSpec) -> list[Job]:
        """One network each."""
        return [
            {"shift": shift, "gain": gain, "seed": seed, "width": spec.width, "dt": spec.dt, "horizon": spec.horizon, "bound": spec.bound}
            for shift in spec.shifts
            for gain in spec.gains
            for seed in range(spec.seeds)
        ]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row a time (some of them)."""
        model = random_network(job)
        dt = float(job["dt"] or 1)
        mf = memory_function(
            model,
            horizon=round(float(job["horizon"] or 0) / dt),
            dt=dt,
            bound=float(job["bound"] or 1),
            probes=16,
            seed=int(job["seed"] or 0),
        )
        abscissa = float(np.linalg.eigvals(next(iter(model.cells()))().detach().numpy()).real.max())
        whole: dict[str, Any] = {"left": left_over(mf.values), "law": log_law(mf), "abscissa": abscissa}
        return [{"time": float(mf.times[i]), "memory": float(mf.values[i]), **whole} for i in kept_points(mf.times.size)]

    def charts(self, table: Any, spec: Fig11aSpec) -> list[Chart]:
        """M(t) for each shift."""
        found = []
        for shift in spec.shifts:
            series = []
            for (gain, rows), tone, line in zip(
                curves.chosen(table, shift=shift).groupby("gain"), tones(len(spec.gains)), LINES * 4, strict=False
            ):
                for seed, part in rows.groupby("seed"):
                    y = np.maximum(part["memory"].to_numpy(float), 1e-12)
                    series.append(Series(f"gain {gain:g}" if seed == 0 else "", part["time"].to_numpy(float), y, tone, line))
            caption = f"W = gain · G/√m{f' - {shift:g} I' if shift else ''}, m = {spec.width}, {spec.seeds} networks a gain, inputs up to {spec.bound:g}: lower bounds of the sup. Values below 1e-12 are drawn there."
            found.append(
                Chart(
                    f"fig11a-shift-{shift:g}",
                    f"Random W less {shift:g} I" if shift else "Random W",
                    "time",
                    "memory M(t)",
                    tuple(series),
                    caption,
                    False,
                    True,
                )
            )
        return found

    def claims(self, table: Any, spec: Fig11aSpec) -> list[Claim]:
        """Some do not decay."""
        each = table.drop_duplicates(["shift", "gain", "seed"])
        keeps = each["left"] >= LEFT
        hurwitz = each["abscissa"] < 0
        shares = "; ".join(
            f"shift {shift:g}, gain {gain:g}: {int((rows['left'] >= LEFT).sum())} of {len(rows)}"
            for (shift, gain), rows in each.groupby(["shift", "gain"])
        )
        return [
            Claim(
                "tanh networks without decaying memory exist, among random ones too.",
                "memories that do not tend to 0",
                f"{int(keeps.sum())} of {len(each)} networks keep at least {LEFT:.0%} of their peak over the last quarter of the time ({shares}); of the {int(hurwitz.sum())} with Hurwitz "
                f"W {int((keeps & hurwitz).sum())} do",
                "agrees" if bool(keeps.any()) else "differs",
                f"Horizon {spec.horizon:g}, |x| ≤ {spec.bound:g}.",
                f"Agrees where one network keeps {LEFT:.0%}: M is a lower bound, so what stays is there. Differs where none does.",
            )
        ]


def random_network(job: Job) -> ContinuousRNN:
    """W as described, U and the readout of entries of variance 1 / m."""
    m, dt = int(job["width"] or 1), float(job["dt"] or 1)
    with isolated(int(job["seed"] or 0)):
        model = ContinuousRNN(
            1, m, activation="tanh", parametrization="direct", structure="dense", dt=dt, output_size=1, batch_first=True, dtype=torch.float64, integrator="rk4"
        )  # fmt: skip
        G, U, c = (torch.randn(*shape, dtype=torch.float64) / m**0.5 for shape in ((m, m), (m, 1), (1, m)))
        with torch.no_grad():
            next(iter(model.cells())).assign(float(job["gain"] or 0) * G - float(job["shift"] or 0) * torch.eye(m, dtype=torch.float64))
            model.weight_ih_l0.copy_(m**0.5 * U)
            assert model.readout is not None  # output_size was given
            model.readout.weight.copy_(c)
    return model


class Fig11bSpec(Spec):
    """Of Fig. 11b.

    Attributes:
        step: of the integration.
        periods: over which trajectories beside the orbit are followed.
        beside: starts of those, as shares of the orbit's.
    """

    step: float = Field(default=0.005, gt=0, lt=0.1)
    periods: float = Field(default=5.0, gt=1)
    beside: tuple[float, ...] = (0.8, 1.2)


class Fig11b(Experiment):
    """W = [[1, 1], [-4, -3]]: Hurwitz, and no decay."""

    name = "fig11b"
    title = "A Hurwitz tanh network with a periodic memory"
    source = "Wang, Li & Li 2024, Fig. 11b"
    method = (
        "The paper shows a periodic trajectory of dh/dt for W = [[1, 1], [-4, -3]]. Here the periodic orbit is solved for (return map of an odd equation, "
        "fourth-order steps), with its period and its stability, and trajectories on either side of it are followed."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": Fig11bSpec(step=0.02, periods=3.0),
        "quick": Fig11bSpec(),
        "paper": Fig11bSpec(step=0.001, periods=10.0),
    }

    def jobs(self, spec: Fig11bSpec) -> list[Job]:
        """The orbit, and each start beside it."""
        return [{"start": share, "step": spec.step, "periods": spec.periods} for share in (1.0, *spec.beside)]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row a time (some of them)."""
        step, share = float(job["step"] or 1), float(job["start"] or 0)
        height, half = periodic_orbit(step)
        other = 1e-3
        down = crossing(np.array([height - other, height + other]), step)[0]
        slope = float(np.diff(down)[0]) / (2 * other)
        period = 2 * half
        count = round((1.0 if share == 1.0 else float(job["periods"] or 1)) * period / step)
        step = period / round(period / step)
        z = np.empty((count + 1, 2))
        z[0] = 0.0, share * height
        for k in range(count):
            z[k + 1] = rk4(z[k], step)
        gain = 1 - np.tanh(z) ** 2
        trace = gain @ np.diag(np.array(MATRIX))
        whole = {
            "height": height, "period": period, "multiplier": slope**2, "liouville": float(np.exp(step * (trace.sum() - 0.5 * (trace[0] + trace[-1])))),
            "closure": float(np.abs(z[-1] - z[0]).max()), "abscissa": float(np.linalg.eigvals(np.array(MATRIX)).real.max()),
            "determinant": float(np.linalg.det(np.array(MATRIX))), "trace": float(np.trace(np.array(MATRIX))),
        }  # fmt: skip
        late = np.tanh(z)[-round(period / step) :]
        whole["late"] = float(np.abs(late).max())
        return [
            {
                "time": float(k * step),
                "z1": float(z[k, 0]),
                "z2": float(z[k, 1]),
                "slope1": float(np.tanh(z[k, 0])),
                "slope2": float(np.tanh(z[k, 1])),
                **whole,
            }
            for k in kept_points(count + 1, 1000)
        ]

    def charts(self, table: Any, spec: Fig11bSpec) -> list[Chart]:
        """The phase plane of dh/dt, and |dh/dt| against time."""
        names = {1.0: "periodic orbit"} | {s: f"from {s:g} × its height" for s in spec.beside}
        plane, memory = [], []
        for (share, name), tone, line in zip(names.items(), tones(len(names)), LINES, strict=False):
            rows = curves.chosen(table, start=share)
            plane.append(Series(name, rows["slope1"].to_numpy(float), rows["slope2"].to_numpy(float), tone, line))
            size = np.maximum(rows["slope1"].abs(), rows["slope2"].abs()).to_numpy(float)
            time, period = rows["time"].to_numpy(float), float(rows["period"].iloc[0])
            if share == 1.0:  # repeats itself
                times = round(spec.periods)
                time, size = np.concatenate([time + i * period for i in range(times)]), np.tile(size, times)
            memory.append(Series(name, time, np.where(size > 1e-8, size, np.nan), tone, line))
        caption = "W = [[1, 1], [-4, -3]], z(0) = U x on the axis z1 = 0."
        return [
            Chart(
                "fig11b-plane",
                "Phase plane of dh/dt",
                "dh1/dt",
                "dh2/dt",
                tuple(plane),
                caption,
                x_range=(-1.08, 2.1),
                y_range=(-1.08, 1.08),
            ),
            Chart(
                "fig11b-memory",
                "Does dh/dt fade?",
                "time",
                "largest |dh/dt|",
                tuple(memory),
                f"{caption} Times |x|, the memory of these inputs.",
                False,
                True,
            ),
        ]

    def claims(self, table: Any, spec: Fig11bSpec) -> list[Claim]:
        """Hurwitz; periodic; does not decay; and ours: unstable."""
        orbit = curves.chosen(table, start=1.0).iloc[0]
        exact = abs(orbit["trace"] + 2) < 1e-12 and abs(orbit["determinant"] - 1) < 1e-12
        beside = {s: float(curves.chosen(table, start=s)["late"].iloc[0]) for s in spec.beside}
        closes = orbit["closure"] <= EXACTLY * orbit["height"]
        inside = [value for share, value in beside.items() if share < 1]
        outside = [value for share, value in beside.items() if share > 1]
        unstable = orbit["multiplier"] > 1.01
        return [
            Claim("W = [[1, 1], [-4, -3]] is Hurwitz: both eigenvalues are -1.", "eigenvalues -1, -1",
                  f"trace {orbit['trace']:.12g}, determinant {orbit['determinant']:.12g}: (λ + 1)² = 0", "agrees" if exact else "differs", "Exact: a characteristic polynomial."),
            Claim("The tanh network has a periodic trajectory in (dh1/dt, dh2/dt).", "a closed curve",
                  f"closed orbit through z = (0, {orbit['height']:.6f}), period {orbit['period']:.6f}, open by {orbit['closure']:.1g} after one period",
                  "agrees" if closes else "differs", f"Agrees where the orbit closes to {EXACTLY:g} of its height."),
            Claim("Its memory does not decay.", "periodic memory",
                  f"|dh/dt| reaches {float(np.maximum(curves.chosen(table, start=1.0)['slope1'].abs(), curves.chosen(table, start=1.0)['slope2'].abs()).max()):.3g} in every period on "
                  f"the orbit; over the last of {spec.periods:g} periods {', '.join(f'{v:.2g} from {s:g} times its height' for s, v in beside.items())}",
                  "agrees" if closes and (not outside or min(outside) >= LEFT) else "differs", f"Agrees where the orbit closes and inputs beyond it keep at least {LEFT:g}."),
            Claim("Other inputs end in that orbit too (it is stable).", "the figure shows one trajectory",
                  f"Floquet multiplier {orbit['multiplier']:.4g} (by Liouville's formula {orbit['liouville']:.4g})",
                  "differs" if unstable else "agrees",
                  f"Above 1 it is unstable. Inputs below it fade ({', '.join(f'{v:.1g}' for v in inside) or 'not followed'}): the memory M_B decays for small B; those "
                  "above leave it outwards, with ever longer rounds.", whose="ours"),
        ]  # fmt: skip
