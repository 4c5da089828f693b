"""Round trips, derivatives and guarantees of the maps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from perdure import parametrizations as P

MAPS = [P.Direct(), P.Exp(), P.Softplus(), P.Inverse(a=1.0, b=1e-3)]


@pytest.mark.parametrize("g", MAPS, ids=lambda g: g.name)
@given(log_rate=st.floats(-12.0, 6.0))
def test_right_inverse(g, log_rate):
    w = -torch.tensor([log_rate], dtype=torch.float64).exp()
    torch.testing.assert_close(g(g.right_inverse(w)), w, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("g", MAPS, ids=lambda g: g.name)
@given(v=st.floats(-30.0, 30.0))
def test_derivative(g, v):
    x = torch.tensor([v], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(g(x).sum(), x)
    torch.testing.assert_close(g.derivative(x.detach()), slope, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("g", [g for g in MAPS if g.stable], ids=lambda g: g.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@given(v=st.floats(-1e30, 1e30))
def test_stable_maps_are_negative_for_every_weight(g, dtype, v):
    w = g(torch.tensor([v], dtype=dtype))
    assert bool((w < 0).all())
    assert bool(torch.isfinite(w).all())


@pytest.mark.parametrize("g", MAPS, ids=lambda g: g.name)
def test_with_torch_parametrize(g):
    layer = nn.Module()
    layer.w = nn.Parameter(-torch.tensor([0.1, 0.5, 2.0]))
    parametrize.register_parametrization(layer, "w", g)
    torch.testing.assert_close(layer.w, -torch.tensor([0.1, 0.5, 2.0]))


@pytest.mark.parametrize("g", [P.Exp(), P.Softplus(), P.Inverse(b=0.5)], ids=lambda g: g.name)
def test_range_is_said(g):
    with pytest.raises(ValueError, match="range of"):
        g.right_inverse(torch.tensor([1.0]))


def test_inverse_says_what_it_reaches():
    with pytest.raises(ValueError, match="1/b = 2"):
        P.Inverse(b=0.5).right_inverse(torch.tensor([-3.0]))
