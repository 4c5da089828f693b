"""Simulated systems: errors against signal-to-noise ratio and length, and how often bands and intervals hold the truth."""

import numpy as np
import pytest
import torch
from records import LAGS, random_response, simulate

from perdure import functionals
from perdure.memory.data import estimate_memory
from perdure.memory.records.bands import horizon

S = np.arange(LAGS)


def coverage(seeds):
    """Share of lags inside the pointwise band, of systems inside the simultaneous one, and of horizons (50 % and 5 %) inside their interval."""
    inside, whole, horizons = [], [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        response, _ = random_response(rng)
        u, y = simulate(response, int(rng.integers(300, 1200)), 10 ** rng.uniform(0, 2), rng, colour=rng.choice([0.0, 0.7]))
        found = estimate_memory(u, y, horizon=LAGS)
        for simultaneous in (False, True):
            low, high = (end[:, 0] for end in found.band(simultaneous=simultaneous))
            held = (low <= response) & (response <= high)
            (whole if simultaneous else inside).append(held.all() if simultaneous else held.mean())
        for level in (0.5, 0.05):
            low, high = found.interval(level)
            horizons.append(low <= horizon(found.times, np.abs(response), level) <= high)
    return np.mean(inside), np.mean(whole), np.mean(horizons)


def test_bands_hold_the_truth_as_often_as_they_say():
    """50 systems of four kinds, white and coloured inputs, 300 to 1200 steps, signal to noise 1 to 100."""
    inside, whole, horizons = coverage(range(50))
    assert 0.90 <= inside <= 0.99
    assert whole >= 0.85  # a share of 50: three standard errors below 95 %
    assert horizons >= 0.95  # intervals hold for all lags at once, and so more often


@pytest.mark.slow
def test_bands_hold_the_truth_over_many_systems():
    inside, whole, horizons = coverage(range(1000, 1400))
    assert 0.92 <= inside <= 0.98
    assert whole >= 0.90
    assert horizons >= 0.95


@pytest.mark.parametrize(("steps", "snr", "error"), [(500, 1, 0.45), (500, 10, 0.2), (5000, 1, 0.15), (5000, 10, 0.05), (5000, 1000, 0.01)])
def test_rates_are_recovered(steps, snr, error):
    """The rate of an exponential, by the fit of the laws: largest error of five records."""
    worst = 0.0
    for seed in range(5):
        u, y = simulate(np.exp(-0.1 * S), steps, snr, np.random.default_rng(seed))
        fit = estimate_memory(u, y, horizon=LAGS, kernel="dc").fit()
        assert fit.best_law == "exponential"
        worst = max(worst, abs(fit.parameters["rate"] / 0.1 - 1))
    assert worst < error


@pytest.mark.parametrize(("steps", "snr", "error"), [(20000, 10, 0.25), (20000, 1000, 0.06)])
def test_powers_are_recovered(steps, snr, error):
    worst = 0.0
    for seed in range(3):
        u, y = simulate((1 + S) ** -1.5, steps, snr, np.random.default_rng(seed))
        found = estimate_memory(u, y, horizon=LAGS)
        assert found.priors[0].startswith("power")
        fit = found.fit()
        assert fit.best_law == "polynomial"
        worst = max(worst, abs(fit.parameters["power"] / 1.5 - 1))
    assert worst < error


@pytest.mark.parametrize("delay", [3, 17, 40])
def test_delays_are_recovered(delay):
    pulse = np.exp(-0.5 * ((S - delay) / 1.5) ** 2)
    u, y = simulate(pulse, 2000, 10, np.random.default_rng(delay))
    found = estimate_memory(u, y, horizon=LAGS)
    assert int(found.memory.argmax()) == delay
    low, high = found.interval(0.5)
    assert low <= delay + 1.5 * np.sqrt(2 * np.log(2)) <= high


def test_the_error_falls_with_the_length_and_below_that_of_least_squares():
    errors = {}
    for steps in (400, 6400):
        mine, plain = [], []
        for seed in range(5):
            u, y = simulate(np.exp(-S / 8), steps, 5, np.random.default_rng(seed))
            found = estimate_memory(u, y, horizon=LAGS)
            rows = np.array([np.append(u[t - LAGS + 1 : t + 1][::-1], 1.0) for t in range(LAGS - 1, steps)])
            solved = np.linalg.lstsq(rows, y[LAGS - 1 :])[0][:-1]
            mine.append(np.linalg.norm(found.kernel[:, 0] - np.exp(-S / 8)))
            plain.append(np.linalg.norm(solved - np.exp(-S / 8)))
        assert np.mean(mine) < 0.35 * np.mean(plain)
        errors[steps] = np.mean(mine)
    assert errors[6400] < 0.4 * errors[400]


def test_several_inputs_and_outputs_each_get_their_own_memory():
    rng = np.random.default_rng(3)
    a, b = np.exp(-S / 3), 0.2 * np.exp(-S / 12)
    u = rng.standard_normal((3000, 2))
    first = np.convolve(u[:, 0], a)[:3000] + np.convolve(u[:, 1], b)[:3000]
    second = -2 * np.convolve(u[:, 1], a)[:3000]
    y = np.stack([first, second], axis=1) + 0.2 * rng.standard_normal((3000, 2))
    found = estimate_memory(u, y, horizon=LAGS)
    assert found.kernel.shape == (LAGS, 2, 2)
    truth = np.stack([np.stack([a, b], 1), np.stack([0 * a, -2 * a], 1)], axis=2)
    assert np.abs(found.kernel - truth).max() < 0.03
    low, high = found.band(simultaneous=True)
    assert ((low - 1e-12 <= truth) & (truth <= high + 1e-12)).mean() > 0.95
    np.testing.assert_allclose(found.memory, np.abs(found.kernel).sum(1).max(1))
    frame = found.to_frame()
    assert len(frame) == LAGS * 4
    assert frame.loc[(frame.time == 2) & (frame.input == 1) & (frame.output == 1), "kernel"].item() == found.kernel[2, 1, 1]


def test_records_are_pooled_and_joints_between_them_do_not_count():
    """Steps from three records; across a joint the inputs before are not those of the same record."""
    rng = np.random.default_rng(4)
    pairs = [simulate(np.exp(-S / 5), 200, 20, rng) for _ in range(6)]
    u, y = (np.stack(part)[..., None] for part in zip(*pairs, strict=True))
    found = estimate_memory(u, y, horizon=40)
    assert found.records == 6
    assert np.abs(found.kernel[:, 0] - np.exp(-S[:40] / 5)).max() < 0.08
    alone = estimate_memory(u[0], y[0], horizon=40)
    assert found.response_sd.max() < 0.6 * alone.response_sd.max()


def test_units_of_time_and_size():
    """A functional with rate 0.5 per unit of time, sampled every 0.2: the kernel is rho itself, whatever the units of input and output."""
    target = functionals.exponential(rate=0.5)
    x = torch.randn(1, 4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = target(x, dt=0.2)
    y = y + 0.01 * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    found = estimate_memory(1e3 * x + 5e4, 1e-3 * y - 7.0, dt=0.2, horizon=100)
    np.testing.assert_allclose(1e6 * found.kernel[:, 0], np.exp(-0.5 * found.times), atol=5e-3)
    assert found.half_life == pytest.approx(np.log(2) / 0.5, rel=0.01)
    assert found.fit().parameters["rate"] == pytest.approx(0.5, rel=0.02)
    assert found.noise[0] == pytest.approx(1e-5, rel=0.05)


def test_missing_outputs_are_left_out():
    u, y = simulate(np.exp(-S / 5), 1500, 20, np.random.default_rng(5))
    whole = estimate_memory(u, y, horizon=40)
    y[300:400], y[1200] = np.nan, np.nan
    found = estimate_memory(u, y, horizon=40)
    assert found.missing == 101
    assert np.abs(found.kernel[:, 0] - np.exp(-S[:40] / 5)).max() < 0.06
    assert np.mean(found.response_sd) > np.mean(whole.response_sd)


def test_an_offset_without_an_intercept_is_not_absorbed():
    u, y = simulate(np.exp(-S / 5), 1000, 50, np.random.default_rng(6))
    with_level = estimate_memory(u + 3.0, y + 100.0, horizon=30)
    assert np.abs(with_level.kernel[:, 0] - np.exp(-S[:30] / 5)).max() < 0.08
    forced = estimate_memory(u, y + 100.0, horizon=30, intercept=False)
    assert forced.explained[0] < 0.1


def test_coloured_noise_is_filtered_and_the_bands_hold():
    """Slow noise: taken for white it makes bands too narrow and the estimate three times as bad."""
    truth = np.exp(-S[:40] / 4)
    inside, errors = {"white": [], "auto": []}, {"white": [], "auto": []}
    for seed in range(8):
        u, y = simulate(np.exp(-S / 4), 2000, 3, np.random.default_rng(seed), noise_colour=0.95)
        for noise in inside:
            found = estimate_memory(u, y, horizon=40, noise=noise)
            low, high = (end[:15, 0] for end in found.band())
            inside[noise].append(((low <= truth[:15]) & (truth[:15] <= high)).mean())
            errors[noise].append(np.linalg.norm(found.kernel[:, 0] - truth))
            said = "filtered off" if noise == "auto" else "may be too narrow"
            assert any(said in note for note in found.notes)
            assert (found.noise_order[0] > 0) == (noise == "auto")
    assert np.mean(inside["auto"]) > 0.9
    assert np.mean(inside["white"]) < 0.75
    assert np.mean(errors["auto"]) < 0.5 * np.mean(errors["white"])


def test_results_repeat_and_leave_the_global_generators_alone():
    u, y = simulate(np.exp(-S / 5), 400, 5, np.random.default_rng(7))
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator is what must not move
    first, second = (estimate_memory(u, y, horizon=40, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.memory_draws, second.memory_draws)
    assert first.interval(0.5) == second.interval(0.5)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.testing.assert_array_equal(estimate_memory(u, y, horizon=40, seed=4).priors, first.priors)


def test_a_long_memory_is_said_to_exceed_the_window():
    u, y = simulate(np.exp(-np.arange(1000) / 100), 4000, 20, np.random.default_rng(8))
    found = estimate_memory(u, y, horizon=50)
    assert found.interval(0.05)[1] == np.inf
    assert any("exceeds the window" in w and "larger horizon" in w for w in found.advice.warnings)
    short = estimate_memory(u[:150], y[:150], horizon=50)
    assert any("record for longer" in w for w in short.advice.warnings)
