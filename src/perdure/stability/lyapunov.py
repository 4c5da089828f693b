r"""Decay with a proof: a quadratic Lyapunov function of dh/dt = W h, checked after it has been computed.

With W^* P + P W = -I and P > 0, V = h^* P h falls at the rate |h|^2 >= V / ||P||_2, so

    ||e^{tW}||_2 <= sqrt(cond P) e^{-t / (2 ||P||_2)}.

A shift s solves for W + sI and gives s + 1 / (2 ||P||_2): the nearer s is to the least decay rate, the better the rate and the worse the constant.

*What the computer proves.* The P it holds solves the equation only nearly. Let P be that very matrix of floats, R = W^* P + P W + 2sP + I and rho >= ||R||_2
a bound that includes the rounding of computing R (a sum of n products of floats is wrong by at most (n + 2) eps times the sum of their absolute values).
If rho < 1, then d/dt (e^{2st} V) <= -(1 - rho) e^{2st} |h|^2, and with P > 0 the rate s + (1 - rho) / (2 ||P||_2) is proved. P > 0 is proved where
the Cholesky factorisation of P - c I runs through, c = (n + 3) eps trace P being more than rounding can hide (Rump 2006). Otherwise nothing is.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from perdure import _checks
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.stability.level_sets import EPS
from perdure.stability.matrices import rightmost, scaled, square, unscaled

if TYPE_CHECKING:
    from perdure.stability.persidskii import Persidskii


@dataclass(frozen=True)
class Lyapunov:
    """A decay bound ||e^{tW}||_2 <= transient * e^{-rate t}.

    Attributes:
        P: (n, n), Hermitian, W^* P + P W + 2 shift P = -I up to `residual`; in units of time. NaN where no solution was found.
        rate: decay rate that is proved; 0 where nothing is. A lower bound of the least decay rate of W.
        transient: sqrt(cond P), an upper bound of sup_t ||e^{tW}||_2; inf where nothing is proved.
        certified: whether the two numbers are proved, rounding included.
        residual: bound of ||W^* P + P W + 2 shift P + I||_2 for the P that is held, rounding included.
        shift: s, per unit time.
        status: what is proved, or why nothing is.
        W: the matrix it is about.
    """

    P: Array
    rate: float
    transient: float
    certified: bool
    residual: float
    shift: float
    status: str
    W: Array = field(repr=False)

    def bound(self, t: Any) -> Array:
        """Transient * e^{-rate t} for times t >= 0 of any shape; inf where nothing is certified."""
        times = _checks.finite_array(t, "t")
        if (times < 0).any():
            raise _checks.fail("t", "non-negative", float(times.min()), "the bound is about the future")
        with np.errstate(under="ignore"):
            return np.asarray(self.transient * np.exp(-self.rate * times))

    @cached_property
    def persidskii(self) -> Persidskii:
        """The certificate for monotone activations, dh/dt = sigma(W h + U x + b), searched when first asked for (real W)."""
        from perdure.stability.persidskii import persidskii

        return persidskii(self.W)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; complex entries as [re, im], infinity and NaN as strings."""
        parts = np.stack([self.P.real, self.P.imag], -1) if np.iscomplexobj(self.P) else self.P
        numbers = {name: getattr(self, name) for name in ("rate", "certified", "shift", "status")}
        endless = {name: value if np.isfinite(value := getattr(self, name)) else str(value) for name in ("transient", "residual")}
        return numbers | endless | {"P": parts.tolist() if np.isfinite(parts).all() else "nan"}


@one_thread()
def lyapunov(W: Any, *, shift: float = 0.0) -> Lyapunov:
    r"""Solve W^T P + P W = -I and prove ||e^{tW}||_2 <= sqrt(cond P) e^{-t / (2 ||P||_2)} from it.

    The rate is proved for the linear model; for monotone activations see `.persidskii`. Eigenvalues alone give no such bound: with
    both eigenvalues at -1, ||P||_2 can be as large as you like.

    Args:
        W: (n, n), real or complex, in units of 1 / time.
        shift: s >= 0; the certificate is for W + sI, its rate s + 1 / (2 ||P||_2).

    Returns:
        A `Lyapunov`; `certified` is False where W + sI is not Hurwitz or rounding makes the proof void.

    Raises:
        ValueError: W is not a finite square matrix; a negative shift.
        TypeError: W does not hold numbers.

    >>> found = lyapunov([[-1.0, 100.0], [0.0, -1.0]])
    >>> found.P.tolist(), found.certified
    ([[0.5, 25.0], [25.0, 2500.5]], True)
    >>> round(float(1 / (2 * found.rate)), 2)  # ||P||_2; 1/2 if the eigenvalues were all that counts
    2500.75
    """
    matrix, exponent = scaled(square(W))
    shift = _checks.number(shift, "shift")
    if shift < 0:
        raise _checks.fail("shift", "non-negative", shift, "the certificate is for W + shift * I, which must decay by itself")
    s = float(np.ldexp(shift, -exponent))
    n = matrix.shape[0]
    shifted = matrix + s * np.eye(n)
    P = np.full((n, n), np.nan)
    if rightmost(shifted).real < 0:
        with warnings.catch_warnings(), contextlib.suppress(np.linalg.LinAlgError):
            warnings.simplefilter("ignore", RuntimeWarning)  # nearly singular: the residual will tell
            P = scipy.linalg.solve_continuous_lyapunov(shifted.conj().T, -np.eye(n))
    P = 0.5 * (P + P.conj().T)
    result = {
        "shift": shift,
        "W": np.ldexp(matrix.real, exponent) + (1j * np.ldexp(matrix.imag, exponent) if np.iscomplexobj(matrix) else 0.0),
    }
    unproved = {"rate": 0.0, "transient": float("inf"), "certified": False}
    if not np.isfinite(P).all():
        return Lyapunov(P=P, residual=float("inf"), status="no certificate: W + shift I is not Hurwitz", **unproved, **result)
    residual = _residual(matrix, s, P)
    least = _least_eigenvalue(P)
    unit = np.ldexp(P.real, -exponent) + (1j * np.ldexp(P.imag, -exponent) if np.iscomplexobj(P) else 0.0)
    if least <= 0 or residual >= 1:
        status = "no certificate: W + shift I is Hurwitz to no digit, rounding hides the solution"
        return Lyapunov(P=unit, residual=residual, status=status, **unproved, **result)
    norm = float(np.linalg.norm(P, 2)) * (1 + 8 * n * EPS)
    return Lyapunov(
        P=unit,
        rate=shift + unscaled((1 - residual) / (2 * norm), exponent),
        transient=float(np.sqrt(norm / least)),
        certified=True,
        residual=residual,
        status="rate and transient proved, rounding included",
        **result,
    )


def _residual(W: Array, s: float, P: Array) -> float:
    """Bound of ||W^* P + P W + 2sP + I||_2, by its Frobenius norm and the rounding of computing it."""
    n = W.shape[0]
    left = P @ W
    computed = left + left.conj().T + 2 * s * P + np.eye(n)
    sizes = np.abs(P) @ np.abs(W)
    rounding = 4 * (n + 4) * EPS * (np.linalg.norm(sizes + sizes.T + 2 * s * np.abs(P)) + n**0.5)
    return float(np.linalg.norm(computed) * (1 + 4 * n * EPS) + rounding)


def positive_definite(A: Array) -> bool:
    """Whether the Hermitian matrix of floats A is proved positive definite: Cholesky of A less what rounding can hide (Rump 2006)."""
    n = A.shape[0]
    trace = float(np.trace(A).real)
    try:
        np.linalg.cholesky(A - 2 * (n + 3) * EPS * abs(trace) * np.eye(n))
    except np.linalg.LinAlgError:
        return False
    return trace > 0


def _least_eigenvalue(P: Array) -> float:
    """A proved lower bound of the least eigenvalue, at most 0 where P is not proved positive definite."""
    guess = float(np.linalg.eigvalsh(P)[0])
    for share in (1 - 1e-12, 1 - 1e-9, 1 - 1e-6, 0.99, 0.5):
        if guess > 0 and positive_definite(P - share * guess * np.eye(P.shape[0])):
            return share * guess
    return 0.0
