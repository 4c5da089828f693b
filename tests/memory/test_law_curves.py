"""Decay laws on curves without randomness: every law is called, its parameters recovered, and roundoff is not memory."""

import numpy as np
import pytest

from perdure import fit_decay


@pytest.mark.parametrize("size", [64, 512, 4096])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_exponential_rate_and_order(size, order):
    t, rate = np.arange(size, dtype=float), 16 / size
    fit = fit_decay(t, 7.0 * t**order * np.exp(-rate * t))
    assert (fit.law, fit.parameters["order"]) == ("exponential", order)
    assert fit.parameters["rate"] == pytest.approx(rate, rel=1e-6)
    assert fit.parameters["amplitude"] == pytest.approx(7.0, rel=1e-4)
    assert fit.evidence["exponential"] > 0.99


def test_a_jordan_block_is_not_a_power_law():
    t = np.arange(0, 200.0)
    fit = fit_decay(t, t**2 * np.exp(-0.1 * t))
    assert (fit.law, fit.parameters["order"]) == ("exponential", 2)
    assert fit.parameters["rate"] == pytest.approx(0.1, rel=1e-6)
    assert fit_decay(t, t**2 * np.exp(-0.1 * t), max_order=0).law != "polynomial"


@pytest.mark.parametrize(("power", "scale"), [(0.6, 1.0), (1.1, 10.0), (1.5, 1.0), (2.5, 30.0)])
@pytest.mark.parametrize("size", [512, 4096])
def test_polynomial_power_and_scale(power, scale, size):
    t = np.arange(size, dtype=float)
    fit = fit_decay(t, (1 + t / scale) ** -power)
    assert fit.law == "polynomial"
    assert fit.parameters["power"] == pytest.approx(power, abs=1e-3)
    assert fit.parameters["scale"] == pytest.approx(scale, rel=1e-2)


@pytest.mark.parametrize(("exponent", "tau"), [(0.3, 5.0), (0.5, 5.0), (0.7, 20.0)])
def test_stretched_exponent(exponent, tau):
    t = np.arange(2000.0)
    fit = fit_decay(t, np.exp(-((t / tau) ** exponent)))
    assert fit.law == "stretched"
    assert fit.parameters["exponent"] == pytest.approx(exponent, abs=1e-3)
    assert fit.parameters["time_constant"] == pytest.approx(tau, rel=1e-2)


@pytest.mark.parametrize("shape", [lambda x: np.ones_like(x), lambda x: 1 - 0.7 * x, lambda x: np.exp(-x), lambda x: 1.2 + np.cos(20 * x)])
def test_finite_lag(shape):
    t = np.arange(400) * 0.25
    fit = fit_decay(t, np.where(t <= 30.0, shape(t / 30.0), 0.0))
    assert (fit.law, fit.parameters["lag"]) == ("finite", 30.0)
    assert fit.interval["lag"] == (30.0, 30.25)
    assert fit.horizon(1e-3) == 30.25


def test_a_pulse_at_a_delay_is_finite():
    t = np.linspace(0, 100, 1000)
    assert fit_decay(t, np.exp(-0.5 * ((t - 50) / 3) ** 2)).law == "finite"
    assert fit_decay(np.arange(200.0), np.eye(1, 200, 5)[0]).parameters["lag"] == 5.0


@pytest.mark.parametrize("level", [0.01, 0.3, 1.0])
def test_persistent_level(level):
    t = np.arange(1000.0)
    fit = fit_decay(t, level + (1 - level) * np.exp(-0.02 * t))
    assert fit.law == "persistent"
    assert fit.parameters["level"] == pytest.approx(level, rel=1e-6)
    assert fit.horizon(level / 2) == np.inf
    if level < 1:
        assert fit.parameters["rate"] == pytest.approx(0.02, rel=1e-4)


def test_a_memory_that_swings_for_ever_persists():
    t = np.arange(500.0)
    fit = fit_decay(t, 0.3 + 0.2 * np.sin(t))
    assert fit.law == "persistent"
    assert fit.parameters["level"] == pytest.approx(0.5, rel=1e-2)


@pytest.mark.parametrize("frequency", [0.05, 0.3, 0.9, 2.0])
def test_oscillating_exponential_is_fitted_on_its_peaks(frequency):
    t = np.arange(1000.0)
    fit = fit_decay(t, np.exp(-0.01 * t) * np.abs(np.cos(frequency * t)))
    assert fit.law == "exponential"
    assert fit.parameters["rate"] == pytest.approx(0.01, rel=0.02)


def test_the_slow_mode_is_the_tail():
    t = np.arange(1500.0)
    fit = fit_decay(t, np.exp(-t / 5) + 0.2 * np.exp(-t / 100))
    assert fit.law == "exponential"
    assert fit.parameters["rate"] == pytest.approx(0.01, rel=0.03)


FLOORS = {
    "random": lambda e, rng: e + 1e-7 * np.abs(rng.standard_normal(e.size)),
    "constant": lambda e, rng: e + 1e-7,
    "clipped": lambda e, rng: np.maximum(e, 1.2e-7),
    "rounded": lambda e, rng: np.round(e / 6e-8) * 6e-8,
    "float64": lambda e, rng: e**3 + 1e-16 * np.abs(rng.standard_normal(e.size)),
}


@pytest.mark.parametrize("kind", FLOORS)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("size", [64, 1000])
def test_a_floor_is_not_memory(kind, given, size):
    t, rate = np.arange(size, dtype=float), 32 / size
    values = FLOORS[kind](np.exp(-rate * t), np.random.default_rng(3))
    known = 1e-15 if kind == "float64" else 1e-6
    fit = fit_decay(t, values, noise_floor=known if given else None)
    assert fit.law == "exponential"
    assert fit.parameters["rate"] == pytest.approx(rate * (3 if kind == "float64" else 1), rel=5e-3)
    assert fit.noise_floor < 1e-5
    assert fit.horizon(1e-9) > fit.horizon(1e-3)  # beyond the floor: from the law


def test_a_power_law_above_its_floor_is_kept():
    t = np.arange(4096.0)
    values = (1 + t) ** -1.5 + 1e-9 * np.abs(np.random.default_rng(0).standard_normal(t.size))
    assert fit_decay(t, values, noise_floor=1e-8).parameters["power"] == pytest.approx(1.5, abs=0.01)


def test_geometric_times_and_other_steps():
    for t in (np.geomspace(1e-3, 1e4, 200), np.arange(2000) * 1e-3):
        fit = fit_decay(t, (1 + t / 0.05) ** -2.0)
        assert fit.law == "polynomial"
        assert fit.parameters["power"] == pytest.approx(2.0, abs=1e-3)


def test_what_the_data_cannot_tell_is_undecided():
    t = np.arange(200.0)
    for values, word in [
        (np.exp(-0.005 * t), "factor of 10"),
        (np.exp(-3 * t) + 1e-7 * np.abs(np.sin(9.1 * t)), "points"),
        (t, "rising"),
        (np.eye(1, 200, 199)[0], "rising"),
    ]:
        fit = fit_decay(t, values)
        assert fit.law == "undecided"
        assert fit.best_law in fit.evidence
        assert word in fit.reason


def test_a_mixture_of_rates_looks_like_a_power_law():
    t = np.arange(2000.0)
    rates = np.geomspace(1e-4, 1, 25)
    fit = fit_decay(t, (rates**1.5 * np.exp(-np.outer(t, rates))).sum(1))
    assert fit.best_law == "polynomial"
    assert fit.parameters["power"] == pytest.approx(1.5, abs=0.15)


def test_two_equal_samples_at_the_top_of_a_swing():
    """Swings whose top lies half-way between two samples: one point a swing, at that time."""
    t = np.arange(400.0)
    swing = np.array([0.1, 0.6, 1.0, 1.0, 0.6, 0.1, 0.01, 0.01])  # tops at 2.5, 10.5, ...
    fit = fit_decay(t, np.tile(swing, 50) * np.repeat(0.8 ** np.arange(50), 8))
    assert fit.law == "exponential"
    assert fit.parameters["rate"] == pytest.approx(-np.log(0.8) / 8, rel=1e-3)


@pytest.mark.parametrize("rate", [3e-4, 1e-4, 1e-6])
def test_a_fall_too_slow_for_the_record_is_not_called_persistent(rate):
    t = np.arange(100.0)
    fit = fit_decay(t, np.exp(-rate * t))
    assert fit.law == "undecided"
    assert "longer horizon" in fit.reason
