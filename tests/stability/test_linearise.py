"""Equilibria and Jacobians against torch's own layers, closed forms, root finders and the models' own motion."""

import copy
import json

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.optimize import brentq
from torch import nn

from perdure import ArgumentError, ArgumentTypeError, ModelError
from perdure.nn import ContinuousRNN, DiagonalSSM
from perdure.stability.continuation import followed
from perdure.stability.equilibrium import NoEquilibriumError, newton
from perdure.stability.gates import gru_jacobian, lstm_jacobian
from perdure.stability.linearise import equilibria, linearise
from perdure.stability.step_map import StepMap

D = torch.float64
MODELS = {
    "rnn": lambda: nn.RNN(2, 4, 2),
    "relu": lambda: nn.RNN(2, 4, nonlinearity="relu", bias=False),
    "gru": lambda: nn.GRU(2, 4, 3, batch_first=True),
    "gru without bias": lambda: nn.GRU(2, 4, bias=False),
    "lstm": lambda: nn.LSTM(2, 4, 2, dropout=0.5),
    "projected lstm": lambda: nn.LSTM(2, 5, 2, proj_size=3),
    "rnn cell": lambda: nn.RNNCell(2, 4, nonlinearity="relu"),
    "gru cell": lambda: nn.GRUCell(2, 4),
    "lstm cell": lambda: nn.LSTMCell(2, 4, bias=False),
}


def make(name, seed=0):
    torch.manual_seed(seed)
    return MODELS[name]().to(D).eval()


def torch_step(model, x):
    """The flattened state after one step, by torch's own forward: layer by layer, an LSTM's h before its c."""
    if isinstance(model, nn.LSTMCell):
        return lambda s: torch.cat(model(x, tuple(s.chunk(2))))
    if isinstance(model, nn.RNNCell | nn.GRUCell):
        return lambda s: model(x, s)
    lstm, p = isinstance(model, nn.LSTM), model.proj_size or model.hidden_size

    def step(state):
        rows = state.reshape(model.num_layers, -1)
        given = (rows[:, :p].contiguous(), rows[:, p:].contiguous()) if lstm else rows
        last = model(x[None], given)[1]
        return torch.cat(last, 1).reshape(-1) if lstm else last.reshape(-1)

    return step


@pytest.mark.parametrize("name", MODELS)
def test_equilibrium_and_jacobian_of_torch_layers(name):
    """Torch's forward stays at h*, and its derivative by reverse differentiation through that forward is J."""
    model, x = make(name), torch.tensor([0.5, -1.0], dtype=D)
    point = linearise(model, x.numpy())
    step, state = torch_step(model, x), torch.as_tensor(point.state.copy())
    with torch.no_grad():
        assert (step(state) - state).abs().max() < 1e-13
    assert (point.residual, point.status) == (pytest.approx(0, abs=1e-13), "settled")
    expected = torch.autograd.functional.jacobian(step, state)
    np.testing.assert_allclose(point.jacobian, expected.numpy(), atol=1e-13)
    assert np.abs(point.state).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_the_time_constant_is_that_of_torch_running(name):
    """A small push fades by the spectral radius a step, seen over ten steps late in the run (the mean over a turn of a complex pair)."""
    model, x = make(name), torch.tensor([0.5, -1.0], dtype=D)
    point = linearise(model, x.numpy())
    step = torch_step(model, x)
    power = np.linalg.matrix_power(point.jacobian, 12)
    state = torch.as_tensor(point.state.copy())
    push = 1e-6 * np.random.default_rng(0).normal(size=point.state.size)
    with torch.no_grad():
        moved = state + torch.as_tensor(push)
        for _ in range(12):
            moved = step(moved)
    np.testing.assert_allclose((moved - state).numpy(), power @ push, atol=1e-10)
    grown = np.linalg.norm(np.linalg.matrix_power(point.jacobian, 400), 2) ** (1 / 400)
    assert np.exp(-1 / point.time_constant) == pytest.approx(grown, rel=0.02)


def test_layers_make_blocks():
    """Layer k does not depend on the layers after it: the spectrum is that of the diagonal blocks."""
    point = linearise(make("gru"), [0.3, 0.2])
    assert [name for name, _ in point.blocks] == ["h_l0", "h_l1", "h_l2"]
    assert (point.jacobian[:4, 4:] == 0).all()
    assert (point.jacobian[4:8, 8:] == 0).all()
    blocks = np.concatenate([np.linalg.eigvals(point.jacobian[i : i + 4, i : i + 4]) for i in (0, 4, 8)])
    np.testing.assert_allclose(np.sort(np.abs(blocks)), np.sort(np.abs(point.eigenvalues)), atol=1e-12)
    np.testing.assert_array_equal(point.part("h_l1"), point.state[4:8])


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.LSTMCell])
def test_closed_forms_against_reverse_differentiation(cell):
    torch.manual_seed(1)
    model = cell(3, 5).to(D)
    rng = np.random.default_rng(0)
    h, c, x = rng.normal(size=5), rng.normal(size=5), rng.normal(size=3)
    if cell is nn.GRUCell:
        state, found = torch.as_tensor(h), gru_jacobian(model, h, x)
    else:
        state, found = torch.as_tensor(np.concatenate([h, c])), lstm_jacobian(model, h, c, x)
    expected = torch.autograd.functional.jacobian(torch_step(model, torch.as_tensor(x)), state)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-14)


def test_projected_lstm_in_closed_form():
    torch.manual_seed(2)
    model = nn.LSTM(2, 5, proj_size=3).to(D)
    rng = np.random.default_rng(1)
    h, c, x = rng.normal(size=3), rng.normal(size=5), rng.normal(size=2)
    expected = torch.autograd.functional.jacobian(torch_step(model, torch.as_tensor(x)), torch.as_tensor(np.concatenate([h, c])))
    np.testing.assert_allclose(lstm_jacobian(model, h, c, x), expected.numpy(), atol=1e-14)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def test_gru_at_zero_is_the_formula_of_the_paper():
    """dh/dt = z (tanh(U (r h) + b) - h) in the paper's convention, differenced at h = 0, and torch's cell with the same gates.

    The sign of b_z changes with the convention; U D and D U (D the reset gate) make matrices of the same eigenvalues, not the same matrices.
    """
    rng = np.random.default_rng(3)
    m = 6
    u, uz, ur, bz, br = rng.normal(size=(m, m)), rng.normal(size=(m, m)), rng.normal(size=(m, m)), rng.normal(size=m), rng.normal(size=m)

    def paper(h):
        z, r = sigmoid(uz @ h + bz), sigmoid(ur @ h + br)
        return z * (np.tanh(u @ (r * h)) - h)

    differenced = np.stack([(paper(1e-6 * e) - paper(-1e-6 * e)) / 2e-6 for e in np.eye(m)], 1)
    formula = np.diag(sigmoid(bz)) @ (u @ np.diag(sigmoid(br)) - np.eye(m))
    np.testing.assert_allclose(differenced, formula, atol=1e-9)

    cell = nn.GRUCell(1, m).to(D)
    with torch.no_grad():
        cell.weight_hh.copy_(torch.as_tensor(np.concatenate([ur, -uz, u])))
        cell.bias_ih.copy_(torch.as_tensor(np.concatenate([br, -bz, np.zeros(m)])))
        cell.bias_hh.zero_()
    generator = gru_jacobian(cell) - np.eye(m)
    np.testing.assert_allclose(generator, np.diag(sigmoid(bz)) @ (np.diag(sigmoid(br)) @ u - np.eye(m)), atol=1e-14)
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(generator)), np.sort_complex(np.linalg.eigvals(formula)), atol=1e-12)
    assert np.abs(generator - formula).max() > 0.1
    point = linearise(cell)  # the run from zero stays on the equilibrium, whether it is stable or not
    assert point.euler
    assert np.abs(point.state).max() == 0
    np.testing.assert_allclose(point.generator, generator, atol=1e-14)


def test_gru_at_zero_with_torch_s_own_hidden_bias():
    """B_in = -r b_hn makes 0 an equilibrium although b_hn is not 0: then the reset gate's weights count."""
    torch.manual_seed(4)
    cell = nn.GRUCell(1, 3).to(D)
    with torch.no_grad():
        r = torch.sigmoid(cell.bias_ih[:3] + cell.bias_hh[:3])
        cell.bias_ih[6:] = -r * cell.bias_hh[6:]
    z = torch.sigmoid(cell.bias_ih[3:6] + cell.bias_hh[3:6])
    to_r, _, to_n = cell.weight_hh.detach().chunk(3)
    inner = r[:, None] * to_n + (cell.bias_hh[6:] * r * (1 - r))[:, None] * to_r
    expected = torch.diag(1 - z) @ (inner - torch.eye(3, dtype=D))
    point = linearise(cell)
    assert np.abs(point.state).max() < 1e-16
    np.testing.assert_allclose(point.generator, expected.detach().numpy(), atol=1e-14)


def test_lstm_at_zero_has_the_spectrum_of_its_cells():
    torch.manual_seed(5)
    model = nn.LSTM(1, 4, bias=False, proj_size=2).to(D)
    point = linearise(model)
    to_g = model.weight_hh_l0.detach().numpy()[8:12]
    small = 0.5 * np.eye(4) + 0.5 * to_g @ model.weight_hr_l0.detach().numpy() * 0.5
    expected = np.concatenate([np.linalg.eigvals(small), [0, 0]])
    np.testing.assert_allclose(np.sort_complex(point.eigenvalues), np.sort_complex(expected), atol=1e-12)
    assert not point.euler


@pytest.mark.parametrize("activation", ["tanh", "hardtanh", "linear", "elu"])
def test_continuous_rnn_has_its_equation_s_jacobian(activation):
    """Sigma(z) = 0 only at z = 0, where sigma' = 1: W h* = -(U x + b) and J = I + dt W for every x."""
    torch.manual_seed(6)
    layer = ContinuousRNN(2, 3, structure="dense", activation=activation, parametrization="direct", dt=0.25, dtype=D)
    weight = torch.tensor([[-1.0, 0.5, 0.0], [-0.5, -1.0, 0.3], [0.2, 0.0, -0.4]], dtype=D)
    layer.recurrent_l0.assign(weight)
    with torch.no_grad():
        layer.bias_l0.copy_(torch.tensor([0.3, -0.2, 0.1]))
    x = np.array([1.0, 2.0])
    drive = layer.weight_ih_l0.detach().numpy() @ x + layer.bias_l0.detach().numpy()
    point = linearise(layer, x)
    np.testing.assert_allclose(point.state, -np.linalg.solve(weight.numpy(), drive), rtol=1e-9)
    np.testing.assert_allclose(point.generator, weight.numpy(), atol=1e-8 if activation == "elu" else 1e-12)
    np.testing.assert_allclose(
        np.sort_complex(point.generator_eigenvalues),
        np.sort_complex(np.linalg.eigvals(weight.numpy())),
        atol=1e-8 if activation == "elu" else 1e-12,
    )
    assert (point.dt, point.euler) == (0.25, True)


def test_an_exact_step_has_the_logarithm():
    """The exponential integrator on a linear network: J = e^{W dt}, so log(mu)/dt are the eigenvalues of W."""
    weight = torch.tensor([[-1.0, 2.0], [-2.0, -1.0]], dtype=D)
    layer = ContinuousRNN(1, 2, structure="dense", activation="linear", parametrization="direct", dt=0.5, integrator="exponential", dtype=D)
    layer.recurrent_l0.assign(weight)
    point = linearise(layer, 1.0)
    np.testing.assert_allclose(point.jacobian, expm(0.5 * weight.numpy()), atol=1e-12)
    np.testing.assert_allclose(np.sort_complex(point.log_eigenvalues), [-1 - 2j, -1 + 2j], atol=1e-12)
    assert not point.euler


def test_diagonal_ssm():
    """Mode j of a layer: mu = e^{lambda dt} and h* = -|Re lambda| (B x) / lambda, with conjugates beside it."""
    torch.manual_seed(7)
    layer = DiagonalSSM(2, 3, state_size=4, num_layers=2, dt=0.5, dtype=D)
    x = np.array([0.7, -0.4])
    point = linearise(layer, x, steps=300)
    rates, frequencies = (p.numpy() for p in layer.poles())
    mu = np.exp(0.5 * (-rates + 1j * frequencies)).ravel()
    expected = np.sort(np.abs(np.concatenate([mu, mu.conj()])))
    np.testing.assert_allclose(np.sort(np.abs(point.eigenvalues)), expected, rtol=1e-12)
    assert np.abs(np.subtract.outer(point.eigenvalues, np.concatenate([mu, mu.conj()]))).min(1).max() < 1e-12
    lam = (-rates + 1j * frequencies)[0]
    b = layer.layers[0].input_weight.detach().numpy()
    rest = -np.abs(rates[0]) * ((b[..., 0] + 1j * b[..., 1]) @ x) / lam
    np.testing.assert_allclose(point.part("h_l0"), np.stack([rest.real, rest.imag], -1), rtol=1e-8)
    assert point.part("h_l1").shape == (4, 2)
    assert point.status == "approached"
    assert point.time_constant == pytest.approx(1000, rel=1e-9)  # the slowest timescale of a fresh layer, in steps


def test_a_memory_far_longer_than_the_run():
    """Newton's method takes a mode of 1e7 steps to its end, and a note says that the run was still on its way."""
    layer = DiagonalSSM(1, 1, state_size=2, real=True, dtype=D)
    layer.assign_timescales([10.0, 1e7])
    point = linearise(layer, 1.0)
    assert point.status == "approached"
    assert point.time_constant == pytest.approx(1e7, rel=1e-6)
    expected = layer.layers[0].input_weight.detach().numpy()[:, 0]  # modes of unit gain
    np.testing.assert_allclose(point.part("h_l0"), expected, rtol=1e-6)
    assert any("on its way" in note for note in point.notes)


def test_a_scalar_network_against_a_root_finder():
    cell = nn.RNNCell(1, 1).to(D)
    with torch.no_grad():
        for p, value in zip(cell.parameters(), (0.7, 0.9, 0.1, -0.3), strict=True):
            p.fill_(value)
    root = brentq(lambda h: np.tanh(0.7 * 2.0 + 0.9 * h - 0.2) - h, 0, 1, xtol=1e-15)
    point = linearise(cell, 2.0)
    assert point.state[0] == pytest.approx(root, abs=1e-14)
    assert point.eigenvalues[0] == pytest.approx(0.9 * (1 - root**2), abs=1e-13)


def test_several_equilibria_of_a_flip_flop():
    """h_i' = tanh(2 h_i), two units: 0 and +-a each, nine equilibria of which four are stable."""
    cell = nn.RNNCell(1, 2, bias=False).to(D)
    with torch.no_grad():
        cell.weight_hh.copy_(2 * torch.eye(2))
    a = brentq(lambda h: np.tanh(2 * h) - h, 0.5, 1, xtol=1e-15)
    found = equilibria(cell, starts=60, spread=1.5)
    assert np.abs(found[0].state).max() == 0  # the one reached from zero comes first
    assert not found[0].stable
    points = {tuple(np.round(each.state / a).astype(int)) for each in found}
    assert points == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    for each in found:
        signs = np.round(each.state / a)
        np.testing.assert_allclose(each.state, a * signs, atol=1e-12)
        assert each.stable == (np.abs(signs).sum() == 2)


def turning(factor=1.5, angle=0.3):
    cell = nn.RNNCell(1, 2, bias=False).to(D)
    with torch.no_grad():
        cell.weight_hh.copy_(factor * torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))
    return cell


def test_an_equilibrium_that_the_run_circles_around():
    point = linearise(turning(), start=[0.5, 0.5])
    assert (point.status, point.stable, point.time_constant) == ("not reached", False, np.inf)
    assert np.abs(point.state).max() < 1e-12
    assert point.spectral_radius == pytest.approx(1.5)
    assert "does not come to rest here" in point.notes[0]


def test_a_chaotic_network_has_an_equilibrium_too():
    """Random weights of gain 3 (Sompolinsky, Crisanti & Sommers 1988): Newton's method fails from the run, continuation does not."""
    torch.manual_seed(0)
    cell = nn.RNNCell(1, 60).to(D)
    with torch.no_grad():
        cell.weight_hh.copy_(3 * torch.randn(60, 60) / 60**0.5)
        cell.bias_hh.mul_(5)
    point = linearise(cell, 1.0, steps=300)
    assert (point.status, point.stable) == ("not reached", False)
    with torch.no_grad():
        state = torch.as_tensor(point.state.copy())
        assert (cell(torch.ones(1, dtype=D), state) - state).abs().max() < 1e-13


def test_continuation_around_a_fold():
    """4 sin(2h) - 1.5 has slopes up to 8, so that the curve turns back in s on its way to one of the solutions at s = 1."""
    step = StepMap(lambda h: 4 * torch.sin(2 * h) - 1.5, (("h", (1,)),), None, 1.0, False)
    for anchor in (-2.0, 0.3, 1.9):
        h = followed(step, np.array([anchor]))
        assert newton(step, h).residual < 1e-13
        assert abs(4 * np.sin(2 * h[0]) - 1.5 - h[0]) < 0.5


def test_periodic_without_an_equilibrium():
    with pytest.raises(NoEquilibriumError, match="periodic with a period of 2 steps") as caught:
        linearise(lambda h, x: torch.where(h < 0, 1.0, -1.0).to(h), start=torch.zeros(1, dtype=D))
    assert (caught.value.kind, caught.value.period) == ("periodic", 2)
    assert isinstance(caught.value, ModelError)


def test_an_integrator_with_an_input_drifts():
    """h' = h + x has no equilibrium unless x = 0, where all states are."""
    cell = nn.RNNCell(1, 1, bias=False, nonlinearity="relu").to(D)
    with torch.no_grad():
        cell.weight_ih.fill_(1.0)
        cell.weight_hh.fill_(1.0)
    with pytest.raises(NoEquilibriumError, match="drifting in one direction; it still moves by 1 a step") as caught:
        linearise(cell, 1.0)
    assert caught.value.kind == "drifting"
    still = linearise(cell, 0.0, start=[3.0])
    assert still.state[0] == 3.0
    assert any("eigenvalue 1" in note for note in still.notes)


def test_slowing_down_is_not_resting():
    """dh/dt = sigmoid(-h): the residual falls like 1/t and the state grows like log t."""
    layer = ContinuousRNN(1, 1, activation="sigmoid", parametrization="direct", structure="diagonal", dtype=D)
    layer.recurrent_l0.assign(torch.tensor([[-1.0]], dtype=D))
    with pytest.raises(NoEquilibriumError, match="drifting"):
        linearise(layer, steps=500)


def test_diverging():
    with pytest.raises(NoEquilibriumError, match="diverging") as caught:
        linearise(lambda h, x: h + 1 + h * h, start=torch.zeros(2, dtype=D))
    assert caught.value.kind == "diverging"
    unstable = linearise(lambda h, x: 2 * h + x, torch.ones(1), start=torch.zeros(1, dtype=D))  # rests at -1, where no run goes
    assert unstable.state[0] == pytest.approx(-1.0)
    assert (unstable.status, unstable.notes[0].split()[-1]) == ("not reached", "diverging")


def test_functions_are_differentiated_or_differenced():
    matrix = torch.tensor([[0.5, 0.2], [-0.1, 0.3]], dtype=D)

    def smooth(h, x):
        return torch.tanh(matrix @ h + x)

    def hidden(h, x):
        return torch.tanh(matrix @ h.detach() + x)

    def partly(h, x):
        return torch.tanh(matrix @ h.detach() + x) + 0 * h

    x, start = torch.tensor([0.1, -0.2]), torch.zeros(2, dtype=D)
    points = [linearise(f, x, start=start, dt=0.5) for f in (smooth, hidden, partly)]
    exact = np.diag(1 - points[0].state ** 2) @ matrix.numpy()
    np.testing.assert_allclose(points[0].jacobian, exact, atol=1e-14)
    for point in points[1:]:
        np.testing.assert_allclose(point.jacobian, exact, atol=1e-8)
        assert "central differences" in point.notes[0]
    assert points[0].notes == ()
    assert points[0].log_eigenvalues.real == pytest.approx(np.log(np.abs(points[0].eigenvalues)) / 0.5)
    shaped = linearise(lambda h, x: 0.5 * h + x, torch.ones(1), start=torch.zeros(1, 2, 2))  # any shape, any type
    assert shaped.part("h").shape == (1, 2, 2)
    assert shaped.state == pytest.approx(2 * np.ones(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_is_left_alone(dtype):
    torch.manual_seed(8)
    model = nn.GRU(2, 3, 2, dropout=0.5).to(dtype).train()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    point = linearise(model, [1.0, 0.0])
    with pytest.raises(ArgumentError):
        linearise(model, [1.0])
    assert point.jacobian.dtype == np.float64
    assert all(torch.equal(before[k], v) and v.dtype == dtype for k, v in model.state_dict().items())
    assert model.training
    assert all(p.requires_grad and bool((p.grad == 1).all()) for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
    wide = linearise(copy.deepcopy(model).double(), [1.0, 0.0])
    np.testing.assert_array_equal(wide.jacobian, point.jacobian)


def test_weights_under_torch_s_parametrization_and_no_grad():
    torch.manual_seed(9)
    model = nn.utils.parametrizations.orthogonal(nn.RNN(1, 3), "weight_hh_l0").to(D)
    with torch.no_grad():
        point = linearise(model, 0.5)
    with torch.inference_mode():
        inside = linearise(model, 0.5)
    expected = np.diag(1 - point.state**2) @ model.weight_hh_l0.detach().numpy()
    np.testing.assert_allclose(point.jacobian, expected, atol=1e-12)
    np.testing.assert_array_equal(inside.jacobian, point.jacobian)


def test_start_of_an_lstm():
    model = make("lstm")
    h, c = torch.rand(2, 1, 4, dtype=D), torch.rand(2, 1, 4, dtype=D)
    point = linearise(model, start=(h, c))
    flat = torch.cat([h[:, 0], c[:, 0]], 1).reshape(-1)
    np.testing.assert_array_equal(point.state, linearise(model, start=flat).state)
    np.testing.assert_allclose(point.state, linearise(model).state, atol=1e-12)


def test_what_a_result_can_do():
    point = linearise(make("gru"), [0.1, 0.2])
    frame = point.to_frame()
    assert frame.shape == (12, 9)
    assert frame.modulus.is_monotonic_decreasing
    assert frame.time_constant[0] == pytest.approx(point.time_constant)
    assert json.loads(json.dumps(point.to_dict(), allow_nan=False))["stable"] is True
    json.dumps(linearise(turning(), start=[0.5, 0.5]).to_dict(), allow_nan=False)
    ax = point.plot()
    assert ax.get_xlabel() == "Re μ"
    with pytest.raises(ArgumentError, match="h_l0"):
        point.part("h_l7")


def test_stability_radius_of_a_normal_generator():
    """For a normal matrix the distance to the imaginary axis of its eigenvalues."""
    layer = ContinuousRNN(1, 2, parametrization="direct", dt=0.5, dtype=D)
    layer.recurrent_l0.assign(torch.diag(torch.tensor([-1.0, -0.1], dtype=D)))
    point = linearise(layer, 1.0)
    assert point.stability_radius == pytest.approx(0.1, rel=1e-9)
    assert point.step_radius == pytest.approx(0.05, rel=1e-9)


class Own(nn.GRU):
    def forward(self, input, hx=None):
        return super().forward(2 * input, hx)


class Stateless(nn.Module):
    input_size = 1

    def step(self, x, state=None):
        return x, x


def noisy(h, x):
    return 0.5 * h + torch.rand(1, dtype=D)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: linearise(nn.GRU(1, 2, bidirectional=True)), ArgumentError, "unidirectional"),
    (lambda: linearise(ContinuousRNN(1, 2, bidirectional=True)), ArgumentError, "unidirectional"),
    (lambda: linearise(nn.GRU(2, 2), [1.0]), ArgumentError, r"`x` to be of shape \(2,\)"),
    (lambda: linearise(nn.GRU(2, 2), 1.0), ArgumentError, r"`x` to be of shape \(2,\)"),
    (lambda: linearise(nn.GRU(1, 2), [np.nan]), ArgumentError, "`x` to be finite"),
    (lambda: linearise(nn.GRU(1, 2), start=[0.0]), ArgumentError, r"`start` to be of 2 numbers, 2 \(h_l0\)"),
    (lambda: linearise(nn.LSTM(1, 2), start=(torch.zeros(2), torch.zeros(3))), ArgumentError, r"`start` to be of 4 numbers"),
    (lambda: linearise(nn.GRU(1, 2), dt=0.0), ArgumentError, "`dt` to be positive"),
    (lambda: linearise(ContinuousRNN(1, 2, dt=0.5), dt=0.25), ArgumentError, "`dt` to be None or 0.5"),
    (lambda: linearise(nn.GRU(1, 2), steps=0), ArgumentError, "`steps`"),
    (lambda: linearise(nn.GRU(1, 2), seed=-1), ArgumentError, "`seed`"),
    (lambda: linearise(nn.Linear(1, 2)), ArgumentTypeError, "to be a torch.nn.RNN, GRU, LSTM"),
    (lambda: linearise(Own(1, 2)), ArgumentTypeError, "but got Own"),
    (lambda: linearise("GRU"), ArgumentTypeError, "but got str"),
    (lambda: linearise(lambda h, x: h), ArgumentError, "`start` to be given"),
    (lambda: linearise(lambda h, x: h, start=torch.zeros(0)), ArgumentError, "non-empty"),
    (lambda: linearise(lambda h, x: h[:1], start=torch.zeros(2)), ModelError, "shape"),
    (lambda: linearise(lambda h, x: 1.0, start=torch.zeros(2)), ModelError, "float"),
    (lambda: linearise(lambda h, x: h / h, start=torch.zeros(2)), ModelError, "NaN after 1 step"),
    (lambda: linearise(noisy, start=torch.zeros(1, dtype=D)), ModelError, "evaluation mode"),
    (lambda: linearise(Stateless()), ModelError, r"a state \(layers, B, ...\)"),
    (lambda: equilibria(nn.GRU(1, 2), starts=[]), ArgumentError, "`starts`"),
    (lambda: equilibria(nn.GRU(1, 2), starts=-1), ArgumentError, "`starts`"),
    (lambda: equilibria(nn.GRU(1, 2), spread=0.0), ArgumentError, "`spread`"),
    (lambda: equilibria(lambda h, x: h + 1, starts=[torch.zeros(1)]), NoEquilibriumError, "drifting"),
    (lambda: gru_jacobian(nn.LSTM(1, 2)), ArgumentTypeError, "torch.nn.GRU"),
    (lambda: gru_jacobian(nn.GRU(1, 2, 2)), ArgumentError, "a single layer"),
    (lambda: gru_jacobian(nn.GRU(1, 2, bidirectional=True)), ArgumentError, "unidirectional"),
    (lambda: gru_jacobian(nn.GRU(1, 2), [0.0]), ArgumentError, r"`h` to be of shape \(2,\)"),
    (lambda: lstm_jacobian(nn.LSTM(1, 2), None, [0.0]), ArgumentError, r"`c` to be of shape \(2,\)"),
])  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(value):
    model = nn.GRU(1, 2)
    with torch.no_grad():
        model.weight_hh_l0[0, 0] = value
    for call in (linearise, gru_jacobian, equilibria):
        with pytest.raises(ModelError, match="weight_hh_l0"):
            call(model)
