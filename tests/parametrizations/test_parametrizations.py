"""Round trips, derivatives and ranges of the maps, against closed forms and finite differences."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perdure import parametrizations as P
from perdure.errors import ArgumentTypeError

MAPS = [P.Direct(), P.Exp(), P.Softplus(), P.Inverse(a=1.0, b=1e-3), P.Inverse(a=3.0, b=1e-13), P.LRU()]
IDS = ["direct", "exp", "softplus", "inverse", "inverse-fast", "lru"]
CONTINUOUS = [g for g in MAPS if g.continuous]
CLOSED = {
    "direct": lambda g, v: v,
    "exp": lambda g, v: -mpmath.exp(v),
    "softplus": lambda g, v: -mpmath.log(1 + mpmath.exp(v)),
    "inverse": lambda g, v: -1 / (mpmath.mpf(g.a) * v**2 + mpmath.mpf(g.b)),
    "lru": lambda g, v: mpmath.exp(-mpmath.exp(v)),
}


def amplification(g, v, w):
    """How much g turns a relative error of v into one of w, at least 1."""
    return 4.0 + (g.derivative(v).double() * (v.double().abs() + 1.0) / w.double()).abs()


def relative_error(got, want):
    return ((got.double() - want.double()) / want.double()).abs()


@pytest.mark.parametrize("g", MAPS, ids=IDS)
@given(v=st.floats(-30.0, 30.0))
def test_values_and_derivatives_are_those_of_the_formula(g, v):
    with mpmath.workdps(60):
        x = torch.tensor([v], dtype=torch.float64)
        exact = CLOSED[g.name](g, mpmath.mpf(v))
        slope = mpmath.diff(lambda u: CLOSED[g.name](g, u), mpmath.mpf(v))
        low, high = (mpmath.mpf(end) for end in g.limits(torch.float64))
        if low < exact < high:
            assert abs(mpmath.mpf(g(x).item()) - exact) <= abs(exact) * 1e-14 * (1 + abs(v))
            tiny = mpmath.mpf(10) ** -25  # below that the finite difference of mpmath is noise
            assert (
                abs(mpmath.mpf(g.derivative(x).item()) - slope)
                <= abs(slope) * 1e-13 * (1 + mpmath.exp(min(v, 7)) * (g.name == "lru")) + tiny
            )


@pytest.mark.parametrize("g", MAPS, ids=IDS)
@given(v=st.floats(-30.0, 30.0))
def test_derivative_agrees_with_autograd_and_finite_differences(g, v):
    x = torch.tensor([v], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(g(x).sum(), x)
    torch.testing.assert_close(g.derivative(x.detach()), slope, rtol=1e-9, atol=1e-300)
    if abs(v) < 5:
        h = 1e-6
        difference = (g(x.detach() + h) - g(x.detach() - h)) / (2 * h)
        size = g(x.detach()).abs().max().item()
        narrow = g.name == "inverse" and g.b < 1e-9 and abs(v) < 1.0  # its peak is narrower than the step
        assert narrow or abs(difference.item() - slope.item()) <= 1e-4 * abs(slope.item()) + 1e-8 * max(size, 1.0)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(torch.float64, -12, 12), (torch.float32, -12, 12), (torch.bfloat16, -12, 12), (torch.float16, -3, 2)],
    ids=lambda x: str(x).removeprefix("torch."),
)
@pytest.mark.parametrize("g", CONTINUOUS, ids=IDS[:5])
@given(data=st.data())
def test_right_inverse_round_trip_over_decades(g, dtype, low, high, data):
    fastest = -g.limits(dtype)[0]
    w = -(10 ** torch.tensor([data.draw(st.floats(low, high))], dtype=torch.float64)).clamp(max=fastest).to(dtype)
    v = g.right_inverse(w)
    assert v.dtype == dtype
    assert relative_error(g(v), w).item() <= torch.finfo(dtype).eps * amplification(g, v, w).item()


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=lambda x: str(x).removeprefix("torch.")
)
@given(decades=st.floats(-15.0, 2.5))
def test_lru_right_inverse_keeps_the_time_constant(dtype, decades):
    g = P.LRU()
    low, high = g.limits(dtype)
    a = (-(10 ** torch.tensor([decades], dtype=torch.float64))).exp().to(dtype).clamp(low**0.9, high)  # off the end, where v saturates
    v = g.right_inverse(a)
    with mpmath.workdps(40):
        exact = mpmath.log(-mpmath.log(mpmath.mpf(a.double().item())))
        assert abs(mpmath.mpf(v.double().item()) - exact) <= torch.finfo(dtype).eps * (1 + abs(exact))
    error = torch.finfo(dtype).eps * amplification(g, v, a).item()
    assert relative_error(g(v), a).item() <= error


def test_lru_is_exp_with_the_time_step_folded_in():
    v = torch.linspace(-20, 3, 40, dtype=torch.float64)
    dt = 0.1
    torch.testing.assert_close(P.LRU()(v), torch.exp(dt * (P.Exp()(v) / dt)), rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("g", [P.Exp(), P.Softplus(), P.Inverse(b=0.5)], ids=lambda g: g.name)
@pytest.mark.parametrize("w", [1.0, 0.0, -float("inf"), float("nan"), -1e-40])
def test_range_is_said(g, w):
    with pytest.raises(ValueError, match=r"range of (Exp|Softplus|Inverse) \(from -\S+ to -\S+ in float32\), but got") as error:
        g.right_inverse(torch.tensor([-0.5, w]))
    assert f"({g.domain[0]:g}, 0)" in str(error.value)


@pytest.mark.parametrize("a", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_lru_says_its_range(a):
    with pytest.raises(ValueError, match=r"\(0, 1\), the range of LRU .*modulus"):
        P.LRU().right_inverse(torch.tensor([a]))


def test_inverse_says_what_it_reaches():
    with pytest.raises(ValueError, match="1/b = 2"):
        P.Inverse(b=0.5).right_inverse(torch.tensor([-3.0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("b", [0.3, 1e-3, 7.0])
def test_inverse_accepts_its_end(dtype, b):
    end = torch.tensor([-1 / b], dtype=dtype)
    g = P.Inverse(b=b)
    assert relative_error(g(g.right_inverse(end)), end).item() <= 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize("g", MAPS, ids=IDS)
@pytest.mark.parametrize("call", ["forward", "derivative"])
def test_integers_and_complex_numbers_are_refused(g, call):
    for wrong in (torch.tensor([1]), torch.tensor([1j])):
        with pytest.raises(ArgumentTypeError, match="real floating point"):
            getattr(g, call)(wrong)


def test_get_refuses_what_layers_cannot_use():
    with pytest.raises(ValueError, match=r"continuous time, but got 'LRU'.*\"exp\""):
        P.get(P.LRU())
    with pytest.raises(ValueError, match="'direct', 'exp', 'softplus', 'inverse', but got 'lru'"):
        P.get("lru")
    assert P.get("inverse", fastest=4.0).b == 0.125
    g = P.Softplus()
    assert P.get(g) is g


@pytest.mark.parametrize(("argument", "value"), [("a", 0.0), ("b", -1.0), ("b", float("nan"))])
def test_inverse_checks_its_constants(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}`"):
        P.Inverse(**{argument: value})
