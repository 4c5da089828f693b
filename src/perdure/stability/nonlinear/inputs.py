"""Inputs from which the search over inputs starts."""

from __future__ import annotations

import numpy as np
import torch

from perdure._typing import Tensor
from perdure.functionals.base import LinearFunctional

SIZES = (1.0, 0.25, 1.0 / 32)  # of the bound: large inputs saturate a nonlinear model, small ones show its linear part
NOISES = 2


def patterns(target: object, steps: int, size: int, dt: float, generator: torch.Generator) -> Tensor:
    """Inputs of unit size, (P, T, d).

    The Heaviside step of either sign, the worst input of a linear target, sign(rho(T - s)) and sign(rho'(T - s)), a switch of sign in the middle and near
    the end, an alternating sequence, noise of +1 and -1, and smooth noise.
    """
    ones = torch.ones(steps, size, dtype=torch.float64)
    middle, late = ones.clone(), ones.clone()
    middle[: steps // 2] = -1
    late[-max(1, steps // 32) :] = -1
    flips = ones.clone()
    flips[1::2] = -1
    found = [ones, -ones, middle, late, flips]
    if isinstance(target, LinearFunctional):
        t = dt * np.arange(steps)[::-1]
        for kernel in (target._kernel, target._kernel_derivative):
            worst = torch.as_tensor(np.where(kernel(t) < 0, -1.0, 1.0))
            found.append(worst)
    for _ in range(NOISES):
        noise = torch.randn(steps, size, generator=generator, dtype=torch.float64)
        width = max(2, steps // 16)
        smooth = torch.nn.functional.avg_pool1d(noise.T[None], width, 1, width // 2)[0].T[:steps]
        found += [noise.sign(), smooth / smooth.abs().max().clamp_min(1e-12)]
    return torch.stack([pattern[:steps] for pattern in found])


def starts(shapes: Tensor, bound: float) -> Tensor:
    """Every pattern (P, T, d) at every size up to the bound, (S, P, T, d)."""
    return torch.stack([bound * size * shapes for size in SIZES])
