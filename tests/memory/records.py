"""Simulated systems whose impulse response is known."""

import numpy as np

LAGS = 80


def simulate(response, steps, snr, rng, colour=0.0, noise_colour=0.0):
    """Inputs (T,) of unit size, outputs (T,) with noise of variance 1 / snr of theirs; the response is at work before the record begins."""
    total = steps + response.size
    u = autoregressive(total, colour, rng)
    clean = np.convolve(u, response)[:total]
    e = autoregressive(total, noise_colour, rng)
    y = clean + e * clean.std() / np.sqrt(snr)
    return u[response.size :], y[response.size :]


def autoregressive(steps, coefficient, rng):
    e = rng.standard_normal(steps)
    for t in range(1, steps):
        e[t] = coefficient * e[t - 1] + np.sqrt(1 - coefficient**2) * e[t]
    return e


def random_response(rng):
    """An exponential, a power law, an oscillation or a sum of two exponentials, (LAGS,), and its name."""
    s = np.arange(LAGS)
    kind = ("exponential", "power", "oscillation", "sum")[rng.integers(4)]
    if kind == "exponential":
        return np.exp(-s / rng.uniform(2, 15)), kind
    if kind == "power":
        return (1 + s / rng.uniform(0.5, 4)) ** -rng.uniform(1.2, 3), kind
    if kind == "oscillation":
        return np.exp(-s / rng.uniform(4, 12)) * np.cos(s * rng.uniform(0.1, 1)), kind
    return np.exp(-s / rng.uniform(2, 5)) + rng.uniform(-1, 1) * np.exp(-s / rng.uniform(6, 14)), kind
