"""Each sigma and sigma' in machine code against torch in float64, over every size of argument."""

import numpy as np
import pytest
import torch

from perdure.ops.recurrence.activations import ACTIVATIONS, CODES

elementwise = pytest.importorskip("perdure.ops.recurrence.elementwise", reason="needs numba")
SIZES = np.concatenate([[0.0], np.geomspace(1e-30, 80.0, 4001)])


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "rounding"), [(np.float32, 6e-7), (np.float64, 2e-15)])
def test_value_and_slope(name, dtype, rounding):
    z = np.concatenate([-SIZES[::-1], SIZES]).astype(dtype)
    given = torch.as_tensor(z).double()
    value, slope = z.copy(), np.empty_like(z)
    elementwise.activate(CODES[name], value, slope)
    wanted = np.where(z > 0, z, np.expm1(given.numpy())) if name == "elu" else ACTIVATIONS[name].value(given).numpy()  # torch's elu cancels
    if name == "gelu":  # its tail v (1 + erf(v)) / 2 cancels, here and in torch
        assert (np.abs(value - wanted) <= rounding * np.maximum(np.abs(wanted), 1.0)).all()
    else:
        reached = np.abs(wanted) > np.finfo(dtype).tiny * 1e3
        growth = np.maximum(1.0, np.abs(z)) if name in ("sigmoid", "softplus", "silu") else 1.0  # e^-|z| feels the rounding of z
        assert (np.abs(value - wanted) <= rounding * growth * np.abs(wanted))[reached].all()
    steep = ACTIVATIONS[name].slope(given).numpy()
    assert (np.abs(slope - steep) <= rounding * np.maximum(np.abs(steep), 1.0)).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_is_the_derivative_of_the_value(name):
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64) + 1e-4  # no kink on a sample
    h = 1e-6
    activation = ACTIVATIONS[name]
    torch.testing.assert_close(activation.slope(z), (activation.value(z + h) - activation.value(z - h)) / (2 * h), rtol=1e-6, atol=1e-8)
    given = z.clone().requires_grad_()
    torch.testing.assert_close(activation.slope(z), torch.autograd.grad(activation.value(given).sum(), given)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_keeps_the_relative_precision_of_small_numbers(dtype):
    z = np.geomspace(1e-30, 1e-2, 1000).astype(dtype)
    value = z.copy()
    elementwise.activate(CODES["tanh"], value, np.empty_like(z))
    assert np.abs(value / np.tanh(z.astype(np.longdouble)) - 1).max() < 3 * np.finfo(dtype).eps


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_are_what_torch_makes_of_them(name, dtype):
    """In value and slope, whatever the loop does with the numbers around them; sigma' is NaN where sigma is, but for linear."""
    z = np.linspace(-3, 3, 37).astype(dtype)
    z[5], z[11], z[20] = np.nan, -np.inf, np.nan if name == "gelu" else np.inf  # torch's gelu(inf) is inf here and NaN there
    value, slope = z.copy(), np.empty_like(z)
    elementwise.activate(CODES[name], value, slope)
    given = torch.as_tensor(z)
    wanted, steep = ACTIVATIONS[name].value(given), ACTIVATIONS[name].slope(given)
    torch.testing.assert_close(torch.as_tensor(value), wanted, equal_nan=True, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.as_tensor(slope), steep, equal_nan=True, rtol=1e-5, atol=1e-6)
    assert name == "linear" or bool(steep[wanted.isnan()].isnan().all())
    assert name == "linear" or bool(np.isnan(slope[5]))
