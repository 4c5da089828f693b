"""Exponential sums rho(t) = Re sum_i a_i e^{-lambda_i t}: what linear recurrent networks with diagonalisable weights compute."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import geometric_mesh, merge, refine


class ExponentialSum(LinearFunctional):
    """rho(t) = Re sum_i a_i e^{-lambda_i t}.

    Attributes:
        rates: lambda, shape (m,), real or complex, Re > 0, per unit time.
        coefficients: a, shape (m,) or (m, d).
        error: relative W1 error of an approximation, None for a functional given as such.
    """

    def __init__(self, rates: Any, coefficients: Any, error: float | None = None) -> None:
        self.rates = _numbers(rates, "rates")
        coefficients = _numbers(coefficients, "coefficients", dimensions=(1, 2))
        if self.rates.size == 0:
            raise _checks.fail("rates", "non-empty", [], "pass at least one rate")
        if (self.rates.real <= 0).any():
            bad = self.rates[self.rates.real <= 0][0].item()
            raise _checks.fail(
                "rates", "of positive real part", bad, "rho(t) = sum a e^(-rate t) must decay; a pole at -0.5 is the rate 0.5"
            )
        if coefficients.shape[0] != self.rates.size:
            rule = f"one per rate (leading size {self.rates.size})"
            raise _checks.fail("coefficients", rule, coefficients.shape, "give (m,) or (m, d) coefficients for m rates")
        self.coefficients = coefficients
        self.error = error
        self.input_size = 1 if coefficients.ndim == 1 else coefficients.shape[1]

    @property
    def width(self) -> int:
        """m, the number of rates: the hidden size of the linear network, a conjugate pair counting as two."""
        return self.rates.size

    @property
    def _matrix(self) -> Array:
        return self.coefficients.reshape(self.rates.size, -1)

    @cached_property
    def _folded(self) -> tuple[Array, Array, Array, Array]:
        """Real rates and weights, then complex ones with conjugates folded together: half the exponentials. Repeats are added up."""
        listed, weights = self.modes()
        unique, where = np.unique(listed, return_inverse=True)
        rates: Array = unique
        total: Array = np.zeros((rates.size, weights.shape[1]), complex)
        np.add.at(total, where.ravel(), weights)
        real = rates.imag == 0
        return rates[real].real, total[real].real, rates[~real], total[~real]

    def _sum(self, t: Array, power: int) -> Array:
        """Re sum a (-lambda)^power e^{-lambda t}; for power -1 with the sign of a tail."""
        real, a, swinging, b = self._folded
        with np.errstate(under="ignore"):
            if power < 0:
                a, b = a / real[:, None], b / swinging[:, None]
            elif power > 0:
                a, b = -real[:, None] * a, -swinging[:, None] * b
            value = np.exp(-np.multiply.outer(t, real)) @ a
            return value + np.real(np.exp(-np.multiply.outer(t, swinging)) @ b) if swinging.size else value

    def _kernel(self, t: Array) -> Array:
        return self._sum(t, 0)

    def _kernel_derivative(self, t: Array) -> Array:
        return self._sum(t, 1)

    def _tail(self, t: Array) -> Array:
        return self._sum(t, -1)

    def mesh(self) -> Array:
        """Geometric panels over the time constants; inside an oscillation's lifetime at least two panels a period."""
        lifetime = 45.0 / self.rates.real
        mesh = geometric_mesh(0.25 / np.abs(self.rates).max(), lifetime.max())
        oscillating = self.rates.imag != 0 if np.iscomplexobj(self.rates) else np.zeros(self.rates.size, bool)
        if oscillating.any():
            order = np.argsort(lifetime[oscillating])[::-1]
            for rate in self.rates[oscillating][order]:
                mesh = refine(mesh, np.pi / abs(rate.imag), 45.0 / rate.real)
        return merge(mesh)

    def modes(self) -> tuple[Array, Array]:
        """The distinct real modes of a real network: rates with Im >= 0 and coefficients (n, d), conjugates folded together.

        rho = Re sum_k a_k e^{-lambda_k t}; a mode with Im > 0 is one 2x2 block of two real states. Repeated rates stay separate states.
        """
        rates: Array = self.rates.astype(complex)
        weights: Array = self._matrix.astype(complex)
        flipped = rates.imag < 0
        used = np.zeros(rates.size, bool)
        out_rates, out_weights = [], []
        for i in np.nonzero(~flipped)[0]:
            weight = weights[i].copy()
            if rates[i].imag > 0:
                partner = np.nonzero(flipped & ~used & np.isclose(rates, rates[i].conj(), rtol=1e-10, atol=0))[0]
                if partner.size:
                    used[partner[0]] = True
                    weight += weights[partner[0]].conj()
            else:
                weight = weight.real.astype(complex)
            out_rates.append(rates[i])
            out_weights.append(weight)
        for i in np.nonzero(flipped & ~used)[0]:
            out_rates.append(rates[i].conj())
            out_weights.append(weights[i].conj())
        return np.array(out_rates), np.array(out_weights)

    def __repr__(self) -> str:
        return f"ExponentialSum(width={self.width}, slowest={self.rates.real.min():.3g}" + (
            f", error={self.error:.3g})" if self.error is not None else ")"
        )


def exponential_sum(rates: Any, coefficients: Any) -> ExponentialSum:
    """rho(t) = Re sum_i a_i e^{-lambda_i t}, signs and complex rates allowed.

    Args:
        rates: (m,) with positive real part, per unit time.
        coefficients: (m,) or (m, d).

    Raises:
        ValueError: a rate without positive real part, NaN, or sizes that do not match.

    >>> round(exponential_sum([1.0, 2.0], [1.0, -1.0]).norm(), 12)  # 1/2 + 0 + 2 * 1/4
    1.0
    """
    return ExponentialSum(rates, coefficients)


def exponential(rate: float = 1.0) -> ExponentialSum:
    """rho(t) = e^{-rate t}. W1 norm 1/rate + 2.

    >>> round(exponential(rate=0.5).norm(), 12)
    4.0
    """
    return ExponentialSum([_checks.positive(rate, "rate", "the kernel e^(-rate t) must decay")], [1.0])


def oscillating(rate: float = 1.0, frequency: float = 1.0) -> ExponentialSum:
    """rho(t) = e^{-rate t} cos(frequency t), with the frequency in radians per unit time.

    >>> oscillating(rate=1.0, frequency=2.0).kernel([0.0, 1.0]).round(4).tolist()
    [1.0, -0.1531]
    """
    rate = _checks.positive(rate, "rate", "the kernel e^(-rate t) cos(frequency t) must decay")
    frequency = _checks.number(frequency, "frequency")
    if frequency == 0:
        return exponential(rate)
    return ExponentialSum([complex(rate, frequency), complex(rate, -frequency)], [0.5, 0.5])


def _numbers(value: Any, argument: str, dimensions: tuple[int, ...] = (1,)) -> Array:
    array = np.atleast_1d(np.asarray(value))
    array = _checks.finite_array(array, argument, complex if np.iscomplexobj(array) else float)
    if array.ndim not in dimensions:
        shapes = " or ".join("(m,)" if n == 1 else "(m, d)" for n in dimensions)
        raise _checks.fail(argument, f"of shape {shapes}", array.shape, "one entry a rate; ravel() or reshape(m, -1) gives that shape")
    return array
