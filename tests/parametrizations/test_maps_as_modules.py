"""The maps inside torch: parametrize, copying, pickling, transforms, meta device, compile."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from perdure import parametrizations as P

MAPS = [P.Direct(), P.Exp(), P.Softplus(), P.Inverse(a=2.0, b=0.25), P.LRU()]
each = pytest.mark.parametrize("g", MAPS, ids=lambda g: g.name)


def weights(g):
    return torch.tensor([0.2, 0.5, 0.999]) if not g.continuous else -torch.tensor([0.1, 0.5, 2.0])


@each
def test_with_torch_parametrize(g):
    layer = nn.Module()
    layer.w = nn.Parameter(weights(g))
    parametrize.register_parametrization(layer, "w", copy.deepcopy(g))
    torch.testing.assert_close(layer.w, weights(g))
    layer.w = weights(g) * 0.9
    torch.testing.assert_close(layer.w, weights(g) * 0.9)
    layer.w.sum().backward()
    v = layer.parametrizations.w.original
    torch.testing.assert_close(v.grad, g.derivative(v.detach()))
    assert [name for name, _ in layer.named_parameters()] == ["parametrizations.w.original"]


@each
def test_copies_and_pickles_compute_the_same(g):
    v = torch.linspace(-2, 2, 9)
    for other in (copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert torch.equal(other(v), g(v))
        assert repr(other) == repr(g)
    buffer = io.BytesIO()
    torch.save(g.state_dict(), buffer)
    g.load_state_dict(torch.load(io.BytesIO(buffer.getvalue())))
    assert g.state_dict() == {}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, on the first jvp of a process
@each
def test_under_vmap_jvp_and_grad(g):
    v = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4)
    torch.testing.assert_close(torch.func.vmap(g)(v), g(v))
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(lambda x: g(x).sum()))(v), g.derivative(v))
    value, slope = torch.func.jvp(g, (v,), (torch.ones_like(v),))
    torch.testing.assert_close(value, g(v))
    torch.testing.assert_close(slope, g.derivative(v))


@each
def test_twice_differentiable(g):
    v = torch.linspace(-1.5, 1.7, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(g, (v,))
    assert torch.autograd.gradcheck(g.derivative, (v,))
    w = weights(g).double() * 0.9
    assert torch.autograd.gradcheck(g.right_inverse, (w.requires_grad_(True),))


@each
def test_on_the_meta_device(g):
    v = torch.empty(3, 2, device="meta", dtype=torch.bfloat16)
    for result in (g(v), g.derivative(v), g.right_inverse(v)):
        assert result.is_meta
        assert result.shape == (3, 2)
        assert result.dtype == torch.bfloat16


@each
def test_traces_in_one_graph(g):
    v = torch.linspace(-3, 3, 7)
    torch.compiler.reset()  # the maps share their code, and eight versions of it are the limit
    compiled = torch.compile(g, backend="eager", fullgraph=True)
    assert torch.equal(compiled(v), g(v))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own: dynamo and inductor 2.13 use what torch has deprecated
@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiled(g, dtype):
    v = torch.linspace(-3, 3, 7, dtype=dtype).requires_grad_(True)
    torch.compiler.reset()  # the maps share their code, and eight versions of it are the limit
    compiled = torch.compile(g, fullgraph=True)
    torch.testing.assert_close(compiled(v), g(v))
    (slope,) = torch.autograd.grad(compiled(v).sum(), v)
    torch.testing.assert_close(slope, g.derivative(v.detach()))
