"""Nonlinear functionals against brute force, closed forms and finite differences."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

import perdure
from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.ops.recurrence import ACTIVATIONS

D = torch.float64
SLOW, FAST = F.polynomial(1.5), F.oscillating(0.7, 2.0)


def layer(**options):
    torch.manual_seed(0)
    return ContinuousRNN(1, 5, dt=0.1, output_size=1, dtype=D, **options)


def cases():
    network = layer()
    with torch.no_grad():
        network.bias_l0.fill_(0.3)  # a response to no input, to be subtracted
    return {
        "wiener": F.wiener(SLOW, "tanh"), "wiener sigmoid": F.wiener(FAST, "sigmoid"), "wiener function": F.wiener(FAST, lambda v: v + v**3),
        "volterra": F.volterra2(SLOW, [(0.5, SLOW, FAST), (-1.0, FAST, FAST)]), "teacher": F.teacher(network),
    }  # fmt: skip


@pytest.mark.parametrize("name", cases())
def test_no_input_gives_no_output_and_the_kind_of_the_input_is_kept(name):
    H = cases()[name]
    assert float(H(torch.zeros(2, 7, 1, dtype=D), dt=0.1).abs().max()) == 0.0
    x = np.random.default_rng(0).normal(size=(3, 7, 1)).astype(np.float32)
    y = H(x, dt=0.1)
    assert isinstance(y, np.ndarray)
    assert y.dtype == np.float32
    torch.testing.assert_close(torch.as_tensor(y), H(torch.as_tensor(x), dt=0.1), rtol=0, atol=0)
    assert isinstance(H, F.Functional)


@pytest.mark.parametrize("name", ["linear", *cases()])
def test_gradients_flow_to_the_input(name):
    H = SLOW if name == "linear" else cases()[name]
    x = torch.randn(2, 6, 1, dtype=D, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: H(x, dt=0.1), x)


@pytest.mark.parametrize("name", cases())
def test_causal_and_the_same_at_all_times(name):
    H, x = cases()[name], torch.randn(1, 12, 1, dtype=D)
    y = H(x, dt=0.1)
    x[:, 8:] += 1.0
    torch.testing.assert_close(H(x, dt=0.1)[:, :8], y[:, :8], rtol=1e-12, atol=1e-13)
    if name != "teacher":  # whose own bias has it on its way when the input begins
        later = torch.cat([torch.zeros(1, 5, 1, dtype=D), x], 1)
        torch.testing.assert_close(H(later, dt=0.1)[:, 5:], H(x, dt=0.1), rtol=1e-12, atol=1e-13)


def convolved(kernel, x, dt):
    return np.array([dt * sum(kernel(j * dt) * x[k - j] for j in range(k + 1)) for k in range(len(x))])


def test_responses_by_direct_convolution():
    x, dt = np.random.default_rng(1).normal(size=20), 0.2
    slow, fast = convolved(lambda t: (1 + t) ** -1.5, x, dt), convolved(lambda t: np.exp(-0.7 * t) * np.cos(2 * t), x, dt)
    given = x[None, :, None]
    np.testing.assert_allclose(F.wiener(SLOW, "softplus")(given, dt)[0, :, 0], np.log1p(np.exp(slow)) - np.log(2), rtol=1e-11, atol=1e-13)
    H = F.volterra2(FAST, [(0.5, SLOW, FAST), (2.0, SLOW, SLOW)])
    np.testing.assert_allclose(H(given, dt)[0, :, 0], fast + 0.5 * slow * fast + 2 * slow**2, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(F.volterra2(None, [(1.0, SLOW, FAST)])(given, dt)[0, :, 0], slow * fast, rtol=1e-11, atol=1e-13)


def phi(name):
    return lambda v: ACTIVATIONS[name].value(torch.as_tensor(v, dtype=D)).numpy()


@pytest.mark.parametrize("bound", [0.5, 6.0])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_memory_of_a_wiener_functional_by_brute_force(name, bound):
    """The sup over steps of size x of |phi(x K(t + h)) - phi(x K(t - h))| / (2 h |x|), K by quadrature, over a grid of x."""
    H, h = F.wiener(FAST, name), 1e-5
    x = bound * np.concatenate([-np.linspace(1, 1e-4, 4000), np.linspace(1e-4, 1, 4000)])
    for t in (0.4, 1.7, 3.3):
        below, above = (quad(lambda s: np.exp(-0.7 * s) * np.cos(2 * s), 0, end, epsabs=1e-14)[0] for end in (t - h, t + h))
        found = np.abs(phi(name)(x * above) - phi(name)(x * below)) / (2 * h * np.abs(x))
        assert H.memory([t], bound=bound)[0] == pytest.approx(found.max(), rel=3e-3)
    assert H.memory([-1.0])[0] == 0.0


def test_memory_of_a_function_without_a_name_and_of_tanh():
    """phi = v + v^3: phi' = 1 + 3 v^2 is largest at the end; tanh' is largest at 0, so the memory is that of L whatever the bound."""
    t = np.array([0.5, 2.0])
    K = (1 - np.exp(-0.7 * t) * (np.cos(2 * t) - 2 / 0.7 * np.sin(2 * t))) * 0.7 / (0.49 + 4)
    rho = np.exp(-0.7 * t) * np.cos(2 * t)
    H = F.wiener(FAST, lambda v: v + v**3)
    np.testing.assert_allclose(H.memory(t, bound=2.0), np.abs(rho) * (1 + 3 * (2 * K) ** 2), rtol=1e-10)
    np.testing.assert_allclose(F.wiener(SLOW, "tanh").memory(t, bound=100.0), SLOW.memory(t), rtol=1e-12)
    assert isinstance(H.memory(torch.as_tensor(t)), torch.Tensor)


def test_memory_agrees_with_the_probe():
    for H in (F.wiener(SLOW, "softplus"), F.volterra2(SLOW, [(0.5, FAST, SLOW)])):
        dt, bound = 1e-3, 1.5
        found = perdure.memory_function(H, horizon=800, dt=dt, bound=bound, input_size=1)
        at = np.array([200, 500, 799])
        np.testing.assert_allclose(found.values[at], H.memory(dt * (at + 0.5), bound=bound), rtol=5e-3)


def test_memory_of_a_volterra_functional_by_brute_force():
    H, bound, h = F.volterra2(SLOW, [(0.5, FAST, SLOW), (-2.0, FAST, FAST)]), 1.5, 1e-5

    def response(t, x):
        slow, _ = quad(lambda s: (1 + s) ** -1.5, 0, t, epsabs=1e-13)
        fast, _ = quad(lambda s: np.exp(-0.7 * s) * np.cos(2 * s), 0, t, epsabs=1e-13)
        return x * slow + x**2 * (0.5 * fast * slow - 2 * fast**2)

    x = bound * np.concatenate([-np.linspace(1, 1e-3, 500), np.linspace(1e-3, 1, 500)])
    for t in (0.3, 1.0, 2.5):
        found = np.abs(response(t + h, x) - response(t - h, x)) / (2 * h * np.abs(x))
        assert H.memory([t], bound=bound)[0] == pytest.approx(found.max(), rel=1e-6)


@pytest.mark.parametrize("H", [
    F.wiener(SLOW, "tanh"), F.wiener(SLOW, "sigmoid"), F.wiener(FAST, "gelu"), F.wiener(FAST, torch.sin), F.volterra2(FAST, [(1.0, SLOW, SLOW)]),
    F.volterra2(None, [(1.0, SLOW, SLOW)]),
])  # fmt: skip
def test_linear_part_is_the_limit_for_small_inputs(H):
    x = torch.randn(2, 15, 1, dtype=D)
    linear = H.linear_part()(x, dt=0.1)
    errors = [float((H(size * x, dt=0.1) / size - linear).abs().max()) for size in (1e-2, 1e-3)]
    assert errors[1] < max(0.2 * errors[0], 1e-12)


def test_linear_part_is_none_where_there_is_none():
    assert F.wiener(SLOW, "relu").linear_part() is None
    assert F.wiener(SLOW, torch.abs).linear_part() is None
    assert F.teacher(layer()).linear_part() is None


def test_a_teacher_is_a_frozen_copy():
    network = layer().train()
    H = F.teacher(network)
    x = torch.randn(2, 9, 1, dtype=D)
    before = H(x, dt=0.1)
    expected = network(x.transpose(0, 1))[0].transpose(0, 1)
    torch.testing.assert_close(before, expected)  # no bias: nothing to subtract
    with torch.no_grad():
        network.weight_ih_l0.mul_(2.0)
    assert torch.equal(H(x, dt=0.1), before)
    assert network.training
    assert not H.model.training
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in H.model.parameters())


def test_a_teacher_reads_the_layout_and_the_type_of_its_module():
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(3, 5, 2, dtype=D)
    y = F.teacher(net, input_size=2)(x, dt=0.5)
    assert y.dtype == D
    torch.testing.assert_close(y, (net(x.float()) - net(torch.zeros(2))).double())
    first = F.teacher(layer(batch_first=True))
    torch.testing.assert_close(first(x[..., :1], dt=0.1), F.teacher(layer())(x[..., :1], dt=0.1))


class Two(nn.Module):
    input_size = 1

    def forward(self, x):
        return torch.cat([x, x], -1)


@pytest.mark.parametrize(("make", "argument"), [
    (lambda: F.wiener("tanh", "tanh"), "target"), (lambda: F.wiener(SLOW, "sine"), "activation"), (lambda: F.wiener(SLOW, 3), "activation"),
    (lambda: F.wiener(SLOW, "tanh")(np.zeros((2, 3)), 0.1), "x"), (lambda: F.wiener(SLOW, "tanh")(np.zeros((1, 3, 2)), 0.1), "x"),
    (lambda: F.wiener(SLOW, "tanh")(np.zeros((1, 3, 1), int), 0.1), "x"), (lambda: F.wiener(SLOW, "tanh")(np.zeros((1, 3, 1)), 0.0), "dt"),
    (lambda: F.wiener(SLOW, "tanh").memory([1.0], bound=0.0), "bound"), (lambda: F.wiener(SLOW, "tanh").memory([np.nan]), "t"),
    (lambda: F.wiener(F.stack(SLOW, FAST), "tanh").memory([1.0]), "input_size"),
    (lambda: F.volterra2(SLOW, []), "products"), (lambda: F.volterra2(SLOW, "abc"), "products"), (lambda: F.volterra2(SLOW, [(1.0, SLOW)]), "products"),
    (lambda: F.volterra2(SLOW, [(1.0, SLOW, "f")]), "products"), (lambda: F.volterra2("f", [(1.0, SLOW, SLOW)]), "linear"),
    (lambda: F.volterra2(SLOW, [("a", SLOW, SLOW)]), "products"), (lambda: F.volterra2(SLOW, [(1.0, SLOW, F.stack(SLOW, FAST))]), "products"),
    (lambda: F.volterra2(F.stack(SLOW, FAST), [(1.0, F.stack(SLOW, FAST), F.stack(SLOW, FAST))]).memory([1.0]), "input_size"),
    (lambda: F.teacher(abs), "module"), (lambda: F.teacher(nn.Tanh()), "input_size"), (lambda: F.teacher(nn.Tanh(), input_size=0), "input_size"),
    (lambda: F.teacher(layer())(np.zeros((1, 3, 1)), 0.2), "dt"), (lambda: F.teacher(nn.Flatten(), input_size=1)(np.zeros((1, 3, 1)), 0.2), "module"),
    (lambda: F.teacher(Two())(np.zeros((1, 3, 1)), 0.2), "functional"),
])  # fmt: skip
def test_refusals(make, argument):
    with pytest.raises((ValueError, TypeError), match=argument):
        make()
