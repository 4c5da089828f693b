r"""Sequences to train on, of size at most `bound`.

White noise alone says little about the tail of a kernel: its outputs are sums of many small independent terms, and a tail that has one sign but lies below
the noise of the head is not felt. Inputs that keep their sign add it up. So the informative set holds, for each channel,

* steps of several sizes and both signs, and steps that end half-way: they show sums of the kernel, and what is not linear;
* single pulses: the kernel itself;
* random signs that keep for tau steps on average, tau from one step to all, evenly in log tau;
* sign(rho(T - s)): the worst input of a linear functional, whose output at T is int |rho|;
* white noise.
"""

from __future__ import annotations

import math

import torch

from perdure import _checks
from perdure._typing import Tensor

KINDS = ("gaussian", "uniform")
SIZES = (1.0, -1.0, 0.5, -0.5, 0.1)
SWITCHING, WHITE = 32, 32


def white(count: int, steps: int, size: int, kind: str, bound: float, generator: torch.Generator) -> Tensor:
    """Independent numbers (count, steps, size), float64: normal with standard deviation `bound`, or uniform in [-bound, bound]."""
    _checks.choice(kind, "inputs", KINDS)
    shape = (count, steps, size)
    if kind == "gaussian":
        return bound * torch.randn(shape, generator=generator, dtype=torch.float64)
    return bound * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)


def switching(count: int, steps: int, size: int, bound: float, generator: torch.Generator) -> Tensor:
    """Random signs that keep for tau steps on average, tau even in logarithm from 1 to `steps`, sizes uniform in [bound / 2, bound]."""
    times = torch.logspace(0.0, math.log10(max(steps, 2)), count, dtype=torch.float64)
    draw = torch.rand(count, steps, size, generator=generator, dtype=torch.float64)
    flips = (draw < 1 / (2 * times)[:, None, None]).cumsum(1)
    first = torch.randint(0, 2, (count, 1, size), generator=generator)
    height = bound * (0.5 + 0.5 * torch.rand(count, 1, size, generator=generator, dtype=torch.float64))
    return height * (1.0 - 2.0 * ((flips + first) % 2).double())


def informative(steps: int, size: int, bound: float, generator: torch.Generator, kernel: Tensor | None = None) -> Tensor:
    """The set above, (B, steps, size), float64.

    Args:
        steps: T.
        size: d.
        bound: largest size of an input.
        generator: of the random ones.
        kernel: rho at the steps, (T, d), where it is known.
    """
    rows = [torch.zeros(1, steps, size, dtype=torch.float64)]
    for channel in range(size):
        steady = torch.zeros(len(SIZES), steps, size, dtype=torch.float64)
        steady[:, :, channel] = bound * torch.tensor(SIZES, dtype=torch.float64)[:, None]
        ending = steady[:2].clone()
        ending[:, steps // 2 :] = 0.0
        pulse = torch.zeros(2, steps, size, dtype=torch.float64)
        pulse[0, 0, channel], pulse[1, steps // 3, channel] = bound, -bound
        rows += [steady, ending, pulse]
    if kernel is not None:
        rows.append(bound * torch.sign(kernel.flip(0))[None])
    rows.append(switching(SWITCHING, steps, size, bound, generator))
    rows.append(white(WHITE, steps, size, "uniform", bound, generator))
    return torch.cat(rows)


def sizes(x: Tensor, bound: float) -> Tensor:
    """|x|_inf of each row (B,); `bound` for a row of zeros."""
    size = x.abs().amax((1, 2))
    return torch.where(size > 0, size, torch.full_like(size, bound))
