"""Realisation from samples: modes of kernels that are no exponential sums, such as pulses at a delay."""

from __future__ import annotations

import numpy as np
from scipy.fft import next_fast_len

from perdure._typing import Array
from perdure.functionals.base import LinearFunctional

SAMPLES = 400  # at least, over the span
MOST = 2048
FINEST = 4  # samples a panel of the target's mesh


class Hankel:
    """The Hankel matrix H_ij = rho((i + j) h) of the kernel on [0, span), with zeros past the span: a finite impulse response.

    Its truncated balanced realisation (Kung 1978) is stable. One decomposition serves every order up to `largest`; for several
    inputs the channels' responses are stacked side by side, so all share the rates. The leading singular vectors are found by
    subspace iteration, where a product with H is a convolution.
    """

    def __init__(self, target: LinearFunctional, span: float, largest: int) -> None:
        mesh = target.mesh()
        panels = np.diff(mesh[mesh <= span * (1 + 1e-12)])
        finest = float(np.quantile(panels, 0.1)) if panels.size else span
        samples = int(np.clip(FINEST * span / finest, SAMPLES, MOST))
        self.step = span / samples
        rho = target._kernel(self.step * np.arange(samples))  # (N, d)
        self._length, self._inputs = samples, rho.shape[1]
        self._padded = int(next_fast_len(2 * samples, real=True) or 2 * samples)
        self._spectra = [np.fft.rfft(rho[lag:], self._padded, axis=0) for lag in (0, 1)]
        rank = min(largest + 8, samples)
        x = np.random.default_rng(0).standard_normal((samples * self._inputs, rank))
        for _ in range(4):
            left = np.linalg.qr(self._times(x))[0]
            x = np.linalg.qr(self._transposed(left))[0]
        u, self._values, v = np.linalg.svd(self._times(x), full_matrices=False)
        self._left, self._right = u, x @ v.T
        self._small = u.T @ self._times(self._right, lag=1)

    def _times(self, x: Array, lag: int = 0) -> Array:
        """H x, or that of the matrix moved by one step, for x (N d, k)."""
        n, padded = self._length, self._padded
        total = np.zeros((padded // 2 + 1, x.shape[1]), complex)
        for j in range(self._inputs):
            total += self._spectra[lag][:, j, None] * np.conj(np.fft.rfft(x[j * n : (j + 1) * n], padded, axis=0))
        return np.fft.irfft(total, padded, axis=0)[:n]

    def _transposed(self, y: Array) -> Array:
        """H^T y for y (N, k): the same, channel by channel, for H_ij depends on i + j."""
        n, padded = self._length, self._padded
        inner = np.conj(np.fft.rfft(y, padded, axis=0))
        return np.concatenate([np.fft.irfft(self._spectra[0][:, j, None] * inner, padded, axis=0)[:n] for j in range(self._inputs)])

    @property
    def sound(self) -> int:
        """The order up to which singular values are well above rounding; at least 1."""
        return max(int((self._values > 1e-11 * self._values[0]).sum()), 1)

    def rates(self, order: int) -> Array:
        """Rates, (<= order,) complex, -log(z)/h for the eigenvalues z of the one-step map of the realisation of that order."""
        keep = min(order, int((self._values > 1e-14 * self._values[0]).sum()))
        scale = 1.0 / np.sqrt(self._values[:keep])
        z: Array = np.linalg.eigvals(scale[:, None] * self._small[:keep, :keep] * scale).astype(complex)
        z = z[(np.abs(z) > 0) & (np.abs(z) < 1) & ~((z.imag == 0) & (z.real < 0))]  # a negative real z is an artefact of sampling
        return -np.log(z) / self.step
