"""DecayFit: what it reports, in which units, as which types; and bad input."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import fit_decay
from perdure.errors import ArgumentTypeError
from perdure.memory.law import LAWS, DecayFit

T = np.arange(200.0)
CURVES = {
    "exponential": np.exp(-0.1 * T),
    "jordan": T**2 * np.exp(-0.1 * T),
    "polynomial": (1 + T) ** -1.5,
    "stretched": np.exp(-((T / 5) ** 0.5)),
    "finite": np.where(T < 50, 1.0, 0.0),
    "persistent": 0.2 + np.exp(-0.1 * T),
    "flat": np.ones(200),
    "undecided": np.exp(-0.001 * T),
    "oscillating": np.exp(-0.05 * T) * np.abs(np.cos(0.7 * T)),
}


@pytest.mark.parametrize("name", CURVES)
def test_report_is_complete_and_strict_json(name):
    fit = fit_decay(T, CURVES[name])
    assert isinstance(fit, DecayFit)
    assert set(fit.evidence) == set(LAWS)
    assert sum(fit.evidence.values()) == pytest.approx(1.0, abs=1e-12)
    assert set(fit.interval) == set(fit.parameters)
    assert all(
        low <= fit.parameters[k] * (1 + 1e-12) and fit.parameters[k] <= high * (1 + 1e-12) for k, (low, high) in fit.interval.items()
    )
    assert 0 <= fit.window[0] < fit.window[1] <= T[-1]
    assert fit.reason
    assert json.loads(json.dumps(fit.to_dict(), allow_nan=False))["law"] == fit.law


def test_to_frame_and_plot():
    import matplotlib.pyplot as plt

    for name, values in CURVES.items():
        fit = fit_decay(T, values)
        assert list(fit.to_frame().columns) == ["time", "envelope", "fitted", "window"]
        ax = fit.plot()
        assert ax.get_yscale() == "log"
        assert ax.get_title() == fit.law, name
        plt.close(ax.figure)


def test_horizon_interpolates_then_extrapolates():
    fit = fit_decay(T, 3 * np.exp(-0.1 * T))
    assert fit.half_life == pytest.approx(math.log(2) / 0.1, rel=1e-9)
    assert fit.horizon(1e-3) == pytest.approx(math.log(1e3) / 0.1, rel=1e-9)
    assert fit.horizon(1e-30) == pytest.approx(math.log(1e30) / 0.1, rel=1e-6)
    power = fit_decay(T, (1 + T) ** -1.5)
    assert power.horizon(1e-6) == pytest.approx(1e4 - 1, rel=1e-4)
    np.testing.assert_allclose(power.predict([0.0, 99.0]), [1.0, 1e-3], rtol=1e-4)
    assert fit_decay(T, np.ones(200)).to_dict()["half_life"] is None
    with pytest.raises(ValueError, match=r"expected argument `level` to be between 0 and 1"):
        fit.horizon(1.0)


@pytest.mark.parametrize(
    ("times", "values", "options", "message"),
    [
        (T[::-1], CURVES["exponential"], {}, "`times` to be strictly increasing"),
        (np.zeros(5), np.ones(5), {}, "`times` to be strictly increasing"),
        (T - 1, CURVES["exponential"], {}, "`times` to be non-negative"),
        (T, -CURVES["exponential"], {}, "`values` to be non-negative"),
        (T, np.where(T == 7, np.nan, 1.0), {}, r"`values` to be finite everywhere, but got .*\[7\]"),
        (np.where(T == 7, np.inf, T), CURVES["exponential"], {}, "`times` to be finite everywhere"),
        (T[:2], T[:2], {}, "at least three points"),
        (T[:, None], CURVES["exponential"], {}, "`times` to be one-dimensional"),
        (T, CURVES["exponential"][:-1], {}, "`values` to be of the same shape"),
        (T, CURVES["exponential"][:, None], {}, "`values` to be of the same shape"),
        (T, np.zeros(200), {}, "`values` to be above zero somewhere"),
        (T, CURVES["exponential"], {"noise_floor": 2.0}, "`values` to be above the noise floor"),
        (T, CURVES["exponential"], {"noise_floor": -1.0}, "`noise_floor` to be non-negative"),
        (T, CURVES["exponential"], {"noise_floor": math.nan}, "`noise_floor` to be finite"),
        (T, CURVES["exponential"], {"threshold": 1.0}, "`threshold` to be at least 0.5"),
        (T, CURVES["exponential"], {"max_order": -1}, "`max_order` to be at least 0"),
    ],
)
def test_bad_input_is_refused_by_name(times, values, options, message):
    with pytest.raises(ValueError, match=message):
        fit_decay(times, values, **options)


def test_half_life_under_noise_is_that_of_the_law():
    for seed in range(12):
        noisy = np.exp(-0.05 * T + 0.1 * np.random.default_rng(seed).standard_normal(T.size))
        assert fit_decay(T, noisy).half_life == pytest.approx(math.log(2) / 0.05, rel=0.02)


@pytest.mark.parametrize("size", [200, 400, 1000])
def test_a_steep_power_law_is_not_a_stretched_one_with_absurd_parameters(size):
    t = np.arange(float(size))
    for seed in range(4):
        fit = fit_decay(t, (1 + t / 20) ** -9 * np.exp(0.1 * np.random.default_rng(seed).standard_normal(size)))
        assert fit.law == "undecided"
        assert any(words in fit.reason for words in ("fit", "range", "no law"))


def test_complex_values_are_refused_and_not_cut():
    with pytest.raises(ArgumentTypeError, match="`values` to be an array of real numbers"):
        fit_decay(T, CURVES["exponential"] * (1 + 1j))
    with pytest.raises(ArgumentTypeError, match="`times` to be an array of real numbers"):
        fit_decay(T + 0j, CURVES["exponential"])


def test_wrong_types_are_type_errors():
    with pytest.raises(TypeError, match="`values` to be an array of numbers"):
        fit_decay(T, ["x"] * 200)


@given(
    name=st.sampled_from(sorted(CURVES)),
    size=st.floats(-12, 12).map(lambda x: 10.0**x),
    unit=st.floats(-6, 6).map(lambda x: 10.0**x),
    seed=st.integers(0, 5),
)
@settings(max_examples=40)
def test_units_do_not_matter(name, size, unit, seed):
    noisy = CURVES[name] * np.exp(0.05 * np.random.default_rng(seed).standard_normal(T.size))
    one, other = fit_decay(T, noisy), fit_decay(T * unit, noisy * size)
    assert (one.law, one.best_law) == (other.law, other.best_law)
    assert other.window == pytest.approx(tuple(unit * x for x in one.window), rel=1e-6)
    if one.law == "undecided":
        return
    power = {"rate": -1, "scale": 1, "time_constant": 1, "lag": 1, "power": 0, "exponent": 0, "order": 0}
    for key, value in one.parameters.items():
        if key in power:
            assert other.parameters[key] == pytest.approx(value * unit ** power[key], rel=2e-2), key
    assert other.parameters.get("level", 0) == pytest.approx(size * one.parameters.get("level", 0), rel=1e-3)
    assert other.half_life == pytest.approx(unit * one.half_life, rel=1e-6)
