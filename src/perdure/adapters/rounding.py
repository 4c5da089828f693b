"""What rounding may make of outputs that should be equal.

Two outputs of one model on inputs that should give the same differ by rounding alone. How far depends on the type of its arithmetic, which need
not be that of its outputs (a normalisation in single precision inside of a double model), and on how it amplifies. Both are seen in one number: with
h so small that h^2 is below rounding, f(x + h) - 2 f(x) + f(x - h) is h^2 f'' for exact arithmetic, and nothing but rounding in fact.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from perdure._typing import Tensor

ROUNDED = 1e3  # times eps: what rounding may make of equal inputs over all steps; that of `perdure.memory.response`
SUSPECT = 0.02  # of the largest output: at most that; more is no rounding, and where rounding reaches it nothing can be told
NOISES = 30.0  # measured noises, where arithmetic inside is coarser
EARLY = 4


def limit_of(call: Callable[[Tensor], Tensor], x: Tensor, rng: torch.Generator) -> tuple[float, float, float]:
    """The largest difference that rounding may make, the largest output, and the relative precision of the arithmetic.

    >>> limit, largest, eps = limit_of(torch.tanh, torch.linspace(-1, 1, 50, dtype=torch.float64).reshape(1, 50, 1), torch.Generator())
    >>> limit < 1e-12 < largest, eps < 1e-14
    (True, True)
    >>> coarse = lambda x: torch.tanh(x.float()).double() * 1.1
    >>> limit_of(coarse, torch.linspace(-1, 1, 50, dtype=torch.float64).reshape(1, 50, 1), torch.Generator())[2] > 1e-9
    True
    """
    eps = torch.finfo(x.dtype).eps
    step = eps**0.6 * max(1.0, float(x.abs().max())) * torch.rand(x.shape, generator=rng, dtype=torch.float64).to(x)
    y = call(x)
    twice = call(x + step) - 2 * y + call(x - step)
    largest = float(y.abs().max())
    noise = float(twice.abs().max())
    eps = torch.finfo(y.dtype).eps
    return max(ROUNDED * eps * largest, NOISES * noise), largest, max(eps, noise / largest if largest else 0.0)
