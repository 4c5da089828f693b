"""int_t^inf rho of every family against adaptive quadrature in extended precision, and what rests on sign changes."""

import itertools

import mpmath as mp
import numpy as np
import pytest

from perdure import functionals as F
from perdure._checks import finite_array, number

mp.mp.dps = 18
CASES = [
    (F.exponential(0.7), lambda s: mp.exp(-0.7 * s)), (F.oscillating(0.4, 3.0), lambda s: mp.exp(-0.4 * s) * mp.cos(3 * s)),
    (F.polynomial(1.5, 2.0), lambda s: (1 + s / 2) ** -1.5), (F.polynomial(200.0), lambda s: (1 + s) ** -200),
    (F.shift(2.0, 0.3), lambda s: mp.exp(-(((s - 2) / mp.mpf(0.3)) ** 2) / 2) / (mp.mpf(0.3) * mp.sqrt(2 * mp.pi))),
    (F.airy(2.0), lambda s: mp.airyai(s - 2)), (F.airy(-3.0), lambda s: mp.airyai(s + 3)), (F.airy(7.3), lambda s: mp.airyai(s - mp.mpf(7.3))),
    (F.exponential_sum([1.0, 0.5 + 1j], [1.0, 0.3j]), lambda s: mp.exp(-s) + mp.re(0.3j * mp.exp(-(0.5 + 1j) * s))),
    (F.polynomial(2.0) - 0.5 * F.exponential(1.0), lambda s: (1 + s) ** -2 - 0.5 * mp.exp(-s)),
]  # fmt: skip


@pytest.mark.parametrize(("target", "kernel"), CASES, ids=[repr(c[0]) for c in CASES])
def test_tails(target, kernel):
    for t in (0.0, 2.0, 7.0, 10.0):
        ends = [*(t + k for k in range(0, 24, 2)), *(t + 10.0**k for k in (2, 3, 5, 8)), mp.inf]
        exact = sum(mp.quad(kernel, [a, b]) for a, b in itertools.pairwise(ends))
        assert float(target._tail(np.array([t]))[0, 0]) == pytest.approx(float(exact), rel=1e-10, abs=1e-15)


def test_airy_tails_keep_their_digits_where_they_are_small():
    """1/3 - int_0^z Ai cancels; at z = 8 the tail is 1.6e-8, at 12 it is 4e-14."""
    for z in (5.0, 6.0, 8.0, 9.0, 12.0):
        exact = float(mp.quad(mp.airyai, np.linspace(z, z + 12, 13)))
        assert float(F.airy(2.0)._tail(np.array([z + 2.0]))[0, 0]) == pytest.approx(exact, rel=1e-11)


def test_norm_of_a_steep_power_law():
    assert F.polynomial(2000.0).norm() == pytest.approx(2.0 + 1.0 / 1999.0, rel=1e-12)


@pytest.mark.parametrize("value", [True, np.True_])
def test_truth_values_are_no_numbers(value):
    with pytest.raises(TypeError, match="`rate`"):
        number(value, "rate")


def test_messages_show_the_value_and_the_fix():
    with pytest.raises(ValueError, match=r"got -2\.0: "):
        F.exponential_sum([1, -2], [1, 1])
    with pytest.raises(ValueError, match=r"of shape \(m,\), but got \(1, 2\): .*ravel"):
        F.exponential_sum([[1.0, 2.0]], [1.0, 1.0])
    with pytest.raises(TypeError, match=r"but got \['a'\].*: pass a list"):
        finite_array(["a"], "rates")


def test_nan_inputs_are_passed_on():
    x = np.zeros((2, 5, 1))
    x[0, 3] = np.nan
    y = F.exponential(1.0)(x)
    assert np.isnan(y[0]).any()
    assert not np.isnan(y[1]).any()
