r"""Balanced truncation of exponential sums: the m modes that matter of a sum of thousands.

The sum rho(t) = c^T e^{-Lambda t} B is a linear system; its Gramians are Cauchy matrices. Truncating the balanced
realisation leaves an error in the frequency domain of at most twice the sum of the dropped Hankel singular values, and
no system of order m does better than sigma_{m+1} (Adamjan, Arov & Krein 1971), which also bounds the L1 and W1 errors
from below.

*Positive sums* (completely monotone targets) are balanced already with states sqrt(a_i): both Gramians equal
G_ij = sqrt(a_i a_j) / (lambda_i + lambda_j). Rates span hundreds of decades, so G is factored by a pivoted Cholesky
whose Schur complements stay Cauchy (u_i <- u_i (lambda_i - lambda_k)/(lambda_i + lambda_k): no subtraction of computed
numbers, hence full relative accuracy; Demmel 1999, Haut & Beylkin 2012), and what follows uses the one-sided Jacobi SVD, which
keeps that accuracy: slow rates come out right to digits where an eigenvalue routine returns rounding noise. One limit stays: the
singular vectors are right to rounding of their largest entry, not of each, so rates below about 1e-32 of the fastest (rounding
squared) are noise. Powers near 1 need slower ones from 60 states on; they are reached by descent from tapered rates instead.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import get_lapack_funcs

from perdure._typing import Array

(_gejsv,) = get_lapack_funcs(("gejsv",), dtype=np.float64)


def _accurate_svd(matrix: Array) -> tuple[Array, Array, Array]:
    """U, s, V with high relative accuracy for scaled matrices (LAPACK's preconditioned one-sided Jacobi)."""
    values, left, right, work, _, info = _gejsv(matrix, joba=1, jobu=0, jobv=0, jobr=0, jobt=1, jobp=1)
    if info != 0:
        raise np.linalg.LinAlgError(f"dgejsv: info {info}")
    return left, values * (work[0] / work[1]), right


def _cauchy_cholesky(rates: Array, weights: Array, rank: int) -> Array:
    """L, (n, r), with G ~ L L^T by diagonal pivoting, to a relative trace of 1e-30."""
    u = np.sqrt(weights)
    largest = float((weights / rates).max())
    factor = np.zeros((rates.size, rank))
    for k in range(rank):
        diagonal = u * u / (2 * rates)
        j = int(np.argmax(diagonal))
        if 2 * diagonal[j] <= 1e-30 * largest:
            return factor[:, :k]
        factor[:, k] = u * u[j] / (rates + rates[j]) / np.sqrt(diagonal[j])
        u = u * (rates - rates[j]) / (rates + rates[j])
    return factor


def reduce_positive(rates: Array, weights: Array, width: int) -> tuple[Array, Array]:
    """`width` positive rates and weights for a sum with real rates (n,) and positive weights (n,)."""
    factor = _cauchy_cholesky(rates, weights, min(rates.size, max(4 * width, 60)))
    basis = _accurate_svd(factor)[0][:, : min(width, factor.shape[1])]
    _, values, states = _accurate_svd(np.sqrt(rates)[:, None] * basis)  # rates of the projection V^T Lambda V, as squares
    return values**2, (states.T @ (basis.T @ np.sqrt(weights))) ** 2


def reduce_any(rates: Array, coefficients: Array, width: int) -> tuple[Array, Array]:
    """The balanced truncation to `width` real states of Re sum a_i e^{-lambda_i t}; rates (n,), coefficients (n, d), complex.

    Conjugates are expected next to each other. States are scaled to b_i = a_i / sqrt|a_i|, c_i = sqrt|a_i|; a unitary change of
    coordinates within each pair makes the system real, so that what is cut stays real.
    """
    size = np.sqrt(np.maximum(np.linalg.norm(coefficients, axis=1), 1e-300))
    u = _to_real(rates)
    b, c = u @ (coefficients / size[:, None]), (size @ u.conj().T).real
    cauchy = 1.0 / (rates[:, None] + rates[None, :].conj())
    p, q = (
        _half((u @ ((coefficients @ coefficients.conj().T) / np.outer(size, size) * cauchy) @ u.conj().T).real),
        _half((u @ (np.outer(size, size) * cauchy.conj()) @ u.conj().T).real),
    )
    left, values, right = np.linalg.svd(q.T @ p)
    keep = min(width, int((values > 1e-15 * values[0]).sum()))
    scale = 1.0 / np.sqrt(values[:keep])
    t, w = (p @ right[:keep].T) * scale, (q @ left[:, :keep]) * scale
    reduced, vectors = np.linalg.eig(w.T @ np.real((u * rates) @ u.conj().T) @ t)
    return reduced, (c @ t @ vectors)[:, None] * np.linalg.solve(vectors, (w.T @ b.real).astype(vectors.dtype))


def _to_real(rates: Array) -> Array:
    """The unitary that maps each neighbouring conjugate pair (z, z*) to sqrt(2) (Re z, Im z)."""
    u = np.eye(rates.size, dtype=complex)
    for i in np.nonzero(rates.imag > 0)[0]:
        u[i : i + 2, i : i + 2] = np.array([[1, 1], [-1j, 1j]]) / np.sqrt(2)
    return u


def _half(gramian: Array) -> Array:
    values, vectors = np.linalg.eigh(gramian)
    keep = values > 1e-17 * values[-1]
    return vectors[:, keep] * np.sqrt(values[keep])
