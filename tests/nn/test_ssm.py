"""DiagonalSSM: values against closed forms, and everything a layer owes besides."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import perdure
from perdure.nn import DiagonalSSM
from perdure.ops.recurrence.activations import ACTIVATIONS

D = torch.float64


def make(input_size=2, hidden_size=3, state_size=4, seed=0, **options):
    torch.manual_seed(seed)
    return DiagonalSSM(input_size, hidden_size, state_size, **options)


def noise(*shape, dtype=torch.float32, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D).to(dtype)


def test_output_is_that_of_the_differential_equation():
    """Piecewise constant input: the matrix exponential of the whole real system, a different way to discretise."""
    layer = make(state_size=3, activation="linear", dt=0.4, dtype=D)
    x = noise(1, 20, 2, dtype=D)
    rates, frequencies = (t[0].numpy() for t in layer.poles())
    weights = layer.layers[0]
    b = rates[:, None] * torch.view_as_complex(weights.input_weight.detach()).numpy()
    c, d = torch.view_as_complex(weights.output_weight.detach()).numpy(), weights.skip_weight.detach().numpy()
    system = np.zeros((5, 5), complex)  # (h, x)' = (Lambda h + G B x, 0)
    system[:3, :3], system[:3, 3:] = np.diag(-rates + 1j * frequencies), b
    step, h, want = expm(0.4 * system)[:3], np.zeros(3, complex), []
    for row in x[0].numpy():
        h = step @ np.concatenate([h, row])
        want.append((c @ h).real + d @ row + weights.bias.detach().numpy())
    y, state = layer(x)
    np.testing.assert_allclose(y[0].detach(), want, atol=1e-12)
    np.testing.assert_allclose(torch.view_as_complex(state[0, 0].detach()), h, atol=1e-12)


@pytest.mark.parametrize("dt", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("real", [False, True])
def test_memory_function_is_the_sum_of_exponentials(dt, real):
    """M(t_k) is the kernel's mean over step k, which has a closed form; for small steps it is the kernel itself."""
    layer = make(1, 1, 4, activation="linear", dt=dt, real=real, skip=False)
    rates = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=D)
    layer.assign_poles(rates, None if real else torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=D))
    weights = layer.layers[0]
    found = perdure.memory_function(layer, horizon=40, dt=dt)
    assert found.status == "exact"
    pole = (-layer.poles()[0][0] + 1j * layer.poles()[1][0]).numpy()
    pair = weights.input_weight[:, 0].detach().double(), weights.output_weight[0].detach().double()
    b, c = (t.numpy() if real else torch.view_as_complex(t).numpy() for t in pair)
    amplitude = c * b * -pole.real
    t = dt * np.arange(40)[:, None]
    mean = (amplitude * (np.exp(pole * (t + dt)) - np.exp(pole * t)) / (pole * dt)).sum(1).real
    np.testing.assert_allclose(found.values, np.abs(mean), atol=2e-6 * np.abs(mean).max())
    if dt == 0.01:
        np.testing.assert_allclose(
            found.values, np.abs((amplitude * np.exp(pole * (t + dt / 2))).sum(1).real), atol=1e-4 * np.abs(mean).max()
        )


@pytest.mark.parametrize("real", [False, True])
def test_normalised_modes_have_unit_mass(real):
    """Impulse response of each mode of a purely decaying layer: its sum is the L1 norm of the kernel."""
    layer = make(1, 1, 3, real=real, dt=0.5, activation="linear", skip=False)
    layer.assign_poles([0.05, 0.5, 2.0], None if real else torch.zeros(3))
    for normalize in (True, False):
        layer.normalize = normalize
        with torch.no_grad():
            weights = layer.layers[0]
            weights.input_weight.fill_(1.0)
            if not real:
                weights.input_weight[..., 1] = 0.0
            _, end = layer(torch.ones(1, 2000, 1))  # constant input: the state tends to the kernel's integral
        mass = end.flatten() if real else end[0, 0, :, 0]
        want = torch.ones(3) if normalize else 1 / torch.tensor([0.05, 0.5, 2.0])
        torch.testing.assert_close(mass, want, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "options", [{}, {"real": True}, {"num_layers": 3}, {"input_size": 16}, {"normalize": False}, {"dt": 0.01}, {"state_size": 1}]
)
def test_fresh_outputs_are_of_order_one(options):
    layer = make(**{"input_size": 1, "hidden_size": 64, "state_size": 64, "activation": "linear", **options})
    y, _ = layer(noise(4, 8000, layer.input_size))
    assert 0.3 < y[:, 4000:].std().item() < 3


def test_fresh_poles():
    layer = make(state_size=64, num_layers=2, dt=0.1)
    times, (rates, frequencies) = layer.timescales(), layer.poles()
    assert times.shape == rates.shape == frequencies.shape == (2, 64)
    torch.testing.assert_close(times[0, [0, -1]], torch.tensor([0.1, 100.0], dtype=D), rtol=1e-5, atol=0)
    ratio = times[0, 1:] / times[0, :-1]
    torch.testing.assert_close(ratio, ratio[:1].expand(63), rtol=1e-4, atol=0)
    turns = (frequencies[0] * 0.1 / math.pi).sort().values
    assert 0 <= turns[0] < turns[-1] < 1
    assert turns.diff().max() < 2.7 / 64  # evenly: no gap much above 1 / N
    slow = (frequencies[0, -16:] * 0.1 / math.pi).sort().values
    assert slow.diff().max() < 3 / 16  # and so among the slowest


@pytest.mark.parametrize("name", ["direct", "exp", "softplus", "inverse"])
def test_poles_can_be_assigned(name):
    layer = make(parametrization=name, num_layers=2, dt=0.5)
    layer.assign_poles([0.001, 0.1, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0])
    rates, frequencies = layer.poles()
    torch.testing.assert_close(rates, torch.tensor([[0.001, 0.1, 1.0, 2.0]] * 2, dtype=D), rtol=1e-5, atol=0)
    torch.testing.assert_close(frequencies, torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 2, dtype=D))
    layer.assign_timescales([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(layer.timescales()[1], torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=D), rtol=1e-5, atol=0)
    assert layer.poles()[1][0, 3] == 3.0
    with pytest.raises(ValueError, match=r"`rates` to be of shape \(4,\) or \(2, 4\)"):
        layer.assign_poles([1.0])
    with pytest.raises(ValueError, match="finite"):
        layer.assign_poles([1.0, 2.0, math.nan, 1.0])
    if name != "direct":
        with pytest.raises(ValueError, match="range of"):
            layer.assign_poles([1.0, 2.0, -1.0, 1.0])


def test_a_timescale_of_ten_million_steps_survives_float32():
    layer = make(1, 1, 1, real=True, activation="linear", skip=False)
    layer.assign_timescales([1e7])
    _, early = layer(torch.ones(1, 1000, 1))
    _, late = layer(torch.ones(1, 1000, 1), early)
    assert (late / early).item() == pytest.approx(math.expm1(-2e-4) / math.expm1(-1e-4), rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"real": True}, {"num_layers": 2, "parametrization": "softplus", "dt": 0.2}])
def test_steps_and_pieces_give_what_one_run_gives(options):
    layer = make(state_size=16, **options)
    x = noise(3, 90, 2)
    y, end = layer(x)
    for cut in (1, 70, 89):
        first, middle = layer(x[:, :cut])
        second, last = layer(x[:, cut:], middle)
        torch.testing.assert_close(torch.cat((first, second), 1), y, rtol=0, atol=1e-5)
        torch.testing.assert_close(last, end, rtol=0, atol=1e-5)
    state = None
    for k in range(90):
        out, state = layer.step(x[:, k], state)
        torch.testing.assert_close(out, y[:, k], rtol=0, atol=1e-5)
    torch.testing.assert_close(state, end, rtol=0, atol=1e-5)
    out, alone = layer.step(x[0, 0])
    torch.testing.assert_close(out, y[0, 0], rtol=0, atol=1e-6)
    assert alone.shape == end[:, 0].shape


def test_layouts():
    layer, other = make(), make(batch_first=False)
    x = noise(3, 50, 2)
    y, state = layer(x)
    z, same = other(x.transpose(0, 1))
    torch.testing.assert_close(z.transpose(0, 1), y)
    torch.testing.assert_close(same, state)
    alone, end = layer(x[1], state[:, 1])
    again, _ = layer(x[1:2], state[:, 1:2])
    torch.testing.assert_close(alone, again[0])
    assert end.shape == state[:, 1].shape
    torch.testing.assert_close(layer(x.mT.contiguous().mT)[0], y)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_lengths_and_packed_sequences(num_layers):
    layer = make(num_layers=num_layers)
    rows = [noise(length, 2, seed=length) for length in (40, 130, 7)]
    alone = [layer(row) for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=math.nan)
    lengths = torch.tensor([40, 130, 7])
    y, state = layer(padded, lengths=lengths)
    packed, after = layer(pack_sequence(rows, enforce_sorted=False))
    unpacked, counts = pad_packed_sequence(packed, batch_first=True)
    assert counts.tolist() == lengths.tolist()
    torch.testing.assert_close(unpacked, y)
    torch.testing.assert_close(after, state)
    for k, (out, end) in enumerate(alone):
        torch.testing.assert_close(y[k, : len(out)], out, rtol=0, atol=2e-6)
        assert y[k, len(out) :].eq(0).all()
        torch.testing.assert_close(state[:, k], end, rtol=0, atol=2e-6)
    for given in ([40, 130, 7], np.array([40, 130, 7])):
        assert torch.equal(layer(padded, lengths=given)[0], y)
    y.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    both, _ = layer(pack_sequence(rows, enforce_sorted=False), state)
    torch.testing.assert_close(pad_packed_sequence(both, batch_first=True)[0][0, :40], layer(rows[0], state[:, 0])[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("real", [False, True])
def test_gradients_against_finite_differences(real):
    layer = make(2, 2, 3, real=real, num_layers=2, activation="tanh", dt=0.5, dtype=D)
    x, start = noise(2, 5, 2, dtype=D).requires_grad_(), 0.1 * noise(2, 2, 3, *(() if real else (2,)), dtype=D)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x, start, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, start))

    assert torch.autograd.gradcheck(run, (x, start.requires_grad_(), *parameters))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_types_spare_the_recurrent_parameters(dtype):
    layer = make(state_size=8)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    x = noise(2, 200, 2)
    want, _ = layer(x)
    small = copy.deepcopy(layer).to(dtype)
    for name, value in small.state_dict().items():
        recurrent = "modes" in name
        assert value.dtype == (torch.float32 if recurrent else dtype)
        assert not recurrent or torch.equal(value, before[name])
    y, state = small(x.to(dtype))
    assert (y.dtype, state.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(y.float(), want, rtol=0, atol=0.05)
    built = DiagonalSSM(2, 3, 8, dtype=dtype)
    assert (built.layers[0].modes.v.dtype, built.layers[0].input_weight.dtype) == (torch.float32, dtype)
    assert layer(x.to(dtype))[0].dtype == dtype
    y.float().sum().backward()
    assert small.layers[0].modes.v.grad.dtype == torch.float32
    doubled = copy.deepcopy(small).double()
    assert torch.equal(doubled.layers[0].modes.v.float(), before["layers.0.modes.v"])


def test_autocast_keeps_the_recurrence_in_float32():
    layer = make(state_size=8)
    layer.assign_timescales([1e4] * 8)
    x = noise(2, 500, 2)
    want, end = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x)
        small, _ = layer(x.bfloat16())
    assert torch.equal(state, end)
    torch.testing.assert_close(y, want, rtol=0, atol=0.03)
    assert small.dtype == torch.bfloat16


def test_copies_and_files(tmp_path):
    layer = make(num_layers=2, parametrization="inverse")
    x = noise(2, 30, 2)
    want, _ = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x)[0], want)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    other = make(num_layers=2, parametrization="inverse", seed=5)
    other.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert torch.equal(other(x)[0], want)


def test_meta_construction():
    layer = make(device="meta", num_layers=2)
    assert all(p.device.type == "meta" for p in layer.parameters())
    y, state = layer(torch.empty(2, 300, 2, device="meta"))
    assert (y.shape, state.shape) == ((2, 300, 3), (2, 2, 4, 2))
    layer.to_empty(device="cpu")
    torch.manual_seed(0)
    layer.reset_parameters()
    assert torch.equal(layer(noise(2, 30, 2))[0], make(num_layers=2)(noise(2, 30, 2))[0])


def test_vmap_over_perturbed_copies():
    layer = make()
    x = noise(2, 140, 2)
    stacked = {k: torch.stack((v, 1.01 * v)) for k, v in layer.named_parameters()}
    both = torch.func.vmap(lambda p: torch.func.functional_call(layer, p, (x,))[0])(stacked)
    torch.testing.assert_close(both[0], layer(x)[0], rtol=0, atol=1e-5)
    assert not torch.allclose(both[1], both[0])


def test_dropout_between_layers_in_training_only():
    layer = make(num_layers=2, dropout=0.5)
    x = noise(2, 30, 2)
    plain = make(num_layers=2)
    assert not torch.equal(layer(x)[0], plain(x)[0])
    assert torch.equal(layer.eval()(x)[0], plain(x)[0])
    single = make(dropout=0.5)
    assert torch.equal(single(x)[0], single(x)[0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    linear, layer = make(activation="linear"), make(activation=name)
    x = noise(2, 20, 2)
    torch.testing.assert_close(layer(x)[0], ACTIVATIONS[name].value(linear(x)[0]))


def test_short_and_empty_sequences():
    layer = make(num_layers=2)
    y, state = layer(noise(2, 1, 2))
    assert y.shape == (2, 1, 3)
    y, same = layer(torch.zeros(2, 0, 2), state)
    assert y.shape == (2, 0, 3)
    assert torch.equal(same, state)
    assert layer(torch.zeros(0, 4, 2))[0].shape == (0, 4, 3)


def test_nan_propagates():
    layer = make(activation="linear")
    x = noise(2, 40, 2)
    x[0, 20, 1] = math.nan
    y, state = layer(x)
    assert y[0, 20:].isnan().all()
    assert not y[0, :20].isnan().any()
    assert not y[1].isnan().any()
    assert state[0, 0].isnan().all()


def test_recurrent_parameters_and_representation():
    layer = make(num_layers=2, real=True, dt=0.5)
    assert [tuple(p.shape) for p in layer.recurrent_parameters()] == [(4,), (4,)]
    assert len(list(make().recurrent_parameters())) == 2
    assert "2, 3, state_size=4, parametrization='exp', num_layers=2, dt=0.5, real=True" in repr(layer)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: DiagonalSSM(2, 0), ValueError, "`hidden_size` to be at least 1, but got 0"),
        (lambda m: DiagonalSSM(2, 3, 0), ValueError, "`state_size` to be at least 1"),
        (lambda m: DiagonalSSM(True, 3), TypeError, "`input_size` to be an integer"),
        (lambda m: DiagonalSSM(2, 3, dt=0.0), ValueError, "`dt` to be positive"),
        (lambda m: DiagonalSSM(2, 3, dropout=1.5), ValueError, "`dropout` to be from 0 to 1, but got 1.5"),
        (lambda m: DiagonalSSM(2, 3, activation="sin"), ValueError, "'tanh', 'hardtanh', 'linear'.*but got 'sin'"),
        (lambda m: DiagonalSSM(2, 3, parametrization="log"), ValueError, "'direct', 'exp'.*but got 'log'"),
        (lambda m: m(torch.zeros(2, 3, 4, 2)), ValueError, r"\(2, 3, 4, 2\)"),
        (lambda m: m(torch.zeros(2, 5, 3)), ValueError, r"2 channels.*\(2, 5, 3\)"),
        (lambda m: m(torch.zeros(2, 5, 2, dtype=torch.int64)), TypeError, "floating point, but got torch.int64"),
        (lambda m: m(torch.zeros(2, 5, 2, dtype=D)), TypeError, "torch.float32, as the layer, but got torch.float64"),
        (lambda m: m.double()(torch.zeros(2, 5, 2)), TypeError, "torch.float64, as the layer, but got torch.float32"),
        (
            lambda m: m(torch.zeros(2, 5, 2), torch.zeros(1, 3, 4, 2)),
            ValueError,
            r"`state` to be of shape \(1, 2, 4, 2\), but got \(1, 3, 4, 2\)",
        ),
        (
            lambda m: m(torch.zeros(2, 5, 2), torch.zeros(1, 2, 4, 2).double()),
            TypeError,
            "`state` to be torch.float32, but got torch.float64",
        ),
        (lambda m: m(torch.zeros(2, 5, 2), lengths=torch.tensor([1, 6])), ValueError, "from 0 to T = 5, but got 6"),
        (lambda m: m(torch.zeros(5, 2), lengths=torch.tensor([1])), ValueError, "`lengths` to be None for packed or unbatched input"),
        (lambda m: m.step(torch.zeros(2, 5, 2)), ValueError, r"`x` to be of shape \(B, 2\) or \(2,\), but got \(2, 5, 2\)"),
        (lambda m: DiagonalSSM(2, 3, 4, real=True).assign_poles([1.0] * 4, [1.0] * 4), ValueError, "`frequencies` to be None"),
        (lambda m: m([[1.0, 2.0]]), TypeError, "`x` to be a tensor or a PackedSequence, but got list"),
        (lambda m: m(np.zeros((2, 5, 2))), TypeError, r"`x` to be a tensor .* but got ndarray: pass \(B, T, d\)"),
        (lambda m: m.step([1.0, 2.0]), TypeError, "`x` to be a tensor, but got a list"),
        (lambda m: m(torch.zeros(2, 5, 2), (1, 2)), TypeError, r"`state` to be one tensor, not \(h, c\), but got a tuple of 2"),
        (
            lambda m: m(torch.zeros(2, 5, 2), [torch.zeros(1, 2, 4, 2)]),
            TypeError,
            r"`state` to be one tensor, not \(h, c\), but got a list",
        ),
        (lambda m: m.step(torch.zeros(2, 2), (1, 2)), TypeError, r"`state` to be one tensor, not \(h, c\)"),
        (lambda m: m(torch.zeros(2, 5, 2), 1.0), TypeError, r"`state` to be a tensor, but got a float: pass one of shape \(1, 2, 4, 2\)"),
        (lambda m: m(torch.zeros(2, 5, 2), lengths=[3, 6]), ValueError, "`lengths` to be from 0 to T = 5, but got 6"),
        (lambda m: m(torch.zeros(2, 5, 2), lengths=[3.0, 4.0]), TypeError, "`lengths` to hold integers, but got torch.float32"),
        (lambda m: m(torch.zeros(2, 5, 2), lengths="ab"), TypeError, "`lengths` to hold integers, but got a str"),
        (
            lambda m: m(torch.zeros(2, 5, 2), lengths=torch.tensor(3)),
            ValueError,
            r"`lengths` to be of shape \(2,\), but got \(\): pass the steps",
        ),
        (
            lambda m: m(torch.zeros(2, 5, 2), lengths=[3]),
            ValueError,
            r"`lengths` to be of shape \(2,\), but got \(1,\): pass the steps of each",
        ),
        (lambda m: DiagonalSSM(2, 3, dtype=torch.int32), TypeError, "`dtype` to be None, torch.float32, .* but got torch.int32"),
        (lambda m: DiagonalSSM(2, 3, dtype=torch.complex64), TypeError, "`dtype` .* but got torch.complex64"),
        (lambda m: DiagonalSSM(2, 3, dtype="float32"), TypeError, "`dtype` .* but got 'float32': pass torch.float32"),
    ],
)
@pytest.mark.usefixtures("as_installed")
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(make())


def test_learns_a_slow_target():
    """A few steps of Adam on a target with a memory of 200 steps take off all but a few hundredths of the error."""
    layer = make(1, 1, 16, activation="linear", real=True)
    x = noise(8, 400, 1)
    decay = torch.exp(-torch.arange(400) / 200.0)
    target = torch.fft.irfft(torch.fft.rfft(x, 1024, dim=1) * torch.fft.rfft(decay, 1024)[:, None], 1024, dim=1)[:, :400]
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        loss = (layer(x)[0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.03 * losses[0]
