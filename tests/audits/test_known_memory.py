"""Audits of models whose memory is known: the law and its parameters come out, within the error stated with each family."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from perdure.audits.audit import audit


class Leaks(nn.Module):
    """Linear recurrence h' = A h + b x, y = c h: an exponential sum, one step at a time; eigenvalues of A are what is left after a step."""

    def __init__(self, A, b, c, squash=None):
        super().__init__()
        for name, value in (("A", A), ("b", b), ("c", c)):
            self.register_buffer(name, torch.as_tensor(np.asarray(value, float)))
        self.squash = squash
        self.input_size = 1

    def forward(self, x):
        h = x.new_zeros(x.shape[0], self.A.shape[0])
        states = []
        for k in range(x.shape[1]):
            h = h @ self.A.T + x[:, k] * self.b
            h = h if self.squash is None else self.squash(h)
            states.append(h)
        return torch.stack(states, 1) @ self.c[:, None]


class Kernel(nn.Module):
    """y = k * x by FFT; the kernel is as long as the longest sequence asked for."""

    def __init__(self, kernel):
        super().__init__()
        self.register_buffer("kernel", torch.as_tensor(kernel))
        self.input_size = 1

    def forward(self, x):
        n = x.shape[1]
        spectrum = torch.fft.rfft(self.kernel[:n].to(x), 2 * n)[None, :, None]
        return torch.fft.irfft(torch.fft.rfft(x, 2 * n, dim=1) * spectrum, 2 * n, dim=1)[:, :n]


@dataclass(frozen=True)
class Known:
    """A model, its law, the parameters with the largest relative error (absolute for lags, in steps) that is accepted."""

    name: str
    model: nn.Module
    horizon: int
    law: str
    parameters: dict
    error: float
    half_life: float | None = None


def cascade(rate, order):
    """order + 1 leaks in a row: t^order e^{-rate t}."""
    n, a = order + 1, math.exp(-rate)
    A = a * np.eye(n) + np.diag(np.ones(n - 1), -1) * (1 - a) * a
    b = np.zeros(n)
    b[0] = 1
    return Leaks(A, b, np.eye(n)[-1])


def rotation(rate, frequency):
    c, s = math.cos(frequency), math.sin(frequency)
    return Leaks(math.exp(-rate) * np.array([[c, -s], [s, c]]), [1, 0], [1, 0])


def reservoir(radius, seed, symmetric, squash=None, size=24):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((size, size))
    if symmetric:  # dense at the edge of its spectrum, it would be a sum of many nearly equal rates: no single law before the noise
        Q = np.linalg.qr(A)[0]
        A = Q @ np.diag([1.0, *np.linspace(-0.7, 0.7, size - 1)]) @ Q.T
    A *= radius / np.abs(np.linalg.eigvals(A)).max()
    scale = 1e-3 if squash else 1.0  # in the linear range of tanh, where the spectral radius is the rate of forgetting
    return Leaks(A, scale * rng.standard_normal(size), rng.standard_normal(size), squash)


def delay(lag, length=400):
    kernel = np.zeros(length)
    kernel[lag] = 1.0
    return Kernel(kernel)


def window(lag, length=400):
    kernel = np.zeros(length)
    kernel[: lag + 1] = 1.0 / (lag + 1)
    return Kernel(kernel)


def exponentials():
    for rate in np.geomspace(0.04, 0.4, 12):
        for order in (0, 1, 2):
            yield Known(f"leak {rate:.3f} order {order}", cascade(rate, order), int(25 / rate), "exponential", {"rate": rate}, 0.01)
    for i, rate in enumerate(np.geomspace(0.05, 0.2, 10)):
        rates = rate * np.array([1.0, 3.0, 8.0 + i])
        model = Leaks(np.diag(np.exp(-rates)), [1, 1, 1], [1.0, -0.5, 0.7])
        yield Known(f"sum of three from {rate:.3f}", model, int(25 / rate), "exponential", {"rate": rate}, 0.02)


def oscillations():
    for rate in (0.03, 0.05, 0.08):
        for frequency in (0.3, 0.6, 1.1, 2.0):
            yield Known(f"oscillation {rate} {frequency}", rotation(rate, frequency), int(20 / rate), "exponential", {"rate": rate}, 0.03)


def finite():
    for lag in (3, 7, 12, 20, 33, 50, 71, 100, 140, 180):
        yield Known(f"delay {lag}", delay(lag), 256, "finite", {"lag": lag}, 1.0)
        yield Known(f"window {lag}", window(lag), 256, "finite", {"lag": lag}, 1.0)


def polynomials():
    t = np.arange(1024.0)
    for power in (1.2, 1.5, 2.0, 2.5, 3.0):
        for scale in (1.0, 3.0, 10.0):
            kernel = (1 + t / scale) ** -power
            half = scale * (2 ** (1 / power) - 1)
            yield Known(f"power {power} scale {scale}", Kernel(kernel), 1024, "polynomial", {"power": power, "scale": scale}, 0.02, half)


def reservoirs():
    for seed, radius in enumerate((0.7, 0.8, 0.85, 0.9, 0.93)):
        for symmetric in (True, False):
            for squash in (None, torch.tanh):
                label = f"{'symmetric' if symmetric else 'general'} {'tanh' if squash else 'linear'} reservoir {radius}"
                rate = -math.log(radius)
                yield Known(label, reservoir(radius, seed, symmetric, squash), int(30 / rate), "exponential", {"rate": rate}, 0.05)


def stacks():
    for slow in (0.05, 0.08, 0.12):
        layers = nn.Sequential(cascade(3 * slow, 0), cascade(slow, 0), cascade(5 * slow, 0))
        layers.input_size = 1
        yield Known(f"stack with slowest {slow}", layers, int(25 / slow), "exponential", {"rate": slow}, 0.02)
    for rate in (0.1, 0.3):
        integrator = nn.Sequential(cascade(rate, 0), Leaks(np.eye(1), [1], [0.5]))
        integrator.input_size = 1
        yield Known(f"integrator after a leak {rate}", integrator, 300, "persistent", {"level": 0.5 / (1 - math.exp(-rate))}, 0.02)


FAMILIES = (exponentials, oscillations, finite, polynomials, reservoirs, stacks)


@cache
def found(family):
    return [(known, audit(known.model, horizon=known.horizon, parts=("memory",), probes=("heaviside",))) for known in family()]


SLOW = pytest.param(reservoirs, marks=pytest.mark.slow)  # the sup over inputs of a nonlinear reservoir is searched


@pytest.mark.parametrize("family", [SLOW if family is reservoirs else family for family in FAMILIES], ids=lambda f: f.__name__)
def test_the_law_and_its_parameters_are_recovered(family):
    wrong = []
    for known, result in found(family):
        off = {}
        for name, value in known.parameters.items():
            got = result.parameters.get(name, math.nan)
            off[name] = abs(got - value) / (1.0 if name == "lag" else value)
        if result.law != known.law or not all(e <= known.error for e in off.values()):
            wrong.append((known.name, result.law, result.curve["law"]["reason"], off))
        if known.half_life is not None and abs(result.half_life - known.half_life) > max(0.1, 0.01 * known.half_life):  # between two steps
            wrong.append((known.name, result.half_life, known.half_life))
    assert not wrong, wrong


def test_there_are_a_hundred_models():
    assert sum(len(list(family())) for family in FAMILIES) >= 100
