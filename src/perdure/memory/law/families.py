"""The laws as curves in log space: value, derivative in the parameters, starting point, bounds, and names of the parameters.

Every law has three adjustable parameters (the exponential's order counts as one), so that evidence compares fits and not parameter counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perdure.memory.law.window import Sample

Array = npt.NDArray[Any]
LAWS = ("exponential", "polynomial", "stretched", "finite", "persistent")


def _project(basis: Array, sample: Sample) -> tuple[Array, Array]:
    """Weighted straight-line fits y = a + b x for many x at once: basis (G, n) -> coefficients (G, 2) and misfits (G,)."""
    w = 1 / sample.v / np.sum(1 / sample.v)
    xm, ym = basis @ w, float(sample.y @ w)
    dx, dy = basis - xm[:, None], sample.y - ym
    b = (dx * dy) @ w / np.maximum((dx * dx) @ w, 1e-300)
    return np.stack([ym - b * xm, b], axis=1), ((dy - b[:, None] * dx) ** 2) @ w


@dataclass(frozen=True)
class Exponential:
    """amplitude * t^order * exp(-rate t), order a fixed integer; theta = (log amplitude, rate)."""

    order: int = 0
    law = "exponential"

    def curve(self, theta: Array, t: Array) -> Array:
        """Log-values at times t."""
        return theta[0] - theta[1] * t + (self.order * np.log(np.maximum(t, 1e-300)) if self.order else 0.0)

    def jacobian(self, theta: Array, t: Array) -> Array:
        """Derivative of the log-values in theta, (n, parameters)."""
        return np.stack([np.ones_like(t), -t], axis=1)

    def start(self, sample: Sample) -> Array:
        """A starting point, by an exhaustive search over the parameters that are not linear."""
        lifted = self.order * np.log(np.maximum(sample.t, 1e-300)) if self.order else 0.0
        (theta,), _ = _project(-sample.t[None], Sample(sample.t, sample.y - lifted, sample.v, sample.silent, sample.log_floor))
        return theta

    def bounds(self, sample: Sample) -> tuple[list[float], list[float]]:
        """Lowest and highest theta."""
        return [-np.inf, 1e-9 / float(np.ptp(sample.t))], [np.inf, np.inf]

    def natural(self, theta: Array, sample: Sample) -> dict[str, float]:
        """Parameters in the units of the caller."""
        return {"rate": theta[1], "order": float(self.order), "amplitude": _exp(theta[0])}


@dataclass(frozen=True)
class Polynomial:
    """amplitude * (1 + t/scale)^-power; theta = (log amplitude, power, log scale).

    Powers stop at 8: beyond, it is an exponential in disguise.
    """

    law = "polynomial"

    def curve(self, theta: Array, t: Array) -> Array:
        """Log-values at times t."""
        return theta[0] - theta[1] * np.log1p(t * np.exp(-theta[2]))

    def jacobian(self, theta: Array, t: Array) -> Array:
        """Derivative of the log-values in theta, (n, parameters)."""
        x = t * np.exp(-theta[2])
        return np.stack([np.ones_like(t), -np.log1p(x), theta[1] * x / (1 + x)], axis=1)

    def start(self, sample: Sample) -> Array:
        """A starting point, by an exhaustive search over the parameters that are not linear."""
        low, high = (b[2] for b in self.bounds(sample))
        scales = np.linspace(low, high, 48)
        linear, misfit = _project(-np.log1p(sample.t * np.exp(-scales[:, None])), sample)
        legal = (linear[:, 1] > 0.05) & (linear[:, 1] < 8.0)
        best = int(np.argmin(np.where(legal, misfit, np.inf)))
        return np.array([linear[best, 0], np.clip(linear[best, 1], 0.06, 7.9), scales[best]])

    def bounds(self, sample: Sample) -> tuple[list[float], list[float]]:
        """Lowest and highest theta."""
        first = float(sample.t[sample.t > 0][0])
        return [-np.inf, 0.05, np.log(0.01 * first)], [np.inf, 8.0, np.log(100 * float(sample.t[-1]))]

    def natural(self, theta: Array, sample: Sample) -> dict[str, float]:
        """Parameters in the units of the caller."""
        return {"power": theta[1], "scale": _exp(theta[2]), "amplitude": _exp(theta[0])}


@dataclass(frozen=True)
class Stretched:
    """amplitude * exp(-(t/time_constant)^exponent), exponent in [0.15, 0.85]; theta = (log amplitude, log time constant, exponent)."""

    law = "stretched"

    def curve(self, theta: Array, t: Array) -> Array:
        """Log-values at times t."""
        return theta[0] - np.exp(np.minimum(theta[2] * (np.log(np.maximum(t, 1e-300)) - theta[1]), 700.0))

    def jacobian(self, theta: Array, t: Array) -> Array:
        """Derivative of the log-values in theta, (n, parameters)."""
        u = np.log(np.maximum(t, 1e-300)) - theta[1]
        x = np.exp(np.minimum(theta[2] * u, 700.0))
        return np.stack([np.ones_like(t), theta[2] * x, -x * u], axis=1)

    def start(self, sample: Sample) -> Array:
        """A starting point, by an exhaustive search over the parameters that are not linear."""
        exponents = np.linspace(0.16, 0.84, 35)
        linear, misfit = _project(-(np.maximum(sample.t, 0.0) ** exponents[:, None]), sample)
        best = int(np.argmin(np.where(linear[:, 1] > 0, misfit, np.inf)))
        low, high = (b[1] for b in self.bounds(sample))
        log_tau = -np.log(max(linear[best, 1], 1e-300)) / exponents[best]
        return np.array([linear[best, 0], np.clip(log_tau, low + 1, high - 1), exponents[best]])

    def bounds(self, sample: Sample) -> tuple[list[float], list[float]]:
        """Lowest and highest theta."""
        centre = float(np.log(sample.t[-1]))
        return [-np.inf, centre - 60.0, 0.15], [np.inf, centre + 30.0, 0.85]

    def natural(self, theta: Array, sample: Sample) -> dict[str, float]:
        """Parameters in the units of the caller."""
        return {"time_constant": _exp(theta[1]), "exponent": theta[2], "amplitude": _exp(theta[0])}


@dataclass(frozen=True)
class Persistent:
    """level * (1 + rest * exp(rate (end - t))), with rest <= 1/4: the decay must be all but over by the end of the window.

    theta = (log level, log rest, log rate). Without the bound a level far under the last visible value would mimic every exponential.
    """

    end: float
    law = "persistent"

    def curve(self, theta: Array, t: Array) -> Array:
        """Log-values at times t."""
        return theta[0] + np.logaddexp(0.0, theta[1] + np.exp(theta[2]) * (self.end - t))

    def jacobian(self, theta: Array, t: Array) -> Array:
        """Derivative of the log-values in theta, (n, parameters)."""
        left = np.exp(theta[2]) * (self.end - t)
        share = np.exp(-np.logaddexp(0.0, -theta[1] - left))
        return np.stack([np.ones_like(t), share, share * left], axis=1)

    def start(self, sample: Sample) -> Array:
        """A starting point, by an exhaustive search over the parameters that are not linear."""
        low, high = self.bounds(sample)
        rates = np.linspace(low[2] + 0.05, high[2] - 0.05, 32)
        heights = np.linspace(-4.0, max(1.0, sample.drop + 3.0), 32)  # log of decay over level where the window begins
        height, rate = (g.ravel() for g in np.meshgrid(heights, rates))
        rest = np.clip(height - np.exp(rate) * (self.end - sample.t[0]), low[1] + 0.05, high[1] - 0.05)
        gap = sample.y - np.logaddexp(0.0, rest[:, None] + np.exp(rate[:, None]) * (self.end - sample.t))
        w = 1 / sample.v / np.sum(1 / sample.v)
        levels = gap @ w
        best = int(np.argmin(((gap - levels[:, None]) ** 2) @ w))
        return np.array([levels[best], rest[best], rate[best]])

    def bounds(self, sample: Sample) -> tuple[list[float], list[float]]:
        """Lowest and highest theta."""
        span = self.end - float(sample.t[0])
        fastest = 30.0 / float(np.diff(sample.t).min())
        return [-np.inf, -16.0 - fastest * span, np.log(3.0 / span)], [np.inf, np.log(0.25), np.log(fastest)]

    def natural(self, theta: Array, sample: Sample) -> dict[str, float]:
        """Parameters in the units of the caller."""
        rate = _exp(theta[2])
        if theta[1] + rate * (self.end - float(sample.t[0])) < math.log(1e-3):  # nothing but a level
            return {"level": _exp(theta[0])}
        return {"level": _exp(theta[0]), "rate": rate, "amplitude": _exp(theta[0] + theta[1] + rate * self.end)}


@dataclass(frozen=True)
class Finite:
    """exp of a polynomial in t up to `lag`, nothing after it.

    Degree 1 for a cut, 2 (falling ever faster) for a pulse without a sharp end.
    """

    lag: float
    degree: int = 1
    law = "finite"

    def curve(self, theta: Array, t: Array) -> Array:
        """Log-values at times t."""
        inside = np.polynomial.polynomial.polyval(t, theta)
        return np.where(t <= self.lag, inside, -np.inf) if self.degree == 1 else inside

    def jacobian(self, theta: Array, t: Array) -> Array:
        """Derivative of the log-values in theta, (n, parameters)."""
        return np.vander(t, self.degree + 1, increasing=True)

    def start(self, sample: Sample) -> Array:
        """A starting point, by an exhaustive search over the parameters that are not linear."""
        span = max(float(np.ptp(sample.t)), 1e-300)
        root = 1 / np.sqrt(sample.v)
        scaled = np.vander((sample.t - sample.t[0]) / span, self.degree + 1, increasing=True) * root[:, None]
        local = np.linalg.lstsq(scaled, sample.y * root, rcond=None)[0]
        shifted = np.polynomial.Polynomial(local, domain=[sample.t[0], sample.t[0] + span], window=[0, 1]).convert()
        return np.pad(shifted.coef, (0, self.degree + 1 - shifted.coef.size))

    def bounds(self, sample: Sample) -> tuple[list[float], list[float]]:
        """Lowest and highest theta."""
        return [-np.inf] * (self.degree + 1), [np.inf] * (self.degree + 1)

    def natural(self, theta: Array, sample: Sample) -> dict[str, float]:
        """Parameters in the units of the caller."""
        return {"lag": self.lag, "amplitude": _exp(float(sample.y.max()))}


Family = Exponential | Polynomial | Stretched | Persistent | Finite


def _exp(x: float) -> float:
    """exp(x) without overflow."""
    return float(np.exp(min(float(x), 700.0)))
