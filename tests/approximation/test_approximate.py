"""Exponential sums against the published table, exact cases and refusals."""

import numpy as np
import pytest

from perdure import functionals as F
from perdure.approximation import approximate
from perdure.stability import sobolev_distance

TABLE = {4: 3.6e-2, 8: 3.9e-3, 16: 2.2e-4, 32: 2.0e-6, 64: 2.2e-9, 128: 1.9e-13}  # sinc quadrature, p = 2
TARGETS = [
    F.polynomial(1.5),
    F.polynomial(2.0, scale=30.0),
    F.airy(2.0),
    F.shift(3.0, 1.0),
    F.polynomial(2.0) + F.oscillating(0.5, 3.0),
    F.polynomial(2.0) - 0.5 * F.exponential(3.0),
    F.stack(F.polynomial(2.0), -1.0 * F.exponential(0.3)),
    F.polynomial(2.0) + F.shift(2.0, 0.5),
]


@pytest.mark.parametrize("width", TABLE)
def test_no_worse_than_sinc_quadrature(width):
    assert approximate(F.polynomial(2.0), width).error <= TABLE[width]


@pytest.mark.parametrize("target", TARGETS, ids=repr)
@pytest.mark.parametrize("width", [3, 8, 17])
def test_width_sign_and_error_are_as_said(target, width):
    found = approximate(target, width)
    assert found.width in (width, width - 1)
    assert (found.rates.real > 0).all()
    assert found.error == pytest.approx(sobolev_distance(found, target) / target.norm(), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_error_is_that_of_plain_quadrature(target):
    """The reported error against a fine trapezoidal rule in log time that shares no code with it."""
    found = approximate(target, 6)
    t = np.concatenate([[0.0], np.geomspace(1e-6, 1e14, 800_001)])  # beyond 1e14 a slow target has 2e-7 left
    difference = np.atleast_2d(np.asarray(target.kernel(t)).T - np.asarray(found.kernel(t)).T)
    slope = np.atleast_2d(np.asarray(target.kernel_derivative(t)).T - np.asarray(found.kernel_derivative(t)).T)
    total = np.trapezoid(np.abs(difference).sum(0) + np.abs(slope).sum(0), t) + np.abs(difference[:, 0]).sum()
    assert found.error == pytest.approx(total / target.norm(), rel=0.01)


def test_more_states_are_not_worse():
    errors = [approximate(F.polynomial(1.5), m).error for m in (1, 2, 4, 8, 16, 32)]
    assert errors == sorted(errors, reverse=True)


def test_exact_for_exponential_sums_with_coefficients_shared_out():
    found = approximate(F.exponential(0.5) + F.oscillating(1.0, 2.0), 7)
    assert found.error == 0.0
    assert found.width == 7
    assert sobolev_distance(found, F.exponential(0.5) + F.oscillating(1.0, 2.0)) < 1e-13


def test_finite_horizon_is_easier():
    target = F.polynomial(1.1)
    assert approximate(target, 8, horizon=50.0).error < 0.05 * approximate(target, 8).error


@pytest.mark.parametrize(("kwargs", "message"), [
    ({"width": 0}, "width"), ({"horizon": 0.0}, "horizon"), ({"horizon": float("nan")}, "horizon"), ({"method": "magic"}, "method"),
])  # fmt: skip
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        approximate(F.polynomial(2.0), **kwargs)


def test_targets_are_functionals():
    with pytest.raises(TypeError, match="`target`"):
        approximate([1.0, 2.0])


def test_sinc_is_for_power_laws():
    with pytest.raises(ValueError, match="`method`"):
        approximate(F.airy(2.0), 8, method="sinc")
