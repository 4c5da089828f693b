"""Rows of curves, and the decisions drawn from them, both ways."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from perdure import functionals as F
from perdure.experiments import appc, curves, fig3, fig11, fig12
from perdure.experiments.appj import AppJ, AppJSpec
from perdure.experiments.decay import left_over, tail_ratio
from perdure.experiments.fig1 import Fig1a, Fig1b
from perdure.experiments.fig2 import Fig2
from perdure.experiments.fig4 import Fig4a
from perdure.experiments.fig7 import Fig7b
from perdure.experiments.linear_figures import LinearSpec
from perdure.experiments.nonlinear_networks import NetworkSpec
from perdure.stability import perturbation_error
from perdure.stability.verdict import Options, judge

LEVEL, SHRINKS, FALLS = {4: 0.2, 8: 0.2, 16: 0.2}, {4: 1e-2, 8: 1e-4, 16: 1e-7}, {4: 0.1, 8: 0.03, 16: 0.005}


def rows(kept, nominal=None, edge=None, **columns):
    """One row a radius (0 and 0.1) of each width."""
    nominal, edge = nominal or FALLS, edge or dict.fromkeys(kept, math.inf)
    return [
        {"width": m, "radius": beta, "error": nominal[m] + beta, "raw": nominal[m] + beta, "upper": math.inf, "kept": kept[m], "nominal": nominal[m],
         "norm": 1.0, "divergence_radius": edge[m], "states": m, "status": "", "ball": "", "length": math.inf, "seed": 0, **columns}
        for m in kept for beta in (0.0, 0.1)
    ]  # fmt: skip


def outcomes(experiment, table, spec):
    return [claim.outcome for claim in experiment.claims(table, spec)]


def test_decide_all_ways():
    assert curves.decide(LEVEL, FALLS).outcome == "stable"
    assert curves.decide(SHRINKS, FALLS).outcome == "unstable"
    assert curves.decide(LEVEL, dict.fromkeys(LEVEL, 0.5)).outcome == "not approximated"
    assert curves.decide({4: 0.2, 8: 0.2}, FALLS).outcome == "undecided"
    assert curves.decide({4: 0.2, 8: 0.1, 16: 0.19}, FALLS).outcome == "undecided"
    assert curves.decide({4: 0.2, 8: 0.1, 16: 0.0}, FALLS).outcome == "unstable"
    assert curves.decide(LEVEL, {4: math.inf, 8: 0.1, 16: 0.1}).outcome == "undecided"


def test_rows_of_a_curve_and_back():
    target = F.exponential(1.0)
    curve = perturbation_error(target, target, [0.0, 0.25, 0.5, 1.0], groups="recurrent")
    table = pd.DataFrame([{"width": 1, "seed": 0, **row} for row in curves.rows_of(curve, 0.1)])
    again = curves.curve_of(table)
    assert np.array_equal(again.error, curve.error)
    assert again.divergence_radius == 1.0
    assert np.array_equal(again.relative, curve.relative)
    assert curves.by_width(table, "kept") == {1: 0.1}


def test_chart_without_anything_to_draw_says_so():
    table = pd.DataFrame(rows({4: 0.0}, {4: math.inf}))
    chart = curves.chart("a", "b", table, "c", "d")
    assert chart.series == ()
    assert "Not drawn" in chart.caption


def test_spread_counts_radii_where_all_are_finite():
    table = pd.DataFrame(rows(LEVEL, {4: 0.1, 8: 0.2, 16: 0.1}))
    assert curves.spread(table) == (pytest.approx(1.0), 2)
    table.loc[table["radius"] == 0.1, "error"] = math.inf
    assert curves.spread(table)[1] == 1


def test_radius_beyond_the_last_common_radius():
    """A grid that ends below the radius that is asked for: the search goes on from its end."""
    target = F.exponential(1.0)
    options = Options(target, target.norm(), np.array([0.0, 0.01]), 0.1 * target.norm(), "recurrent", "direct", 0)
    found = judge("", {1: F.exponential(1.0)}, options).radius[1]
    wide = perturbation_error(target, target, np.linspace(0, 0.9, 901), groups="recurrent").radius_below(0.1 * target.norm())
    stable = judge(
        "", {1: target}, Options(target, target.norm(), np.array([0.0, 0.01]), 0.1 * target.norm(), "recurrent", "exp", 0)
    ).radius[1]
    assert found == pytest.approx(wide, rel=0.1)
    assert stable > 0.01


def linear(exact, sampled, moved=None, **more):
    parts = [rows(exact, method="exact", approximation=0.0, **more), rows(sampled, method="published", approximation=0.0, **more)]
    if moved:
        parts.append(rows(moved, method="all weights", approximation=0.0, **more))
    return pd.DataFrame([row for part in parts for row in part])


def test_fig1a_both_ways():
    spec = LinearSpec(widths=(4, 8, 16), rate=1.0)
    same = linear(LEVEL, LEVEL, nominal=dict.fromkeys(LEVEL, 1e-3), edge=dict.fromkeys(LEVEL, 1.0))
    assert outcomes(Fig1a(), same, spec) == ["agrees", "agrees"]
    apart = linear(SHRINKS, SHRINKS, nominal={4: 0.1, 8: 0.3, 16: 0.5}, edge=SHRINKS)
    assert outcomes(Fig1a(), apart, spec) == ["differs", "differs"]


def test_fig1b_both_ways():
    spec = LinearSpec(widths=(4, 8, 16), smallest=0.1)
    cursed = linear(SHRINKS, SHRINKS, edge=SHRINKS)
    cursed.loc[(cursed["method"] == "published") & (cursed["radius"] > 0), "raw"] = math.inf
    assert outcomes(Fig1b(), cursed, spec) == ["agrees", "agrees"]
    well = linear(LEVEL, LEVEL, edge={4: 1.0, 8: 1.0, 16: 1.001})
    assert outcomes(Fig1b(), well, spec)[0] == "differs"
    missed = linear(SHRINKS, SHRINKS, edge=dict.fromkeys(SHRINKS, 1e-9) | {4: 1e-7, 8: 1e-8})
    assert outcomes(Fig1b(), missed, spec)[1] == "differs"


def test_fig4_both_ways():
    spec = LinearSpec(widths=(4, 8, 16), all_weights=True)
    assert outcomes(Fig4a(), linear(LEVEL, LEVEL, LEVEL), spec) == ["agrees", "agrees", "agrees"]
    assert outcomes(Fig4a(), linear(SHRINKS, SHRINKS, SHRINKS), spec) == ["differs", "differs", "differs"]


@pytest.mark.parametrize(("experiment", "stable", "unstable"), [(Fig2(), "differs", "agrees"), (Fig7b(), "agrees", "differs")])
def test_networks_both_ways(experiment, stable, unstable):
    spec = NetworkSpec(widths=(4, 8, 16))

    def of(kept, nominal=None):
        return pd.DataFrame([row for way in experiment.ways for row in rows(kept, nominal, way=way)])

    assert set(outcomes(experiment, of(LEVEL), spec)) == {stable}
    assert set(outcomes(experiment, of(SHRINKS), spec)) == {unstable}
    assert set(outcomes(experiment, of(LEVEL, dict.fromkeys(LEVEL, 0.6)), spec)) == {"could not be tested"}


def test_radii_beyond_the_grid_take_no_part_in_a_trend():
    falls = {4: 0.1, 8: 0.03, 16: 0.009}
    beyond = curves.decide(dict.fromkeys(falls, math.inf), falls)
    assert (beyond.outcome, "beyond the grid (m = 4)" in beyond.words) == ("undecided", True)
    assert curves.decide({4: 0.2, 8: 0.2, 16: 0.2, 32: math.inf}, falls | {32: 0.001}).outcome == "stable"
    curve = curves.curve_of(pd.DataFrame(rows({4: 0.1})))
    assert curves.kept(curve, 2 * float(curve.error.max())) == math.inf
    assert curves.kept(curve, float(curve.error.max()) / 2) < math.inf


def filtered(kept, tail, rate):
    student = [{"what": "student", "teacher": "one", "rate": rate, "tail": math.nan, "law": "", **row} for row in rows(kept)]
    return pd.DataFrame([*student, {"what": "memory", "teacher": "one", "width": 0, "rate": rate, "tail": tail, "law": "?"}])


def test_fig3_both_ways():
    spec = fig3.Fig3Spec(widths=(4, 8, 16))
    assert outcomes(fig3.Fig3(), filtered(LEVEL, 0.95, 0.5), spec) == ["agrees", "agrees"]
    assert outcomes(fig3.Fig3(), filtered(LEVEL, 0.5, 0.01), spec) == ["differs", "differs"]
    assert outcomes(fig3.Fig3(), filtered(SHRINKS, 0.5, 0.01), spec) == ["could not be tested"] * 2


def test_fig11_both_ways():
    def random(left):
        return pd.DataFrame([{"shift": 1.0, "gain": 2.0, "seed": 0, "left": left, "abscissa": 0.5}])

    assert outcomes(fig11.Fig11a(), random(0.5), fig11.Fig11aSpec()) == ["agrees"]
    assert outcomes(fig11.Fig11a(), random(1e-6), fig11.Fig11aSpec()) == ["differs"]

    def orbit(closure, multiplier, late, trace):
        whole = {
            "height": 5.0,
            "period": 26.0,
            "multiplier": multiplier,
            "liouville": multiplier,
            "closure": closure,
            "determinant": 1.0,
            "trace": trace,
            "slope1": 0.9,
            "slope2": 1.0,
        }
        return pd.DataFrame([{"start": share, "late": late, **whole} for share in (1.0, 0.8, 1.2)])

    assert outcomes(fig11.Fig11b(), orbit(1e-9, 0.5, 1.0, -2.0), fig11.Fig11bSpec()) == ["agrees"] * 4
    assert outcomes(fig11.Fig11b(), orbit(1e-2, 27.0, 1e-9, -1.0), fig11.Fig11bSpec()) == ["differs"] * 4


def test_fig12_both_ways():
    def target(left):
        return pd.DataFrame(
            [{"probe": probe, "seed": seed, "left": left, "law": "persistent"} for probe in fig12.PROBES for seed in range(3)]
        )

    assert outcomes(fig12.Fig12a(), target(0.5), fig12.Fig12Spec()) == ["agrees"] * 2
    assert outcomes(fig12.Fig12a(), target(0.01), fig12.Fig12Spec()) == ["differs"] * 2
    for kept, nominal, outcome in (
        (LEVEL, dict.fromkeys(LEVEL, 0.5), "could not be tested"),
        (LEVEL, FALLS, "differs"),
        (SHRINKS, FALLS, "agrees"),
    ):
        assert outcomes(fig12.Fig12b(), pd.DataFrame(rows(kept, nominal, way="published", stopped="40 steps")), fig12.Fig12Spec()) == [
            outcome
        ]


def scaled(power):
    """Radii m^power(rates, scale), as the derivation has them or not."""
    table = []
    for rates in appc.TARGETS:
        for scale in appc.SCALES:
            radii = {m: float(m) ** power(appc.SCALES[scale], appc.TARGETS[rates]) for m in (4, 8, 16)}
            for row in rows(radii, edge=radii, rates=rates, scale=scale):
                table.append({**row, "kept_relative": row["kept"], "largest_weight": float(row["width"]) ** appc.SCALES[scale]})
    return pd.DataFrame(table)


def test_appc_both_ways():
    spec = appc.AppCSpec(terms=(4, 8, 16))
    assert outcomes(appc.AppC(), scaled(lambda scale, rate: scale - rate), spec) == ["agrees"] * 5
    assert outcomes(appc.AppC(), scaled(lambda scale, rate: 0.0), spec) == ["differs", "agrees", "differs", "agrees", "differs"]
    assert outcomes(appc.AppC(), scaled(lambda scale, rate: -1.0), spec) == ["agrees", "differs", "agrees", "differs", "differs"]


def test_appj_both_ways():
    def grus(distance, measured):
        whole = {
            "width": 4,
            "gain": 1.0,
            "paper_to_differences": distance,
            "closed_to_differences": distance,
            "rate": 0.1,
            "memory_difference": measured,
            "stable": math.isfinite(measured),
        }
        return pd.DataFrame([{"seed": seed, **whole} for seed in range(4)])

    assert outcomes(AppJ(), grus(1e-11, 1e-6), AppJSpec()) == ["agrees", "agrees"]
    assert outcomes(AppJ(), grus(1e-2, 0.2), AppJSpec()) == ["differs", "differs"]
    assert outcomes(AppJ(), grus(1e-11, math.nan), AppJSpec())[1] == "could not be tested"


def test_decay_tells_a_power_law_from_an_exponential():
    t = np.arange(1.0, 2001.0)
    assert tail_ratio(t, np.exp(-0.005 * t)) == pytest.approx(1.0)
    assert tail_ratio(t, t**-2.0) == pytest.approx(0.5, rel=1e-3)
    assert math.isnan(tail_ratio(t, np.ones_like(t)))
    assert left_over(np.ones(8)) == 1.0
    assert left_over(np.zeros(8)) == 0.0


def test_random_nudges_move_each_copy_of_a_mode_by_itself():
    """m copies of one mode: a worst nudge moves all alike, random ones average out, the more the more copies there are."""
    target = F.exponential(0.1)
    worst, found = [], []
    for m in (1, 16):
        model = F.exponential_sum([0.1] * m, [1 / m] * m)
        worst.append(float(perturbation_error(model, target, [0.05], groups="recurrent").raw[0]))
        found.append(float(perturbation_error(model, target, [0.05], groups="recurrent", method="sample", perturbations=10).raw[0]))
    assert worst[0] == pytest.approx(worst[1], rel=1e-6)
    assert found[1] < 0.5 * found[0] <= 0.5 * worst[0] * (1 + 1e-9)
