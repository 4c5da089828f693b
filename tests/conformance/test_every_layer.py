"""What every layer owes, over structures, maps, activations and sizes."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from perdure.nn import ContinuousRNN, DiagonalSSM
from perdure.ops.recurrence import ACTIVATIONS
from perdure.parametrizations import BY_NAME as MAPS
from perdure.parametrizations.structures import BY_NAME as STRUCTURES

D = torch.float64
INTEGRATORS = ("euler", "exponential", "rk4")
KINDS = [("rnn", structure, name) for structure in STRUCTURES for name in MAPS] + [
    ("ssm", kind, name) for kind in ("complex", "real") for name in MAPS
]
CONSTRUCTORS = {"rnn": ContinuousRNN, "ssm": DiagonalSSM}


def make(kind, structure, parametrization, activation="tanh", d=2, m=3, layers=1, dtype=D, integrator="euler", **options):
    """A layer with the batch first."""
    torch.manual_seed(0)
    common = {
        "num_layers": layers,
        "activation": activation,
        "parametrization": parametrization,
        "batch_first": True,
        "dtype": dtype,
        "dt": 0.3,
    } | options
    if kind == "rnn":
        return ContinuousRNN(d, m, structure=structure, integrator=integrator, **common)
    return DiagonalSSM(d, m, state_size=4, real=structure == "real", **common)


@pytest.fixture(params=KINDS, ids="-".join)
def layer(request):
    return make(*request.param)


def test_shapes(layer):
    y, state = layer(torch.zeros(4, 5, 2, dtype=D))
    assert y.shape == (4, 5, 3)
    again, later = layer(torch.zeros(4, 5, 2, dtype=D), state)
    assert (again.shape, later.shape) == (y.shape, state.shape)


def test_gradients_against_finite_differences(layer):
    x = torch.randn(2, 4, 2, dtype=D, requires_grad=True)
    _, state = layer(x.detach())
    start = (0.1 * torch.randn_like(state)).requires_grad_()
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x, start, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, start))

    fast = layer if isinstance(layer, ContinuousRNN) and layer.structure == "dense" else None
    tolerance = 1e-5 if fast is not None else 1e-6  # a matrix logarithm has the rounding of its inverse
    assert torch.autograd.gradcheck(run, (x, start, *parameters), atol=tolerance)


def test_forward_is_repeated_steps(layer):
    x = torch.randn(3, 6, 2, dtype=D)
    y, end = layer(x)
    state = None
    for k in range(6):
        out, state = layer.step(x[:, k], state)
        torch.testing.assert_close(out, y[:, k])
    torch.testing.assert_close(state, end)


def test_state_passes_across_chunks(layer):
    x = torch.randn(3, 9, 2, dtype=D)
    whole, end = layer(x)
    state, parts = None, []
    for chunk in x.split([4, 1, 4], 1):
        y, state = layer(chunk, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(state, end)


def test_rows_do_not_see_one_another(layer):
    x = torch.randn(5, 6, 2, dtype=D)
    y, _ = layer(x)
    for rows in ([2], [4, 0], [3, 3, 1]):
        torch.testing.assert_close(layer(x[rows])[0], y[rows])


def test_outputs_do_not_see_the_future(layer):
    x = torch.randn(2, 7, 2, dtype=D)
    changed = x.clone()
    changed[:, 4:] = 10.0
    torch.testing.assert_close(layer(changed)[0][:, :4], layer(x)[0][:, :4], rtol=0, atol=1e-13)


def test_scattered_memory(layer):
    x = torch.randn(6, 2, 3, dtype=D)
    torch.testing.assert_close(layer(x.permute(2, 0, 1))[0], layer(x.permute(2, 0, 1).contiguous())[0])


def test_save_load_and_copy(layer):
    x = torch.randn(2, 5, 2, dtype=D)
    wanted, _ = layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x)[0], wanted)


@given(
    st.sampled_from(KINDS),
    st.sampled_from(list(ACTIVATIONS)),
    st.sampled_from(INTEGRATORS),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(0, 20),
    st.integers(1, 5),
    st.integers(1, 2),
)
@settings(max_examples=60)
def test_sizes(kind, activation, integrator, d, m, T, B, layers):
    """Chunked state passing at any size, for any layer, structure, map, activation and integrator; packed rows of any length."""
    layer = make(*kind, activation, d=d, m=m, layers=layers, integrator=integrator)
    x = torch.randn(B, T, d, dtype=D)
    y, end = layer(x)
    assert y.shape == (B, T, m)
    first, state = layer(x[:, : T // 2])
    second, state = layer(x[:, T // 2 :], state)
    torch.testing.assert_close(torch.cat([first, second], 1), y)
    torch.testing.assert_close(state, end)
    if T:
        lengths = torch.arange(B) % T + 1
        packed, last = layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        padded, _ = pad_packed_sequence(packed, batch_first=True)
        for row, n in enumerate(lengths.tolist()):
            alone, after = layer(x[row, :n])
            torch.testing.assert_close(padded[row, :n], alone)
            torch.testing.assert_close(last[:, row], after)


@pytest.mark.parametrize("kind", ["rnn", "ssm"])
def test_training_lowers_a_loss(kind):
    """A delayed echo of white noise: plain Adam brings the error well below that of silence."""
    layer = make(kind, "diagonal" if kind == "rnn" else "complex", "exp", "linear", d=1, m=16, dtype=torch.float32)
    head = torch.nn.Linear(16, 1)
    x = torch.randn(64, 40, 1)
    y = torch.cat([torch.zeros(64, 2, 1), x[:, :-2]], 1)
    optimiser = torch.optim.Adam([*layer.parameters(), *head.parameters()], 0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss = (head(layer(x)[0]) - y).square().mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.7


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(layer):
    x = torch.randn(3, 20, 2, dtype=D)
    wanted, _ = layer(x)
    there = copy.deepcopy(layer).cuda()
    torch.testing.assert_close(there(x.cuda())[0].cpu(), wanted)
