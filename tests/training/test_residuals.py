"""The residuals, their Jacobian, the readout and the Gauss-Newton steps, each against something that shares no code."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import nn

from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.training import sequences
from perdure.training.gauss_newton import GaussNewton
from perdure.training.placement import place
from perdure.training.problem import Problem, damped, everything
from perdure.training.sensitivity import has_closed_form
from perdure.training.twin import Twin

D = torch.float64
TARGET = F.polynomial(1.5)


def problem(model, steps=12, rows=4, target=TARGET, slope=True, d=1):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(rows, steps, d, generator=g, dtype=D) - 0.3
    twin = Twin(model, D, dt=0.1, input_size=d)
    twin.model.eval()
    return Problem(twin, x, target(x, dt=0.1), 0.1, slope=slope, size=sequences.sizes(x, 1.0) if slope else None)


def rnn(activation="tanh", parametrization="direct", structure="dense", width=3, d=1, **options):
    torch.manual_seed(0)
    model = ContinuousRNN(
        d, width, activation=activation, parametrization=parametrization, structure=structure, dt=0.1, output_size=1, dtype=D, **options
    )  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, dtype=D))
    return model


def differences(task, chosen, h=1e-6):
    """Central differences of the residual."""
    columns = []
    with torch.no_grad():
        for name, index in chosen.items():
            flat = task.twin.learned[name].view(-1)
            for i in index.tolist():
                kept, ends = float(flat[i]), []
                for sign in (1, -1):
                    flat[i] = kept + sign * h
                    ends.append(task.residual())
                flat[i] = kept
                columns.append((ends[0] - ends[1]) / (2 * h))
    return torch.stack(columns, 1)


MODELS = {
    "dense": lambda: rnn(), "diagonal": lambda: rnn(structure="diagonal", parametrization="exp"), "complex": lambda: rnn(structure="complex", parametrization="softplus"),
    "symmetric": lambda: rnn("softplus", "exp", "symmetric"), "dissipative": lambda: rnn("sigmoid", "softplus", "dissipative"), "matrix exponential": lambda: rnn("silu", "exp"),
    "two inputs": lambda: rnn(d=2), "no bias": lambda: rnn(bias=False), "one state": lambda: rnn(width=1), "batch first": lambda: rnn(batch_first=True),
    "two layers": lambda: rnn(num_layers=2), "exponential": lambda: rnn(structure="diagonal", parametrization="exp", integrator="exponential"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_jacobians_by_finite_differences(name):
    model = MODELS[name]()
    d = model.input_size
    task = problem(model, target=TARGET if d == 1 else F.stack(TARGET, F.exponential(1.0)), d=d)
    chosen = everything(task.twin)
    wanted = differences(task, chosen)
    found, residual = task.jacobian(chosen)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(task.forward_mode(chosen)[0], wanted, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(residual, task.residual().detach())
    assert has_closed_form(model) is (name not in ("two layers", "exponential"))


@pytest.mark.parametrize("activation", ["relu", "hardtanh", "elu", "gelu", "softsign", "linear"])
def test_the_closed_form_is_forward_mode_for_every_activation(activation):
    task = problem(rnn(activation))
    some = {"readout.weight": torch.tensor([1]), "recurrent_l0.raw": torch.tensor([0, 5]), "bias_l0": torch.tensor([2])}
    torch.testing.assert_close(task.jacobian(some)[0], task.forward_mode(some)[0], rtol=1e-10, atol=1e-12)


def test_pieces_give_the_same(monkeypatch):
    task = problem(rnn())
    chosen = everything(task.twin)
    whole = task.jacobian(chosen)[0], task.forward_mode(chosen)[0]
    monkeypatch.setattr("perdure.training.sensitivity.NUMBERS", 1)
    monkeypatch.setattr("perdure.training.problem.NUMBERS", 200)
    torch.testing.assert_close(task.jacobian(chosen)[0], whole[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(task.forward_mode(chosen)[0], whole[1], rtol=1e-12, atol=1e-14)


def test_the_loss_of_pulses_is_the_quadratic_form_of_the_kernels():
    """For one pulse of size 1: sum of (dt D_k)^2 and of the squared slopes (D_k - D_{k-1})^2, relative to the target's."""
    steps, dt = 30, 0.1
    x = torch.zeros(1, steps, 1, dtype=D)
    x[0, 0] = 1.0
    other = F.exponential(0.7)

    class Other(nn.Linear):
        def forward(self, x):
            return other(x, dt=dt) + 0.0 * self.weight.sum()

    task = Problem(Twin(Other(1, 1), D, dt=dt, input_size=1), x, TARGET(x, dt), dt, slope=True, size=torch.ones(1, dtype=D))
    t = dt * np.arange(steps)

    def form(kernel):
        return np.sum((dt * kernel) ** 2) + np.sum(np.diff(kernel, prepend=0.0) ** 2)

    wanted = form(np.exp(-0.7 * t) - (1 + t) ** -1.5) / form((1 + t) ** -1.5)
    assert float(task.loss().detach()) == pytest.approx(wanted, rel=1e-10)
    assert task.relative(other(x, dt)) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("model", [lambda: rnn(width=4), lambda: rnn(width=3, num_layers=2, batch_first=True)])
def test_the_readout_is_the_least_squares_solution(model):
    task = problem(model(), rows=8)
    layer = task.twin.model
    readout, layer.readout = layer.readout, None
    states = layer(task.x)[0].detach() if layer.batch_first else layer(task.x.transpose(0, 1))[0].detach().transpose(0, 1)
    layer.readout = readout
    with torch.no_grad():
        readout.weight.normal_(generator=torch.Generator().manual_seed(0))
    task.solve_readout()
    scale = 1 / sequences.sizes(task.x, 1.0)[:, None, None]

    def rows(e):
        e = (e * scale).numpy()
        return np.concatenate([e, np.diff(e, axis=1, prepend=0.0) / 0.1], 1).reshape(-1, e.shape[-1])

    wanted = np.linalg.lstsq(rows(states), rows(task.y)[:, 0], rcond=None)[0]
    np.testing.assert_allclose(readout.weight.detach().numpy()[0], wanted, rtol=1e-4)


def test_directions_that_the_data_do_not_fix_stay():
    columns = torch.randn(20, 2, dtype=D, generator=torch.Generator().manual_seed(0))
    columns = torch.cat([columns, columns[:, :1], torch.zeros(20, 1, dtype=D)], 1)
    found = damped(columns, columns @ torch.tensor([[2.0], [1.0], [0.0], [0.0]], dtype=D), 1e-13)
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=D), rtol=1e-6, atol=1e-6)


def test_gauss_newton_reaches_what_scipy_reaches():
    model = ContinuousRNN(1, 2, activation="tanh", parametrization="exp", structure="diagonal", dt=0.1, output_size=1, dtype=D)
    place(model, TARGET, horizon=None, bound=1.0, scale=0.5)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g, dtype=D))
    task = problem(model, steps=20, rows=6)
    chosen = everything(task.twin)
    start = torch.cat([p.detach().flatten() for p in task.twin.learned.values()]).numpy()

    def put(values):
        at = 0
        for p in task.twin.learned.values():
            p.data.copy_(torch.as_tensor(values[at : at + p.numel()]).view(p.shape))
            at += p.numel()

    def residual(values):
        put(values)
        return task.residual().detach().numpy()

    def slopes(values):
        put(values)
        return task.forward_mode(chosen)[0].numpy()

    best = scipy.optimize.least_squares(residual, start, jac=slopes, max_nfev=60)
    put(start)
    method = GaussNewton(task, chosen)
    losses = [method.step() for _ in range(60) if method.finished is None]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    assert losses[-1] <= 1.02 * 2 * best.cost
    assert len(losses) < 61


def test_informative_sequences():
    g = torch.Generator().manual_seed(0)
    kernel = torch.as_tensor(F.oscillating(0.3, 3.0).kernel(0.1 * np.arange(50)))[:, None]
    x = sequences.informative(50, 1, 2.0, g, kernel)
    assert float(x.abs().max()) <= 2.0
    y = F.oscillating(0.3, 3.0)(x, dt=0.1)[:, -1, 0]
    assert float(y.abs().max()) == pytest.approx(0.1 * 2.0 * float(kernel.abs().sum()))  # the worst input of size 2 is among them
    assert float(x[0].abs().max()) == 0.0
    runs = [float((row[1:] != row[:-1]).sum()) for row in sequences.switching(60, 200, 1, 1.0, g)[:, :, 0]]
    assert np.mean(runs[:10]) > 50 > 5 > np.mean(runs[-10:])
    assert sequences.informative(20, 3, 1.0, g).shape[1:] == (20, 3)
    white = sequences.white(4000, 5, 1, "uniform", 3.0, g)
    assert float(white.abs().max()) <= 3.0
    assert float(white.std()) == pytest.approx(3 / 3**0.5, rel=0.02)
    assert float(sequences.white(4000, 5, 1, "gaussian", 3.0, g).std()) == pytest.approx(3.0, rel=0.02)
