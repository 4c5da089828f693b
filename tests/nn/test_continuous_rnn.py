"""ContinuousRNN against plain loops, closed forms, and torch.nn.RNN's habits."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import perdure
from perdure.nn import ContinuousRNN
from perdure.ops.recurrence.activations import ACTIVATIONS

D = torch.float64


def by_hand(layer, x, h0):
    """(T, B, d) through every layer and direction, one step and one product at a time."""
    sigma, last, y = ACTIVATIONS[layer.activation].value, [], x
    directions = 2 if layer.bidirectional else 1
    for i in range(layer.num_layers):
        outputs = []
        for j in range(directions):
            suffix = f"_l{i}" + ("_reverse" if j else "")
            W, U = layer.get_submodule(f"recurrent{suffix}")(), getattr(layer, f"weight_ih{suffix}")
            b = getattr(layer, f"bias{suffix}")
            h, states = h0[directions * i + j], []
            for k in range(len(y))[:: -1 if j else 1]:
                h = h + layer.dt * sigma(h @ W.T + y[k] @ U.T + (0 if b is None else b))
                states.append(h)
            outputs.append(torch.stack(states[::-1] if j else states))
            last.append(h)
        y = torch.cat(outputs, -1)
    return y if layer.readout is None else y @ layer.readout.weight.T, torch.stack(last)


@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "bidirectional": True}, {"structure": "dense", "parametrization": "direct", "bias": False}, {"output_size": 3},
    {"structure": "complex", "activation": "relu"}, {"structure": "dissipative", "dt": 0.1, "bidirectional": True, "output_size": 1},
])  # fmt: skip
def test_outputs_are_those_of_a_loop(options):
    torch.manual_seed(0)
    layer = ContinuousRNN(2, 5, dtype=D, **options)
    x, h0 = torch.randn(7, 3, 2, dtype=D), torch.randn(layer.directions * layer.num_layers, 3, 5, dtype=D)
    y, h_n = layer(x, h0)
    wanted, last = by_hand(layer, x, h0)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(h_n, last)
    layer.batch_first = True
    torch.testing.assert_close(layer(x.transpose(0, 1), h0)[0], wanted.transpose(0, 1))


def test_shapes_are_those_of_torch():
    for options in ({}, {"num_layers": 2}, {"bidirectional": True}, {"batch_first": True}):
        ours, theirs = ContinuousRNN(3, 4, **options), torch.nn.RNN(3, 4, **options)
        for shape in ((6, 2, 3), (6, 3), (1, 1, 3)):
            (y, h), (their_y, their_h) = ours(torch.zeros(shape)), theirs(torch.zeros(shape))
            assert (y.shape, h.shape) == (their_y.shape, their_h.shape)


def test_packed_sequences():
    torch.manual_seed(0)
    layer = ContinuousRNN(2, 4, num_layers=2, bidirectional=True, dtype=D)
    sequences = [torch.randn(n, 2, dtype=D) for n in (3, 7, 1, 5)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    h0 = torch.randn(4, 4, 4, dtype=D)
    y, h_n = layer(packed, h0)
    padded, lengths = pad_packed_sequence(y)
    assert lengths.tolist() == [3, 7, 1, 5]
    assert torch.equal(y.batch_sizes, packed.batch_sizes)
    for i, sequence in enumerate(sequences):
        alone, end = layer(sequence, h0[:, i])
        torch.testing.assert_close(padded[: len(sequence), i], alone)
        torch.testing.assert_close(h_n[:, i], end)


def test_linear_network_has_the_memory_of_its_exponential_sum():
    """The discrete kernel of Euler's method is sum_i c_i (1 - r_i dt)^k u_i, that of exponential Euler c_i e^{-r_i k dt} (1 - e^{-r_i dt}) / (r_i dt) u_i."""
    rates, dt = torch.tensor([0.05, 0.3, 1.0], dtype=D), 0.5
    for integrator in ("euler", "exponential"):
        layer = ContinuousRNN(1, 3, activation="linear", dt=dt, output_size=1, integrator=integrator, dtype=D)
        layer.recurrent_l0.assign_spectrum(rates)
        with torch.no_grad():
            layer.weight_ih_l0.copy_(torch.tensor([[1.0], [-0.5], [2.0]], dtype=D))
            layer.readout.weight.copy_(torch.tensor([[0.2, 1.0, 0.7]], dtype=D))
        weights = np.array([0.2, -0.5, 1.4])
        r, k = rates.numpy(), np.arange(40)[:, None]
        if integrator == "euler":
            kernel = ((1 - r * dt) ** k * weights).sum(1)
        else:
            kernel = (np.exp(-r * dt * k) * (1 - np.exp(-r * dt)) / (r * dt) * weights).sum(1)
        memory = perdure.memory_function(layer, horizon=40, dt=dt)
        assert memory.status == "exact"
        np.testing.assert_allclose(memory.values, np.abs(kernel), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("structure", ["diagonal", "complex", "symmetric", "dissipative"])
def test_no_weights_make_a_guarded_network_grow(structure):
    """tanh keeps |dh/dt| <= 1; what a guarantee adds is that dh/dt -> 0 under constant input."""
    torch.manual_seed(0)
    layer = ContinuousRNN(1, 4, structure=structure, dt=0.05, dtype=D)
    with torch.no_grad():
        for parameter in layer.recurrent_parameters():
            parameter.copy_(torch.randn_like(parameter))
        y, _ = layer(torch.ones(6000, 1, 1, dtype=D))
    assert float((y[-1] - y[-2]).abs().max()) < 1e-2 * float((y[1] - y[0]).abs().max())


@pytest.mark.parametrize("dt", [1.0, 0.1])
@pytest.mark.parametrize("integrator", ["euler", "exponential"])
def test_fresh_pairs_turn_and_decay_at_their_time_constants(integrator, dt):
    """The factor of one step is read off the layer itself: two runs with linear sigma and no input."""
    layer = ContinuousRNN(1, 5, structure="complex", activation="linear", integrator=integrator, dt=dt, dtype=D)
    assert float(layer.recurrent_l0.frequency.abs().min()) > 0
    with torch.no_grad():
        h0 = torch.eye(5, dtype=D)[None]
        one = layer(torch.zeros(1, 5, 1, dtype=D), h0)[1][0].T  # (m, m), what a step makes of a state
    factors = torch.linalg.eigvals(one)
    want = torch.exp(-1 / torch.tensor([1.0, 1.0, 10.0, 10.0, 100.0], dtype=D))
    torch.testing.assert_close(factors.abs().sort().values[:4], want[:4])
    assert float((factors.imag.abs() > 0).sum()) == 4
    slow = factors[(factors.imag > 0) & (factors.abs() > 0.5)]
    assert float(slow.angle()) == pytest.approx(0.1, rel=0.05)  # a radian in a time constant


def test_dropout_acts_between_layers_in_training_only():
    layer = ContinuousRNN(2, 50, num_layers=2, dropout=0.5)
    x = torch.randn(5, 3, 2)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_step_is_forward():
    layer = ContinuousRNN(2, 4, num_layers=2, output_size=3, dtype=D)
    x = torch.randn(6, 3, 2, dtype=D)
    y, h_n = layer(x)
    state = None
    for k in range(6):
        out, state = layer.step(x[k], state)
        torch.testing.assert_close(out, y[k])
    torch.testing.assert_close(state, h_n)
    with pytest.raises(ValueError, match="bidirectional"):
        ContinuousRNN(2, 4, bidirectional=True).step(torch.zeros(1, 2))


@torch.no_grad()
def test_half_precision_and_autocast_keep_the_state_in_float32():
    torch.manual_seed(0)
    layer = ContinuousRNN(2, 8)
    x = torch.randn(50, 3, 2)
    wanted, _ = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, h_n = layer(x)
    assert (y.dtype, h_n.dtype) == (torch.bfloat16, torch.float32)
    assert float((y.float() - wanted).abs().max()) < 0.02 * float(wanted.abs().max())
    low = copy.deepcopy(layer).bfloat16()
    assert float((low(x.bfloat16())[0].float() - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def test_copies_pickles_and_state_dicts():
    layer = ContinuousRNN(2, 4, structure="symmetric", bidirectional=True, output_size=1)
    x = torch.randn(5, 2, 2)
    other = ContinuousRNN(2, 4, structure="symmetric", bidirectional=True, output_size=1)
    other.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert torch.equal(twin(x)[0], layer(x)[0])


def replicate(module, weights, prefix=""):
    """What torch.nn.DataParallel puts on each device: copies without parameters, whose weights are plain attributes."""
    replica = module._replicate_for_data_parallel()
    for name, child in module.named_children():
        setattr(replica, name, replicate(child, weights, f"{prefix}{name}."))
    for name, parameter in [*module._parameters.items(), *module._buffers.items()]:
        if parameter is None:
            replica._parameters[name] = None
        else:
            setattr(replica, name, weights[prefix + name])
    return replica


@pytest.mark.parametrize("options", [
    {}, {"structure": "symmetric", "bidirectional": True, "num_layers": 2}, {"structure": "complex", "output_size": 3},
    {"structure": "dissipative", "integrator": "exponential"}, {"structure": "dense", "bias": False},
])  # fmt: skip
def test_replicas_for_data_parallel_give_the_same_outputs_and_gradients(options):
    torch.manual_seed(0)
    layer = ContinuousRNN(2, 4, dtype=D, **options)
    x = torch.randn(5, 6, 2, dtype=D)
    weights = {name: p * 1.0 for name, p in layer.named_parameters()} | dict(layer.named_buffers())  # not leaves, as after a broadcast
    names, parameters = zip(*layer.named_parameters(), strict=True)
    wanted = torch.autograd.grad(layer(x)[0].square().sum(), parameters)
    parts = [replicate(layer, weights)(part)[0] for part in x.split(3, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x)[0])
    found = torch.autograd.grad(sum(part.square().sum() for part in parts), parameters)
    for name, a, b in zip(names, found, wanted, strict=True):
        assert float(b.abs().max()) > 0, name
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")


def test_meta_construction():
    layer = ContinuousRNN(2, 4, num_layers=2, device="meta")
    assert all(p.is_meta for p in layer.parameters())
    layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert bool(torch.isfinite(layer(torch.zeros(3, 1, 2))[0]).all())


def test_functional_call_and_vmap_over_weights():
    layer = ContinuousRNN(2, 4, dtype=D)
    x = torch.randn(5, 3, 2, dtype=D)
    names = dict(layer.named_parameters())
    many = {name: torch.stack([p.detach(), 0.5 * p.detach(), -p.detach()]) for name, p in names.items()}
    found = torch.func.vmap(lambda weights: torch.func.functional_call(layer, weights, (x,))[0])(many)
    for i in range(3):
        torch.testing.assert_close(found[i], torch.func.functional_call(layer, {n: p[i] for n, p in many.items()}, (x,))[0])


def test_zero_length_and_empty_batches():
    layer = ContinuousRNN(2, 4, num_layers=2)
    h0 = torch.randn(2, 3, 4)
    y, h_n = layer(torch.zeros(0, 3, 2), h0)
    assert y.shape == (0, 3, 4)
    assert torch.equal(h_n, h0)
    assert layer(torch.zeros(5, 0, 2))[0].shape == (5, 0, 4)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: ContinuousRNN(2, 0), "hidden_size"),
    (lambda: ContinuousRNN(0, 2), "input_size"),
    (lambda: ContinuousRNN(2, 2, activation="sine"), "'tanh', 'hardtanh'"),
    (lambda: ContinuousRNN(2, 2, structure="sparse"), "'diagonal', 'complex'"),
    (lambda: ContinuousRNN(2, 2, parametrization="log"), "'direct', 'exp'"),
    (lambda: ContinuousRNN(2, 2, integrator="heun"), "'euler'"),
    (lambda: ContinuousRNN(2, 2, dt=0.0), "dt"),
    (lambda: ContinuousRNN(2, 2, dropout=1.5), "dropout"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 2, 3)), "input_size"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(2)), r"\(T, B, d\)"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 1, 2).double()), "float32"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 1, 2).long()), "float32"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 1, 2), torch.zeros(1, 2, 2)), "hx"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 1, 2), torch.zeros(1, 1, 2).double()), "hx"),
    (lambda: ContinuousRNN(2, 2)([[1.0, 2.0]]), "`input` to be a tensor or a PackedSequence, but got list"),
    (lambda: ContinuousRNN(2, 2).step([1.0, 2.0]), "`x` to be a tensor, but got a list"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 1, 2), (torch.zeros(1, 1, 2),) * 2), r"`hx` to be one tensor, not \(h, c\), but got a tuple of 2"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 1, 2), [torch.zeros(1, 1, 2)]), r"`hx` to be one tensor, not \(h, c\), but got a list of 1"),
    (lambda: ContinuousRNN(2, 2)(torch.zeros(3, 1, 2), 0.0), r"`hx` to be a tensor, but got a float: pass one of shape \(1, 1, 2\)"),
    (lambda: ContinuousRNN(2, 2).step(torch.zeros(1, 2), (torch.zeros(1, 1, 2),) * 2), r"`hx` to be one tensor, not \(h, c\)"),
    (lambda: ContinuousRNN(2, 2, dtype=torch.int32), "`dtype` to be None, torch.float32, .* but got torch.int32"),
    (lambda: ContinuousRNN(2, 2, dtype=torch.complex64), "`dtype` .* but got torch.complex64"),
    (lambda: ContinuousRNN(2, 2, dtype="float32"), "`dtype` .* but got 'float32': pass torch.float32"),
    (lambda: ContinuousRNN(2, 2, dtype=float), "`dtype` .* but got <class 'float'>"),
    (lambda: ContinuousRNN(2, 2, structure="complex").assign_timescales([1.0, 2.0]), "`rates` to be the same for states 0 and 1"),
    (lambda: ContinuousRNN(2, 2).assign_timescales([1.0]), r"`times` to be of shape \(2,\), but got \(1,\)"),
    (lambda: ContinuousRNN(2, 2).assign_timescales([1.0, 0.0]), "`times` to be positive"),
])  # fmt: skip
@pytest.mark.usefixtures("as_installed")
def test_bad_input(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_nan_in_the_input_is_passed_on_from_its_step_on():
    layer = ContinuousRNN(2, 3)
    x = torch.randn(6, 2, 2)
    x[3, 1, 0] = float("nan")
    y, _ = layer(x)
    assert not torch.isnan(y[:3]).any()
    assert not torch.isnan(y[:, 0]).any()
    assert torch.isnan(y[3:, 1]).all()
