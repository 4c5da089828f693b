"""The maps at the ends of every dtype: no rate of 0 or infinity, no NaN gradient, NaN stays NaN."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perdure import parametrizations as P
from perdure.nn import ContinuousRNN

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


@pytest.mark.parametrize(("options", "dtype", "words"), [
    ({"a": 1e300}, torch.float32, "`a` to be at most .* in float32 with b = 0.5, but got 1e"),
    ({"a": 1e40, "b": 1e-14}, torch.float32, "`a` to be at most .* in float32"),
    ({"a": 1e-300}, torch.float32, "`a` to be larger in float32"),
    ({"b": 1e40}, torch.float32, "`b` to be below 4.25e.37 in float32, but got 1e"),
    ({"b": 1e5}, torch.float16, "`b` to be below 8.19e.03 in float16"),
    ({"a": 1e10}, torch.float16, "`a` to be at most .* in float16"),
])  # fmt: skip
def test_constants_that_a_dtype_cannot_hold_are_refused(options, dtype, words):
    """Not computed with: a = 1e300 gave 0 times infinity at v = 0, b = 1e40 an overflow error of torch's."""
    g = P.Inverse(**options)
    v = torch.tensor([0.0, 1.0], dtype=dtype)
    for call in (g, g.derivative, lambda v: g.right_inverse(v - 2), lambda v: ContinuousRNN(1, 2, parametrization=g, dtype=v.dtype)):
        with pytest.raises(ValueError, match=words):
            call(v)
    assert bool(g(v.double()).isfinite().all())
    assert bool(g.derivative(v.double()).isfinite().all())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(a=st.floats(-40.0, 40.0), b=st.floats(-40.0, 40.0))
def test_inverse_with_any_constants_works_or_is_refused(dtype, a, b):
    g = P.Inverse(a=10.0**a, b=10.0**b)
    try:
        g.limits(dtype)
    except ValueError:
        return
    v = special(dtype).requires_grad_()
    w = g(v)
    (slope,) = torch.autograd.grad(w.sum(), v)
    assert bool((w.isfinite() & (w < 0)).all())
    assert bool(slope.isfinite().all())
    assert bool(g.derivative(v.detach()).isfinite().all())
