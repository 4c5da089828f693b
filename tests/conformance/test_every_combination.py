"""Every layer x structure x map x activation, and every integrator, direction and dropout: one check of all that a layer owes, at tiny sizes."""

import copy

import pytest
import torch
from test_every_layer import INTEGRATORS, KINDS, make
from torch.nn import functional

from perdure.nn import ContinuousRNN
from perdure.ops.recurrence import ACTIVATIONS

D = torch.float64
KINKED = ("relu", "hardtanh")  # a central difference must not step over a kink


def check(layer):
    """Shapes, gradients, repeated steps, chunks, rows, causality and float32, on one sequence of five steps."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():  # off the round numbers of a fresh layer, where a kink of sigma may lie just there
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=g, dtype=D))
    x = torch.randn(2, 5, 2, generator=g, dtype=D)
    start = 0.1 * torch.randn(layer(x)[1].shape, generator=g, dtype=D)
    y, end = layer(x, start)
    assert (y.shape, end.shape) == ((2, 5, 3), start.shape)
    state = start
    for k in range(5):
        out, state = layer.step(x[:, k], state)
        torch.testing.assert_close(out, y[:, k])
    torch.testing.assert_close(state, end)
    first, state = layer(x[:, :2], start)
    second, state = layer(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), y)
    torch.testing.assert_close(state, end)
    torch.testing.assert_close(layer(x[[1]], start[:, [1]])[0], y[[1]])
    later = x.clone()
    later[:, 3:] = 10.0
    torch.testing.assert_close(layer(later, start)[0][:, :3], y[:, :3], rtol=0, atol=1e-13)
    check_gradients(layer, x, start, g)
    single = copy.deepcopy(layer).float()
    low, last = single(x.float(), start.float())
    assert (low.dtype, last.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(low.double(), y, rtol=1e-4, atol=1e-4)
    low.square().sum().backward()
    y.square().sum().backward()
    for one, two in zip(single.parameters(), layer.parameters(), strict=True):
        torch.testing.assert_close(one.grad.double(), two.grad, rtol=1e-3, atol=1e-3 * (1 + float(two.grad.abs().max())))


def check_gradients(layer, x, start, g):
    """Along one random direction of all inputs and weights at once: autograd against a central difference."""
    names, weights = zip(*layer.named_parameters(), strict=True)
    tensors = [t.detach().requires_grad_() for t in (x, start, *weights)]
    mix, mixed = torch.randn(2, 5, 3, generator=g, dtype=D), torch.randn(start.shape, generator=g, dtype=D)

    def loss(x, start, *weights):
        y, end = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, start))
        return (y * mix).sum() + (end * mixed).sum()

    ways = [torch.randn(t.shape, generator=g, dtype=D) for t in tensors]
    gradients = torch.autograd.grad(loss(*tensors), tensors)
    slope = sum(float((a * b).sum()) for a, b in zip(gradients, ways, strict=True))
    h = 1e-7 if layer.activation in KINKED else 1e-5
    with torch.no_grad():
        up, down = (float(loss(*(t + s * h * w for t, w in zip(tensors, ways, strict=True)))) for s in (1, -1))
    size = sum(float((a * b).abs().sum()) for a, b in zip(gradients, ways, strict=True))
    assert abs((up - down) / (2 * h) - slope) <= 1e-6 * (1 + size)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_every_activation_structure_and_map(kind, activation):
    check(make(*kind, activation))


@pytest.mark.parametrize("integrator", INTEGRATORS[1:])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("structure", ["diagonal", "complex", "symmetric", "dissipative", "dense"])
def test_every_integrator(structure, activation, integrator):
    check(make("rnn", structure, "exp", activation, integrator=integrator))


def apart(layer):
    """One network of one layer for each layer and direction, with its weights."""
    for k in range(layer.num_layers):
        for suffix in [f"_l{k}"] + [f"_l{k}_reverse"] * layer.bidirectional:
            width = getattr(layer, f"weight_ih{suffix}").shape[1]
            single = ContinuousRNN(
                width, layer.hidden_size, activation=layer.activation, structure=layer.structure, dt=layer.dt, batch_first=True, dtype=D,
                integrator=layer.integrator,
            )  # fmt: skip
            own = {n.replace(suffix, "_l0", 1): p for n, p in layer.state_dict().items() if f"{suffix}." in f"{n}."}
            single.load_state_dict(own)
            yield single


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("structure", ["diagonal", "complex", "symmetric", "dissipative", "dense"])
def test_directions_and_dropout_are_those_of_single_networks(structure, integrator):
    layer = make("rnn", structure, "exp", layers=2, integrator=integrator, bidirectional=True, dropout=0.4)
    x, start = torch.randn(2, 5, 2, dtype=D), 0.1 * torch.randn(4, 2, 3, dtype=D)
    parts = list(apart(layer))
    for training in (True, False):
        layer.train(training)
        torch.manual_seed(5)
        y, end = layer(x, start)
        torch.manual_seed(5)
        wanted, last = x, []
        for k in range(2):
            ahead, one = parts[2 * k](wanted, start[[2 * k]])
            back, two = parts[2 * k + 1](wanted.flip(1), start[[2 * k + 1]])
            wanted, last = torch.cat([ahead, back.flip(1)], -1), [*last, one, two]
            if k == 0:  # time first, as the layer has it
                wanted = functional.dropout(wanted.transpose(0, 1).contiguous(), 0.4, training).transpose(0, 1)
        torch.testing.assert_close(y, wanted)
        torch.testing.assert_close(end, torch.cat(last))


@pytest.mark.parametrize("real", [False, True])
def test_dropout_of_a_state_space_layer(real):
    layer = make("ssm", "real" if real else "complex", "exp", layers=2, dropout=0.4)
    x = torch.randn(2, 5, 2, dtype=D)
    parts = [make("ssm", "real" if real else "complex", "exp", d=d) for d in (2, 3)]
    for part, own in zip(parts, layer.layers, strict=True):
        part.layers[0].load_state_dict(own.state_dict())
    torch.manual_seed(5)
    y, _ = layer(x)
    torch.manual_seed(5)
    torch.testing.assert_close(y, parts[1](functional.dropout(parts[0](x)[0], 0.4))[0])
    assert not torch.equal(y, layer.eval()(x)[0])
