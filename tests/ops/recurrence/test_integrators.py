"""Orders of the integrators against an adaptive solver, and exactness for linear networks."""

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.integrate import solve_ivp

from perdure.ops.recurrence import integrators, recurrence

m, SPAN = 3, 2.0
_rng = np.random.default_rng(0)
W = _rng.standard_normal((m, m)) - 2 * np.eye(m)
X = _rng.standard_normal(m)


def run(name, steps, weight, activation):
    """h(SPAN) from h(0) = 0 under a constant drive."""
    dt = SPAN / steps
    x = torch.as_tensor(X).expand(steps, 1, m)
    w, h0 = torch.as_tensor(weight), torch.zeros(1, m, dtype=torch.float64)
    if name == "rk4":
        return integrators.rk4(x, w, h0, dt, activation)[1].numpy()[0]
    if name == "euler":
        return recurrence(x, w, h0, step=dt, activation=activation)[1].numpy()[0]
    gain = integrators.exponential_gain(w, dt)
    found = integrators.with_gain(x, w, gain, h0, activation) if w.ndim == 2 else recurrence(x, w, h0, step=gain, activation=activation)
    return found[1].numpy()[0]


@pytest.mark.parametrize("weight", [W, np.array([-0.5, -1.5, -3.0])], ids=["dense", "diagonal"])
@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("exponential", 1), ("rk4", 4)])
def test_order(name, order, weight):
    full = weight if weight.ndim == 2 else np.diag(weight)
    truth = solve_ivp(lambda _, h: np.tanh(full @ h + X), (0, SPAN), np.zeros(m), rtol=1e-12, atol=1e-13).y[:, -1]
    steps = np.array([64, 128, 256]) if order == 1 else np.array([8, 16, 32])
    errors = [np.abs(run(name, n, weight, "tanh") - truth).max() for n in steps]
    measured = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(measured - order).max() < 0.15 * order


@pytest.mark.parametrize("weight", [W, np.array([-0.5, -1.5, -3.0])], ids=["dense", "diagonal"])
def test_exponential_euler_is_exact_for_linear_networks(weight):
    full = weight if weight.ndim == 2 else np.diag(weight)
    truth = np.linalg.solve(full, (scipy.linalg.expm(full * SPAN) - np.eye(m)) @ X)
    np.testing.assert_allclose(run("exponential", 5, weight, "linear"), truth, rtol=1e-12)


def test_gain_of_a_vanishing_rate_and_its_gradient():
    rates = torch.tensor([0.0, -1e-12, -1e-5, -1e-3, -1.0, -50.0], dtype=torch.float64, requires_grad=True)
    gain = integrators.exponential_gain(rates, 0.5)
    z = np.asarray([float(r) * 0.5 for r in rates.detach()], dtype=np.longdouble)
    wanted = [0.5 * (1.0 if v == 0 else float(np.expm1(v) / v)) for v in z]
    np.testing.assert_allclose(gain.detach().numpy(), wanted, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda r: integrators.exponential_gain(r, 0.5), rates, atol=1e-7)
