"""An exponential sum in a nonlinear network: kernel and linearity, against the sum itself."""

import numpy as np
import pytest
import torch

from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.training.placement import place, real_sum, suits

D = torch.float64
SUM = F.exponential_sum([0.2, 1.0, 3.0], [0.5, -1.0, 2.0])
TURNING = F.oscillating(0.4, 2.0) + 0.5 * F.exponential(1.0)


def network(width, activation, parametrization, structure, d=1, **options):
    torch.manual_seed(0)
    return ContinuousRNN(
        d, width, activation=activation, parametrization=parametrization, structure=structure, dt=0.1, output_size=1, dtype=D, batch_first=True, **options
    )  # fmt: skip


def run(model, x):
    with torch.no_grad():
        return model(x)[0]


EXACT = [
    ("linear", "direct", "dense", SUM, 3), ("linear", "exp", "diagonal", SUM, 4), ("linear", "softplus", "symmetric", SUM, 3), ("linear", "inverse", "diagonal", SUM, 3),
    ("linear", "direct", "dense", TURNING, 3), ("linear", "exp", "dissipative", TURNING, 4), ("linear", "exp", "complex", TURNING, 6), ("linear", "exp", "dense", TURNING, 3),
    ("hardtanh", "direct", "dense", SUM, 3), ("hardtanh", "softplus", "diagonal", SUM, 3), ("relu", "direct", "dense", SUM, 6), ("relu", "direct", "dense", TURNING, 7),
    ("softplus", "direct", "dense", SUM, 6), ("relu", "exp", "symmetric", SUM, 6), ("relu", "softplus", "dissipative", TURNING, 6),
]  # fmt: skip


@pytest.mark.parametrize(("activation", "parametrization", "structure", "target", "width", "integrator"), [
    *[(*case, "euler") for case in EXACT], *[(*case, "exponential") for case in EXACT if case[0] == "linear" and case[1] != "inverse"],
])  # fmt: skip
def test_where_nothing_bends_the_network_is_the_sum_on_every_bounded_input(
    activation, parametrization, structure, target, width, integrator
):
    """Euler's poles are e^{-lambda dt}, so that outputs agree at every step; the exponential integrator is exact for a linear sigma."""
    model = network(width, activation, parametrization, structure, integrator=integrator)
    placed = place(model, target, horizon=None, bound=2.0, scale=None)
    assert placed.faithful
    x = 4.0 * torch.rand(5, 60, 1, generator=torch.Generator().manual_seed(0), dtype=D) - 2.0
    wanted = target(x, dt=0.1)
    torch.testing.assert_close(run(model, x), wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize(("activation", "structure", "order"), [("tanh", "dense", 2), ("sigmoid", "dense", 2), ("gelu", "diagonal", 1), ("elu", "diagonal", 1), ("softsign", "diagonal", 1), ("silu", "dense", 1)])  # fmt: skip
def test_what_bends_falls_with_the_scale_at_its_order(activation, structure, order):
    x = 2.0 * torch.rand(5, 60, 1, generator=torch.Generator().manual_seed(0), dtype=D) - 1.0
    errors = []
    for scale in (0.02, 0.01):
        model = network(6, activation, "direct" if structure == "dense" else "exp", structure)
        place(model, SUM, horizon=None, bound=1.0, scale=scale)
        errors.append(float((run(model, x) - SUM(x, dt=0.1)).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


def test_two_inputs():
    target = F.stack(SUM, F.exponential(0.5))
    model = network(8, "hardtanh", "direct", "dense", d=2)
    assert place(model, target, horizon=None, bound=1.0, scale=None).faithful
    x = 2.0 * torch.rand(3, 40, 2, generator=torch.Generator().manual_seed(0), dtype=D) - 1.0
    wanted = target(x, dt=0.1)
    assert float((run(model, x) - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


def test_turning_modes_in_a_structure_without_them_give_real_rates_and_say_so():
    model = network(6, "tanh", "exp", "diagonal")
    placed = place(model, TURNING, horizon=None, bound=1.0, scale=None)
    assert not placed.faithful
    assert not np.iscomplexobj(placed.sum.rates)
    assert placed.sum.error == pytest.approx((TURNING - placed.sum).norm() / TURNING.norm())


def test_a_map_that_does_not_reach_the_rates_gives_the_nearest():
    model = network(1, "tanh", "inverse", "diagonal")
    fast = F.exponential(200.0)
    with torch.no_grad():
        placed = place(model, fast, horizon=None, bound=1.0, scale=None)
    wanted = -np.expm1(-200.0 * 0.1) / 0.1
    reach = -model.recurrent_l0.map.limits(D)[0]
    assert placed.faithful == (reach >= wanted)
    assert float(-model.recurrent_l0.spectrum().real[0]) == pytest.approx(min(reach, wanted), rel=1e-3)


@pytest.mark.parametrize(
    ("activation", "structure", "width"), [("relu", "diagonal", 4), ("sigmoid", "complex", 4), ("softplus", "dense", 1)]
)
def test_no_pairs_no_sum(activation, structure, width):
    model = network(width, activation, "direct", structure)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    assert place(model, SUM, horizon=None, bound=1.0, scale=None) is None
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())


def test_states_left_over_are_silent():
    model = network(9, "tanh", "direct", "dense")
    placed = place(model, F.exponential(1.0) + F.oscillating(0.5, 1.0), horizon=None, bound=1.0, scale=0.01)
    x = torch.rand(2, 50, 1, generator=torch.Generator().manual_seed(0), dtype=D)
    torch.testing.assert_close(run(model, x), placed.sum(x, dt=0.1), rtol=1e-3, atol=1e-3)
    assert float(model.recurrent_l0.spectrum().real.max()) < 0


def test_real_sums_are_least_squares_on_the_kernel():
    found = real_sum(F.exponential_sum([0.5 / 19.9, 10.0], [1.0, 2.0]), 2, 0.1, 20.0)
    np.testing.assert_allclose(found.coefficients, [1.0, 2.0], rtol=1e-9)


@pytest.mark.parametrize(("options", "frozen", "answer"), [
    ({}, False, True), ({}, True, False), ({"num_layers": 2}, False, False), ({"bidirectional": True}, False, False), ({"output_size": 2}, False, False), ({"output_size": None}, False, False),
])  # fmt: skip
def test_which_models_are_suited(options, frozen, answer):
    model = ContinuousRNN(1, 3, dt=0.1, **({"output_size": 1} | options))
    if frozen:
        model.bias_l0.requires_grad_(False)
    assert suits(model) is answer
    assert not suits(torch.nn.Linear(1, 1))
