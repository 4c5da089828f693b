"""The user's own sweep: right numbers, combinations left out with their reasons, and one clear line for each mistake in a spec."""

import math

import numpy as np
import pandas as pd
import pytest

import perdure
from perdure import functionals as F
from perdure.errors import ArgumentError
from perdure.experiments.base import Data
from perdure.experiments.run import run
from perdure.experiments.sweep import Sweep
from perdure.experiments.sweep_file import read_sweep
from perdure.experiments.sweep_spec import KINDS, cells, sweep_spec, target_of

POLYNOMIAL = {"kind": "polynomial", "power": 2.0}


def spec(**values):
    return sweep_spec({"targets": [POLYNOMIAL], "widths": [2], **values})


def test_linear_cells_are_those_of_the_library(tmp_path):
    grid = spec(widths=[2, 4], parametrizations=["direct", "softplus"], radii=[0.01, 0.1])
    table = run(Sweep(), grid, store=tmp_path, backend="sequential").table
    assert len(table) == 2 * 2 * 2
    target = F.polynomial(power=2.0)
    for (m, name), rows in table.groupby(["width", "parametrization"]):
        curve = perdure.perturbation_error(
            perdure.approximate(target, int(m)), target, [0.0, 0.01, 0.1], groups="recurrent", parametrization=str(name), perturbations=8
        )
        np.testing.assert_array_equal(rows["error"], curve.error[1:])
        np.testing.assert_array_equal(rows["upper"], curve.upper[1:])
        assert set(rows["divergence_radius"]) == {curve.divergence_radius}
        assert set(rows["nominal"]) == {curve.raw[0] / 3.0}  # the norm of (1 + t)^-2 is 1 + 2
        assert set(rows["method"]) == {"exact"}


def test_one_mode_by_hand(tmp_path):
    """e^-t moved by beta: 1/(1 - beta) - 1 + beta-dependent slope, infinite at 1; see perturbation_error's doctest."""
    grid = sweep_spec(
        {"targets": [{"kind": "exponential", "rate": 1}], "widths": [1], "parametrizations": ["direct"], "radii": [0, 0.5, 1]}
    )
    rows = run(Sweep(), grid, store=tmp_path, backend="sequential").table
    assert rows["error"].tolist() == pytest.approx([0.0, 1.5, math.inf], abs=1e-9)
    assert rows["relative"].tolist() == pytest.approx([0.0, 0.5, math.inf], abs=1e-9)  # the norm of e^-t is 3
    (chart,) = Sweep().charts(rows, grid)
    assert [series.label for series in chart.series] == ["m = 1", ""]
    assert chart.series[1].x.tolist() == [1.0]
    assert "infinite from there on" in chart.caption


def test_a_network_is_trained_and_searched():
    grid = spec(activations=["tanh"], parametrizations=["exp"], radii=[0.0, 0.1], horizon=3.2, perturbations=2)
    (job,) = Sweep().jobs(grid)
    assert (job["structure"], job["horizon"]) == ("diagonal", 3.2)
    rows = Sweep().compute(job, Data())
    assert [row["radius"] for row in rows] == [0.0, 0.1]
    assert rows[0]["error"] < rows[1]["error"]
    assert 0 < rows[0]["nominal"] < 0.3
    assert rows[0]["method"] == "ascent"
    assert rows == Sweep().compute(job, Data())
    (chart,) = Sweep().charts(pd.DataFrame([{**job, **row} for row in rows]), grid)
    assert "tanh, exp, diagonal W; recurrent" in chart.title


def test_a_chart_for_each_combination_and_a_curve_for_each_width_and_seed(tmp_path):
    grid = spec(widths=[1, 2], parametrizations=["direct", "exp"], groups=["recurrent", "recurrent+readout"], seeds=[0, 1], radii=[0, 0.01])
    table = run(Sweep(), grid, store=tmp_path, backend="sequential").table
    charts = Sweep().charts(table, grid)
    assert len(charts) == 4
    assert [series.label for series in charts[1].series if series.line] == ["m = 1", "", "m = 2", ""]
    assert len({chart.name for chart in charts}) == 4


@pytest.mark.parametrize(
    ("values", "left_out"),
    [
        (
            {"activations": ["linear", "tanh"], "structures": ["dense"], "parametrizations": ["direct"]},
            {"linear, direct, dense, recurrent": "has rates and no structure"},
        ),
        (
            {"activations": ["linear", "tanh"], "groups": ["bias"], "parametrizations": ["direct"]},
            {"linear, direct, usual, bias": "an exponential sum has no bias"},
        ),
        (
            {"activations": ["tanh"], "structures": ["usual", "diagonal"], "parametrizations": ["exp"]},
            {"tanh, exp, diagonal, recurrent": "usual means diagonal here"},
        ),
    ],
)
def test_what_makes_no_sense_is_left_out_and_said(values, left_out):
    jobs, skipped = cells(spec(**values))
    assert len(jobs) == 1
    assert set(skipped) == set(left_out)
    for name, text in left_out.items():
        assert text in skipped[name]


@pytest.mark.parametrize("kind", KINDS)
def test_targets_survive_their_text(kind):
    values = {"rates": [1, 2.5], "coefficients": [1, -0.1]} if kind == "exponential_sum" else {}
    (target,) = sweep_spec({"targets": [{"kind": kind, **values}], "widths": [2]}).targets
    times = np.linspace(0, 3, 7)
    np.testing.assert_array_equal(target_of(str(target)).kernel(times), target.functional().kernel(times))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- 1\n- 2\n", "to be a mapping of names to values, but bad.yaml holds a list"),
        ("targets: [1\nwidths: 3", "breaks its rules in line 2"),
        ("widths: [2]\n\tx: 1", "breaks its rules in line 2"),
        ("widths: [2]\nwidths: [3]", "line 2 (`widths` is given twice)"),
        ("widths: [2]", "`targets` to be given, but it is missing"),
        (
            "targets: []\nwidths: [2]",
            "`targets` to hold at least one value, but it is empty: write for example [{kind: polynomial, power: 1.5}]",
        ),
        ("targets: [{kind: polynomial}]\nwidths: []", "`widths` to hold at least one value, but it is empty: write for example [4, 8]"),
        ("targets: [{kind: polynomial}]\nwidths: 4", "`widths` to be a list such as [4, 8], but got 4: put it in brackets"),
        ("targets: [{kind: polynomial}]\nwidths: [2]\n? [1, 2]\n: 3", "in line 3 (a list or a mapping stands where a name belongs)"),
        ("targets: [{[1, 2]: 3}]\nwidths: [2]", "in line 1 (a list or a mapping stands where a name belongs)"),
        ("1: [2]\nwidths: [2]", "in line 1 (`1` stands where a name belongs)"),
        (f"targets: [{{kind: polynomial}}]\nwidths: [{10**20}]", f"`widths[0]` to be less than or equal to 4096, but got {10**20}: see"),
        (f"targets: [{{kind: polynomial}}]\nwidths: [0x{'f' * 5000}]", "less than or equal to 4096, but got a number too long to show"),
        ("targets: [{kind: polynomial}]\nwidths: [2]\nseeds: [4294967296]", "`seeds[0]` to be less than 4294967296"),
        (
            "targets: [{kind: polynomial}]\nwidths: [2]\ngroups: [recurrent+input, input+recurrent]",
            "`groups` to be without repeats; recurrent+input is there twice",
        ),
        ("targets: [{kind: polynom}]\nwidths: [2]", "`targets[0].kind` to be one of 'polynomial', 'exponential'"),
        ("targets: [{power: 2}]\nwidths: [2]", "`targets[0].kind` to be given"),
        ("targets: [{kind: polynomial, power: 0.5}]\nwidths: [2]", "expected argument `power` to be greater than 1, but got 0.5"),
        (
            "targets: [{kind: polynomial, power: x}]\nwidths: [2]",
            "`targets[0].power` to be a valid number, unable to parse string as a number, but got 'x'",
        ),
        ("targets: [{kind: polynomial, rate: 2}]\nwidths: [2]", "`targets[0].rate` to be a name that is known here"),
        ("targets: [{kind: polynomial}]\nwidth: [2]", "did you mean `widths`?"),
        ("targets: [{kind: polynomial}]\nwidths: [2, 0]", "`widths[1]` to be greater than or equal to 1, but got 0"),
        ("targets: [{kind: polynomial}]\nwidths: [true]", "`widths[0]` to be a number, not yes or no, but got True"),
        ("targets: [{kind: polynomial}]\nwidths: [2, 2]", "`widths` to be without repeats; 2 is there twice"),
        (
            "targets: [{kind: polynomial}, {kind: polynomial, power: 1.5}]\nwidths: [2]",
            "`targets` to be without repeats; polynomial(power=1.5, scale=1.0) is there twice",
        ),
        ("targets: [{kind: polynomial}]\nwidths: [2]\nradii: [0.1, 0.1]", "`radii` to be increasing, without repeats"),
        ("targets: [{kind: polynomial}]\nwidths: [2]\nradii: [.inf]", "`radii[0]` to be a finite number, but got inf"),
        ("targets: [{kind: polynomial}]\nwidths: [2]\nactivations: [tan]", "`activations`: expected argument `activation` to be one of"),
        (
            "targets: [{kind: polynomial}]\nwidths: [2]\nparametrizations: [log]",
            "`parametrizations` to be among direct, exp, softplus, inverse; 'log' is not",
        ),
        ("targets: [{kind: polynomial}]\nwidths: [2]\ngroups: [recurrent+output]", "`groups` to be all, or some of"),
        ("targets: [{kind: polynomial}]\nwidths: [2]\nseeds: [-1]", "`seeds[0]` to be greater than or equal to 0, but got -1"),
    ],
)
def test_mistakes_in_a_spec_are_one_clear_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentError) as error:
        read_sweep(path)
    assert message in str(error.value)
    assert "bad.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_that_is_wrong_is_counted_once(tmp_path):
    with pytest.raises(ArgumentError) as error:
        spec(widths=["four"])
    assert "more to mend" not in str(error.value)
    with pytest.raises(ArgumentError, match=r"\(1 more to mend\)"):
        spec(widths=["four"], seeds=[-1])


def test_a_name_that_is_no_text():
    with pytest.raises(ArgumentError, match="expected each name to be a text, but got 1: "):
        spec(targets=[{**POLYNOMIAL, 1: 2}])


def test_groups_have_one_order():
    grid = spec(groups=["readout+recurrent", "input + input", "all"])
    assert grid.groups == ("recurrent+readout", "input", "all")


def test_a_grid_of_which_nothing_makes_sense_is_refused(tmp_path):
    grid = spec(groups=["bias", "bias+readout"])
    with pytest.raises(ArgumentError, match=r"all are left out \(an exponential sum has no bias\): add to these lists"):
        run(Sweep(), grid, store=tmp_path, backend="sequential")


def test_files_that_are_no_specs(tmp_path):
    with pytest.raises(ArgumentError, match="there is no "):
        read_sweep(tmp_path / "none.yaml")
    with pytest.raises(ArgumentError, match="can be read"):
        read_sweep(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArgumentError, match="no text in UTF-8"):
        read_sweep(tmp_path / "binary.yaml")


def test_small_numbers_without_a_point_are_numbers(tmp_path):
    """YAML reads 1e-3 as a text."""
    (tmp_path / "s.yaml").write_text("targets: [{kind: polynomial}]\nwidths: [2]\nradii: [0, 1e-3]")
    assert read_sweep(tmp_path / "s.yaml").radii == (0.0, 1e-3)
