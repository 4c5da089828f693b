r"""Upper bounds of the perturbation error by the triangle inequality, mode by mode.

E(beta) <= E(0) + sum_k sup || mode_k(moved) - mode_k ||_{W1}. For a real mode, with alpha' the moved rate,

    int |e^{-alpha' t} - e^{-alpha t}| = |1/alpha' - 1/alpha|,
    int |d/dt (...)| = 2 max_t |e^{-alpha' t} - e^{-alpha t}|,  attained at t = log(alpha'/alpha) / (alpha' - alpha),

both increasing in |alpha' - alpha| on either side. For a pair, with Delta >= |lambda' - lambda| and the least real part alpha_-,
the same integrals are at most Delta / alpha_-^2 and Delta (1/alpha_- + |lambda|_max / alpha_-^2). Readout and input enter linearly,
with Cauchy's inequality over the modes.
"""

from __future__ import annotations

import numpy as np
import torch

from perdure._typing import Array
from perdure.stability.network import Network


def certificate(network: Network, nominal: float, radii: Array) -> Array:
    """An upper bound of E(beta) for each radius, inf where a mode may stop decaying."""
    return np.array([nominal + _growth(network, float(beta)) if beta > 0 else nominal for beta in radii])


def _growth(network: Network, beta: float) -> float:
    if beta >= network.divergence_radius():
        return float("inf")
    c, u = network.c.abs().numpy(), network.u.abs().numpy()
    alpha, omega = network.rates.real, network.rates.imag
    in_c, in_u = beta * ("readout" in network.groups), beta * ("input" in network.groups)
    d, states = u.shape[1], int((1 + network.pair).sum())
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shift, slowest = np.zeros_like(alpha), alpha
        moved_norm = np.zeros_like(alpha)
        if "recurrent" in network.groups:
            v = network.v
            nearest = torch.zeros_like(v).clamp(v - beta, v + beta)
            ends = -network.map(torch.stack([v - beta, v + beta, nearest])).detach().numpy()
            real = np.max([_real_shift(alpha, end) for end in ends], axis=0)
            slowest = np.minimum(alpha, ends.min(0))
            reach = np.max(np.abs(ends - alpha), axis=0) + beta
            fastest = np.hypot(np.maximum(alpha, ends.max(0)), np.abs(omega) + beta)
            complex_shift = reach / slowest**2 + reach * (1 / slowest + fastest / slowest**2)
            shift = np.where(network.pair.numpy(), complex_shift, real)
            moved_norm = np.where(network.pair.numpy(), (1 + fastest) / slowest + 1, 1 / slowest + 2)
        norm = np.where(network.pair.numpy(), (1 + np.hypot(alpha, omega)) / alpha + 1, 1 / alpha + 2)
        norm = np.maximum(norm, moved_norm)
        rows = np.sqrt(d * min(states, d))  # |du_k|_1 summed over the modes, from the spectral norm
        total = float(((c + in_c) * (u.sum(1) + np.sqrt(d) * in_u) * shift).sum())
        total += (
            in_c * float(np.linalg.norm(u.sum(1) * norm))
            + rows * in_u * float(np.linalg.norm(c * norm))
            + rows * in_c * in_u * float(norm.max())
        )
    return total if np.isfinite(total) else float("inf")


def _real_shift(alpha: Array, moved: Array) -> Array:
    ratio = moved / alpha
    log = np.log(ratio)
    close = np.abs(ratio - 1) < 1e-12
    safe = np.where(close, 2.0, ratio)
    time = np.where(close, 1.0, np.log(safe) / (safe - 1))  # alpha t at the largest difference
    peak = np.where(close, 0.0, np.abs(np.exp(-safe * time) - np.exp(-time)))
    return np.where(close, 0.0, np.abs(1 / moved - 1 / alpha)) + 2 * np.where(np.isfinite(log), peak, 1.0)
