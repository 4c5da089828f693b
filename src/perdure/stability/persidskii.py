r"""A certificate that the memory of dh/dt = sigma(W h + U x + b) decays, for every monotone sigma whose integral is bounded below.

*Why a diagonal P is enough.* Under constant input z = W h + U x + b obeys z' = W sigma(z). With P = diag(p) > 0 and
V = sum_i p_i int^{z_i} sigma, V' = sigma(z)^T P W sigma(z) = sigma(z)^T (W^T P + P W) sigma(z) / 2. If W^T P + P W < 0, V falls as long as
sigma(z) = dh/dt is not 0; V is bounded below, so dh/dt is square-integrable and tends to 0 (Persidskii 1969; Kaszkurewicz & Bhaya 2000). tanh, hardtanh
and relu have such an integral (from 0), sigmoid and softplus too (from -inf). It proves decay, not a rate. W + W^T < 0 is the case P = I.

*Why there may be none.* For a symmetric X >= 0, X != 0, trace(X (W^T P + P W)) = 2 sum_i p_i (W X)_ii. If P were a certificate the left side would be negative; if
every (W X)_ii >= 0 it cannot be. So such an X proves that there is no diagonal P, and one of the two exists always (Barker, Berman & Plemmons 1978).
No P does not prove that some network remembers for ever.

*The search.* Minimise the largest eigenvalue t of S(p) = W^T P + P W over sum p = 1, a convex problem, along the central path of
t / mu - log det(t I - S) - sum log p. With Z = (t I - S)^{-1} the derivatives are

    d/dp_i: 2 (W Z)_ii - 1 / p_i,     d^2/dp_i dp_j: 2 [(W Z) o (W Z)^T + Z o (W Z W^T)]_ij + delta_ij / p_i^2,

(o entry by entry), and X = mu Z is on the path the best witness so far: the gap between t and the dual value is 2 n mu. Whichever certificate
is found is checked afterwards by itself, rounding included, so the search need not be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.linalg

from perdure import _checks
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.errors import ArgumentError
from perdure.stability.level_sets import EPS
from perdure.stability.lyapunov import positive_definite
from perdure.stability.matrices import scaled, square, unscaled

METHODS = ("barrier", "cvxpy")
GAP = 1e-10  # duality gap, of the size of W, at which an open question stays open
NEWTON = 60  # steps for each mu: some five are usual


@dataclass(frozen=True)
class Persidskii:
    """A diagonal Lyapunov function, a proof that there is none, or neither.

    Attributes:
        outcome: "certified", "impossible" (no diagonal P exists) or "undecided".
        weights: p > 0, (n,), sum n, with W^T P + P W < 0; None unless certified.
        margin: lower bound of the least eigenvalue of -(W^T P + P W), in units of W; 0 unless certified.
        witness: X >= 0, (n, n), trace 1, with every (W X)_ii >= 0, which rules every P out; None unless impossible.
        status: what is proved, in words.
        W: the matrix it is about.
    """

    outcome: str
    weights: Array | None
    margin: float
    witness: Array | None
    status: str
    W: Array = field(repr=False)

    @property
    def certified(self) -> bool:
        """Whether the memory of dh/dt = sigma(W h + U x + b) is proved to decay."""
        return self.outcome == "certified"

    @property
    def P(self) -> Array | None:
        """diag(weights), (n, n)."""
        return None if self.weights is None else np.diag(self.weights)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists."""
        lists = {name: None if (value := getattr(self, name)) is None else value.tolist() for name in ("weights", "witness")}
        return {"outcome": self.outcome, "margin": self.margin, "status": self.status} | lists


@one_thread()
def persidskii(W: Any, *, method: str = "barrier") -> Persidskii:
    r"""Look for a diagonal P > 0 with W^T P + P W < 0: then dh/dt = sigma(W h + U x + b) forgets, for every monotone sigma with integral bounded below.

    Args:
        W: (n, n), real.
        method: how to search: "barrier" (an interior-point method, here) or "cvxpy" (which needs `pip install perdure[lmi]`).
            Either way the answer is checked afterwards by itself.

    Returns:
        A `Persidskii`. "impossible" is proved by a witness and says that there is no diagonal P, not that the memory persists;
        "undecided" is for matrices on the border, to rounding.

    Raises:
        ValueError: W is not a finite real square matrix; an unknown method, or "cvxpy" where it is not installed.
        TypeError: W does not hold numbers.

    >>> persidskii([[-1.0, 3.0], [0.0, -1.0]]).outcome  # although W + W^T has a positive eigenvalue
    'certified'
    >>> persidskii([[1.0, 1.0], [-4.0, -3.0]]).outcome  # both eigenvalues at -1, and the tanh network has a periodic memory
    'impossible'
    """
    full = square(W, real=True)
    method = _checks.choice(method, "method", METHODS)
    matrix, exponent = scaled(full)
    n = matrix.shape[0]
    worst = int(np.argmax(np.diagonal(matrix)))
    if found := _certified(full, matrix, exponent, np.ones(n)):  # W + W^T < 0
        return found
    if found := _impossible(full, matrix, np.diag(np.eye(n)[worst])):  # an entry W_ii >= 0 rules every P out
        return found
    p, X = (_by_barrier if method == "barrier" else _by_cvxpy)(matrix)
    words = "neither a certificate nor a proof that there is none: W is on the border, to rounding"
    return _certified(full, matrix, exponent, p) or _impossible(full, matrix, X) or Persidskii("undecided", None, 0.0, None, words, full)


def _certified(full: Array, W: Array, exponent: int, p: Array) -> Persidskii | None:
    """The certificate if W^T P + P W < 0 for P = diag(p), rounding included."""
    n = W.shape[0]
    if not (p > 0).all():
        return None
    p = n * p / p.sum()
    falling = -(W.T * p + p[:, None] * W)
    hidden = 4 * EPS * float(np.linalg.norm(np.abs(W.T * p) + np.abs(p[:, None] * W)))  # two products and a sum an entry
    guess = float(np.linalg.eigvalsh(falling)[0])
    for share in (0.999, 0.5):
        margin = share * guess - hidden
        if margin > 0 and positive_definite(falling - share * guess * np.eye(n)):
            words = "the memory decays for every monotone activation whose integral is bounded below (proved, without a rate)"
            return Persidskii("certified", p, unscaled(margin, exponent), None, words, full)
    return None


def _impossible(full: Array, W: Array, X: Array) -> Persidskii | None:
    """The refutation if X >= 0 and every (W X)_ii >= 0, rounding included."""
    n = W.shape[0]
    X = 0.5 * (X + X.T) / np.trace(X)
    diagonal = np.einsum("ij,ji->i", W, X)
    hidden = (n + 2) * EPS * np.einsum("ij,ji->i", np.abs(W), np.abs(X))
    one_entry = np.count_nonzero(X) == 1  # e_i e_i^T: one product, whose sign is exact
    if (one_entry and (diagonal >= 0).all()) or ((diagonal > hidden).all() and positive_definite(X)):
        words = "no diagonal P exists (proved by the witness); whether the memory of a nonlinear network decays stays open"
        return Persidskii("impossible", None, 0.0, X, words, full)
    return None


def _by_barrier(W: Array) -> tuple[Array, Array]:
    """The p and X of the central path where one of them is good for a proof, or where the gap has closed."""
    n = W.shape[0]
    p = np.full(n, 1.0 / n)
    t = float(np.linalg.eigvalsh(W.T * p + p[:, None] * W)[-1]) + 1.0 / n
    mu, Z = 1.0 / n, np.eye(n)
    while 2 * n * mu > GAP:
        p, t, Z = _centred(W, p, t, mu)
        top = float(np.linalg.eigvalsh(W.T * p + p[:, None] * W)[-1])
        dual = 2 * float(np.einsum("ij,ji->i", W, Z).min() / np.trace(Z))
        if dual > 0 or top < -0.5 * (top - dual):
            break
        mu *= 0.2
    return p, Z / np.trace(Z)


def _centred(W: Array, p: Array, t: float, mu: float) -> tuple[Array, float, Array]:
    """Newton's method for the centre of a mu, from a feasible (p, t); returns Z as well."""
    n = W.shape[0]
    value, Z = _barrier(W, p, t, mu)
    for _ in range(NEWTON):
        WZ = W @ Z
        gradient = np.append(2 * np.diagonal(WZ) - 1 / p, 1 / mu - np.trace(Z))
        hessian = np.empty((n + 2, n + 2))
        hessian[:n, :n] = 2 * (WZ * WZ.T + Z * (WZ @ W.T)) + np.diag(1 / p**2)
        hessian[:n, n] = hessian[n, :n] = -2 * np.einsum("ij,ji->i", WZ, Z)
        hessian[n, n] = float((Z * Z).sum())
        hessian[n + 1] = hessian[:, n + 1] = np.append(np.ones(n), [0.0, 0.0])  # sum p stays 1
        weight = np.append(p, [mu, 1.0])  # steps relative to p and to the gap: the matrix stays well scaled
        step = weight * np.linalg.lstsq(hessian * np.outer(weight, weight), -weight * np.append(gradient, 0.0), rcond=None)[0]
        decrement = -float(gradient @ step[: n + 1])
        if decrement < 1e-8:
            break
        length = 1.0
        while length > 1e-12:
            trial_p, trial_t = p + length * step[:n], t + length * float(step[n])
            trial, trial_Z = _barrier(W, trial_p, trial_t, mu)
            if trial <= value - 0.1 * length * decrement:
                p, t, value, Z = trial_p, trial_t, trial, trial_Z
                break
            length *= 0.5
        else:
            break  # rounding: no better point
    return p, t, Z


def _barrier(W: Array, p: Array, t: float, mu: float) -> tuple[float, Array]:
    """The value t / mu - log det(tI - S) - sum log p with Z = (tI - S)^{-1}; inf outside the domain."""
    if not (p > 0).all():
        return np.inf, W
    try:
        root = scipy.linalg.cholesky(t * np.eye(p.size) - (W.T * p + p[:, None] * W), lower=True)
    except np.linalg.LinAlgError:
        return np.inf, W
    inverse = scipy.linalg.solve_triangular(root, np.eye(p.size), lower=True)
    return t / mu - 2 * float(np.log(np.diagonal(root)).sum()) - float(np.log(p).sum()), inverse.T @ inverse


def _by_cvxpy(W: Array) -> tuple[Array, Array]:
    """The same problem handed to cvxpy; X is the multiplier of its matrix inequality."""
    try:
        import cvxpy as cp
    except ImportError:
        raise ArgumentError(
            'expected argument `method` to be "barrier" where cvxpy is not installed, but got "cvxpy": pip install perdure[lmi]'
        ) from None
    n = W.shape[0]
    p, t = cp.Variable(n), cp.Variable()
    P = cp.diag(p)
    inequality: Any = t * np.eye(n) - (W.T @ P + P @ W) >> 0
    constraints: list[Any] = [inequality, p >= 1e-9, cp.sum(p) == 1]
    cp.Problem(cp.Minimize(t), constraints).solve(solver=cp.CLARABEL)
    return np.maximum(np.asarray(p.value), 0.0), np.asarray(inequality.dual_value)
