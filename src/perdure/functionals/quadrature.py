"""Integrals over the half line of kernels that live on many time scales at once.

Every norm perdure needs is int_0^inf |f| dt with f a difference of kernels: smooth, decaying over decades of time, and
changing sign many times. So: panels that grow geometrically (Gauss's rule in each, which is quadrature in log time),
sign changes found by bisection and made panel ends, and the tail past the last panel in closed form.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from perdure._typing import Array

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def geometric_mesh(first: float, last: float, ratio: float = 2.0) -> Array:
    """0, first, first * ratio, ..., at least to `last`."""
    if last <= first:
        return np.array([0.0, last])
    count = int(np.ceil(np.log(last / first) / np.log(ratio))) + 1
    return np.concatenate([[0.0], first * ratio ** np.arange(count)])


def refine(mesh: Array, widest: float, until: float) -> Array:
    """The mesh with no panel wider than `widest` before the time `until` (for oscillating kernels)."""
    pieces = [np.linspace(a, b, max(1, int(np.ceil((min(b, until) - a) / widest))) + 1)[:-1] if a < until else np.array([a])
              for a, b in itertools.pairwise(mesh)]  # fmt: skip
    return np.concatenate([*pieces, mesh[-1:]])


def merge(*meshes: Array) -> Array:
    """The union of meshes, without panels that are narrower than rounding."""
    union = np.unique(np.concatenate(meshes))
    keep = np.concatenate([[True], np.diff(union) > 1e-12 * union[1:]])
    return union[keep]


def panel_rule(mesh: Array, order: int = 16) -> tuple[Array, Array]:
    """Nodes and weights of the composite Gauss rule on the panels of a mesh, each of shape (N,)."""
    nodes, weights = (NODES, WEIGHTS) if order == 16 else np.polynomial.legendre.leggauss(order)
    half = 0.5 * np.diff(mesh)[:, None]
    return (mesh[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()


def _sign_changes(f: Callable[[Array], Array], t: Array, values: Array) -> Array:
    """Times at which f: (T,) -> (T,) changes sign between neighbouring samples, by bisection of all of them at once."""
    at = np.nonzero(values[:-1] * values[1:] < 0)[0]
    if at.size == 0:
        return np.empty(0)
    low, high, sign = t[at].copy(), t[at + 1].copy(), np.sign(values[at])
    for _ in range(60):
        middle = 0.5 * (low + high)
        same = np.sign(f(middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return 0.5 * (low + high)


def integrate_absolute(f: Callable[[Array], Array], mesh: Array) -> float:
    """Int |f|_1 dt over the mesh, f: (T,) -> (T, d), with sign changes made panel ends, component by component."""
    t, _ = panel_rule(mesh)
    samples = f(t)
    total = 0.0
    for j in range(samples.shape[1]):

        def component(s: Array, j: int = j) -> Array:
            return f(s)[:, j]

        roots = _sign_changes(component, t, samples[:, j])
        if roots.size == 0:
            split, values = mesh, samples[:, j]
            weights = panel_rule(mesh)[1]
        else:
            split = np.unique(np.concatenate([mesh, roots]))
            nodes, weights = panel_rule(split)
            values = component(nodes)
        total += float(np.abs((values * weights).reshape(-1, NODES.size).sum(1)).sum())
    return total


def half_line_w1(
    kernel: Callable[[Array], Array], derivative: Callable[[Array], Array], tail: Callable[[Array], Array], mesh: Array
) -> float:
    """Int |rho|_1 + |rho(0)|_1 + int |rho'|_1 over [0, inf).

    Past the end of the mesh rho is monotone and keeps its sign, so the tails are |int_T^inf rho|_1 and |rho(T)|_1.
    """
    end = mesh[-1:]
    inside = integrate_absolute(kernel, mesh) + integrate_absolute(derivative, mesh)
    return inside + float(np.abs(kernel(np.zeros(1))).sum() + np.abs(tail(end)).sum() + np.abs(kernel(end)).sum())


def finite_w1(kernel: Callable[[Array], Array], derivative: Callable[[Array], Array], mesh: Array, horizon: float) -> float:
    """The same with the kernel cut at `horizon`: int_0^T |rho|_1 + |rho(0)|_1 + int_0^T |rho'|_1."""
    cut = np.append(mesh[mesh < horizon], horizon)
    return integrate_absolute(kernel, cut) + integrate_absolute(derivative, cut) + float(np.abs(kernel(np.zeros(1))).sum())
