"""Verdicts on trained nonlinear networks: the paper's Fig. 2 and Fig. 8, small."""

import numpy as np
import pytest
import torch

import perdure
from perdure import functionals as F
from perdure.errors import ArgumentError, ArgumentTypeError
from perdure.training.verdict import usual_structure

RADII = [0.0, 3e-3, 0.03, 0.3]


def test_two_widths_show_the_curse_but_decide_nothing():
    """A wider direct network is closer and breaks sooner."""
    verdict = perdure.stable_approximation(
        F.polynomial(1.5), activation="tanh", parametrization="direct", widths=(4, 8), radii=RADII, perturbations=2
    )
    assert verdict.outcome == "undecided"
    near, far = (verdict.curves[m] for m in (4, 8))
    assert far.error[0] < 0.2 * near.error[0]
    assert far.divergence_radius < 0.1 * near.divergence_radius
    assert verdict.radius[8] < 0.1 * verdict.radius[4]
    assert "dense tanh" in verdict.family


def test_a_stable_map_keeps_its_radius():
    verdict = perdure.stable_approximation(
        F.polynomial(1.5), activation="tanh", parametrization="exp", widths=(4, 8), radii=RADII, perturbations=2
    )
    assert verdict.radius[8] > 0.9 * verdict.radius[4] > 0.1
    assert all(np.isfinite(c.error).all() for c in verdict.curves.values())
    assert "not seen" in verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "name", "outcome"), [("tanh", "direct", "unstable"), ("relu", "direct", "unstable"), ("hardtanh", "softplus", "stable")]
)
def test_the_figures_of_the_paper(activation, name, outcome):
    verdict = perdure.stable_approximation(F.polynomial(1.5), activation=activation, parametrization=name, widths=(4, 8, 16, 32))
    assert verdict.outcome == outcome


@pytest.mark.slow
def test_a_moved_readout_is_undecided_where_the_modes_outlast_the_horizon():
    verdict = perdure.stable_approximation(
        F.polynomial(1.5), activation="tanh", widths=(4, 8, 16), groups="readout", radii=[0.0, 0.01, 0.1]
    )
    assert verdict.outcome != "stable"


def test_linear_networks_go_to_the_exact_verdict():
    verdict = perdure.stable_approximation(F.polynomial(2.0), parametrization="exp", widths=(4, 8))
    assert verdict.family == "sums of least W1 error"


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "softplus"])
def test_states_that_only_rise_need_a_matrix(activation):
    assert usual_structure(activation, "exp") == "symmetric"


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        ({"activation": "sine"}, ArgumentError, "activation"),
        ({"activation": "tanh", "widths": (8, 4)}, ArgumentError, "widths"),
        ({"activation": "tanh", "threshold": 2.0}, ArgumentError, "threshold"),
        ({"activation": "tanh", "parametrization": "square"}, ArgumentError, "parametrization"),
        ({"activation": "tanh", "structure": "ring"}, ArgumentError, "structure"),
    ],
)
def test_bad_input(options, kind, word):
    with pytest.raises(kind, match=word):
        perdure.stable_approximation(F.polynomial(1.5), **options)


def test_a_target_that_is_no_functional():
    with pytest.raises(ArgumentTypeError, match="target"):
        perdure.stable_approximation(3, activation="tanh")


def test_the_slowest_mode_counts_however_small_its_weight():
    """Rate 2.8e-7 with a weight like its power 1.5: a move of 1e-6 ends its decay."""
    model = perdure.nn.ContinuousRNN(
        1, 16, activation="tanh", parametrization="direct", structure="dense", dt=0.1, output_size=1, dtype=torch.float64
    )
    perdure.fit(model, F.polynomial(1.5), dt=0.1, horizon=25.6)
    curve = perdure.perturbation_error(model, F.polynomial(1.5), [1e-6], groups="recurrent", horizon=5.0, perturbations=2)
    assert np.isinf(curve.error[0])
    assert curve.divergence_radius < 5e-7
