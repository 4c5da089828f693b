"""The maps at the ends of every dtype: no rate of 0 or infinity, no NaN gradient, NaN stays NaN."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perdure import parametrizations as P

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
STABLE = [P.Exp(), P.Softplus(), P.Inverse(), P.Inverse(a=1e-10, b=1e-3), P.Inverse(a=100.0, b=1e-30), P.LRU()]
IDS = ["exp", "softplus", "inverse", "inverse-flat", "inverse-steep", "lru"]


def special(dtype):
    info = torch.finfo(dtype)
    sizes = [0.0, info.tiny, info.smallest_normal * info.eps, 1.0, 1e3, info.max, float("inf")]
    return torch.tensor([sign * size for size in sizes for sign in (1, -1)], dtype=dtype)


def check(g, v):
    """Values inside the closed range, never 0 or infinite; gradients finite and those of `derivative`."""
    dtype = v.dtype
    v = v.clone().requires_grad_(True)
    w = g(v)
    assert w.dtype == dtype
    info = torch.finfo(dtype)
    size = w.detach().double().abs()
    assert bool(((size >= info.tiny) & (size <= info.max)).all())
    assert bool(((w < 0) if g.continuous else (w > 0) & (w < 1)).all())
    if isinstance(g, P.Inverse):
        assert bool((size <= 1 / g.b * (1 + 4 * info.eps)).all())
    assert bool(g.reaches(w).all())
    assert bool(g.right_inverse(w.detach()).isfinite().all())
    (slope,) = torch.autograd.grad(w.sum(), v)
    assert bool(slope.isfinite().all())
    # autograd of -1/d goes through w^2, which underflows in float32 at rates of 1e-19
    floor = 1e-25 if isinstance(g, P.Inverse) and dtype != torch.float64 else 8 * info.tiny
    torch.testing.assert_close(g.derivative(v.detach()), slope, rtol=8 * info.eps, atol=floor)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("g", STABLE, ids=IDS)
def test_special_values(g, dtype):
    check(g, special(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("g", STABLE, ids=IDS)
@given(sign=st.sampled_from([-1, 1]), decades=st.floats(-40.0, 40.0))
def test_any_size(g, dtype, sign, decades):
    check(g, torch.tensor([sign * 10.0**decades], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("g", [P.Direct(), *STABLE], ids=["direct", *IDS])
def test_nan_stays_nan_and_spoils_nothing_else(g, dtype):
    v = torch.tensor([float("nan"), 0.5], dtype=dtype, requires_grad=True)
    w = g(v)
    assert w.isnan().tolist() == [True, False]
    (slope,) = torch.autograd.grad(w[1], v)
    assert bool(slope[1].isfinite())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_direct_clamps_nothing(dtype):
    v = special(dtype)
    assert torch.equal(P.Direct()(v), v)
    assert torch.equal(P.Direct().derivative(v), torch.ones_like(v))


@pytest.mark.parametrize("g", [P.Exp(), P.Softplus(), P.Inverse(b=1e-3)], ids=lambda g: g.name)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_rounded_once(g, dtype):
    v = torch.linspace(-6, 6, 101).to(dtype)
    exact = g(v.double())
    inside = (exact >= g.limits(dtype)[0]) & (exact <= g.limits(dtype)[1])
    error = ((g(v).double() - exact) / exact).abs()[inside]
    assert error.max().item() <= 0.51 * torch.finfo(dtype).eps


def test_bfloat16_keeps_slow_rates_as_the_docstring_says():
    w = -torch.logspace(-5, 5, 400, dtype=torch.float64)
    g = P.Exp()
    kept = g(g.right_inverse(w).bfloat16().double())
    assert ((kept / w) - 1).abs().max().item() < 0.032
