"""Gauss nodes on which candidates are compared and refined: they must see the candidate's modes as well as the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perdure._typing import Array
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import merge, panel_rule, refine

ORDER = 8  # nodes a panel
LIMIT = 2000  # nodes at most: beyond, panels are merged (the reported error is measured elsewhere, exactly)


@dataclass(frozen=True)
class Nodes:
    """Times t (N,), quadrature weights (N,), and the target there: rho and slope (N, d), start (1, d) at t = 0."""

    t: Array
    weight: Array
    rho: Array
    slope: Array
    start: Array


def nodes_for(target: LinearFunctional, rates: Array, horizon: float | None) -> Nodes:
    """Nodes that resolve the target and modes of about the given rates (n,), complex.

    Panels double over the decades of time constants; while modes swing, two panels a period of the fastest, so that a mode
    cannot hide between the nodes of a target that is still.
    """
    mesh = target.mesh()
    last = horizon if horizon is not None else max(float(mesh[-1]), 40.0 / rates.real.min())
    if horizon is None:
        left = np.abs(target._tail(np.array([last]))).sum()
        while last < 1e280 and np.abs(target._tail(np.array([last]))).sum() > 1e-2 * left:  # where slower modes would still help
            last *= 64.0
    first = min(0.1 / np.abs(rates).max(), float(mesh[1]), 0.1 * last)
    count = int(np.ceil(np.log(last / first) / np.log(2.0)))
    mesh = merge(mesh, first * 2.0 ** np.arange(count), np.array([last]))
    swinging = rates.imag != 0
    if swinging.any():
        fastest = float(np.abs(rates.imag).max())
        lifetime = min(float((20.0 / rates.real[swinging]).max()), last)
        mesh = refine(mesh, max(np.pi / fastest, lifetime * ORDER / LIMIT), lifetime)
    mesh = np.append(mesh[mesh < last], last)
    t, weight = panel_rule(mesh, ORDER)
    return Nodes(t, weight, target._kernel(t), target._kernel_derivative(t), target._kernel(np.zeros(1)))
