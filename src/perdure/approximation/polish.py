r"""Least squares over rates and weights in (nearly) the W1 norm.

Real parameters: log alpha and a for a real mode a e^{-alpha t}; log alpha, omega, Re a, Im a for a pair
Re a e^{-(alpha + i omega) t}. Residuals are rho^ - rho and its derivative at Gauss nodes, and the value at 0; the L1 norm
is reached by iterative reweighting with 1/|residual|.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import least_squares

from perdure._typing import Array
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import panel_rule


class Problem:
    """Residuals of an exponential sum against a target at fixed nodes.

    Modes are n_real real ones followed by pairs, each pair listed once, with Im > 0.
    """

    def __init__(self, target: LinearFunctional, mesh: Array) -> None:
        self.t, weight = panel_rule(mesh)
        self.rho, self.slope = target._kernel(self.t), target._kernel_derivative(self.t)
        self.reach = np.log([0.1 / self.t[-1], 100.0 / self.t[0]])  # log-rates that the nodes resolve
        self.start = target._kernel(np.zeros(1))
        self.weight = np.concatenate([weight, weight, [1.0]])[:, None]
        self.data = np.concatenate([self.rho, self.slope, self.start])  # (2N + 1, d)

    def design(self, rates: Array, n_real: int) -> Array:
        """Columns for the weights of the modes, (2N + 1, n_real + 2 n_pairs): real parts, then minus imaginary parts of the pairs."""
        decay = np.exp(-np.outer(self.t, rates))
        full = np.concatenate([decay, -rates * decay, np.ones((1, rates.size))])
        return np.concatenate([full.real, -full.imag[:, n_real:]], axis=1)

    def weights_for(self, rates: Array, n_real: int, rounds: int = 8) -> tuple[Array, float]:
        """Weights (n, d), complex, of least W1 error for given rates, and that error on the nodes."""
        design = self.design(rates, n_real)
        importance = np.ones_like(self.data)
        best, best_error = np.zeros((design.shape[1], self.data.shape[1])), float((self.weight * np.abs(self.data)).sum())
        for _ in range(rounds):
            root = np.sqrt(self.weight * importance)
            x = np.stack([_solve(root[:, j, None] * design, root[:, j] * self.data[:, j]) for j in range(self.data.shape[1])], axis=1)
            residual = np.abs(design @ x - self.data)
            error = float((self.weight * residual).sum())
            if error < best_error:
                best, best_error = x, error
            importance = 1.0 / (residual + 1e-3 * residual.mean() + 1e-300)
            importance /= importance.max()
        weights = best[: rates.size].astype(complex)
        weights[n_real:] += 1j * best[rates.size :]
        return weights, best_error

    def improve(self, rates: Array, weights: Array, n_real: int, rounds: int = 4) -> tuple[Array, Array]:
        """Joint refinement of rates (n,) and weights (n, d), Levenberg-Marquardt within reweighting rounds."""
        n, d = rates.size, self.data.shape[1]
        pairs = n - n_real

        def unpack(x: Array) -> tuple[Array, Array]:
            alpha = np.exp(np.clip(x[:n], *self.reach))
            omega = np.concatenate([np.zeros(n_real), x[n : n + pairs]])
            a = x[n + pairs : n + pairs + n * d].reshape(n, d).astype(complex)
            a[n_real:] += 1j * x[n + pairs + n * d :].reshape(pairs, d)
            return alpha + 1j * omega, a

        x = np.concatenate([np.log(rates.real), rates.imag[n_real:], weights.real.ravel(), weights.imag[n_real:].ravel()])
        best = (rates, weights)
        best_error = self.error(rates, weights)
        for _ in range(rounds):
            now = unpack(x)
            importance = np.abs(self.difference(*now))
            importance = 1.0 / (importance + 1e-2 * importance.mean() + 1e-300)
            root = np.sqrt(self.weight * importance / importance.max())

            def residual(x: Array, root: Array = root) -> Array:
                return (root * self.difference(*unpack(x))).ravel()

            def jacobian(x: Array, root: Array = root) -> Array:
                lam, a = unpack(x)
                decay = np.exp(-np.outer(self.t, lam))
                zero = np.zeros((1, n))
                by_rate = np.concatenate(
                    [-self.t[:, None] * decay, (lam * self.t[:, None] - 1) * decay, zero]
                )  # d/d lambda of (e, -lambda e, 1)
                by_weight = np.concatenate([decay, -lam * decay, np.ones((1, n))])
                columns = [
                    *((lam.real[i] * by_rate[:, i, None] * a[i]).real for i in range(n)),
                    *((1j * by_rate[:, i, None] * a[i]).real for i in range(n_real, n)),
                    *(np.real(by_weight[:, i, None]) * np.eye(d)[j] for i in range(n) for j in range(d)),
                    *(-np.imag(by_weight[:, i, None]) * np.eye(d)[j] for i in range(n_real, n) for j in range(d)),
                ]
                return np.stack([(root * c).ravel() for c in columns], axis=1)

            jac: Any = jacobian
            x = least_squares(residual, x, jac, method="lm" if x.size <= self.data.size else "trf", max_nfev=30).x
            found = unpack(x)
            error = self.error(*found)
            if error < best_error and np.isfinite(error):
                best, best_error = found, error
        return best

    def difference(self, rates: Array, weights: Array) -> Array:
        """(rho^ - rho, rho^' - rho', rho^(0) - rho(0)), (2N + 1, d)."""
        decay = np.exp(-np.outer(self.t, rates))
        model = np.concatenate([decay @ weights, -decay @ (rates[:, None] * weights), np.sum(weights, axis=0, keepdims=True)])
        return np.real(model) - self.data

    def error(self, rates: Array, weights: Array) -> float:
        """The W1 error on the nodes."""
        return float((self.weight * np.abs(self.difference(rates, weights))).sum())


def _solve(design: Array, data: Array) -> Array:
    scale = np.linalg.norm(design, axis=0) + 1e-300
    return np.linalg.lstsq(design / scale, data, rcond=1e-14)[0] / scale
