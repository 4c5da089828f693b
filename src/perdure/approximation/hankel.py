"""Realisation from samples: modes of kernels that are no exponential sums, such as pulses at a delay."""

from __future__ import annotations

import numpy as np

from perdure._typing import Array
from perdure.functionals.base import LinearFunctional

SAMPLES = 400


def realise(target: LinearFunctional, span: float, width: int, samples: int = SAMPLES) -> Array:
    """Rates, (<= width,) complex, of the balanced realisation of order `width` of the kernel sampled on [0, span).

    The Hankel matrix H_ij = rho((i + j) h), with zeros past the span, is that of a finite impulse response: its truncated
    balanced realisation (Kung 1978) is stable. Eigenvalues z of the one-step map give rates -log(z)/h. For several inputs
    the channels' responses are stacked side by side, so all share the rates.
    """
    step = span / samples
    rho = target._kernel(step * np.arange(samples))  # (N, d)
    padded = np.concatenate([rho, np.zeros((samples + 1, rho.shape[1]))])
    index = np.add.outer(np.arange(samples), np.arange(samples))
    hankel = padded[index].transpose(0, 2, 1).reshape(samples, -1)
    shifted = padded[index + 1].transpose(0, 2, 1).reshape(samples, -1)
    left, values, right = np.linalg.svd(hankel, full_matrices=False)
    keep = min(width, int((values > 1e-14 * values[0]).sum()))
    scale = 1.0 / np.sqrt(values[:keep])
    one_step = scale[:, None] * (left[:, :keep].T @ shifted @ right[:keep].T) * scale
    z: Array = np.linalg.eigvals(one_step).astype(complex)
    z = z[(np.abs(z) > 0) & (np.abs(z) < 1) & ~((z.imag == 0) & (z.real < 0))]  # a negative real z is an artefact of sampling
    return -np.log(z) / step
