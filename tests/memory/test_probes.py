"""Values against closed forms: linear functionals, the scalar tanh network, plain recomputation."""

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals
from perdure.memory import memory_function

PROBES = ("heaviside", "impulse", "reversed", "jacobian")
W, U, C = -1.0, 1.5, 0.7


def scalar_tanh(x, dt):
    """h' = tanh(w h + u x), y = c h, by Euler's rule."""
    h, out = torch.zeros_like(x[:, 0]), []
    for k in range(x.shape[1]):
        h = h + dt * torch.tanh(W * h + U * x[:, k])
        out.append(C * h)
    return torch.stack(out, 1)


def closed_form(t, bound):
    """sup over 0 < x <= bound of dy/dt / x = c s / sqrt(1 + s^2) / x, s = sinh(u x) e^{w t}, by brute force."""
    x = np.geomspace(1e-5 * bound, bound, 4001)
    s = np.sinh(U * x) * np.exp(W * np.asarray(t)[:, None])
    return (C * s / np.sqrt(1 + s * s) / x).max(1)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(
    "target",
    [
        functionals.exponential(rate=0.7),
        functionals.polynomial(power=2.0),
        functionals.oscillating(0.2, 3.0),
        functionals.stack(functionals.exponential(0.5), functionals.polynomial(3.0), functionals.oscillating(0.3, 2.0)),
    ],
    ids=["exponential", "polynomial", "oscillating", "three inputs"],
)
def test_linear_functionals_have_their_kernel_for_memory(target, probe):
    dt, warmup = 0.1, 400
    options = {"warmup": warmup} if probe == "reversed" else {}
    mf = memory_function(target, horizon=60, dt=dt, probe=probe, bound=3.0, **options)
    kernel = target.kernel(mf.times).reshape(60, -1)
    expected = np.abs(kernel).sum(1)
    if probe == "reversed":  # what the warm-up has not reached is missing, exactly
        expected = np.abs(kernel - target.kernel(mf.times + warmup * dt).reshape(60, -1)).sum(1)
    np.testing.assert_allclose(mf.values, expected, atol=1e-11)
    assert np.abs(mf.values - expected).max() <= mf.noise_floor
    assert mf.status == "exact"


def test_affine_normalisation_of_a_linear_functional():
    mf = memory_function(functionals.exponential(1.0), horizon=20, dt=0.1, bound=4.0, normalization="affine")
    np.testing.assert_allclose(mf.values, np.exp(-mf.times) * 4 / 5, atol=1e-12)


def test_affine_normalisation_of_a_nonlinear_model():
    mf = memory_function(lambda x: x**2, input_size=1, horizon=5, bound=2.0, normalization="affine")
    assert mf.values[0] == pytest.approx(4 / 3)  # sup of x^2 / (x + 1) over x <= 2
    assert mf.status == "lower bound (search)"


@pytest.mark.parametrize("bound", [0.5, 2.0, 10.0])
def test_scalar_tanh_network_has_the_bounded_memory_of_its_closed_form(bound):
    dt = 0.01
    mf = memory_function(scalar_tanh, input_size=1, horizon=300, dt=dt, bound=bound)
    t = mf.times + 0.5 * dt  # a difference is the slope half a step back, and Euler's rule is half a step late: up to order dt
    np.testing.assert_allclose(mf.values, closed_form(t, bound), rtol=0.03)


@pytest.mark.parametrize("bound", [0.1, 1.0, 10.0, 100.0])
def test_search_in_one_dimension_is_within_two_percent_of_brute_force(bound):
    x = np.union1d(np.geomspace(1e-3 * min(bound, 1.0), bound, 1500), np.linspace(bound / 1e4, bound, 1500))
    z = scalar_tanh(torch.as_tensor(x)[:, None, None].expand(-1, 200, 1), 0.03)[..., 0].numpy()
    brute = (np.abs(np.diff(z, axis=1, prepend=0.0)) / 0.03 / x[:, None]).max(0)
    found = memory_function(scalar_tanh, input_size=1, horizon=200, dt=0.03, bound=bound).values
    assert (found >= 0.98 * brute).all()
    assert (found <= 1.001 * brute).all()


def test_memory_of_unbounded_inputs_decays_like_one_over_t_and_of_bounded_ones_exponentially():
    bounded = memory_function(scalar_tanh, input_size=1, horizon=200, dt=0.1, bound=1.0)
    unbounded = memory_function(scalar_tanh, input_size=1, horizon=200, dt=0.1, bound=100.0)
    rate = np.log(1 / (1 + W * 0.1)) / 0.1  # of the Euler step
    late = slice(100, 200)
    assert np.polyfit(bounded.times[late], np.log(bounded.values[late]), 1)[0] == pytest.approx(-rate, rel=1e-3)
    assert np.polyfit(np.log(unbounded.times[late]), np.log(unbounded.values[late]), 1)[0] == pytest.approx(-1.0, abs=0.15)
    assert bounded.fit().law == "exponential"


def test_discretisation_error_is_of_first_order():
    errors = []
    for dt in (0.04, 0.02, 0.01):
        mf = memory_function(scalar_tanh, input_size=1, horizon=round(2 / dt) + 1, dt=dt, bound=0.5)
        errors.append(abs(mf.values[-1] - closed_form([2.0], 0.5)[0]))
    order = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(order, 1.0, atol=0.05)


def brute_force(net, steps, bound, count=4000):
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, (count, net.input_size))
    x[::2] = np.sign(x[::2])
    x *= (bound * 10 ** rng.uniform(-3, 0, count) / np.abs(x).max(1))[:, None]
    rows = torch.as_tensor(np.concatenate([np.zeros((1, net.input_size)), x]))
    with torch.no_grad():
        y = net(rows[:, None].expand(-1, steps, -1))[0]
    z = (y - y[:1])[1:]
    return (z.diff(dim=1, prepend=torch.zeros_like(z[:, :1])).abs().amax(-1) / torch.as_tensor(np.abs(x).max(1))[:, None]).amax(0).numpy()


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_search_finds_what_4000_random_inputs_find(kind):
    torch.manual_seed(0)
    net = kind(2, 8, batch_first=True).double()
    mf = memory_function(net, horizon=25, bound=1.0)
    assert (mf.values >= 0.93 * brute_force(net, 25, 1.0)).all()
    assert mf.rows == 256


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_layout_of_recurrent_layers_does_not_matter(kind):
    torch.manual_seed(1)
    one, other = kind(2, 5, batch_first=True), kind(2, 5)
    other.load_state_dict(one.state_dict())
    for probe in PROBES:
        a, b = (memory_function(layer, horizon=12, probe=probe).values for layer in (one, other))
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_jacobian_of_a_network_is_the_product_of_its_steps():
    torch.manual_seed(2)
    net = nn.RNN(2, 4).double()
    mf = memory_function(net, horizon=6, dt=0.5, probe="jacobian")
    weights = {name: value.detach().numpy() for name, value in net.named_parameters()}
    h, product, expected = np.zeros(4), None, []
    for _ in range(6):
        z = weights["weight_hh_l0"] @ h + weights["bias_hh_l0"] + weights["bias_ih_l0"]
        h = np.tanh(z)
        slope = np.diag(1 - h**2)
        product = slope @ (weights["weight_ih_l0"] if product is None else weights["weight_hh_l0"] @ product)
        expected.append(np.abs(product).sum(1).max() / 0.5)
    np.testing.assert_allclose(mf.values, expected, rtol=1e-12)
    assert mf.status == "exact"


def test_impulse_of_a_tiny_size_is_the_jacobian():
    torch.manual_seed(3)
    net = nn.GRU(1, 6)
    impulse = memory_function(net, horizon=10, probe="impulse", bound=1e-4).values
    np.testing.assert_allclose(impulse, memory_function(net, horizon=10, probe="jacobian").values, rtol=1e-3)


class Attention(nn.Module):
    """Causal softmax attention without positions."""

    input_size = 2

    def forward(self, x):
        score = (x @ x.transpose(1, 2)).masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), -torch.inf)
        return score.softmax(-1) @ x


def test_attention_without_positions_is_invisible_to_the_heaviside_probe():
    mf = memory_function(Attention(), horizon=20)
    assert mf.values[0] == pytest.approx(1.0)
    assert mf.values[1:].max() < 1e-12
    assert "blind" in mf.notes[0]
    seen = memory_function(Attention(), horizon=20, probe="jacobian", background="noise")
    assert seen.values[1:].min() > 0.01
    assert seen.notes == ()
    assert seen.status == "lower bound (search)"
    plain = memory_function(Attention(), horizon=20, probe="jacobian")
    np.testing.assert_allclose(plain.values, 1 / np.arange(1, 21))  # at zeros every weight is 1 / (k + 1)


def test_background_is_added_and_its_response_subtracted():
    background = np.linspace(0, 1, 30)[:, None]
    mf = memory_function(lambda x: x**2, input_size=1, horizon=10, probe="jacobian", background=background + 1)
    assert mf.values[0] == pytest.approx(2.0)
    mf = memory_function(lambda x: x**2, input_size=1, horizon=10, probe="impulse", background=background + 1)
    assert mf.values[0] == pytest.approx(3.0)  # sup of |(1 + x)^2 - 1| / |x| over |x| <= 1
    both = memory_function(lambda x: x**2, input_size=1, horizon=10, probe="impulse", background=np.stack([background + 1, background - 3]))
    assert both.values[0] == pytest.approx(7.0)


def test_kinks_are_differentiated_by_secants_and_said_so():
    mf = memory_function(torch.relu, input_size=1, horizon=5, probe="jacobian")
    assert mf.values[0] == pytest.approx(0.5)
    assert "central differences" in mf.notes[0]


def test_a_short_warm_up_is_noted():
    mf = memory_function(functionals.exponential(0.1), horizon=20, probe="reversed")
    assert "warm-up" in mf.notes[0]
    assert memory_function(functionals.exponential(0.1), horizon=20, probe="reversed", warmup=200).notes == ()
