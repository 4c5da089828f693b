"""The relative W1 error of a trained model: `perdure.sobolev_distance` to the target over the target's own size, on the horizon."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from perdure._typing import Tensor
from perdure.functionals import LinearFunctional
from perdure.stability import sobolev_distance


def relative_w1(model: nn.Module, target: Any, *, dt: float, horizon: float, bound: float, seed: int) -> tuple[float, str]:
    """||model - target||_{W1} / ||target||_{W1} on [0, horizon], and how it was found.

    Args:
        model: a torch module.
        target: a functional; the size of a linear one is exact, that of another is searched as the distance is.
        dt: time between samples.
        horizon: time up to which it counts.
        bound: largest size of the inputs.
        seed: of the search.
    """
    options: dict[str, Any] = {"dt": dt, "horizon": horizon, "bound": bound, "seed": seed}
    distance = sobolev_distance(model, target, **options)
    if isinstance(target, LinearFunctional):
        size, found = sobolev_distance(target, 0.0 * target, horizon=horizon), "exact"
    else:
        size, found = sobolev_distance(_silent, target, input_size=target.input_size, **options), "lower bound"
    return float(distance) / float(
        size
    ) if size > 0 else math.nan, f"relative W1 error; distance: {distance.status}; size of the target: {found}"


def _silent(x: Tensor) -> Tensor:
    return 0.0 * x[..., :1]
