"""Verdicts on targets whose answer is known."""

import json

import numpy as np
import pytest

from perdure import functionals as F
from perdure.stability import sobolev_distance, stable_approximation
from perdure.stability.damped import damped_sum
from perdure.stability.trend import fit

WIDTHS = (4, 8, 16, 32)
SLOW_SUM = F.exponential_sum(1.0 / np.arange(1, 101), np.arange(1, 101) ** -2.0)  # decays exponentially all the same


@pytest.mark.parametrize(("target", "name", "widths", "outcome"), [
    (F.polynomial(2.0), "direct", WIDTHS, "unstable"), (F.polynomial(2.0), "exp", WIDTHS, "stable"), (F.polynomial(2.0), "softplus", WIDTHS, "stable"),
    (F.polynomial(1.3), "direct", (16, 32, 64), "unstable"), (F.polynomial(1.3), "inverse", (16, 32, 64), "stable"),
    (F.polynomial(1.5, 100.0), "direct", WIDTHS, "unstable"), (F.polynomial(1.5), "exp", WIDTHS, "stable"),
    (F.exponential(0.5), "direct", WIDTHS, "stable"), (F.exponential(0.01), "direct", WIDTHS, "stable"), (F.oscillating(0.3, 5.0), "direct", WIDTHS, "stable"),
    (SLOW_SUM, "direct", (4, 8, 16, 32, 64), "stable"), (F.polynomial(1.1), "exp", WIDTHS, "undecided"),
])  # fmt: skip
def test_known_answers(target, name, widths, outcome):
    verdict = stable_approximation(target, parametrization=name, widths=widths)
    assert verdict.outcome == outcome, verdict.reason
    json.dumps(verdict.to_dict(), allow_nan=False)
    if outcome == "stable":
        assert verdict.beta0 > 0
    if target is not None and name == "direct" and outcome == "stable":
        assert verdict.beta0 <= 0.5  # the theorem: a stable memory decays at least at rate beta0


def test_readout_of_unnormalised_modes_is_not_stable_under_any_map():
    """A readout moved by beta adds beta / lambda_min to the norm."""
    assert stable_approximation(F.polynomial(2.0), parametrization="exp", groups="readout", widths=(4, 8, 16, 32, 64)).outcome == "unstable"


def test_growing_coefficients_are_no_proof_of_instability():
    """A delayed pulse is stably approximated by damped Fourier sums; the sums of least error cancel ever more strongly."""
    verdict = stable_approximation(F.shift(2.0, 0.5), parametrization="direct", widths=(6, 8, 12), radii=[0.0, 1e-2])
    assert verdict.outcome == "undecided", verdict.reason
    assert "coefficients grow" in verdict.reason
    assert max(verdict.coefficients.values()) > 10 * min(verdict.coefficients.values())


def test_damped_fourier_sums_of_a_pulse():
    """Bounded coefficients, one rate for every width, and the relative error of Fourier series of a smooth function."""
    sums = [damped_sum(F.shift(2.0, 0.5), width) for width in (17, 33, 65)]
    assert all(np.allclose(model.rates.real, 0.5, rtol=1e-3) for model in sums)
    assert np.ptp([np.abs(model.coefficients).sum() for model in sums]) < 0.05
    assert sums[2].error < 0.3 * sums[1].error < 0.1 * sums[0].error
    assert sums[1].error == pytest.approx(sobolev_distance(sums[1], F.shift(2.0, 0.5)) / F.shift(2.0, 0.5).norm())


@pytest.mark.slow
def test_a_pulse_is_stably_approximated():
    verdict = stable_approximation(F.shift(2.0, 0.5), parametrization="direct", widths=(32, 40, 48, 64), radii=[0.0, 1e-2])
    assert verdict.outcome == "stable", verdict.reason
    assert 0 < verdict.beta0 <= 0.5


@pytest.mark.parametrize(("values", "direction"), [
    ([8.5e-10, 5e-15, 1.2e-22], "shrinks"), ([4.8e-7, 8e-10, 6.5e-14], "shrinks"), ([0.00553, 0.00556, 0.00557], "survives"),
    ([0.1, 0.05, 0.025, 0.0125], "shrinks"), ([0.1, 0.08, 0.1], "unclear"),
])  # fmt: skip
def test_trends(values, direction):
    assert fit([8, 16, 32, 64][-len(values) :], values).direction == direction


def test_a_trend_recovers_its_law():
    m = [4, 8, 16, 32, 64]
    assert fit(m, [3.0 * x**-0.5 for x in m]).slope == pytest.approx(-0.5)
    steep = fit(m, [np.exp(-2.0 * np.sqrt(x)) for x in m])
    assert steep.law == "e^(-a sqrt m)"
    assert steep.slope == pytest.approx(-8.0)  # d log2 r / d log2 m = -a sqrt(m) / 2


def test_messages_name_the_argument():
    with pytest.raises(TypeError, match="`widths`"):
        stable_approximation(F.exponential(1.0), widths=8)
    with pytest.raises(ValueError, match="`target`"):
        stable_approximation(0.0 * F.exponential(1.0))


def test_too_few_widths_are_undecided():
    verdict = stable_approximation(F.polynomial(2.0), widths=(8, 16))
    assert verdict.outcome == "undecided"
    assert "widths" in verdict.reason


@pytest.mark.parametrize(("kwargs", "name"), [
    ({"activation": "tanh"}, "activation"), ({"widths": ()}, "widths"), ({"widths": (8, 4)}, "widths"), ({"widths": (0, 4)}, "widths"),
    ({"threshold": 0.0}, "threshold"), ({"threshold": 1.5}, "threshold"), ({"parametrization": "tan"}, "parametrization"),
])  # fmt: skip
def test_refusals(kwargs, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        stable_approximation(F.exponential(1.0), **kwargs)
