"""The perturbation error: how far a model's functional can get from its target when the weights move by at most beta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.parametrizations import Parametrization, get
from perdure.stability.ascent import Problem, drawn, sup
from perdure.stability.bounds import certificate
from perdure.stability.curve import PerturbationCurve
from perdure.stability.distance import no_target
from perdure.stability.network import GROUPS, Network
from perdure.stability.nonlinear.groups import listed
from perdure.stability.norm import check_pair, sobolev_distance, unused
from perdure.stability.sobolev import Nodes, exact

METHODS = ("auto", "exact", "ascent", "sample")
BALLS = {
    "recurrent": "recurrent v in the max norm (a pair: |dv + i dω|)",
    "input": "input rows in the spectral norm",
    "readout": "readout in Euclid's norm",
}


@dataclass(frozen=True)
class Options:
    """How to search, and the error without a move."""

    horizon: float | None
    starts: int
    perturbations: int
    seed: int
    nominal: float


def perturbation_error(
    model: ExponentialSum | Any,
    target: LinearFunctional | Any,
    radii: Sequence[float] | Array,
    *,
    groups: str | Sequence[str] | Any = "all",
    method: str = "auto",
    parametrization: str | Parametrization | None = None,
    horizon: float | None = None,
    seed: int | Any = 0,
    starts: int = 6,
    perturbations: int = 30,
    dt: float | Any = None,
    bound: float | Any = 1.0,
    input_size: int | Any = None,
    batch_first: bool | Any = None,
    hold: bool | Any = False,
) -> PerturbationCurve:
    r"""E_m(beta) = sup { ||H - H^(theta~)||_{W1} : |theta~ - theta|  <= beta } (Wang, Li & Li 2024, Def. 3.4).

    **Linear models.** An exponential sum y = sum_k c_k int e^{-lambda_k s} u_k^T x(t - s) ds has trained values v_k with -Re lambda_k = g(v_k) (its
    imaginary parts are trained as they are), input rows u_k of unit length and the readout c. Each group moves in a ball of radius beta of its own
    norm: recurrent in the max norm of v (diagonal stays diagonal: its spectral norm), input in the spectral norm, readout in Euclid's. Method
    "exact" takes the norm in closed form on [0, inf) and searches the sup by ascent from several starts: the norm is exact, the sup a lower bound
    from a search, bracketed by `upper`, and never below the samples of the same seed. Method "ascent" climbs in weights and inputs as it does for modules, on inputs that are held over
    steps: a lower bound of the exact value, on a finite horizon, but for the radius from which E is infinite, which is known from the rates.

    **Any torch module.** Each trained tensor moves in its own ball: matrices in the spectral norm, vectors in Euclid's, the raw values of a diagonal
    recurrent weight in the max norm. Weights and inputs climb together (method "ascent"): a lower bound, on a horizon of finitely many steps, with the model in float64 and
    evaluation mode and outputs less those for no input. Where a move makes the state of rest unstable E is infinite, from a radius found by bisection: by the eigenvalues of a step for models
    that `perdure.linearise` understands and for such layers inside others; elsewhere by the response on up to eight horizons, where growth slower than about 1/(8 horizon) is not seen. The
    `status` says which. A linear target is what `target(x, dt)` gives, the rectangle rule y_k = dt sum_j rho(j dt)^T x_{k-j}: O(dt) from the functional itself, about dt rho(0) / 2 in the
    steady state. A smaller dt or `hold` makes that go away.

    Method "sample" is the protocol of the paper: the largest of some random perturbations of full length, with norms as above, which shows by how much
    sampling underestimates.

    Args:
        model: an exponential sum, for instance from `perdure.approximate`, or a torch module.
        target: a functional, a module or a callable of the same input size; None compares a model with itself, unmoved.
        radii: beta, increasing, non-negative, in units of the trained values.
        groups: "all", or some of "recurrent", "input", "readout", for modules also "bias", "other", and names of parameters or of parts.
        method: "auto" (exact where it can be, else ascent), "exact", "ascent" or "sample".
        parametrization: of a linear model: "direct" (default), "exp", "softplus", "inverse" or a `Parametrization`. Modules have their own.
        horizon: integration time of the norm. None means infinity for linear models; with "ascent" they are searched on 8 time constants of the slowest rate, of the model and of a target
            that is an exponential sum, in at most 1024 steps, so that E is what is found there, and infinite from the divergence radius on. For modules None means 256 steps.
            On a finite horizon T the norm of a linear model is finite whatever moves, which hides the curse of memory for beta < 1/T, and a target slower than T counts up to T.
        seed: for random starts and samples; global generators are left alone.
        starts: of the exact method's ascent for each radius, the most promising of some dozens that are looked at.
        perturbations: samples a radius for method "sample"; the same ones are among the starts of the others.
        dt: time between steps of a module; None takes its own `dt`, else 1. For "ascent" on linear models inputs are held so long; None: 1/20 of the shortest time constant, or longer where
            1024 of these do not make the horizon that None stands for. The exact method has none.
        bound: largest |x|_inf of the inputs of a nonlinear model; without effect on linear ones.
        input_size: d of a module that does not tell.
        batch_first: whether a module has the batch on axis 0; None asks its attribute of that name.
        hold: apply a linear target of a module to inputs that are held over each step, without error of discretisation, in place of the rectangle rule. Linear models always are on held inputs.

    Returns:
        A `PerturbationCurve`.

    Raises:
        ValueError: radii negative or not increasing, unknown names, frozen parameters asked for, input or output sizes that differ, rates outside the map's
            range, a target that is 0, a module whose outputs are random or not finite, arguments that have no meaning for the model and method.
        TypeError: a model that is neither an exponential sum nor a module.

    >>> from perdure import functionals as F
    >>> one = F.exponential(rate=1.0)
    >>> curve = perturbation_error(one, one, [0.0, 0.5, 1.0], groups="recurrent")
    >>> curve.error.round(9).tolist()  # 1/0.5 - 1 + 2 (0.5 - 0.25), then no decay at all
    [0.0, 1.5, inf]
    >>> curve.divergence_radius
    1.0
    >>> perturbation_error(one, one, [1.0], groups="recurrent", parametrization="exp").error.round(3).tolist()  # e - 1 + 2 * 0.3532
    [2.425]
    """
    radii = _checks.radii(radii)
    method = _checks.choice(method, "method", METHODS)
    target = model if target is None and isinstance(model, ExponentialSum) else target
    exactly = isinstance(model, ExponentialSum) and isinstance(target, LinearFunctional) and method != "ascent"
    if not exactly:
        rest = (dt, horizon, bound, seed, perturbations, input_size, batch_first)
        return _searched(model, target, radii, groups, method, parametrization, hold, rest)
    check_pair(model, target)
    _refused(model, dt, bound, input_size, batch_first, hold)
    with one_thread():
        return _exactly(model, target, radii, _groups(groups), method, parametrization, (horizon, starts, perturbations, seed))


def _refused(model: ExponentialSum, dt: Any, bound: Any, input_size: Any, batch_first: Any, hold: Any) -> None:
    """What has no meaning for exact norms in continuous time."""
    unused(model, dt=dt, bound=bound, input_size=input_size)
    for name, value, none in (("dt", dt, None), ("batch_first", batch_first, None), ("hold", hold, False)):
        if value is not none:
            fix = "its norms are in continuous time, and no sequence is run: leave it out, or pass method='ascent'"
            raise _checks.fail(name, f"{none} for exact norms", value, fix)


def _exactly(
    model: ExponentialSum,
    target: LinearFunctional,
    radii: Array,
    names: tuple[str, ...],
    method: str,
    parametrization: Any,
    rest: tuple[Any, ...],
) -> PerturbationCurve:
    """Of exponential sums and linear targets, with exact norms."""
    horizon, starts, perturbations, seed = rest
    horizon = None if horizon is None else _checks.positive(horizon, "horizon", "pass None for the infinite horizon")
    starts = _checks.positive_int(starts, "starts", "both uniform shifts and the first gradient step are 3 of them", least=3)
    perturbations = _checks.positive_int(perturbations, "perturbations")
    map_ = get("direct" if parametrization is None else parametrization, fastest=float(model.rates.real.max()))
    method = "sample" if method == "sample" else "exact"
    seed = _checks.positive_int(seed, "seed", "pass a non-negative integer", least=0)
    target_norm = sobolev_distance(target, 0.0 * target, horizon=horizon)
    if target_norm <= 0:
        raise no_target(target)
    nominal = sobolev_distance(model, target, horizon=horizon)
    options = Options(horizon, starts, perturbations, seed, nominal)

    raw: dict[tuple[str, ...], Array] = {}
    together = Network(model, map_, names)
    for chosen in dict.fromkeys([names, *((name,) for name in names)]):
        search = _ascended if method == "exact" else _sampled
        raw[chosen] = search(Network(model, map_, chosen, fold=method == "exact"), target, radii, options)
    for part in raw:  # the ball of one group lies in the product of all
        if method == "exact":
            raw[names] = np.maximum(raw[names], raw[part])
    envelope = {key: np.maximum.accumulate(value) for key, value in raw.items()}
    return PerturbationCurve(
        radii=radii,
        error=envelope[names],
        raw=raw[names],
        by_group={name: envelope[(name,)] for name in names},
        divergence_radius=together.divergence_radius() if horizon is None else float("inf"),
        upper=certificate(together, nominal, radii),
        status=f"lower bound of the sup ({'ascent' if method == 'exact' else 'random sampling'}); each norm exact; `upper` bounds it from above",
        method=method,
        groups=names,
        parametrization=type(map_).__name__.lower(),
        ball="; ".join(BALLS[name] for name in names),
        horizon=horizon,
        width=model.width,
        target_norm=target_norm,
        seed=seed,
    )


def _searched(
    model: Any, target: Any, radii: Array, groups: Any, method: str, parametrization: Any, hold: Any, rest: tuple[Any, ...]
) -> PerturbationCurve:
    """By search over weights and inputs: modules, nonlinear targets, and method "ascent" of linear models."""
    from perdure.stability.nonlinear import measure
    from perdure.stability.nonlinear.held import HeldModes, HeldTarget, grid, held

    dt, horizon, *others = rest
    if method == "exact":
        raise _checks.fail(
            "method",
            "'auto', 'ascent' or 'sample' for this model and target",
            method,
            "exact values are for exponential sums and linear targets",
        )
    name = "sample" if method == "sample" else "ascent"
    if isinstance(model, ExponentialSum):
        map_ = get("direct" if parametrization is None else parametrization, fastest=float(model.rates.real.max()))
        endless, dt = horizon is None, None if dt is None else _checks.positive(dt, "dt", "it is the time between steps")
        dt, horizon = grid(model, target, dt, horizon)
        model = HeldModes(Network(model, map_, GROUPS), dt, endless)
        target = HeldTarget(target) if isinstance(target, LinearFunctional) else target
    elif parametrization is not None:
        raise _checks.fail("parametrization", "None for a module", parametrization, "a module is moved in the weights that it trains")
    elif isinstance(model, LinearFunctional):
        raise ArgumentTypeError(
            f"expected argument `model` to be an exponential sum or a torch module, but got {type(model).__name__}: the weights of a linear model are its "
            "rates and coefficients; call perdure.approximate(model, width) first"
        )
    elif hold:
        target = held(target, hold)
    with one_thread():
        return measure.curve(model, target, radii, groups, name, measure.options(model, dt, horizon, *others))


def _groups(groups: Any) -> tuple[str, ...]:
    chosen = [_checks.choice(name, "groups", ("all", *GROUPS)) for name in listed(groups)]
    return GROUPS if "all" in chosen else tuple(name for name in GROUPS if name in chosen)


def _ascended(network: Network, target: LinearFunctional, radii: Array, options: Options) -> Array:
    result = np.full(radii.shape, options.nominal)
    finite = radii < network.divergence_radius() if options.horizon is None else np.ones(radii.shape, bool)
    result[~finite] = np.inf
    moving = np.nonzero(finite & (radii > 0))[0]
    if moving.size:
        problem = Problem(network, target, options.horizon, options.starts, torch.Generator().manual_seed(options.seed + 1))
        samples = drawn(network, radii[moving], options.perturbations, options.seed)
        result[moving] = [value for value, _ in sup(problem, radii[moving], samples)]
    return result


def _sampled(network: Network, target: LinearFunctional, radii: Array, options: Options) -> Array:
    """The largest of random perturbations; a sample whose mode stops decaying has infinite norm."""
    result = np.full(radii.shape, options.nominal)
    moving = np.nonzero(radii > 0)[0]
    horizon = options.horizon
    for i, move in zip(moving, drawn(network, radii[moving], options.perturbations, options.seed), strict=True):
        radius = float(radii[i])
        rates, _ = network.moved(move)
        alpha = rates.real if rates.is_complex() else rates
        if horizon is None and not bool((alpha > 0).all()):
            result[i] = np.inf
            continue
        swings = network.swings(radius if horizon is not None or radius < network.divergence_radius() else 0.0)
        slowest = float(alpha.min()) if horizon is None else 1.0 / horizon
        nodes = Nodes(target, slowest, max(float(alpha.max()), 1e-290), swings, horizon)
        result[i] = max(exact(network, move, k, target, nodes, horizon) for k in range(options.perturbations))
    return result
