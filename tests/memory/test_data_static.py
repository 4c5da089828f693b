"""The nonlinear option on systems whose static part is known, advice, and what a result offers."""

import json
import math

import matplotlib as mpl
import numpy as np
import pytest
import torch
from records import simulate

import perdure
from perdure.errors import ArgumentError
from perdure.memory.data import estimate_memory

S = np.arange(60)
G = np.exp(-S / 6)


def outputs(v, rng, snr=50):
    return v + rng.standard_normal(v.size) * v.std() / np.sqrt(snr)


def test_a_saturation_after_the_linear_part_is_found():
    """The memory of tanh(v): slope of the response to a step of the largest input, against that of the true system."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal(4000)
    v = np.convolve(u, G)[:4000]
    found = estimate_memory(u, outputs(np.tanh(v), rng), horizon=60, method="nonlinear")
    assert found.static.kind == "wiener"
    assert found.static.explained > 0.95 > found.static.explained_linear
    assert any("fitted Wiener model" in note and "Heaviside" in note for note in found.notes)
    bound = found.static.memory.bound
    assert bound == pytest.approx(np.abs(u - u.mean()).max())
    small = perdure.memory_function(found.static.model, horizon=60, input_size=1, bound=0.3)
    sizes = np.geomspace(1e-3, 0.3, 60)[:, None]  # the largest over |x| <= 0.3, by brute force
    truth = (np.diff(np.tanh(sizes * np.concatenate([[0.0], np.cumsum(G)]))) / sizes).max(0)
    np.testing.assert_allclose(small.values, truth, atol=0.05)
    with pytest.raises(ArgumentError, match="without a band"):
        found.interval(0.5)


def test_a_rectifier_before_the_linear_part_is_found_where_the_linear_part_sees_nothing():
    rng = np.random.default_rng(1)
    u = rng.standard_normal(4000)
    y = outputs(np.convolve(u**2, G)[:4000], rng)
    found = estimate_memory(u, y, horizon=60, method="nonlinear")
    assert found.static.kind == "hammerstein"
    assert found.static.explained > 0.9
    assert found.static.explained_linear < 0.1
    bound = found.static.memory.bound
    np.testing.assert_allclose(found.memory, bound * G, atol=0.05 * bound)  # |g(t)| x^2 / |x| at its largest
    assert found.half_life == pytest.approx(6 * math.log(2), rel=0.1)
    assert "before the layer" in str(found.advice)


def test_a_linear_system_stays_linear():
    u, y = simulate(G, 2000, 10, np.random.default_rng(2))
    found = estimate_memory(u, y, horizon=60, method="nonlinear")
    assert found.static is None
    assert any("no static nonlinearity helps" in note for note in found.notes)
    np.testing.assert_array_equal(found.memory, estimate_memory(u, y, horizon=60).memory)
    assert any("holdout" in note for note in estimate_memory(u, y, horizon=60, method="nonlinear", holdout=0.0).notes)


def test_the_fitted_model_is_a_sequence_map():
    rng = np.random.default_rng(3)
    u = rng.standard_normal((2000, 2))
    v = np.convolve(u[:, 0], G)[:2000] - 0.5 * np.convolve(u[:, 1], G)[:2000]
    found = estimate_memory(u, outputs(np.tanh(v), rng), horizon=60, method="nonlinear")
    x = torch.randn(3, 80, 2, generator=torch.Generator().manual_seed(0))
    y = found.static.model(x)
    assert y.shape == (3, 80, 1)
    assert y.dtype == x.dtype
    assert float(found.static.model(torch.zeros(1, 80, 2)).abs().max()) < 1e-6
    assert found.static.memory.input_size == 2


def test_explained_variance_on_held_out_steps_is_what_the_noise_leaves():
    for snr in (1.0, 10.0):
        u, y = simulate(G, 8000, snr, np.random.default_rng(4))
        found = estimate_memory(u, y, horizon=60)
        assert found.explained[0] == pytest.approx(snr / (1 + snr), abs=0.04)
        assert found.noise[0] == pytest.approx(y.std() / np.sqrt(1 + snr), rel=0.05)
    assert math.isnan(estimate_memory(u, y, horizon=60, holdout=0.0).explained[0])


def test_advice_on_a_short_exponential():
    u, y = simulate(G, 4000, 20, np.random.default_rng(5))
    advice = estimate_memory(u, y, horizon=60).advice
    assert advice.law == "exponential"
    assert advice.longest == pytest.approx(6.0, rel=0.15)
    assert advice.layer.startswith("any recurrent layer")
    assert advice.width <= 4
    assert not advice.warnings


def test_advice_on_a_power_law_is_a_layer_that_holds_it():
    """The code of the advice makes a layer; the width is that of `perdure.approximate` at the accuracy of the records."""
    u, y = simulate((1 + np.arange(200)) ** -1.5, 30000, 100, np.random.default_rng(6))
    advice = estimate_memory(u, y, horizon=200).advice
    assert advice.law == "polynomial"
    assert "spread evenly in their logarithm" in advice.layer
    assert advice.error <= advice.accuracy
    scope = {"perdure": perdure}
    exec(advice.code, scope)  # the advice is meant to be run
    times = scope["layer"].timescales()
    assert float(times.max()) == pytest.approx(advice.longest, rel=1e-3)
    target = perdure.functionals.polynomial(power=1.5, scale=1.0)
    assert perdure.approximate(target, advice.width, horizon=199.0).error < 2 * advice.accuracy


def test_advice_on_a_window_is_a_convolution_or_undecided():
    u, y = simulate(np.where(np.arange(60) < 20, 1.0, 0.0), 20000, 100, np.random.default_rng(7))
    advice = estimate_memory(u, y, horizon=60).advice
    assert advice.law in ("finite", "undecided")
    assert advice.longest == pytest.approx(19, abs=2) or "19" in " ".join(advice.reasons)


def test_advice_on_noise_is_no_layer():
    rng = np.random.default_rng(8)
    advice = estimate_memory(rng.standard_normal(600), rng.standard_normal(600), horizon=40).advice
    assert advice.layer == "no recurrent layer"
    assert advice.width is None
    assert advice.code == ""
    assert any("explains" in w for w in advice.warnings)


def test_inputs_that_do_not_tell_lags_apart_are_named():
    t = np.arange(2000)
    rng = np.random.default_rng(9)
    u = np.sin(0.3 * t) + np.sin(0.11 * t)
    found = estimate_memory(u, np.convolve(u, G)[:2000] + 0.1 * rng.standard_normal(2000), horizon=60)
    assert found.condition > 1e10
    assert any("poorly exciting" in note for note in found.notes)
    assert any("hardly tell some lags apart" in w for w in found.advice.warnings)
    white = estimate_memory(rng.standard_normal(2000), rng.standard_normal(2000), horizon=60)
    assert white.condition < 10


def test_tables_and_json():
    u, y = simulate(G, 600, 5, np.random.default_rng(10))
    y[100] = np.nan
    for method in ("kernel", "nonlinear"):
        found = estimate_memory(u, y, horizon=40, dt=0.5, method=method)
        read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert read["missing"] == 1
        np.testing.assert_allclose(np.array(read["kernel"]), found.kernel)
        frame = found.to_frame()
        assert list(frame.columns) == ["time", "input", "output", "kernel", "sd", "lower", "upper", "memory"]
        low, high = found.band()
        np.testing.assert_allclose(frame["lower"], low[:, 0])
        np.testing.assert_allclose(frame["upper"], high[:, 0])
        assert frame["time"].iloc[1] == 0.5


def test_the_plot_shows_memory_band_and_floor():
    u, y = simulate(G, 600, 5, np.random.default_rng(11))
    found = estimate_memory(u, y, horizon=40)
    ax = found.plot(label="a")
    np.testing.assert_allclose(ax.lines[0].get_ydata()[:5], found.memory[:5])
    assert ax.get_yscale() == "log"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "95 % band", "noise floor"]
    mpl.pyplot.close(ax.figure)
