"""Integrals over the half line of kernels that live on many time scales at once.

Every norm perdure needs is int_0^inf |f| dt with f a difference of kernels: smooth, decaying over decades of time, and
changing sign many times. So: panels that grow geometrically (Gauss's rule in each, which is quadrature in log time),
sign changes found by bisection and made panel ends, and the tail past the last panel in closed form.
"""

from __future__ import annotations

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
    width = np.diff(mesh)
    pieces = np.maximum(np.ceil((np.minimum(mesh[1:], until) - mesh[:-1]) / widest), 1).astype(int)
    panel = np.repeat(np.arange(pieces.size), pieces)
    within = np.arange(panel.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.append(mesh[panel] + width[panel] * (within / pieces[panel]), mesh[-1])


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
    """Times at which f: (T,) -> (T,) changes sign between neighbouring samples: false position, with Illinois' halving, all at once.

    The integral is stationary in these times, so an error of 1e-8 of the spacing leaves 1e-16 of a panel's integral.
    """
    at = np.nonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)[0]
    if at.size == 0:
        return np.empty(0)
    low, high, f_low, f_high = t[at].copy(), t[at + 1].copy(), values[at].copy(), values[at + 1].copy()
    spacing, open_ = high - low, np.ones(at.size, bool)
    middle = 0.5 * (low + high)
    for step in range(40):
        i = np.nonzero(open_)[0]
        between = f_low[i] / (f_low[i] - f_high[i])
        new = low[i] + (high[i] - low[i]) * (between if step % 4 < 3 else 0.5)  # a bisection now and then: never slower than that
        value = f(new)
        open_[i] = (np.abs(new - middle[i]) > 1e-9 * spacing[i]) & (value != 0)
        middle[i] = new
        same = np.sign(value) == np.sign(f_low[i])
        low[i], f_low[i], f_high[i] = (
            np.where(same, new, low[i]),
            np.where(same, value, f_low[i]),
            np.where(same, 0.5 * f_high[i], f_high[i]),
        )
        high[i], f_high[i], f_low[i] = (
            np.where(same, high[i], new),
            np.where(same, f_high[i], value),
            np.where(same, f_low[i], 0.5 * f_low[i]),
        )
        if not open_.any():
            break
    return middle


def integrate_absolute(f: Callable[[Array], Array], mesh: Array) -> float:
    """Int |f|_1 dt over the mesh, f: (T,) -> (T, d), with sign changes made panel ends, component by component."""
    t, weights = panel_rule(mesh)
    samples = f(t)
    total = 0.0
    for j in range(samples.shape[1]):

        def component(s: Array, j: int = j) -> Array:
            return f(s)[:, j]

        whole = (samples[:, j] * weights).reshape(-1, NODES.size).sum(1)
        roots = _sign_changes(component, t, samples[:, j])
        if roots.size:
            panel = np.clip(np.searchsorted(mesh, roots, side="right") - 1, 0, mesh.size - 2)
            split = np.unique(panel)
            whole[split] = 0.0
            ends = np.sort(np.concatenate([mesh[split], mesh[split + 1], roots]))  # pieces of split panels; gaps between them are dropped
            owner = np.clip(np.searchsorted(mesh, 0.5 * (ends[:-1] + ends[1:]), side="right") - 1, 0, mesh.size - 2)
            wanted = np.isin(owner, split) & (np.diff(ends) > 0)
            half = 0.5 * np.diff(ends)[wanted, None]
            nodes = ends[:-1][wanted, None] + half * (1 + NODES)
            total += float(np.abs((component(nodes.ravel()).reshape(nodes.shape) * half * WEIGHTS).sum(1)).sum())
        total += float(np.abs(whole).sum())
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
