"""The Sobolev distance between two linear functionals, exactly."""

from __future__ import annotations

from typing import Any

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import finite_w1


def sobolev_distance(model: LinearFunctional | Any, target: LinearFunctional | Any, *, horizon: float | None = None) -> float:
    r"""||H - H^||_{W1} = int |D|_1 dt + |D(0)|_1 + int |D'|_1 dt, with D the difference of the kernels.

    This equals sup_t ( ||H_t - H^_t|| + ||d/dt (H_t - H^_t)|| ), operator norms for inputs bounded in the max norm (Wang, Li & Li 2024,
    Def. 3.7, by Leibniz's rule): no data, no sampling, exact to rounding.

    Args:
        model: a linear functional, such as an exponential sum.
        target: a linear functional of the same input size.
        horizon: integrate to this time; None means infinity.

    Raises:
        ValueError: different input sizes, horizon <= 0.
        TypeError: an argument that is no linear functional.

    >>> from perdure import functionals as F
    >>> round(sobolev_distance(F.exponential(2.0), F.exponential(1.0)), 12)  # 1/2 + 0 + 2 * 1/4
    1.0
    """
    check_pair(model, target)
    difference = target - model
    if horizon is None:
        return difference.norm()
    horizon = _checks.positive(horizon, "horizon", "pass None for the infinite horizon")
    return finite_w1(difference._kernel, difference._kernel_derivative, difference.mesh(), horizon)


def check_pair(model: object, target: object) -> None:
    """Both linear functionals, of one input size."""
    for name, value in (("model", model), ("target", target)):
        if not isinstance(value, LinearFunctional):
            raise ArgumentTypeError(
                f"expected argument `{name}` to be a linear functional, but got {type(value).__name__}: exact norms are for linear "
                "models and targets; build them with perdure.functionals or perdure.approximate"
            )
    if isinstance(model, LinearFunctional) and isinstance(target, LinearFunctional) and model.input_size != target.input_size:
        raise _checks.fail(
            "model", f"of the target's input size {target.input_size}", model.input_size, "compare functionals of the same input"
        )
