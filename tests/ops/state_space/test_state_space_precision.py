"""Long memories in float32, powers that underflow, and NaN."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from systems import system

from perdure.ops.state_space import state_space

D = torch.float64


def long_memory(oscillating, steps, dtype, d=1):
    """One mode of modulus 1 - 1e-5 driven by noise."""
    g = torch.Generator().manual_seed(0)
    pair = (2,) if oscillating else ()
    u = torch.randn(1, steps, d, generator=g, dtype=D)
    weight = torch.ones(1, d, *pair, dtype=D)
    out = torch.ones(d, 1, *pair, dtype=D)
    angle = torch.tensor([0.3], dtype=D) if oscillating else None
    return {
        "u": u.to(dtype),
        "log_modulus": torch.tensor([math.log1p(-1e-5)], dtype=D),
        "angle": angle,
        "b": weight.to(dtype),
        "c": out.to(dtype),
    }


@pytest.mark.parametrize("oscillating", [True, False], ids=["complex", "real"])
@pytest.mark.parametrize(("method", "allowed"), [("chunked", 2e-6), ("fft", 2e-6), ("sequential", 2e-5)])
@pytest.mark.parametrize("d", [1, 2])
def test_a_memory_of_a_hundred_thousand_steps(method, allowed, oscillating, d):
    """scipy's filter in float64 is the judge; a pole rounded to float32 would cost 3e-4 or more (next test)."""
    given = long_memory(oscillating, 100_000, torch.float32, d)
    a = np.exp(given["log_modulus"].item() + (0.3j if oscillating else 0))
    drive = given["u"].double().sum(-1)[0].numpy() * (1 + 1j if oscillating else 1)
    states = lfilter([1.0], [1.0, -a], drive)
    want = torch.from_numpy(np.real((1 + 1j if oscillating else 1) * states).copy())
    y, h = state_space(**given, method=method)
    assert (y[0].double() - want[:, None]).abs().max() < allowed * want.abs().max()
    last = torch.view_as_real(torch.tensor(states[-1])) if oscillating else torch.tensor([states[-1]])
    torch.testing.assert_close(h[0, 0].double() if oscillating else h[0].double(), last, rtol=0, atol=allowed * float(np.abs(states).max()))


def test_rounding_the_pole_is_what_would_cost_that_much():
    given = long_memory(False, 100_000, torch.float32)
    right = state_space(**{k: v.double() if v is not None else None for k, v in given.items()}, method="chunked")[0]
    given["log_modulus"] = given["log_modulus"].exp().float().double().log()
    wrong = state_space(**given, method="chunked")[0]
    assert (wrong - right).abs().max() > 1e-4 * right.abs().max()


@pytest.mark.parametrize("method", ["sequential", "chunked", "fft"])
def test_the_gradient_by_a_slow_pole(method):
    """A step response: y_k = (1 - a^k) / (1 - a), so dy_k / dlog a in closed form."""
    steps, a = 50_000, math.exp(-1e-4)
    given = long_memory(False, steps, torch.float32)
    given |= {"u": torch.ones_like(given["u"]), "log_modulus": torch.tensor([-1e-4], dtype=D, requires_grad=True)}
    y, _ = state_space(**given, method=method)
    (slope,) = torch.autograd.grad(y.sum(), given["log_modulus"])
    k = np.arange(1, steps + 1)
    want = (-k * a**k * (1 - a) + (1 - a**k) * a) / (1 - a) ** 2
    assert slope.item() == pytest.approx(want.sum(), rel=1e-4)


@pytest.mark.parametrize("method", ["sequential", "chunked", "fft", "reference"])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_powers_that_underflow(method, d, dtype):
    """Modes that are gone within a step, beside one that lasts: outputs and gradients are finite, and such a mode passes its input through."""
    given = system(2, 500, d, d, 4, dtype=dtype)
    given["log_modulus"] = torch.tensor([-1e-3, -1e4, -800.0, -math.inf], dtype=D)
    leaves = {k: v.clone().requires_grad_() for k, v in given.items()}
    y, h = state_space(**leaves, method=method)
    (y.square().mean() + h.sum()).backward()
    assert all(bool(t.isfinite().all()) for t in (y, h, *(v.grad for k, v in leaves.items() if k not in ("log_modulus", "angle"))))
    assert bool(leaves["log_modulus"].grad[:3].isfinite().all())
    want = torch.einsum("bd,ndp->bnp", given["u"][:, -1], given["b"])[:, 1:]
    torch.testing.assert_close(h[:, 1:], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["sequential", "chunked", "fft", "reference", "auto"])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("oscillating", [True, False], ids=["complex", "real"])
def test_nan_and_infinity_spread_forward_in_their_row_only(method, d, bad, oscillating):
    given = system(3, 300, d, d, oscillating=oscillating)
    clean, _ = state_space(**given, method=method)
    given["u"][1, 140, d - 1] = bad
    y, h = state_space(**given, method=method)
    assert not y[1, 140:].isfinite().any()
    torch.testing.assert_close(y[1, :140], clean[1, :140], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y[[0, 2]], clean[[0, 2]], rtol=1e-5, atol=1e-5)
    assert [bool(row.isfinite().all()) for row in h] == [True, False, True]


@pytest.mark.parametrize("method", ["sequential", "chunked", "fft"])
def test_nan_in_the_state_or_the_weights(method):
    given = system(2, 40)
    given["h0"][0, 2, 0] = math.nan
    y, _ = state_space(**given, method=method)
    assert y[0].isnan().all()
    assert not y[1].isnan().any()
    given["c"][0, 0, 0] = math.nan
    assert state_space(**given, method=method)[0].isnan().all()
    given = system(2, 40)
    given["log_modulus"][1] = math.nan
    assert state_space(**given, method=method)[0][:, 1:].isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_types_are_worked_on_in_float32(dtype):
    given = system(2, 300, 2, 2)
    given["u"] = given["u"].to(dtype).requires_grad_()
    y, h = state_space(**given)
    assert (y.dtype, h.dtype) == (dtype, torch.float32)
    want, last = state_space(**(given | {"u": given["u"].float()}))
    assert torch.equal(y, want.to(dtype))
    assert torch.equal(h, last)
    y.sum().backward()
    assert given["u"].grad.dtype == dtype


def test_autocast_leaves_it_alone():
    for method in ("sequential", "chunked"):
        given = system(2, 300, 3, 3)
        want = state_space(**given, method=method)[0]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(state_space(**given, method=method)[0], want)
