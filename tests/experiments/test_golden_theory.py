"""Every experiment of the theory's figures at its least scale: jobs, rows, charts, claims, and numbers against closed forms and other solvers."""

from __future__ import annotations

import math
import tempfile
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad, solve_ivp

from perdure import functionals as F
from perdure.approximation import approximate
from perdure.experiments import catalogue
from perdure.experiments.appj import formula_matrix, random_gru
from perdure.experiments.base import Data, Outcome
from perdure.experiments.causal_transformer import positions, random_transformer
from perdure.experiments.odd_orbit import MATRIX, crossing, periodic_orbit
from perdure.experiments.run import run
from perdure.experiments.teachers import DT, linear_part, teacher_of
from perdure.report.interactive import specification
from perdure.report.plots import figure, render

NAMES = (
    "fig1a",
    "fig1b",
    "fig2",
    "fig3",
    "fig4a",
    "fig4b",
    "fig7a",
    "fig7b",
    "fig8a",
    "fig8b",
    "fig11a",
    "fig11b",
    "fig12a",
    "fig12b",
    "appc",
    "appj",
)
found: dict[str, pd.DataFrame] = {}


def table(name: str) -> pd.DataFrame:
    """The rows of an experiment at its tiny profile, computed once, as users get them: by a worker process, through the store.

    There the type checks of the tests are not in force, which make these many small calls several times slower; the last job of each is computed
    under them as well.
    """
    if name not in found:
        experiment = catalogue.experiment(name)
        with tempfile.TemporaryDirectory() as store:
            done = run(experiment, experiment.profiles["tiny"], store=store, backend="loky", workers=2)  # one would be this process
        assert not done.failures
        found[name] = done.table
    return found[name]


@pytest.mark.parametrize("name", NAMES)
def test_jobs_and_rows_keep_the_contract(name):
    experiment = catalogue.experiment(name)
    assert {"tiny", "quick", "paper"} <= set(experiment.profiles)
    for spec in experiment.profiles.values():
        jobs = experiment.jobs(spec)
        assert jobs
        assert len({tuple(sorted(job.items())) for job in jobs}) == len(jobs)
        assert all(isinstance(value, str | int | float | bool) for job in jobs for value in job.values())
    job = experiment.jobs(experiment.profiles["tiny"])[-1]
    rows = table(name)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the worker has it
    again = experiment.compute(job, Data())
    torch.set_num_threads(threads)
    assert torch.equal(state, torch.get_rng_state())
    assert not set(again[0]) & set(job)
    assert set(rows.columns) == set(again[0]) | set(job)
    assert pd.DataFrame([{**job, **row} for row in again])[list(rows.columns)].equals(rows.tail(len(again)).reset_index(drop=True))
    assert all(type(value) in (str, int, float, bool) for row in again for value in row.values())


@pytest.mark.parametrize("name", NAMES)
def test_charts_draw_and_claims_have_outcomes(name):
    experiment = catalogue.experiment(name)
    rows, spec = table(name), experiment.profiles["tiny"]
    charts = experiment.charts(rows, spec)
    assert len({chart.name for chart in charts}) == len(charts)
    for chart in charts:
        assert chart.caption
        assert chart.x_label
        assert chart.y_label
        specification(chart)
        assert render(figure([chart]), "png").startswith(b"\x89PNG")
    claims = experiment.claims(rows, spec)
    assert claims
    for claim in claims:
        assert claim.outcome in get_args(Outcome)
        assert all((claim.statement, claim.paper, claim.ours, claim.why))


def at(name: str, **columns) -> pd.DataFrame:
    rows = table(name)
    for column, value in columns.items():
        rows = rows[rows[column] == value]
    return rows


def slope_of(slow: float, rate: float) -> float:
    """Total variation of e^(-slow t) - e^(-rate t), which rises from 0 to its largest value and falls again."""
    at = math.log(rate / slow) / (rate - slow) if slow < rate else 0.0
    return 2 * (math.exp(-slow * at) - math.exp(-rate * at))


def test_fig1a_is_one_mode_whatever_the_width():
    rate = 0.10536051565782628
    for m in (2, 4, 8):
        rows = at("fig1a", width=m, method="exact")
        assert rows["divergence_radius"].iloc[0] == pytest.approx(rate, rel=1e-9)
        for beta, error in zip(rows["radius"], rows["error"], strict=True):
            if beta >= rate:
                assert error == math.inf
                continue
            slow = rate - beta
            assert error == pytest.approx(1 / slow - 1 / rate + slope_of(slow, rate), rel=1e-6, abs=1e-9)


def test_fig1b_breaks_at_the_slowest_rate():
    for m in (2, 4, 8):
        slowest = approximate(F.polynomial(1.1), m).rates.real.min()
        rows = at("fig1b", width=m, method="exact")
        assert rows["divergence_radius"].iloc[0] == pytest.approx(slowest, rel=1e-9)
        assert 0 < rows["kept"].iloc[0] < slowest


@pytest.mark.parametrize("name", ["fig1b", "fig4a", "fig4b"])
def test_samples_stay_below_the_supremum(name):
    sampled, exact = at(name, method="published"), at(name, method="exact")
    both = sampled.merge(exact, on=["width", "radius"])
    assert len(both) == len(sampled)
    assert (both["raw_x"] <= both["raw_y"] * (1 + 1e-6)).all()


@pytest.mark.parametrize("name", ["fig4a", "fig4b"])
def test_a_stable_map_never_diverges(name):
    rows = at(name, method="exact")
    assert np.isfinite(rows["error"]).all()
    assert np.isinf(rows["divergence_radius"]).all()


def test_fig2_starts_from_the_error_of_the_sum():
    """The networks are nearly linear: E_m(0) is the W1 norm of the difference of the kernels up to the horizon, up to what steps of 0.1 do."""
    spec = catalogue.experiment("fig2").profiles["tiny"]
    nominal = at("fig2", way="sup").groupby("width")["nominal"].first()
    t = np.linspace(0, spec.horizon, 20_001)  # pyright: ignore[reportAttributeAccessIssue]

    def w1(kernel):
        return np.trapezoid(np.abs(kernel), t) + abs(kernel[0]) + np.abs(np.diff(kernel)).sum()

    target = F.polynomial(1.5)
    for m in (2, 4):
        assert nominal[m] == pytest.approx(w1(target.kernel(t) - approximate(target, m).kernel(t)) / w1(target.kernel(t)), rel=0.3)


def test_appc_radius_is_scale_times_slowest_rate():
    power, scales = {"1/k": 1, "1/k²": 2}, {"1": 0, "m": 1, "m²": 2}
    for (rates, scale, m), rows in table("appc").groupby(["rates", "scale", "width"]):
        assert rows["divergence_radius"].iloc[0] == pytest.approx(float(m) ** (scales[scale] - power[rates]), rel=1e-9)
        assert rows["largest_weight"].iloc[0] == m ** scales[scale]


@pytest.mark.parametrize("beta", [0.0625, 0.25])
def test_appc_error_is_that_of_the_common_shift(beta):
    m = 4
    rows = at("appc", rates="1/k", scale="m", width=m)
    k = np.arange(1.0, m + 1)
    shifted = 1 / k - beta / m

    def slopes(t):
        return abs(np.sum(k**-2 * (shifted * np.exp(-shifted * t) - np.exp(-t / k) / k)))

    level = np.sum(beta / (1 - beta * k / m)) / m  # the derivation's sum
    slope = quad(slopes, 0, 400, limit=800)[0]
    error = rows.loc[np.isclose(rows["radius"], beta), "error"].iloc[0]
    assert error == pytest.approx(level + slope, rel=2e-3)  # the ascent may do better than the shift, not worse
    assert error >= (level + slope) * (1 - 1e-6)


def test_appc_level_tends_to_the_logarithm():
    m, beta = 20_000, 0.5
    assert sum(beta / (1 - beta * k / m) for k in range(1, m + 1)) / m == pytest.approx(-math.log(1 - beta), rel=1e-4)


def test_fig11b_orbit_by_an_adaptive_solver():
    height, half = periodic_orbit(0.01)
    W = np.array(MATRIX)

    def down(t, z):
        return z[0]

    down.direction, down.terminal = -1, True
    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}
    way = solve_ivp(lambda t, z: W @ np.tanh(z), (0, 60), (0.0, height), events=down, **options)
    assert way.t_events[0][0] == pytest.approx(half, abs=1e-6)
    assert way.y_events[0][0, 1] == pytest.approx(-height, abs=1e-6)
    middle = solve_ivp(lambda t, z: W @ np.tanh(z), (0, 2 * half), (0.0, height), **options)
    assert middle.y[:, -1] == pytest.approx([0.0, height], abs=1e-4)  # a multiplier of 27 works on the last digits
    assert np.poly(W) == pytest.approx([1.0, 2.0, 1.0])


def test_fig11b_multiplier_two_ways():
    rows = at("fig11b", start=1.0).iloc[0]
    assert rows["multiplier"] == pytest.approx(rows["liouville"], rel=1e-4)
    assert rows["multiplier"] > 10
    inside, outside = crossing(np.array([rows["height"] - 0.1, rows["height"] + 0.1]), 0.02)[0] - rows["height"]
    assert inside < -0.1
    assert outside > 0.1


def test_appj_formula_by_automatic_differentiation():
    layer = random_gru(6, 1.0, 3)
    step = torch.autograd.functional.jacobian(
        lambda h: layer(torch.zeros(1, 1, 1, dtype=torch.float64), h[None, None])[1][0, 0], torch.zeros(6, dtype=torch.float64)
    )
    assert np.sort_complex(np.linalg.eigvals(formula_matrix(layer))) == pytest.approx(
        np.sort_complex(np.linalg.eigvals(step.numpy() - np.eye(6))), abs=1e-10
    )


def test_fig12_transformer_is_causal_and_knows_positions():
    model = random_transformer(8, 1, 2, 0)
    x = torch.randn(2, 12, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    later = x.clone()
    later[:, 7:] += 1.0
    with torch.no_grad():
        y, z = model(x), model(later)
        constant = model(torch.ones(1, 12, 1, dtype=torch.float64))[0, :, 0]
    assert torch.allclose(y[:, :7], z[:, :7], atol=1e-12)
    assert not torch.allclose(y[:, 7:], z[:, 7:], atol=1e-3)
    assert float(constant[1:].diff().abs().max()) > 1e-3  # without positions it would be level
    assert positions(5, 4)[3].tolist() == pytest.approx([math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)])


@pytest.mark.parametrize(("kind", "value"), [("symmetric", 0.6), ("dense", 0.7), ("slow", 0.05)])
def test_fig3_linear_part_is_the_kernel_of_the_steps(kind, value):
    model = teacher_of({"size": 12, "value": value, "kind": kind, "seed": 2})
    (cell,) = model.cells()
    W, U, c = cell().detach().numpy(), model.weight_ih_l0.detach().numpy()[:, 0], model.readout.weight.detach().numpy()[0]
    sum_, rate = linear_part(model)
    step, state, kernel = np.eye(12) + DT * W, U.copy(), []
    for _ in range(40):
        kernel.append(c @ state)
        state = step @ state
    assert sum_.kernel(DT * np.arange(40)) == pytest.approx(np.array(kernel), abs=1e-12)
    assert rate == pytest.approx(-math.log(np.abs(np.linalg.eigvals(step)).max()) / DT)


def test_fig3_growing_teacher_has_no_linear_part():
    assert linear_part(teacher_of({"size": 32, "value": 2.0, "kind": "dense", "seed": 0}))[0] is None
