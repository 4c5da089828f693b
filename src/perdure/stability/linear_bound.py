r"""An upper bound of the perturbation error of a linear model with a dense recurrent weight, up to the stability radius.

The kernel is rho(t) = c^T e^{Wt} U. Let W move to W + Delta, ||Delta||_2 <= beta, complex Delta allowed, and write D for the change of the kernel,
x_j(t) = e^{(W + Delta)t} u_j for column j of U, k(t) = c^T e^{Wt}, |.|_1 for the integral over t >= 0 of the Euclidean norm. By Duhamel's formula

    D_j = k * (Delta x_j),      D_j(0) = 0,      D_j' = k(0) Delta x_j + k' * (Delta x_j),

so that, by Young's inequality, ||D||_{W1} <= beta (|k|_1 + |c| + |k'|_1) sum_j |x_j|_1. What is left is the integral of x_j over all Delta at once. Two bounds:

* *Young*: x_j = e^{W .} u_j + e^{W .} * (Delta x_j) gives |x_j|_1 <= |e^{W .} u_j|_1 / (1 - beta G), G = int ||e^{Wt}||_2 dt. Finite for beta < 1/G, which is the
  stability radius for normal W and less otherwise. For one real mode the two terms of the kernel's integral are then exact: beta / (a (a - beta)).
* *Parseval*: for 0 < s < the least rate, e^{st} x_j solves the same equation with W + sI, whose convolution has the L2 norm 1 / r_s, r_s = r_C(W + sI); and
  |e^{W .} e^{s .} u_j|_{L2}^2 = u_j^T P_s u_j with (W + sI)^T P_s + P_s (W + sI) = -I. By Cauchy's inequality, |x_j|_1 <= sqrt(u_j^T P_s u_j / (2s)) / (1 - beta / r_s).
  As s -> 0, r_s -> r_C(W): finite for every beta < r_C(W), the complex stability radius.

The same holds from the other side, D_j = z * (Delta e^{W .} u_j) with z(t) = c^T e^{(W + Delta)t}. The least of the four is taken, and of all s of a fixed list.
The integrals of the unperturbed model are by adaptive quadrature up to a time T with ||e^{WT}||_2 <= 1e-9; what comes after is at most that factor times the whole. The
quadrature's estimate of its own error is added, so the bound is one to the accuracy of that estimate (1e-6); all else is algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.integrate
import scipy.linalg

from perdure import _checks
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.stability.curve import plain
from perdure.stability.level_sets import Line, minimum
from perdure.stability.matrices import dense, rightmost, square

if TYPE_CHECKING:
    import pandas as pd

ACCURACY = 1e-6
OVER = 1e-9  # ||e^{WT}|| at the end of the quadrature
SHIFTS = 32  # values of s that are tried, down to SMALLEST of the radius
SMALLEST = 1e-9


@dataclass(frozen=True)
class PerturbationBound:
    """How far the functional of a linear model can move with its recurrent weight, from above.

    Attributes:
        radii: beta, (R,), in the spectral norm of W.
        growth: upper bound, (R,), of sup { ||H(W + Delta) - H(W)||_{W1} : ||Delta||_2 <= beta }; 0 at beta = 0, inf from `radius` on.
        error_at_zero: E(0), the model's error before its weight moves.
        radius: r_C(W), the complex stability radius: `growth` is finite below it (but for its last part in 10^8) and inf from it on.
        argument: which argument gave `growth` at each radius, "young" or "parseval", or "none".
    """

    radii: Array
    growth: Array
    error_at_zero: float
    radius: float
    argument: tuple[str, ...]

    @property
    def upper(self) -> Array:
        """Upper bound of the perturbation error, E(beta) <= E(0) + growth, by the triangle inequality."""
        return self.error_at_zero + self.growth

    def to_frame(self) -> pd.DataFrame:
        """One row a radius."""
        import pandas as pd

        return pd.DataFrame({"radius": self.radii, "growth": self.growth, "upper": self.upper, "argument": self.argument})

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, infinity as "inf"."""
        numbers = {name: plain(getattr(self, name)) for name in ("radii", "growth", "upper", "error_at_zero", "radius")}
        return numbers | {"argument": list(self.argument)}


@one_thread()
def perturbation_bound(W: Any, U: Any, c: Any, radii: Sequence[float] | Array, *, error_at_zero: float = 0.0) -> PerturbationBound:
    r"""An upper bound of E(beta) for y = c^T h, dh/dt = W h + U x, over all dense moves of W by at most beta in the spectral norm.

    sup { ||H(W + Delta) - H(W)||_{W1} : ||Delta||_2 <= beta } <= growth(beta), finite for beta < r_C(W), of order beta at 0. Together with a search
    (a lower bound of the same sup) it brackets the truth. U and c stay as they are. For diagonal moves of a diagonal W, `perdure.perturbation_error`
    has a bound of its own, `upper`.

    Args:
        W: (n, n), real, Hurwitz, in units of 1 / time.
        U: (n,) or (n, d).
        c: (n,).
        radii: beta, increasing, non-negative, in units of W.
        error_at_zero: E(0) = ||H - H(W)||_{W1}, the distance to a target before the move, for `upper`.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite or not real, W that is not Hurwitz, radii that do not increase.
        TypeError: arguments that hold no numbers.

    >>> found = perturbation_bound([[-1.0]], [1.0], [1.0], [0.0, 0.5, 1.0])  # the truth is 0, 1 + 1/2, inf
    >>> found.growth.round(4).tolist(), found.radius
    ([0.0, 3.0, inf], 1.0)
    """
    W = square(W, real=True)
    n = W.shape[0]
    U, c = _real(U, "U", n), _real(c, "c", n)
    if c.ndim != 1:
        raise _checks.fail("c", f"of shape ({n},)", c.shape, "the bound is for one output: call it for each row of the readout")
    beta = _checks.radii(radii)
    error_at_zero = _checks.number(error_at_zero, "error_at_zero")
    if error_at_zero < 0:
        raise _checks.fail("error_at_zero", "non-negative", error_at_zero, "it is a distance")
    abscissa = rightmost(W).real
    if abscissa >= 0:
        raise _checks.fail(
            "W", "Hurwitz", f"an eigenvalue with real part {abscissa:.3g}", "the norm of a model that does not decay is infinite"
        )
    columns = U.reshape(n, -1)
    size = np.linalg.norm(columns, axis=0)
    radius = minimum(W, Line()).value
    shifts = np.concatenate(
        [[0.9 * -abscissa, 0.8 * -abscissa, 0.65 * -abscissa], np.geomspace(0.5 * -abscissa, SMALLEST * radius, SHIFTS - 3)]
    )
    G, g, slope_g, k, slope_k = _integrals(W, columns, c)

    right = _moved(W, columns, g, G, beta, shifts)  # |x_j|_1, (2, R, d)
    left = _moved(W.T, c[:, None], np.array([k]), G, beta, shifts)
    from_right = (k + np.linalg.norm(c) + slope_k) * right.sum(2)
    from_left = left[:, :, 0] * float((g + size + slope_g).sum())
    with np.errstate(invalid="ignore"):
        by_argument = np.where(beta > 0, beta * np.minimum(from_right, from_left), 0.0)  # (2, R)
    growth = by_argument.min(0)
    names = np.where(np.isfinite(growth), np.array(["young", "parseval"])[by_argument.argmin(0)], "none")
    return PerturbationBound(beta, growth, error_at_zero, radius, tuple(names.tolist()))


def _moved(W: Array, vectors: Array, nominal: Array, G: float, beta: Array, shifts: Array) -> Array:
    """Bounds of |e^{(W + Delta) .} v|_1 for every column v, by Young and by Parseval: (2, R, columns)."""
    n = W.shape[0]
    young = np.full((beta.size, nominal.size), np.inf)
    inside = beta * G < 1
    young[inside] = nominal / (1 - beta[inside, None] * G)
    parseval = np.full_like(young, np.inf)
    for s in shifts:
        shifted = W + s * np.eye(n)
        least = minimum(shifted, Line()).lower
        inside = beta < least
        if not inside.any():
            continue
        P = scipy.linalg.solve_continuous_lyapunov(shifted.T, -np.eye(n))
        energy = np.sqrt(np.maximum(np.einsum("ij,ik,kj->j", vectors, P, vectors), 0.0) / (2 * s))
        parseval[inside] = np.minimum(parseval[inside], energy / (1 - beta[inside, None] / least))
    return np.stack([young, parseval])


def _integrals(W: Array, U: Array, c: Array) -> tuple[float, Array, Array, float, float]:
    """Integrals over t >= 0 of ||e^{Wt}||, |e^{Wt} u_j|, |e^{Wt} W u_j|, |c^T e^{Wt}| and |c^T W e^{Wt}|, each from above."""
    end, E = 1 / np.linalg.norm(W, 2), scipy.linalg.expm(W / np.linalg.norm(W, 2))
    ends = [end]
    while np.linalg.norm(E, 2) > OVER:
        end, E = 2 * end, E @ E
        ends.append(end)
    vectors = np.concatenate([U, W @ U], axis=1)
    rows = np.stack([c, c @ W])
    columns_size, rows_size = np.linalg.norm(vectors, axis=0), np.linalg.norm(rows, axis=1)
    scale = np.concatenate([[1.0], columns_size, rows_size])
    safe = np.where(scale > 0, scale, 1.0)

    def sizes(t: float) -> Array:
        power = scipy.linalg.expm(t * W)
        moved = np.concatenate([[np.linalg.norm(power, 2)], np.linalg.norm(power @ vectors, axis=0), np.linalg.norm(rows @ power, axis=1)])
        return moved / safe

    total, error, *_ = scipy.integrate.quad_vec(sizes, 0.0, end, epsabs=0.0, epsrel=ACCURACY, norm="max", points=ends[:-1])
    tail = 1 / (1 - float(np.linalg.norm(E, 2)))  # the integral from T on is at most ||e^{WT}|| times the whole, for the first one
    whole = (total[0] + error) * tail
    result = scale * (total + error + float(np.linalg.norm(E, 2)) * whole)
    d = U.shape[1]
    return float(whole), result[1 : d + 1], result[d + 1 : 2 * d + 1], float(result[-2]), float(result[-1])


def _real(value: Any, argument: str, n: int) -> Array:
    array = dense(value, argument)
    if array.ndim not in (1, 2) or array.shape[0] != n or array.size == 0:
        raise _checks.fail(argument, f"of leading size {n}, as W", array.shape, f"give ({n},) or ({n}, d)")
    if np.iscomplexobj(array):
        raise _checks.fail(argument, "real", "complex entries", "write a conjugate pair as a real 2x2 block")
    return array
