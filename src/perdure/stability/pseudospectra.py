r"""How far a small perturbation carries the eigenvalues, and how much a stable W may amplify before it decays.

alpha_eps(W) = max { Re z : sigma_min(zI - W) <= eps } is the largest real part of an eigenvalue of any W + Delta with ||Delta||_2 <= eps.
The Kreiss constant is K(W) = sup_eps alpha_eps(W) / eps = sup_{Re z > 0} Re z ||(zI - W)^{-1}||, and K <= sup_t ||e^{tW}||_2 <= e n K
(Kreiss's matrix theorem; Trefethen & Embree 2005, eq. 14.8 and 18.2).

*The sup, certified.* Let h(x) = min_y sigma_min((x + iy)I - W), by level sets the global minimum over the line (it is the stability radius of W - xI).
Then K = sup_{x > 0} x / h(x), a search in one variable. The resolvent is analytic right of the spectrum and bounded there, so by Hadamard's three-lines
theorem the log of its sup over a vertical line is convex in x: **log h is concave**. Over an interval [a, b] it lies above its chord, hence

    log h(x) - log x  >=  log h(a) + s (x - a) - log x,     s = the slope of the chord,

whose least value is in closed form (at x = 1/s or at an end). For x > w, the numerical abscissa, ||(zI - W)^{-1}|| <= 1 / (Re z - w),
so h(x) / x >= 1 - w / x settles all large x. Intervals whose bound cannot beat the best value found are dropped, the others are split:
what remains is a proof that K is at most (1 + tolerance) times the value returned.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np

from perdure import _checks
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.errors import ModelError
from perdure.stability.level_sets import NEAR, ROUNDS, Line, Minimum, least_singular_values, minimum, rounding
from perdure.stability.lyapunov import lyapunov
from perdure.stability.matrices import rightmost, scaled, square, unscaled

TOLERANCE = 1e-8  # relative width of the proof of a Kreiss constant
FINEST, COARSEST = 1e-10, 1e-3  # the least that may be asked for, the most that rounding may make of it unasked
SPLITS = 2000  # evaluations of h before giving up: about fifty are usual


def numerical_abscissa(W: Any) -> float:
    r"""The largest eigenvalue of (W + W^*) / 2: the fastest growth |e^{tW}| can start with, d/dt ||e^{tW}||_2 at t = 0.

    Negative: every state shrinks from the first moment on, and the memory of a monotone nonlinear network decays too.

    Args:
        W: (n, n), real or complex, in units of 1 / time.

    Raises:
        ValueError: W is not a finite square matrix.
        TypeError: W does not hold numbers.

    >>> round(numerical_abscissa([[-1.0, 100.0], [0.0, -1.0]]), 9)  # -1 + 100 / 2
    49.0
    """
    small, exponent = scaled(square(W))
    return unscaled(_numerical_abscissa(small), exponent)


def _numerical_abscissa(W: Array) -> float:
    return float(np.linalg.eigvalsh(0.5 * (W + W.conj().T))[-1])


@one_thread()
def pseudospectral_abscissa(W: Any, eps: float) -> float:
    r"""alpha_eps(W): the largest real part an eigenvalue of W + Delta can have with ||Delta||_2 <= eps, by the criss-cross method.

    A horizontal line is followed to the last real eigenvalue x of [[W - iy, -eps], [-eps, (W - iy)^*]], where sigma_min(x + iy - W) = eps; the vertical
    line through x crosses the pseudospectrum in intervals, whose middles are the next horizontal lines. Converges quadratically to the global maximum.

    Args:
        W: (n, n), real or complex, in units of 1 / time.
        eps: size of the perturbation in the spectral norm, >= 0, in the units of W; 0 gives the spectral abscissa.

    Returns:
        alpha_eps, negative for eps < r(W), 0 at eps = r(W), the complex stability radius. Accurate to rounding of n * 1e-15 * ||W|| *in eps*.

    Raises:
        ValueError: W is not a finite square matrix; eps is negative or not finite.
        TypeError: W does not hold numbers.

    References:
        Burke, Lewis & Overton 2003, "Robust stability and a criss-cross algorithm for pseudospectra".

    >>> W = [[-1.0, 100.0], [0.0, -1.0]]
    >>> round(pseudospectral_abscissa(W, 0.01), 6)  # -1 + sqrt(eps (eps + 100))
    5e-05
    """
    matrix, exponent = scaled(square(W))
    eps = _checks.number(eps, "eps")
    if eps < 0:
        raise _checks.fail("eps", "non-negative", eps, "eps is the size of a perturbation")
    eps = float(np.ldexp(eps, -exponent))
    start = rightmost(matrix)
    x, heights = start.real, np.array([start.imag])
    if eps > rounding(matrix):
        eye = np.eye(matrix.shape[0])
        for _ in range(ROUNDS):
            reached = max(_last_crossing(matrix, float(y), eps, x) for y in heights)
            if reached <= x + 1e-14 * (abs(x) + eps):
                break
            x = reached
            edges = Line().crossings(matrix - x * eye, eps)
            heights = np.unique(Line().between(edges))
            heights = heights[least_singular_values(matrix, x + 1j * heights) < eps]
            if heights.size == 0:
                break
    return unscaled(x, exponent)


def _last_crossing(W: Array, y: float, eps: float, least: float) -> float:
    """The largest x with sigma_min((x + iy)I - W) = eps, or `least`."""
    eye = np.eye(W.shape[0])
    shifted = W - 1j * y * eye
    found = np.linalg.eigvals(np.block([[shifted, -eps * eye], [-eps * eye, shifted.conj().T]]))
    for x in np.sort(found.real[np.abs(found.imag) <= NEAR * np.linalg.norm(W)])[::-1]:
        if x <= least:
            break
        u, s, vh = np.linalg.svd(shifted - x * eye)
        if s[-1] > eps * (1 + 1e-6) + rounding(W):
            continue
        slope = -float((u[:, -1].conj() @ vh[-1].conj()).real)  # of sigma_min along the line
        return float(x + (eps - s[-1]) / slope) if slope > 1e-3 else float(x)  # one step of Newton's method
    return least


def kreiss_constant(W: Any, *, tolerance: float | None = None) -> float:
    r"""K(W) = sup_{eps > 0} alpha_eps(W) / eps, with K <= sup_t ||e^{tW}||_2 <= e n K.

    The value is attained (a lower bound) and at most `tolerance` below the sup, relatively: proved by the log-concavity of the resolvent's
    reciprocal over vertical lines, see the head of this module.

    Args:
        W: (n, n), real or complex.
        tolerance: relative width of the proof, from 1e-10; None is 1e-8, or what rounding leaves, about n * 1e-15 * ||W|| / r(W), where that is more.

    Returns:
        K >= 1; 1 where no state ever grows (normal and dissipative W); inf where W is not Hurwitz, to rounding.

    Raises:
        ValueError: W is not a finite square matrix; a tolerance out of range; rounding that leaves no proof to the tolerance asked for, or to
            1e-3 by default (the message gives the lower bound).
        TypeError: W does not hold numbers.

    >>> round(kreiss_constant([[-1.0, 100.0], [0.0, -1.0]]), 4)
    25.01
    """
    if tolerance is not None:
        tolerance = _checks.positive(tolerance, "tolerance")
        if not FINEST <= tolerance < 1:
            raise _checks.fail("tolerance", f"between {FINEST} and 1", tolerance, "rounding allows no less")
    return _kreiss(square(W), tolerance)[0]


def transient_bounds(W: Any) -> tuple[float, float]:
    """Lower and upper bound of sup_t ||e^{tW}||_2: K, and the smaller of e n K and the Lyapunov constant sqrt(cond P).

    Args:
        W: (n, n), real or complex.

    Raises:
        ValueError: W is not a finite square matrix, or so close to instability that rounding leaves no proof of K.
        TypeError: W does not hold numbers.

    >>> low, high = transient_bounds([[-1.0, 100.0], [0.0, -1.0]])  # the sup itself is 36.8 (at t = 1)
    >>> round(low, 2), round(high, 2)
    (25.01, 100.01)
    """
    matrix = square(W)
    low, high = _kreiss(matrix, None)
    return low, min(math.e * matrix.shape[0] * high, lyapunov(matrix).transient)


@one_thread()
def _kreiss(W: Array, tolerance: float | None) -> tuple[float, float]:
    """A value of x / h(x) that is attained and an upper bound of all."""
    matrix, _ = scaled(W)
    abscissa = _numerical_abscissa(matrix)
    if abscissa <= 0:
        return 1.0, 1.0
    if rightmost(matrix).real >= 0:
        return math.inf, math.inf
    return _Search(matrix, abscissa).run(tolerance)


class _Search:
    """Branch and bound over x for the least h(x) / x; `best` is the log of it."""

    def __init__(self, W: Array, abscissa: float) -> None:
        self.W, self.abscissa = W, abscissa
        self.best = 0.0  # h(x) / x tends to 1 as x grows
        self.count = 0

    def h(self, x: float, starts: tuple[float, ...] = ()) -> Minimum:
        """Least sigma_min over the vertical line through x."""
        self.count += 1
        found = minimum(self.W - x * np.eye(self.W.shape[0]), Line(), starts)
        if x > 0:
            self.best = min(self.best, math.log(found.value / x))
        return found

    def bound(self, a: float, left: Minimum, b: float, right: Minimum) -> tuple[float, float]:
        """A lower bound of log(h(x) / x) on [a, b] and the place where the bound is that low."""
        low, high = (math.log(max(found.lower, 1e-300)) for found in (left, right))
        slope = (high - low) / (b - a)
        at = min(max(1 / slope, a), b) if slope > 0 else b
        return low + slope * (at - a) - math.log(at), at

    def run(self, tolerance: float | None) -> tuple[float, float]:
        """1 / min h(x) / x, as found and at most."""
        first = self.h(0.0)
        if first.lower <= 0:
            return math.inf, math.inf  # Hurwitz to no digit
        for x in np.geomspace(0.1 * first.value, 10 * self.abscissa, 9).tolist():
            self.h(x, (first.at,))
        left_open = 4 * math.log(first.value / first.lower)  # by rounding, most where h is least
        if tolerance is None:
            tolerance = max(TOLERANCE, math.expm1(min(left_open, 1.0)))
            self._check(tolerance <= COARSEST, COARSEST)
        margin = math.log1p(tolerance)
        end = 1.01 * self.abscissa / -math.expm1(self.best - margin)
        last = self.h(end, (first.at,))
        heap = [(*self.bound(0.0, first, end, last), 0.0, first, end, last)]
        while heap[0][0] < self.best - margin:
            _, at, a, left, b, right = heapq.heappop(heap)
            self._check(self.count <= SPLITS and b - a > 1e-12 * b, tolerance)
            at = min(max(at, a + 0.05 * (b - a)), b - 0.05 * (b - a))
            middle = self.h(at, (left.at, right.at))
            for piece in ((a, left, at, middle), (at, middle, b, right)):
                heapq.heappush(heap, (*self.bound(*piece), *piece))
        return math.exp(-self.best), math.exp(margin - self.best)

    def _check(self, possible: bool, tolerance: float) -> None:
        if not possible:
            found = f"it is at least {math.exp(-self.best):.6g}"
            raise ModelError(
                f"W is too near instability for a proof of its Kreiss constant to a relative {tolerance:g} in double precision: {found}"
            )
