"""E_m(beta) of models that are odd in some way: what moves, when it is infinite, what is refused, and that the user's model is left alone."""

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals as F
from perdure.errors import ArgumentError, ModelError
from perdure.nn import ContinuousRNN
from perdure.parametrizations import Inverse
from perdure.stability import perturbation_error, sobolev_distance
from perdure.stability.nonlinear import balls
from perdure.stability.nonlinear.modes import grows
from perdure.training.verdict import stable_approximation, trained

SHORT = {"horizon": 8.0, "perturbations": 2}


class Map(nn.Module):
    """x -> f(p, x) for one parameter p."""

    input_size = 1

    def __init__(self, p, f, trained=True, **attributes):
        super().__init__()
        self.p, self.f = nn.Parameter(p, requires_grad=trained), f
        self.one = nn.Parameter(torch.ones(1))
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        """Apply f."""
        return self.f(self.p, x) * self.one


@pytest.mark.parametrize(
    ("p", "f", "wanted"),
    [
        (torch.tensor(1.0), lambda p, x: p * x, 1.5),
        (torch.ones(1, dtype=torch.bfloat16), lambda p, x: p * x, 1.5),
        (torch.tensor([1j]), lambda p, x: p.imag * x, 1.5),
        (1j * torch.eye(2), lambda p, x: p.imag.diagonal().sum() * x, 3.0),
        (torch.ones(2, 3, 2), lambda p, x: p.sum() * x, 1.5 * 12**0.5),  # as a matrix of 2 x 6
        (torch.ones(2, 1, 3, 2), lambda p, x: p.sum() * x, 1.5 * 12**0.5),
        (torch.ones(3), lambda p, x: x, 0.0),
        (torch.zeros(0), lambda p, x: x + p.sum(), 0.0),
        (torch.zeros(0, 3), lambda p, x: x + p.sum(), 0.0),
    ],
    ids=["number", "bfloat16", "complex", "complex matrix", "3 axes", "4 axes", "no effect", "empty", "empty matrix"],
)
def test_parameters_of_every_shape_and_type(p, f, wanted):
    """y = g x moves by |dg| |x|, and by twice that over a step from -x to x: 3 beta times the dual norm of dg/dp."""
    curve = perturbation_error(Map(p, f), None, [0.0, 0.5], groups=["p"], **SHORT)
    np.testing.assert_allclose(curve.error, [0.0, wanted], rtol=1e-9, atol=1e-12)
    assert curve.slope == pytest.approx(2 * wanted, rel=1e-9, abs=1e-12)


def test_integers_stay():
    curve = perturbation_error(Map(torch.tensor([0]), lambda p, x: x[..., p], trained=False), None, [0.5], **SHORT)
    np.testing.assert_allclose(curve.error, [1.5])


@pytest.mark.parametrize("kind", balls.KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_best_move_has_full_length_and_attains_the_dual_norm(kind, dtype):
    g = torch.randn(3, 4, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
    radius = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    move = balls.best(g, kind, radius)
    torch.testing.assert_close(balls.norm(move, kind), radius)
    torch.testing.assert_close((g.conj() * move).sum((1, 2)).real, radius * balls.dual(g, kind))


@pytest.mark.parametrize("dt", [torch.tensor(0.5), np.float32(0.5), nn.Parameter(torch.tensor(0.5), requires_grad=False)])
def test_a_model_says_its_dt_as_any_one_number(dt):
    model = Map(torch.ones(1), lambda p, x: p * x, dt=dt)
    assert perturbation_error(model, None, [0.5], groups=["p"], **SHORT).error[0] == pytest.approx(0.5 + 2 * 0.5 / 0.5)
    assert sobolev_distance(model, lambda x: 0.5 * x, horizon=8.0).dt == 0.5


def test_attributes_that_mean_something_else():
    model = Map(torch.ones(1), lambda p, x: p * x, dt=lambda: 1, hidden_size=(3, 4), step=lambda *a: (1, 2, 3))
    curve = perturbation_error(model, None, [0.5], groups=["p"], **SHORT)
    assert (curve.width, curve.dt, curve.error[0]) == (0, 1.0, pytest.approx(1.5))


def cell(weight, bias=0.0):
    layer = nn.RNN(1, 1, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for name, value in (("weight_hh_l0", weight), ("weight_ih_l0", 1.0), ("bias_ih_l0", bias), ("bias_hh_l0", 0.0)):
            getattr(layer, name).fill_(value)
    return layer


def test_a_state_that_settles_beside_an_unstable_rest_is_bounded():
    """h' = tanh(w h + b + x): at w = 1.4 it has three equilibria. With b = 0 it starts at the unstable one; with b = 0.01 it settles at a stable one."""
    radii = [0.0, 0.05, 0.5]
    middle = perturbation_error(cell(0.9), None, radii, groups="recurrent", **SHORT)
    assert np.isinf(middle.error).tolist() == [False, False, True]
    assert 0.1 <= middle.divergence_radius <= 0.10002
    beside = perturbation_error(cell(0.9, 0.01), None, radii, groups="recurrent", **SHORT)
    assert np.isfinite(beside.error).all()
    assert beside.divergence_radius == np.inf


def test_a_model_that_is_unstable_itself():
    curve = perturbation_error(cell(1.3), F.exponential(1.0), [0.0, 0.1], groups="recurrent", **SHORT)
    assert np.isinf(curve.error).all()
    assert curve.divergence_radius == 0.0


@pytest.mark.parametrize("part", ["input", "readout", "neither"])
def test_a_mode_that_inputs_do_not_reach_or_outputs_do_not_show(part):
    """Rates 0.1 and 1: without the slow mode it is the other one that breaks."""
    layer = ContinuousRNN(
        1, 2, activation="tanh", structure="diagonal", parametrization="direct", dt=0.2, output_size=1, bias=False, batch_first=True, dtype=torch.float64
    )  # fmt: skip
    layer.recurrent_l0.assign_spectrum(torch.tensor([0.1, 1.0], dtype=torch.float64))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)[0] = part != "input"
        layer.readout.weight.fill_(1.0)[0, 0] = part != "readout"
    curve = perturbation_error(layer, None, [0.0, 0.05, 0.5, 1.5], groups="recurrent", **SHORT)
    wanted = 0.1 if part == "neither" else 1.0
    assert wanted <= curve.divergence_radius <= 1.001 * wanted
    assert np.isfinite(curve.error[:2]).all()
    assert np.isinf(curve.error[2]) == (part == "neither")


def test_reached_and_seen_through_a_change_of_basis():
    """The same three modes in oblique coordinates, and a mode that stands twice, of which the output shows the difference only."""
    basis = np.random.default_rng(0).standard_normal((3, 3))
    turn = lambda a, b, c: (basis @ a @ np.linalg.inv(basis), basis @ b, c @ np.linalg.inv(basis))  # noqa: E731
    a, ones = np.diag([1.2, 0.9, -1.1]), np.ones((3, 1))
    for reached, seen in [([1, 1, 0], [1, 1, 1]), ([0, 1, 1], [1, 0, 1]), ([0, 1, 1], [1, 1, 0]), ([1, 1, 0], [0, 1, 1])]:
        b, c = ones * np.array(reached)[:, None], ones.T * np.array(seen)
        assert grows(*turn(a, b, c), 0.0) == bool(reached[0] * seen[0] + reached[2] * seen[2])
    assert not grows(*turn(np.diag([1.2, 1.2, 0.5]), ones, np.array([[1.0, -1.0, 1.0]])), 0.0)


def test_a_radius_many_powers_of_ten_too_large():
    curve = perturbation_error(cell(0.9), None, [1e100], groups="recurrent", **SHORT)
    assert np.isinf(curve.error[0])
    assert 0.1 <= curve.divergence_radius <= 0.10002


def test_maps_that_change_in_time_are_taken_at_one_time():
    """y_t = p x_t at even steps, 0 at odd ones: at every time |D| + |dD/dt| is at most 2 beta, and it is that at the last of nine."""
    even = lambda p, x: p * x * (torch.arange(x.shape[1]) % 2 == 0).to(x)[:, None]  # noqa: E731
    curve = perturbation_error(Map(torch.ones(1), even), None, [0.5], groups=["p"], horizon=9.0, perturbations=2)
    assert curve.error[0] == pytest.approx(1.0)
    assert "not the same at all times" in curve.status
    ramp = lambda p, x: p * x * torch.arange(x.shape[1]).to(x)[:, None]  # noqa: E731
    curve = perturbation_error(Map(torch.ones(1), ramp), None, [0.5], groups=["p"], **SHORT)
    assert curve.error[0] == pytest.approx(0.5 * 7 + 0.5 * (7 + 6))  # at the last of eight steps
    assert "not the same" not in perturbation_error(cell(0.9, 0.5), None, [0.1], **SHORT).status


def test_models_without_derivatives():
    by_numpy = lambda x: torch.as_tensor(0.5 * np.tanh(x.numpy()))  # noqa: E731
    found = sobolev_distance(nn.Tanh(), by_numpy, input_size=1, horizon=8.0)
    assert 1.49 < found < 1.5  # half of 3 |tanh(x)| / |x|, at |x| = 1/32
    assert "no derivatives" in found.status
    detached = Map(torch.ones(1), lambda p, x: p.detach() * x.detach())
    curve = perturbation_error(detached, None, [0.5], groups=["one"], **SHORT)
    assert curve.error[0] == pytest.approx(1.5)


class NoCopy(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_that_cannot_be_copied_is_left_as_it_was(fails):
    model = NoCopy(1, 1, dtype=torch.float64).train()
    before = [p.detach().clone() for p in model.parameters()]
    if fails:
        with pytest.raises(ModelError, match="output channels"):
            perturbation_error(model, lambda x: torch.cat([x, x], -1), [0.5], **SHORT)
    else:
        assert perturbation_error(model, None, [0.5], **SHORT).error[0] == pytest.approx(1.5)
    assert model.training
    assert all(torch.equal(a, b) and b.requires_grad and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_seeds():
    layer = cell(0.5)
    state = torch.get_rng_state()
    one, same, other = (perturbation_error(layer, F.exponential(1.0), [0.1], method="sample", seed=s, **SHORT).raw for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert one == same != other


class TimeFirst(nn.Module):
    input_size = 1

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, 2)

    def forward(self, x):
        """(T, B, 1) to (T, B, 2)."""
        return self.rnn(x)[0]


def averaged():
    return Map(torch.ones(1), lambda p, x: p * (x - x.mean(0)))


BAD = [
    (lambda: perturbation_error(TimeFirst(), None, [0.1], **SHORT), ModelError, "batch_first=False"),
    (lambda: perturbation_error(averaged(), None, [0.1], **SHORT), ModelError, "each sequence"),
    (lambda: perturbation_error(nn.LSTM(1, 2, bidirectional=True), None, [0.1], **SHORT), ModelError, "`model` to be causal"),
    (lambda: sobolev_distance(nn.Tanh(), lambda x: x.flip(1), input_size=1), ModelError, "`target` to be causal"),
    (lambda: sobolev_distance(nn.Tanh(), lambda x: x / 0, input_size=1), ModelError, "`target` to give finite"),
    (lambda: sobolev_distance(nn.Tanh(), lambda x: x * torch.rand(()), input_size=1), ModelError, "`target`.*second call"),
    (lambda: perturbation_error(NoCopy(1, 1), None, [0.1], **SHORT), ModelError, r"model\.double"),
    (lambda: perturbation_error(cell(0.5), None, [0.1], groups=["all", "typo"], **SHORT), ArgumentError, "typo"),
    (lambda: perturbation_error(Map(torch.ones(1), torch.mul, balls={"p": "nuclear"}), None, [0.1], **SHORT), ArgumentError, "spectral"),
    (lambda: perturbation_error(cell(0.5), None, [0.1], seed=2**63, **SHORT), ArgumentError, "seed"),
    (lambda: stable_approximation(F.exponential(1.0), activation="tanh", dt=0.0), ArgumentError, "dt"),
]


@pytest.mark.parametrize("index", range(len(BAD)))
def test_what_cannot_be_measured_is_refused(index):
    work, kind, words = BAD[index]
    with pytest.raises(kind, match=words):
        work()


def test_a_verdict_is_about_the_map_that_was_given():
    models, _ = trained(F.exponential(1.0), [1], "tanh", Inverse(a=3.0, b=0.05), "diagonal", 0.2, 2.0, 0)
    assert (models[1].recurrent_l0.map.a, models[1].recurrent_l0.map.b) == (3.0, 0.05)


def test_time_first_as_told():
    model = TimeFirst()
    told = perturbation_error(model, None, [0.1], batch_first=False, groups="recurrent", **SHORT)
    plain = perturbation_error(model.rnn, None, [0.1], groups="recurrent", **SHORT)
    assert told.error[0] == pytest.approx(plain.error[0], rel=1e-6)
