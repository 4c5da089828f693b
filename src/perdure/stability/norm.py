"""The Sobolev distance between two maps of sequences: exact for linear functionals, searched for anything else."""

from __future__ import annotations

from typing import Any

from perdure import _checks
from perdure._threads import one_thread
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import finite_w1
from perdure.stability.distance import SobolevDistance


def sobolev_distance(
    model: Any,
    target: Any,
    *,
    horizon: float | None = None,
    dt: float | Any = None,
    bound: float | Any = 1.0,
    seed: int | Any = 0,
    input_size: int | Any = None,
    batch_first: bool | Any = None,
    hold: bool | Any = False,
) -> SobolevDistance:
    r"""||H - H^||_{W1} = sup_t ( sup_x |D_t(x)| / |x| + sup_x |dD_t(x)/dt| / |x| ), D the difference of the two maps (Wang, Li & Li 2024, Def. 3.7).

    For two linear functionals this is int |D|_1 dt + |D(0)|_1 + int |D'|_1 dt with D the difference of the kernels (Leibniz's rule): no data, no
    sampling, exact to rounding.

    For anything else it is a lower bound: inputs |x| <= `bound` on the steps of the horizon climb by conditional gradient from steps, switches,
    noise and the worst inputs of a linear target, at three sizes. Responses to no input are subtracted from both maps, as the definition asks; of several output
    channels the largest difference counts. Models are run as copies in float64 and evaluation mode.

    Beside a model a linear functional is what `target(x, dt)` gives, the rectangle rule y_k = dt sum_j rho(j dt)^T x_{k-j}, as `perdure.fit` has it and Euler's method deserves. That is O(dt)
    from the functional itself: its steady state is too large by about dt rho(0) / 2, so that a model that is the functional on held inputs, exactly, shows a distance of that order. `hold`
    integrates the kernel over each step instead, w_j = int_{j dt}^{(j+1) dt} rho.

    Of two functionals one may be 0: the distance is then the norm of the other. Beside a model a target that is 0 is refused.

    Args:
        model: a linear functional such as an exponential sum, a torch module, or a callable (B, T, d) -> (B, T, d_out).
        target: the same, of the same input size.
        horizon: integrate to this time, or let inputs last so long; None means infinity for linear functionals, 256 steps for models.
        dt: time between steps of a model; None takes the model's own `dt`, else 1. Linear functionals have none.
        bound: B, largest |x|_inf of the inputs; without effect on linear maps.
        seed: of noise among the inputs; the global generators are left alone.
        input_size: d of a model that does not tell.
        batch_first: whether a model has the batch on axis 0; None asks its attribute of that name.
        hold: apply a linear functional to inputs that are held over each step, without error of discretisation, in place of the rectangle rule.

    Returns:
        A float that knows its `status`, its two parts and, where they were searched, the inputs that attain them (`SobolevDistance`).

    Raises:
        ValueError: different input or output sizes, horizon, dt or bound <= 0, a model whose outputs are not finite, a target of a model that is 0; `hold` without a functional beside a model.
        TypeError: an argument that is neither a functional nor callable.

    >>> from perdure import functionals as F
    >>> round(sobolev_distance(F.exponential(2.0), F.exponential(1.0)), 12)  # 1/2 + 0 + 2 * 1/4
    1.0
    >>> import torch
    >>> found = sobolev_distance(torch.nn.Tanh(), lambda x: 0.5 * x, input_size=1, horizon=8.0)
    >>> round(found, 2), found.status[:11]  # |tanh(x) - x/2| / |x| is largest at 0, where it is 1/2; a jump from -x to x changes it by twice that
    (1.5, 'lower bound')
    """
    if isinstance(model, LinearFunctional) and isinstance(target, LinearFunctional):
        check_pair(model, target)
        unused(model, dt=dt, bound=bound, input_size=input_size)
        if hold:
            raise _checks.fail("hold", "False between two functionals", hold, "their distance is exact in continuous time")
        difference = target - model
        if horizon is None:
            return SobolevDistance(difference.norm())
        horizon = _checks.positive(horizon, "horizon", "pass None for the infinite horizon")
        value = finite_w1(difference._kernel, difference._kernel_derivative, difference.mesh(), horizon)
        return SobolevDistance(value, horizon=horizon)
    for name, value in (("model", model), ("target", target)):
        if not callable(value):
            raise ArgumentTypeError(
                f"expected argument `{name}` to be a functional, a module or a callable, but got {type(value).__name__}: see perdure.functionals"
            )
    from perdure.stability.nonlinear import measure
    from perdure.stability.nonlinear.held import held

    if hold:
        model, target = (held(model, hold), target) if isinstance(model, LinearFunctional) else (model, held(target, hold))
    own = dt if dt is not None else measure.own_dt(model) or measure.own_dt(target)
    chosen = measure.options(model, own, horizon, bound, seed, 1, input_size, batch_first)
    with one_thread():
        return measure.distance(model, target, chosen)


def unused(model: LinearFunctional, *, dt: Any, bound: Any, input_size: Any) -> None:
    """What steps and inputs are told by: checked, though exact norms in continuous time need none of it."""
    _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    if dt is not None:
        _checks.positive(dt, "dt", "it is the time between steps")
    if input_size is not None and _checks.positive_int(input_size, "input_size") != model.input_size:
        raise _checks.fail("input_size", f"{model.input_size}, that of the functional", input_size, "leave it out: a functional tells")


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
