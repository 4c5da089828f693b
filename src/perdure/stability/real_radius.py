r"""The real stability radius by the formula of Qiu et al. (1995), found globally by level sets.

A real Delta gives W + Delta the eigenvalue i omega with eigenvector x + iy when (W + Delta) [x y] = [x y] R, R = [[0, omega], [-omega, 0]].
With G = (i omega - W)^{-1} the least norm of such a Delta is 1 / inf_gamma sigma_2([[Re G, -gamma Im G], [Im G / gamma, Re G]]), sigma_2 the
second largest singular value and 0 < gamma <= 1. The inverse of that 2n x 2n matrix is, but for signs,

    A(omega, gamma) = [[W, omega gamma I], [-(omega / gamma) I, W]],       so that no inverse is needed:

    r_R = inf_{omega >= 0} f(omega),   f(omega) = sup_{0 < gamma <= 1} sigma_{2n-1}(A(omega, gamma)),   f(0) = sigma_min(W).

*Inner sup.* sigma_{2n-1} is unimodal in gamma, and so in t = log kappa with kappa = omega / gamma; its slope is
-(omega^2 / kappa) u_1^T v_2 - kappa u_2^T v_1 with the singular vectors u, v of sigma_{2n-1}, and the sup is where the slope changes sign.
The search is finite: the lower left block of A^{-1} is kappa (omega^2 + W^2)^{-1} but for its sign, so sigma_{2n-1}(A) <= sigma_{n-1}(omega^2 + W^2) / kappa,
which falls below the value at gamma = 1, sigma_min(i omega - W), once kappa is large. For n = 1 and omega > 0 the sup is infinite.

*Outer inf.* For one gamma, f >= sigma_{2n-1}(A(., gamma)), and the omega at which that curve crosses a level rho are the real eigenvalues of

    [[-J^T D, rho J^T Gamma^{-1}], [rho J Gamma, -J D^T]],   D = W + W (direct sum), J = [[0, I], [-I, 0]], Gamma = diag(gamma I, I / gamma)

(from A = T (D + omega J) T^{-1}, T = diag(I, I / gamma); Sreedhar, Van Dooren & Tits 1996). So a single gamma proves f >= rho on whole intervals. The
frequencies that are not yet proved are kept as a list of intervals, first those where sigma_min(i omega - W) < rho. The middle of each gets its best gamma,
which proves a neighbourhood; a lower value found there lowers rho. An empty list is the proof that f >= rho everywhere.
f may jump at 0, where the eigenvalue pair meets: there |sigma(A(omega, kappa)) - sigma(A(0, kappa))| <= omega^2 / kappa proves an interval (0, omega_0].
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import scipy.linalg
from scipy.optimize import brentq, minimize_scalar

from perdure._typing import Array
from perdure.stability.level_sets import EPS, Line, Minimum, least_singular_values, minimum, rounding

TOLERANCE = 1e-10  # the level that is proved is (1 - TOLERANCE) times the value
NEAR = 1e-5  # of the size of W: eigenvalues this close to the real line are looked at
PIECES = 400  # intervals that are looked at before giving up: some ten are usual


def pencil(W: Array, omega: float, kappa: float) -> Array:
    """A(omega, gamma) with gamma = omega / kappa, (2n, 2n)."""
    eye = np.eye(W.shape[0])
    return np.block([[W, (omega * omega / kappa) * eye], [-kappa * eye, W]])


def second(W: Array, omega: float, kappa: float) -> float:
    """sigma_{2n-1}(A)."""
    return float(scipy.linalg.svdvals(pencil(W, omega, kappa))[-2])


def inner(W: Array, omega: float) -> tuple[float, float]:
    """f(omega) and the kappa = omega / gamma where it is attained, for n >= 2; omega = 0 stands for the limit from above."""
    n = W.shape[0]
    complex_value = float(least_singular_values(W, np.array([1j * omega]))[0])
    squared = np.linalg.svd(W @ W + omega**2 * np.eye(n), compute_uv=False)
    largest = 1.01 * float(squared[-2]) / max(complex_value, EPS)
    smallest = max(omega, 1e-8 * complex_value, 1e-300)  # gamma = 1; for the limit at 0 close to the value of kappa = 0

    def slope(t: float) -> float:
        kappa = math.exp(t)
        u, _, vt = scipy.linalg.svd(pencil(W, omega, kappa))
        left, right = u[:, -2], vt[-2]
        return -(omega * omega / kappa) * float(left[:n] @ right[n:]) - kappa * float(left[n:] @ right[:n])

    low, high = (
        math.log(smallest) + 1e-6,
        math.log(max(largest, smallest)) + 2e-6,
    )  # at gamma = 1 the singular value is double: start beside it
    if slope(low) <= 0:
        return complex_value, smallest
    if slope(high) > 0:
        return second(W, omega, math.exp(high)), math.exp(high)
    best: Any = brentq(slope, low, high, xtol=1e-13)
    kappa = math.exp(best)
    value = second(W, omega, kappa)
    return (value, kappa) if value > complex_value else (complex_value, smallest)


def crossings(W: Array, gamma: float, level: float) -> Array:
    """Sorted omega > 0 at which `level` is a singular value of A(omega, gamma), near misses included."""
    eye, zero = np.eye(W.shape[0]), np.zeros(W.shape)
    found = np.linalg.eigvals(
        np.block(
            [
                [zero, W, zero, -level * gamma * eye],
                [-W, zero, level / gamma * eye, zero],
                [zero, level / gamma * eye, zero, -W.T],
                [-level * gamma * eye, zero, W.T, zero],
            ]
        )
    )
    near = (np.abs(found.imag) <= NEAR * np.linalg.norm(W)) & (found.real > 0)
    return np.unique(found.real[near])


Interval = tuple[float, float]


def unproved(W: Array, omega: float, kappa: float, level: float, interval: Interval) -> list[Interval]:
    """The parts of an interval of frequencies where gamma = omega / kappa does not prove f >= level."""
    gamma = omega / kappa
    low, high = interval
    if gamma >= 1:
        found = Line().crossings(W, level)
    else:
        found = crossings(W, gamma, level)
    edges = [low, *found[(found > low) & (found < high)].tolist(), high]
    parts: list[Interval] = []
    for a, b in itertools.pairwise(edges):
        middle = 0.5 * (a + b)
        if (b - a) / gamma <= TOLERANCE * level or second(W, middle, middle / gamma) >= level:
            continue  # |d sigma / d omega| <= 1 / gamma: a shorter dip stays within the tolerance
        parts = [*parts[:-1], (parts[-1][0], b)] if parts and parts[-1][1] == a else [*parts, (a, b)]
    return parts


def real_minimum(W: Array) -> Minimum:
    """r_R of a Hurwitz matrix of moderate size: `lower` <= r_R <= `value`, which is f at the frequency `at`."""
    n = W.shape[0]
    value, at = float(np.linalg.svd(W, compute_uv=False)[-1]), 0.0
    if n == 1:
        return Minimum(value, at, value)
    unperturbed = minimum(W, Line())
    starts = np.unique(np.abs([unperturbed.at, *Line().coordinates(np.linalg.eigvals(W))]))
    for omega in starts[starts > 0]:
        there = inner(W, float(omega))[0]
        if there < value:
            value, at = there, float(omega)
    if at > 0:
        value, at = _descended(W, value, at, (0.5 * at, 1.5 * at))
    end = float(np.linalg.norm(W, 2)) + 2 * value  # beyond, sigma_min(i omega - W) >= omega - |W| exceeds every level
    limit, kappa = inner(W, 0.0)
    start = min(kappa, math.sqrt(kappa * max(limit - (1 - TOLERANCE) * value, 0.0)))
    todo = unproved(W, 1.0, 1.0, (1 - TOLERANCE) * value, (start, end))
    steepest = kappa  # the largest kappa of the proof: what rounding may hide grows with it
    for _ in range(PIECES):
        if not todo:
            hidden = rounding(W) + 8 * EPS * n * max(steepest, end)
            return Minimum(value, at, max(unperturbed.lower, (1 - TOLERANCE) * value - hidden))
        interval = todo.pop()
        omega = 0.5 * (interval[0] + interval[1])
        there, kappa = inner(W, omega)
        if there < (1 - TOLERANCE) * value:
            value, at = _descended(W, there, omega, interval)
            omega, kappa = at, inner(W, at)[1]
        steepest = max(steepest, kappa)
        todo += unproved(W, omega, kappa, (1 - TOLERANCE) * value, interval)
    return Minimum(value, at, unperturbed.lower, closed=False)


def _descended(W: Array, value: float, at: float, interval: Interval) -> tuple[float, float]:
    """The value and place of a local minimum of f inside an interval, or those given where it is not lower."""
    found: Any = minimize_scalar(lambda omega: inner(W, float(omega))[0], bounds=interval, method="bounded", options={"xatol": 1e-9 * at})
    return min((value, at), (float(found.fun), float(found.x)))


def real_perturbation(W: Array, at: float) -> Array:
    """A real Delta of least norm that gives W + Delta the eigenvalue i * at, (n, n).

    From the singular vectors (u_1; u_2), (v_1; v_2) of sigma_{2n-1}(A) at the best gamma: x = v_1, y = gamma v_2 and
    Delta = ([x y] R - W [x y]) [x y]^+, of rank at most 2. Where the singular value is multiple, the pair in its space with the least norm.
    """
    if at == 0.0 or W.shape[0] == 1:
        u, s, vt = np.linalg.svd(W)
        return -s[-1] * np.outer(u[:, -1], vt[-1])
    value, kappa = inner(W, at)
    _, s, vt = np.linalg.svd(pencil(W, at, kappa))
    space = vt[np.abs(s - value) <= 1e-6 * value]
    best = _moving(W, at, at / kappa, vt[-2])
    if space.shape[0] > 1 and np.linalg.norm(best, 2) > (1 + 1e-9) * value:
        for row in space:
            for other in space:
                for angle in np.linspace(0, np.pi, 37):
                    trial = _moving(W, at, at / kappa, np.cos(angle) * row + np.sin(angle) * other)
                    best = trial if np.linalg.norm(trial, 2) < np.linalg.norm(best, 2) else best
    return best


def _moving(W: Array, omega: float, gamma: float, v: Array) -> Array:
    n = W.shape[0]
    plane = np.stack([v[:n], gamma * v[n:]], axis=1)
    turned = plane @ np.array([[0.0, omega], [-omega, 0.0]])
    return (turned - W @ plane) @ np.linalg.pinv(plane)
