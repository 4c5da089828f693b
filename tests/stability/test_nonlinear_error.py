"""E_m(beta) of modules: against exact values of linear models, brute force on tiny networks, closed forms, and itself without batches."""

import copy
import itertools

import numpy as np
import pytest
import torch

import perdure
from perdure import functionals as F
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError
from perdure.functionals import ExponentialSum
from perdure.nn import ContinuousRNN, DiagonalSSM
from perdure.stability import perturbation_error, sobolev_distance
from perdure.stability.nonlinear.copies import Copies

TARGET = F.exponential_sum([0.9, 0.35], [0.5, 0.4])


def network(m=4, **options):
    torch.manual_seed(m)
    defaults = {"activation": "tanh", "structure": "dense", "parametrization": "direct", "dt": 0.2, "output_size": 1}
    return ContinuousRNN(1, m, batch_first=True, dtype=torch.float64, **(defaults | options))


def test_a_map_without_memory():
    """tanh(x) - x/2: |.|/|x| is largest at 0, where it is 1/2, and a jump from -x to x changes the output by twice that."""
    found = sobolev_distance(torch.nn.Tanh(), lambda x: 0.5 * x, input_size=1, horizon=8.0)
    wanted = lambda s: 1.5 * abs(np.tanh(s) / s - 0.5) * 2  # noqa: E731
    assert found == pytest.approx(max(wanted(s) for s in (1.0, 0.25, 1 / 32)), rel=1e-9)
    assert found.status.startswith("lower bound")
    assert found.level + found.slope == pytest.approx(float(found))
    assert np.abs(found.level_input).max() == pytest.approx(1 / 32)


def test_distance_of_a_linear_network_is_the_exact_one():
    """A linear network with held inputs is an exponential sum: here e^{-t/2}, by the exponential integrator, against the integral on the horizon."""
    layer = network(1, activation="linear", structure="diagonal", integrator="exponential", bias=False, dt=0.05)
    layer.recurrent_l0.assign_spectrum(torch.tensor([0.5], dtype=torch.float64))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.readout.weight.fill_(1.0)
    target = F.exponential(1.0)
    exact = float(sobolev_distance(F.exponential(0.5), target, horizon=20.0))
    found = sobolev_distance(layer, target, horizon=20.0)
    assert found == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("case", range(10))
def test_ascent_is_within_5_percent_of_exact_and_never_above(case):
    """Random diagonal models of up to 16 states, pairs among them, at a random radius and map, on held inputs against the integral over the horizon."""
    g = np.random.default_rng(case)
    m = int(g.integers(1, 9))
    rates = np.exp(g.uniform(np.log(0.2), np.log(2.0), m)) + (1j * g.uniform(0.2, 1.5, m) if case % 2 else 0)
    weights = g.standard_normal(m) + (1j * g.standard_normal(m) if case % 2 else 0)
    model = (
        ExponentialSum(rates, weights)
        if not case % 2
        else ExponentialSum(np.concatenate([rates, rates.conj()]), np.concatenate([weights, weights.conj()]) / 2)
    )
    name = ("direct", "exp", "softplus")[case % 3]
    beta = float(g.uniform(0.02, 0.1))
    target = F.exponential_sum([0.5, 1.5], [1.0, -0.5])
    options = {"groups": "recurrent", "parametrization": name, "horizon": 12.0}
    exact = perturbation_error(model, target, [beta], **options)
    found = perturbation_error(model, target, [beta], method="ascent", perturbations=4, **options)
    assert found.method == "ascent"
    assert 0.95 * exact.error[0] <= found.error[0] <= exact.error[0] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("model", "radius", "share"),
    [
        (F.exponential_sum([1.0, 0.3], [0.5, 0.4]), 0.3, 0.95),
        (ExponentialSum([0.3 + 1j, 0.3 - 1j, 1.0], [0.4, 0.4, -0.3]), 0.3, 0.95),
        (
            perdure.approximate(F.polynomial(2.0), 4),
            0.0713,
            0.9,
        ),  # 1024 steps are too few for rates of 0.07 and 3.6: a mean over 0.4 of the shortest time constant
    ],
    ids=["real", "pair", "polynomial"],
)
def test_ascent_and_exact_are_infinite_from_the_same_radius(model, radius, share):
    """Without a horizon both are about [0, inf): what diverges within the radii does so in both, and below the radius the search finds this share."""
    radii = [0.0, 0.5 * radius, 2 * radius]
    target = F.exponential_sum([0.5, 1.5], [1.0, -0.5])
    exact = perturbation_error(model, target, radii, groups="recurrent")
    found = perturbation_error(model, target, radii, groups="recurrent", method="ascent", perturbations=2)
    assert found.divergence_radius == exact.divergence_radius == pytest.approx(radius, rel=0.02)
    assert np.isinf(found.error).tolist() == np.isinf(exact.error).tolist() == [False, False, True]
    assert (share * exact.error[:2] <= found.error[:2]).all()
    assert (found.error[:2] <= exact.error[:2] * (1 + 1e-9)).all()
    assert found.horizon == pytest.approx(8.0 / min(0.5, model.rates.real.min()), rel=0.01)
    at = perturbation_error(model, target, [exact.divergence_radius], groups="recurrent", method="ascent", perturbations=2)
    assert np.isinf(at.error[0])


def test_a_target_slower_than_the_horizon_counts_up_to_it():
    """e^{-t/50} on 12 units of time: int_12^inf = 39.33 and twice e^{-12/50} less than on [0, inf), by either method, and nothing diverges."""
    model, target, radii = F.exponential_sum([1.0, 0.3], [0.5, 0.4]), F.exponential(0.02), [0.0, 0.4]
    options = {"groups": "recurrent", "horizon": 12.0}
    exact = perturbation_error(model, target, radii, **options)
    found = perturbation_error(model, target, radii, method="ascent", perturbations=2, **options)
    assert ((0.95 * exact.error <= found.error) & (found.error <= exact.error * (1 + 1e-9))).all()
    assert found.divergence_radius == exact.divergence_radius == np.inf
    assert "on a finite horizon no norm is infinite" in found.status
    whole = perturbation_error(model, target, [0.0], groups="recurrent")
    missed = 50 * np.exp(-12 / 50) - 0.4 / 0.3 * np.exp(-3.6) - 0.5 * np.exp(-12)  # of the kernel
    assert float(whole.error[0] - exact.error[0]) == pytest.approx(missed + missed_slope(), rel=1e-6)


def missed_slope() -> float:
    """|D(12)| for D(t) = e^{-t/50} - 0.5 e^{-t} - 0.4 e^{-0.3 t}, which falls from its maximum on."""
    return float(np.exp(-12 / 50) - 0.5 * np.exp(-12) - 0.4 * np.exp(-3.6))


def test_a_linear_model_is_its_own_target_where_none_is_given():
    one = F.exponential(1.0)
    for method in ("exact", "ascent", "sample"):
        found, itself = (perturbation_error(one, t, [0.0, 0.4], groups="recurrent", method=method, perturbations=2) for t in (None, one))
        np.testing.assert_allclose(found.error, itself.error, atol=1e-12)
        assert found.target_norm == pytest.approx(3.0 if method != "ascent" else 3.0 - 2 * np.exp(-8.0), rel=1e-6)


class Held(torch.nn.Module):
    """int e^{-s/2} x(t - s) ds of inputs that are held over steps of 0.1, exactly."""

    input_size = 1

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        decay = np.exp(-0.05)
        y, out = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            y = decay * y + (1 - decay) / 0.5 * x[:, t]
            out.append(y)
        return self.gain * torch.stack(out, 1)


def test_the_rule_by_which_a_target_is_sampled():
    """Rectangles 0.1 e^{-0.05 k} against the integrals over the steps: 2.0504 - 2 in the steady state, twice (0.1 - 0.0975) over 0.1 for a jump from -x to x."""
    target, options = F.exponential(0.5), {"dt": 0.1, "horizon": 25.6}
    found = sobolev_distance(Held(), target, **options)
    steady = 0.1 / (1 - np.exp(-0.05)) - 2.0
    assert steady == pytest.approx(0.1 / 2, rel=0.02)  # dt rho(0) / 2
    assert float(found) == pytest.approx(steady + 2 * (0.1 - (1 - np.exp(-0.05)) / 0.5) / 0.1, abs=1e-5)
    assert "against the target sampled at dt = 0.1 by the rectangle rule, O(dt) from the functional itself" in found.status
    held = sobolev_distance(Held(), target, hold=True, **options)
    assert held < 1e-12
    assert "against the target on inputs held over steps of dt = 0.1" in held.status
    assert sobolev_distance(target, Held(), hold=True, input_size=1, **options) < 1e-12
    curve = perturbation_error(Held(), target, [0.0], perturbations=2, **options)
    assert curve.error[0] == pytest.approx(float(found), rel=1e-6)
    assert "against the target sampled at dt = 0.1 by the rectangle rule, O(dt)" in curve.status
    assert perturbation_error(Held(), target, [0.0], perturbations=2, hold=True, **options).error[0] < 1e-12


def test_all_groups_together_against_exact():
    model = F.exponential_sum([1.0, 0.3, 2.0], [0.5, 0.4, -0.3])
    radii = [0.0, 0.05, 0.2]
    exact = perturbation_error(model, TARGET, radii, horizon=12.0)
    found = perturbation_error(model, TARGET, radii, horizon=12.0, method="ascent", perturbations=4)
    assert list(found.by_group) == ["recurrent", "input", "readout"]
    for name in found.by_group:
        assert (found.by_group[name] <= exact.by_group[name] * (1 + 1e-9)).all()
        np.testing.assert_allclose(found.by_group[name], exact.by_group[name], rtol=0.05)
    assert (found.error <= exact.error * (1 + 1e-9)).all()
    np.testing.assert_allclose(found.error, exact.error, rtol=0.05)


def test_a_scalar_network_against_every_input_and_weight():
    """One tanh state on five steps: all inputs of a grid of values and all weights of a grid, by brute force, are never above the search."""
    layer = network(1, structure="diagonal", bias=False)
    layer.recurrent_l0.assign_spectrum(torch.tensor([0.8], dtype=torch.float64))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.5)
        layer.readout.weight.fill_(-1.0)
    beta, steps, dt = 0.6, 5, 0.2
    x = torch.tensor(list(itertools.product([-1.0, -0.25, 0.25, 1.0], repeat=steps)), dtype=torch.float64)[..., None]
    x = torch.cat([x, 0.1 * x, 0.03 * x])
    size = x.abs().amax((1, 2))
    best = 0.0
    for v in np.linspace(-0.8 - beta, -0.8 + beta, 13):
        moved = copy.deepcopy(layer)
        with torch.no_grad():
            moved.recurrent_l0.raw.fill_(float(v))
            d = (moved(x)[0] - layer(x)[0])[..., 0]
        slope = torch.cat([d[:, :1], d.diff(dim=1)], 1) / dt
        best = max(best, float((d.abs().amax(1) / size).max() + (slope.abs().amax(1) / size).max()))
    found = perturbation_error(layer, None, [beta], groups="recurrent", horizon=steps * dt)
    assert 0.99 * best <= found.error[0] <= 1.02 * best


@pytest.mark.parametrize("activation", ["tanh", "relu", "hardtanh", "linear"])
def test_a_direct_diagonal_breaks_at_its_slowest_rate(activation):
    """All these have slope 1 beside 0, so that the state of rest loses its stability where the slowest rate reaches 0: at 0.15."""
    layer = network(3, activation=activation, structure="diagonal")
    layer.recurrent_l0.assign_spectrum(torch.tensor([0.15, 0.7, 2.0], dtype=torch.float64))
    curve = perturbation_error(layer, TARGET, [0.0, 0.05, 0.1, 0.2, 0.4], groups="recurrent", perturbations=4)
    assert np.isfinite(curve.error[:3]).all()
    assert np.isinf(curve.error[3:]).all()
    assert 0.15 <= curve.divergence_radius <= 0.1505
    assert (np.diff(curve.error[:3]) > 0).all()


def test_a_stable_map_never_breaks():
    layer = network(3, structure="diagonal", parametrization="exp", dt=0.1)
    layer.recurrent_l0.assign_spectrum(torch.tensor([0.15, 0.7, 2.0], dtype=torch.float64))
    curve = perturbation_error(layer, TARGET, [0.0, 0.1, 1.0, 2.0], groups="recurrent", perturbations=4)
    assert np.isfinite(curve.error).all()
    assert curve.divergence_radius == np.inf
    assert curve.parametrization == "exp"


def test_slow_transients_are_no_growth():
    """The difference of two slow modes rises for long after the input has ended, and then fades: finite."""
    layer = network(2, activation="linear", structure="diagonal", bias=False)
    layer.recurrent_l0.assign_spectrum(torch.tensor([0.002, 0.0021], dtype=torch.float64))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.readout.weight.copy_(torch.tensor([[1.0, -1.0]]))
    curve = perturbation_error(layer, TARGET, [1e-4], groups="recurrent", perturbations=4, horizon=10.0)
    assert np.isfinite(curve.error).all()


@pytest.mark.parametrize("target", [TARGET, None], ids=["functional", "itself"])
def test_slope_at_zero_is_the_limit_of_finite_radii(target):
    layer = network(4)
    small = 1e-5
    curve = perturbation_error(layer, target, [0.0, small], perturbations=4, horizon=20.0)
    assert curve.slope == pytest.approx((curve.error[1] - curve.error[0]) / small, rel=1e-3)
    for name, slope in curve.slope_by_group.items():
        assert slope == pytest.approx((curve.by_group[name][1] - curve.by_group[name][0]) / small, rel=1e-2), name


def test_sampling_finds_less():
    layer = network(8)
    radii = [0.0, 0.02, 0.05]
    ascent = perturbation_error(layer, TARGET, radii, horizon=20.0)
    sample = perturbation_error(layer, TARGET, radii, horizon=20.0, method="sample")
    grown, sampled = ascent.error - ascent.error[0], sample.error - ascent.error[0]
    assert (sampled[1:] < 0.8 * grown[1:]).all()
    assert (sampled[1:] > 0).all()


MODELS = {
    "gru": lambda: torch.nn.GRU(1, 4, batch_first=True),
    "lstm": lambda: torch.nn.LSTM(1, 3),
    "ssm": lambda: DiagonalSSM(1, 4, state_size=4, batch_first=True),
    "convolution": lambda: torch.nn.Sequential(Turned(), torch.nn.ConstantPad1d((2, 0), 0.0), torch.nn.Conv1d(1, 3, 3), Turned()),
}


class Turned(torch.nn.Module):
    """(B, T, d) to (B, d, T) and back."""

    input_size = 1

    def forward(self, x):
        """Turn."""
        return x.transpose(1, 2)


@pytest.mark.parametrize("name", MODELS)
def test_any_module_against_itself_and_left_as_it_was(name):
    torch.manual_seed(1)
    model = MODELS[name]()
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    curve = perturbation_error(model, None, [0.0, 1e-3, 1e-2], horizon=16.0, perturbations=3)
    assert curve.error[0] < 1e-12  # rounding
    assert (np.diff(curve.error) > 0).all()
    assert np.isfinite(curve.error).all()
    assert model.training
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert curve.status.startswith("lower bound")


def test_batches_of_copies_equal_copies_one_by_one():
    layer = network(3)
    call = perdure.adapters.adapt(layer)
    batched, single = Copies(call, layer), Copies(call, layer)
    single.batched = False
    moves = {name: 0.1 * torch.randn(5, *p.shape, dtype=torch.float64) for name, p in layer.named_parameters()}
    x = torch.randn(5, 2, 30, 1, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(batched.outputs(moves, x), single.outputs(moves, x))
    assert batched.batched


def test_output_less_that_for_no_input():
    """A bias moves the output without input; what counts is what the input does to it. A readout bias does nothing at all."""

    class Shifted(torch.nn.Module):
        input_size = 1

        def __init__(self):
            super().__init__()
            self.scale, self.bias = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return self.scale * x + self.bias

    curve = perturbation_error(Shifted(), None, [0.0, 0.5], horizon=8.0)
    assert (curve.by_group["bias"] < 1e-12).all()
    np.testing.assert_allclose(curve.by_group["other"], [0.0, 1.5], rtol=1e-9)  # 0.5 |x| + 0.5 * 2 |x|, dt = 1


def frozen_layer():
    layer = network()
    layer.recurrent_l0.requires_grad_(False)
    return layer


def broken_layer():
    layer = network()
    with torch.no_grad():
        layer.weight_ih_l0.fill_(float("nan"))
    return layer


BAD = [
    (lambda: perturbation_error(network(), TARGET, [0.1], groups="weights"), ArgumentError, "weight_ih_l0"),
    (lambda: perturbation_error(network(), TARGET, [0.1], groups=[]), ArgumentError, "non-empty"),
    (lambda: perturbation_error(network(), TARGET, [0.1], groups=3), ArgumentTypeError, "a name or a list of names"),
    (lambda: perturbation_error(network(), TARGET, [0.1], groups=["recurrent", "recurrent_l0.raw"]), ArgumentError, "disjoint"),
    (lambda: perturbation_error(frozen_layer(), TARGET, [0.1], groups="recurrent"), ArgumentError, "requires_grad=False"),
    (lambda: perturbation_error(frozen_layer(), TARGET, [0.1], groups=["recurrent_l0.raw"]), ArgumentError, "requires_grad=False"),
    (lambda: perturbation_error(network().requires_grad_(False), TARGET, [0.1]), ArgumentError, "frozen"),
    (lambda: perturbation_error(Turned(), TARGET, [0.1]), ArgumentError, "parameters"),
    (lambda: perturbation_error(broken_layer(), TARGET, [0.1]), ModelError, "NaN"),
    (lambda: perturbation_error(network(), TARGET, [0.1], method="exact"), ArgumentError, "method"),
    (lambda: perturbation_error(network(), TARGET, [0.1], parametrization="exp"), ArgumentError, "parametrization"),
    (lambda: perturbation_error(network(output_size=2), TARGET, [0.1]), ModelError, "output channels"),
    (lambda: perturbation_error(network(), F.exponential_sum([1.0], [[1.0, 2.0]]), [0.1]), ArgumentError, "input size"),
    (lambda: perturbation_error(network(), 0.0 * TARGET, [0.1]), ArgumentError, "zero"),
    (lambda: perturbation_error(network(), TARGET, [0.1], horizon=0.1), ArgumentError, "three steps"),
    (lambda: perturbation_error(network(), TARGET, [0.1], bound=-1.0), ArgumentError, "bound"),
    (lambda: perturbation_error(network(), TARGET, [0.2, 0.1]), ArgumentError, "increasing"),
    (lambda: perturbation_error(F.polynomial(2.0), TARGET, [0.1]), ArgumentTypeError, "perdure.approximate"),
    (lambda: perturbation_error(lambda x: x, TARGET, [0.1]), ArgumentTypeError, "torch module"),
    (lambda: sobolev_distance(network(), 3), ArgumentTypeError, "target"),
    (lambda: sobolev_distance(network(), network(), hold=True), ArgumentError, "`hold`.*linear functional"),
    (lambda: sobolev_distance(network(), TARGET, hold="yes"), ArgumentTypeError, "`hold` to be True or False"),
    (lambda: perturbation_error(network(), None, [0.1], hold=True), ArgumentError, "`hold`.*linear functional"),
    (lambda: sobolev_distance(lambda x: x + torch.rand(()), TARGET, input_size=1), ModelError, "second call"),
    (lambda: sobolev_distance(lambda x: x / 0, TARGET, input_size=1), ModelError, "finite"),
]


@pytest.mark.parametrize("index", range(len(BAD)))
def test_bad_input_names_the_argument_the_rule_and_the_fix(index):
    work, kind, word = BAD[index]
    with pytest.raises(kind, match=word):
        work()


def test_frozen_parameters_are_left_out_of_all():
    curve = perturbation_error(frozen_layer(), TARGET, [0.0, 0.01], horizon=8.0, perturbations=3)
    assert "recurrent" not in curve.groups


def test_results_print_as_plain_data():
    curve = perturbation_error(network(2), TARGET, [0.0, 0.01], horizon=8.0, perturbations=3)
    data = curve.to_dict()
    assert data["dt"] == 0.2
    assert data["slope"] > 0
    assert len(curve.to_frame()) == 2
