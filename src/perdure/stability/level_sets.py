r"""The least singular value of zI - W along a line or a circle, found globally by level sets instead of a grid.

sigma is a singular value of zI - W when there are u, v with (W - z) v = sigma u and (W - z)^* u = sigma v. On the imaginary axis, z = i omega,
these are the eigenvalues i omega of the Hamiltonian matrix

    [[W, -sigma I], [sigma I, -W^*]] (v; u) = i omega (v; u),

and on the unit circle, where 1/z is the conjugate of z, the eigenvalues of modulus 1 of a symplectic pencil,

    [[W, -sigma I], [0, I]] (v; u) = z [[I, 0], [-sigma I, W^*]] (v; u).

So one eigenvalue problem of size 2n gives *every* frequency at which the curve crosses a level, and none means that the curve lies above it
(Byers 1988). From a value that is attained, look just under it; where the curve dips below, go on from the middle of each dip
(Boyd & Balakrishnan 1990, Bruinsma & Steinbuch 1990): convergence is quadratic, and the last, empty level set is the proof.

Rounding moves eigenvalues off the axis, by the square root of it where the curve just touches the level. So everything *near* the axis
counts as a crossing, and the curve itself is asked, at the crossings and between them, whether it is below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from perdure._typing import Array

TOLERANCE = 1e-12  # the level that is proved empty is (1 - TOLERANCE) times the value
NEAR = 1e-6  # of the size of W: eigenvalues this close to the axis are looked at
ROUNDS = 60
STARTS = 12  # eigenvalues of W whose frequencies are tried first
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Minimum:
    """The least value of a curve: `lower` <= truth <= `value`, the value being taken at `at`; `closed` where only tolerance and rounding lie between."""

    value: float
    at: float
    lower: float
    closed: bool = True


class Line:
    """The line Re z = 0, by omega = Im z."""

    def points(self, omega: Array) -> Array:
        """The numbers z = i omega."""
        return 1j * omega

    def coordinates(self, eigenvalues: Array) -> Array:
        """Frequencies of the eigenvalues of W nearest to instability."""
        return eigenvalues[np.argsort(-eigenvalues.real)][:STARTS].imag

    def crossings(self, W: Array, level: float) -> Array:
        """Sorted omega at which `level` is a singular value of i omega - W, near misses included."""
        eye = np.eye(W.shape[0])
        found = np.linalg.eigvals(np.block([[W, -level * eye], [level * eye, -W.conj().T]]))
        return np.sort(found.imag[np.abs(found.real) <= NEAR * np.linalg.norm(W)])

    def between(self, crossings: Array) -> Array:
        """A point in each gap between neighbours; beyond the last the curve grows without bound."""
        return 0.5 * (crossings[1:] + crossings[:-1])


class Circle:
    """The circle |z| = 1, by theta = arg z."""

    def points(self, theta: Array) -> Array:
        """The numbers z = e^{i theta}."""
        return np.exp(1j * theta)

    def coordinates(self, eigenvalues: Array) -> Array:
        """Angles of the eigenvalues of W nearest to instability."""
        return np.angle(eigenvalues[np.argsort(-np.abs(eigenvalues))][:STARTS])

    def crossings(self, W: Array, level: float) -> Array:
        """Sorted theta at which `level` is a singular value of e^{i theta} - W, near misses included."""
        eye, zero = np.eye(W.shape[0]), np.zeros(W.shape)
        left = np.block([[W, -level * eye], [zero, eye]])
        right = np.block([[eye, zero], [-level * eye, W.conj().T]])
        above, below = np.asarray(scipy.linalg.eigvals(left, right, homogeneous_eigvals=True))
        near = (np.abs(np.abs(above) - np.abs(below)) <= NEAR * (1 + np.linalg.norm(W)) * np.abs(below)) & (below != 0)
        return np.sort(np.angle(above[near] / below[near]))

    def between(self, crossings: Array) -> Array:
        """A point in each gap between neighbours, the one across theta = pi included."""
        return 0.5 * (crossings + np.append(crossings[1:], crossings[0] + 2 * np.pi))


def least_singular_values(W: Array, z: Array) -> Array:
    """sigma_min(z I - W) for each z, shape (K,)."""
    return np.linalg.svd(z[:, None, None] * np.eye(W.shape[0]) - W, compute_uv=False)[:, -1]


def rounding(W: Array) -> float:
    """What a computed singular value of W may be wrong by."""
    return 4 * EPS * W.shape[0] ** 0.5 * float(np.linalg.norm(W))


def minimum(W: Array, curve: Line | Circle, starts: Any = ()) -> Minimum:
    """The least sigma_min(z I - W) along a curve, over the whole of it.

    Args:
        W: (n, n), real or complex, of moderate size.
        curve: where z runs.
        starts: coordinates worth a first look, besides those of the eigenvalues.
    """
    tried = np.concatenate([[0.0], curve.coordinates(np.linalg.eigvals(W)), np.asarray(starts, float)])
    values = least_singular_values(W, curve.points(tried))
    value, at = float(values.min()), float(tried[values.argmin()])
    for _ in range(ROUNDS):
        level = (1 - TOLERANCE) * value
        crossings = curve.crossings(W, level)
        if level <= 0 or crossings.size == 0:
            break
        tried = np.concatenate([crossings, curve.between(crossings)])
        values = least_singular_values(W, curve.points(tried))
        if not values.min() < level:  # near misses only
            break
        value, at = float(values.min()), float(tried[values.argmin()])
    else:
        return Minimum(value, at, 0.0, closed=False)
    return Minimum(value, at, max(0.0, (1 - TOLERANCE) * value - rounding(W)))
