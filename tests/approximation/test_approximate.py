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
    assert found.width == width
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


REACHED = {4: 1.1e-2, 8: 6.2e-4, 16: 8.8e-6, 32: 1.7e-8, 64: 1.3e-12, 128: 1.2e-15}  # p = 2, by descent from truncation and tapered rates


@pytest.mark.parametrize("width", REACHED)
def test_what_was_reached_once_stays(width):
    assert approximate(F.polynomial(2.0), width).error <= REACHED[width]


def test_powers_near_one_do_not_break_down():
    """Balanced truncation loses rates below 1e-32: errors rose from width 48, and the slowest rate with them."""
    found = [approximate(F.polynomial(1.1), m) for m in (16, 32, 48, 64, 96, 128)]
    errors, slowest = [f.error for f in found], np.log([f.rates.real.min() for f in found])
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 3e-5
    slopes = np.diff(slowest) / np.diff(np.sqrt([16, 32, 48, 64, 96, 128]))
    assert (slopes < -8).all()  # e^(-a sqrt(m)) throughout, with no jump between methods
    assert (slopes > -20).all()


@pytest.mark.parametrize(("target", "widths"), [
    (F.airy(20.0), (2, 3, 13, 64)), (F.shift(5.0, 0.3), (3, 12, 13)), (F.shift(50.0, 0.3), (1, 11)),
    (F.polynomial(2000.0), (1, 2, 3, 16)), (F.polynomial(200.0), (1, 2, 3, 8)), (F.airy(2.0), (2, 3, 8, 13)),
], ids=repr)  # fmt: skip
def test_never_worse_than_nothing_nor_than_fewer_states(target, widths):
    found = [approximate(target, m) for m in widths]
    errors = np.array([f.error for f in found])
    assert [f.width for f in found] == list(widths)
    assert (errors <= 1.0).all()
    assert (errors[1:] <= 1.1 * errors[:-1] + 1e-8).all()  # descent has local minima, rounding a floor


@pytest.mark.parametrize("target", [F.shift(5.0, 0.3), F.airy(20.0)], ids=repr)
def test_narrow_pulses_are_not_cut_off_at_a_width(target):
    assert approximate(target, 13).error < 0.6


def test_a_state_left_over_from_pairs_is_a_real_one():
    found = approximate(F.oscillating(0.3, 5.0), 5)
    assert found.width == 5
    assert found.error == 0.0
    assert (found.rates.imag == 0).sum() == 1
    assert sobolev_distance(found, F.oscillating(0.3, 5.0)) < 1e-13


def test_extreme_time_scales():
    """Without a warning from overflow (warnings are errors here)."""
    assert approximate(F.polynomial(2.0, 1e-200), 8).error < 0.01
    assert approximate(F.polynomial(2.0, 1e200), 8).error < 0.01


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
