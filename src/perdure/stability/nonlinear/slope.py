r"""The slope of E at beta = 0, without finite differences.

Where E(0) > 0, the inputs x* that attain it are fixed to first order (Danskin), and the slope is the largest first-order change over unit moves: the sum over the moved tensors of
the dual norm of the gradient at x*. Where the model is the target, E(0) = 0 and the slope is that of beta -> |J_theta(x) (beta Delta)|, J the sensitivity of the outputs to the weights
(forward mode; Zucchet & Orvieto, "Recurrent neural networks: vanishing and exploding gradients are not the end of the story", NeurIPS 2024): it is taken along the best direction, with the
best inputs, of the smallest radius.
"""

from __future__ import annotations

import torch

from perdure.stability.nonlinear import balls
from perdure.stability.nonlinear.ascent import Points
from perdure.stability.nonlinear.gap import Gap


def at_zero(gap: Gap, kinds: dict[str, str], nominal: Points, smallest: Points, radius: float, negligible: float) -> float:
    """The slope of E at 0 for the moved tensors.

    Args:
        gap: model and target.
        kinds: the ball of each moved tensor.
        nominal: the best inputs of the unmoved model.
        smallest: the best point of the smallest positive radius.
        radius: that radius.
        negligible: E(0) up to this counts as 0.

    Returns:
        The slope; NaN where it needs forward mode and the model cannot be differentiated so.
    """
    if not bool(torch.isfinite(nominal.total()).all()):
        return float("nan")
    still = {name: torch.zeros_like(smallest.moves[name]) for name in kinds}
    if float(nominal.total()) > negligible:
        _, gradient, _ = gap.gradients(still, nominal.x)
        return float(sum(balls.dual(gradient[name], kind) for name, kind in kinds.items()))
    direction = {name: smallest.moves[name] / radius for name in kinds}
    x = smallest.x
    try:
        names = list(kinds)

        def outputs(*parts: torch.Tensor) -> torch.Tensor:
            return gap.differences(dict(zip(names, parts, strict=True)), x)

        tangent = torch.func.jvp(outputs, tuple(still[n] for n in names), tuple(direction[n] for n in names))[1]
    except (RuntimeError, NotImplementedError):
        return float("nan")
    size = x.abs().flatten(2).amax(2)[..., None]
    levels, steps = gap.sizes(tangent)
    return float((levels / size).amax() + (steps / (gap.dt * size)).amax())
