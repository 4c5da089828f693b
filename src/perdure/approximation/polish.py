r"""Descent of the W1 error in rates and weights: Levenberg and Marquardt's method, reweighted towards the L1 norm.

Real parameters: log alpha and a for a real mode a e^{-alpha t}; log alpha, omega, Re a, Im a for a pair
Re a e^{-(alpha + i omega) t}. Residuals are rho^ - rho and its derivative at Gauss nodes, and the value at 0. The L1 norm is
reached by stages: |r| is rounded off to sqrt(r^2 + delta^2), delta falls from stage to stage, and in each the weights
1/sqrt(r^2 + delta^2) of a least squares step make it a descent. The smooth first stages walk past the L1 norm's many local minima.

Log rates are what make this work for power laws: the rates of (1 + t)^-1.1 at 128 states span a hundred decades, and a change of
the slowest by a factor is as small a step as one of the fastest.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import get_lapack_funcs

from perdure._typing import Array
from perdure.approximation.nodes import Nodes

(_geqrf, _trtrs) = get_lapack_funcs(("geqrf", "trtrs"), dtype=np.float64)

SWINGS = 500.0  # omega / alpha of a mode is kept below this: one that swings longer before it fades is costly to integrate, and of no use
SMOOTHING = (10.0, 1.0, 0.1, 0.01, 1e-3)  # delta, in units of the mean residual, stage by stage: near least squares first, near L1 last
STEP = 1.0  # largest change of a log rate in one step
WORK = 7e8  # multiplications after which the descent stops: some tenths of a second


Eliminated = tuple[Array, Array, list[tuple[Array, Array]]]


class Problem:
    """Residuals of an exponential sum against a target at fixed nodes.

    Modes are n_real real ones followed by pairs, each pair listed once, with Im > 0.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.t = nodes.t
        self.weight = np.concatenate([nodes.weight, nodes.weight, [1.0]])[:, None]
        self.data = np.concatenate([nodes.rho, nodes.slope, nodes.start])  # (2N + 1, d)
        self.size = float((self.weight * np.abs(self.data)).sum())
        self.reach = np.log([1e-2 / self.t[-1], 100.0 / self.t[0]])  # log-rates that the nodes resolve

    def design(self, rates: Array, n_real: int) -> Array:
        """Columns for the weights of the modes, (2N + 1, n_real + 2 n_pairs): real parts, then minus imaginary parts of the pairs."""
        if n_real == rates.size:
            decay = _decay(self.t, rates.real)
            return np.concatenate([decay, -rates.real * decay, np.ones((1, rates.size))])
        decay = _decay(self.t, rates)
        full = np.concatenate([decay, -rates * decay, np.ones((1, rates.size))])
        return np.concatenate([full.real, -full.imag[:, n_real:]], axis=1)

    def weights_for(self, rates: Array, n_real: int, rounds: int = 4) -> tuple[Array, float]:
        """Weights (n, d), complex, of least W1 error for given rates, and that error on the nodes; never worse than no modes at all."""
        design = self.design(rates, n_real)
        importance = 1.0 / (np.abs(self.data) + 1e-3 * np.abs(self.data).mean() + 1e-300)
        importance /= importance.max()
        best, best_error = np.zeros((design.shape[1], self.data.shape[1])), self.size
        for _ in range(rounds):
            root = np.sqrt(self.weight * importance)
            x = np.stack([_solve(root[:, j, None] * design, root[:, j] * self.data[:, j]) for j in range(self.data.shape[1])], axis=1)
            residual = np.abs(design @ x - self.data)
            error = float((self.weight * residual).sum())
            if error < best_error:
                best, best_error = x, error
            elif error > 0.999 * best_error:
                break
            importance = 1.0 / (residual + 1e-3 * residual.mean() + 1e-300)
            importance /= importance.max()
        return _complex(best, rates.size, n_real), best_error

    def improve(self, rates: Array, weights: Array, n_real: int, rounds: int = 100) -> tuple[Array, Array, float]:
        """Rates (n,), weights (n, d) and their W1 error on the nodes, after a descent from the ones given."""
        n = rates.size
        rates = self._clipped(rates, n_real)
        residual = self.difference(rates, weights)
        best = (rates, weights, self._norm(residual))
        columns = 2 * n - n_real
        rounds = int(np.clip(WORK / (self.data.size * columns * (6 * columns + 100)), len(SMOOTHING), rounds))
        for stage, factor in enumerate(SMOOTHING):
            delta = factor * float((self.weight * np.abs(residual)).sum() / self.weight.sum()) + 1e-300
            error, damping, slow = self._smooth(residual, delta), 1e-6, 0
            for _ in range(max(rounds // (len(SMOOTHING) - stage), 1)):
                rounds -= 1
                root = np.sqrt(self.weight / np.hypot(residual, delta))
                eliminated = self._eliminated(rates, weights, n_real, residual, root)
                found, difference, moved = np.inf, residual, (rates, weights)
                for _ in range(8):
                    moved = self._moved(rates, weights, n_real, *_step(*eliminated, damping))
                    found, difference, moved = self._refitted(*moved, n_real, root, delta)
                    if found < error:
                        break
                    damping *= 20.0
                if not found < error:
                    break
                slow = slow + 1 if found > 0.995 * error else 0
                rates, weights, residual, error = *moved, difference, found
                damping = max(damping / 10.0, 1e-28)
                if (reached := self._norm(residual)) < best[2]:
                    best = (rates, weights, reached)
                if slow >= 3:
                    break
        return best

    def _smooth(self, difference: Array, delta: float) -> float:
        """The W1 error with |r| rounded off below delta: sqrt(r^2 + delta^2) - delta, whose least squares steps are exact at first order."""
        size = np.abs(difference)
        value = float((self.weight * size * (size / (np.hypot(size, delta) + delta))).sum())
        return value if np.isfinite(value) else np.inf

    def _refitted(self, rates: Array, weights: Array, n_real: int, root: Array, delta: float) -> tuple[float, Array, tuple[Array, Array]]:
        """The better of the moved weights and those of weighted least squares for the moved rates: error, difference, modes."""
        difference = self.difference(rates, weights)
        error = self._smooth(difference, delta)
        design = self.design(rates, n_real)
        x = np.stack([_solve(root[:, j, None] * design, root[:, j] * self.data[:, j]) for j in range(self.data.shape[1])], axis=1)
        refitted = design @ x - self.data
        found = self._smooth(refitted, delta)
        if found < error:
            return found, refitted, (rates, _complex(x, rates.size, n_real))
        return error, difference, (rates, weights)

    def _clipped(self, rates: Array, n_real: int) -> Array:
        alpha = np.exp(np.clip(np.log(rates.real), *self.reach))
        omega = np.abs(rates.imag)
        omega[:n_real] = 0.0
        return np.maximum(alpha, omega / SWINGS) + 1j * omega

    def _moved(self, rates: Array, weights: Array, n_real: int, step: Array, change: Array) -> tuple[Array, Array]:
        n = rates.size
        shrink = min(1.0, STEP / (np.abs(step[:n]).max() + 1e-300))
        alpha = rates.real * np.exp(shrink * step[:n])
        omega = rates.imag.copy()
        omega[n_real:] += shrink * step[n:]
        a = weights + shrink * _complex(change, n, n_real)
        a[n_real:] = np.where(omega[n_real:, None] < 0, a[n_real:].conj(), a[n_real:])
        return self._clipped(alpha + 1j * omega, n_real), a

    def _eliminated(self, rates: Array, weights: Array, n_real: int, residual: Array, root: Array) -> Eliminated:
        """The weighted least squares problem of a step, with the weights' changes eliminated channel by channel (Golub & Pereyra 1973).

        Each channel's columns are its own weights' (the design) and the rates' that all share; one QR factorisation of both leaves
        below the weights' rows a small problem in the rates alone.
        """
        design, by_rate = self.design(rates, n_real), self._by_rate(rates, weights, n_real)
        c = design.shape[1]
        scale = np.sqrt(np.einsum("ijk,ij->k", by_rate**2, root**2)) + 1e-300
        tops, bottoms = [], []
        for j in range(self.data.shape[1]):
            own = root[:, j, None] * design
            size = np.sqrt(np.einsum("ij,ij->j", own, own)) + 1e-300
            full = np.concatenate([own / size, root[:, j, None] * by_rate[:, j] / scale, -(root * residual)[:, j, None]], axis=1)
            factored = _upper(full)
            tops.append((factored[:c], size))
            bottoms.append(factored[c:, c:])
        small = _upper(np.concatenate(bottoms)) if len(bottoms) > 1 else bottoms[0]
        return small[: c + 1], scale, tops

    def _by_rate(self, rates: Array, weights: Array, n_real: int) -> Array:
        """Derivatives of the residuals in log alpha of all modes, then in omega of the pairs, (2N + 1, d, n + n_pairs)."""
        real = n_real == rates.size
        lam: Array
        a: Array
        lam, a = (rates.real, weights.real) if real else (rates, weights)
        decay, t = _decay(self.t, lam), self.t[:, None]
        slopes: Array = np.concatenate([-t * decay, (lam * t - 1) * decay, np.zeros((1, lam.size))])[:, None, :] * a.T
        return slopes * lam if real else np.concatenate([np.real(slopes) * lam.real, -np.imag(slopes)[..., n_real:]], axis=2)

    def difference(self, rates: Array, weights: Array) -> Array:
        """(rho^ - rho, rho^' - rho', rho^(0) - rho(0)), (2N + 1, d)."""
        if not rates.imag.any():
            rates, weights = rates.real, weights.real
        decay = _decay(self.t, rates)
        model: Array = np.concatenate([decay @ weights, -decay @ (rates[:, None] * weights), np.sum(weights, axis=0, keepdims=True)])
        return np.real(model) - self.data

    def error(self, rates: Array, weights: Array) -> float:
        """The W1 error on the nodes."""
        return self._norm(self.difference(rates, weights))

    def _norm(self, difference: Array) -> float:
        value = float((self.weight * np.abs(difference)).sum())
        return value if np.isfinite(value) else np.inf


def _decay(t: Array, rates: Array) -> Array:
    exponent = np.multiply.outer(t, rates)
    if np.iscomplexobj(exponent):
        return np.exp(-np.minimum(np.real(exponent), 700.0)) * np.exp(-1j * np.imag(exponent))
    return np.exp(-np.minimum(exponent, 700.0))


def _complex(x: Array, n: int, n_real: int) -> Array:
    weights = x[:n].astype(complex)
    weights[n_real:] += 1j * x[n:]
    return weights


def _upper(matrix: Array) -> Array:
    """R of the QR factorisation of a matrix, as many rows as columns."""
    n = matrix.shape[1]
    if matrix.shape[0] < n:
        matrix = np.concatenate([matrix, np.zeros((n - matrix.shape[0], n))])
    return np.triu(_geqrf(matrix, lwork=64 * n, overwrite_a=1)[0][:n])


def _back(triangle: Array, data: Array) -> Array:
    """R^-1 data, with 0 where R is singular."""
    return _trtrs(triangle, data)[0] if np.abs(np.diag(triangle)).min() > 0 else np.zeros_like(data)


def _damped(upper: Array, damping: float) -> Array:
    """The x of least |R x - y|^2 + damping |x|^2, for [R | y] = upper, (n or n + 1, n + 1)."""
    n = upper.shape[1] - 1
    both = _upper(np.concatenate([upper, np.sqrt(damping) * np.eye(n, n + 1)]))
    return _back(both[:n, :n], both[:n, n])


def _step(small: Array, scale: Array, tops: list[tuple[Array, Array]], damping: float) -> tuple[Array, Array]:
    """Changes of the rates' parameters, and of the weights (n_real + 2 n_pairs, d) that go with them."""
    c = scale.size
    step = _damped(small, damping)
    change = [_back(top[:, :c], top[:, -1] - top[:, c:-1] @ step) / size for top, size in tops]
    return step / scale, np.stack(change, axis=1)


def _solve(design: Array, data: Array) -> Array:
    scale = np.sqrt(np.einsum("ij,ij->j", design, design)) + 1e-300
    return _damped(_upper(np.column_stack([design / scale, data])), 1e-30) / scale
