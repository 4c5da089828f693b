"""The precision a model's outputs really have, and the noise it leaves in a memory function."""

from __future__ import annotations

import torch

from perdure._typing import Tensor

COARSER = (torch.bfloat16, torch.float16, torch.float32)
ENOUGH = 16
ROUNDINGS = 4.0


def output_eps(y: Tensor) -> float:
    """Machine epsilon of the coarsest floating-point type that holds every value of `y` exactly.

    A model that works in float32 inside and returns float64 gives values that float32 holds: its outputs are no better than float32. `y`
    should be the response to a generic (random) input; with fewer than 16 distinct nonzero values nothing can be said, and the type of `y`
    counts.

    >>> y = torch.linspace(0.1, 1, 100, dtype=torch.float64) ** 2
    >>> output_eps(y) == torch.finfo(torch.float64).eps, output_eps(y.float().double()) == torch.finfo(torch.float32).eps
    (True, True)
    """
    own = torch.finfo(y.dtype).eps
    values = torch.unique(y[y != 0])
    if values.numel() < ENOUGH:
        return own
    for dtype in COARSER:
        if torch.finfo(dtype).eps > own and torch.equal(values.to(dtype).to(y.dtype), values):
            return torch.finfo(dtype).eps
    return own


def rounding(eps: float, largest: float) -> float:
    """Error of a difference of two responses, each the difference of two outputs rounded to half of `eps` relative: 2 eps |y|, doubled.

    The factor 2 on top is for rounding inside the model, before the output. Divided by dt (a slope) and by the size of the input it is the
    noise floor of a memory function.

    >>> rounding(2.0**-23, 1.0)
    4.76837158203125e-07
    """
    return ROUNDINGS * eps * largest
