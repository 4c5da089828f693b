r"""The verdict on stable approximation by nonlinear networks: one trained for each width, moved and searched.

The question and the rules are those of `perdure.stability.verdict`. What differs: the models are `perdure.nn.ContinuousRNN`s that `perdure.fit` places and trains, and both E_m(0) and E_m(beta)
are lower bounds from a search over inputs and weights on a finite horizon (`perdure.perturbation_error`), except that a radius at which the state of rest loses its stability is found from
the spectrum, whatever the horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._random import isolated
from perdure._typing import Array
from perdure.errors import ArgumentTypeError, ModelError
from perdure.functionals.base import LinearFunctional
from perdure.nn import ContinuousRNN
from perdure.ops.recurrence import get_activation
from perdure.parametrizations import Parametrization, get
from perdure.stability import verdict as linear
from perdure.stability.curve import PerturbationCurve
from perdure.stability.linearise import linearise
from perdure.stability.nonlinear.groups import kinds
from perdure.stability.perturbation import perturbation_error
from perdure.stability.verdict import Verdict, judge
from perdure.training.fit import fit

RISING = ("relu", "sigmoid", "softplus")  # sigma >= 0: a state can only rise, and a linear one is a pair of them, coupled


def stable_approximation(
    target: LinearFunctional | Any,
    *,
    parametrization: str | Parametrization = "exp",
    activation: str = "linear",
    widths: Sequence[int] | Any = (4, 8, 16, 32, 64),
    groups: str | Sequence[str] = "recurrent",
    radii: Sequence[float] | Array | None = None,
    threshold: float = 0.1,
    seed: int | Any = 0,
    structure: str | None = None,
    dt: float = 0.1,
    horizon: float = 25.6,
    bound: float = 1.0,
    perturbations: int = 8,
    tick: Callable[[int], None] | None = None,
) -> Verdict:
    r"""Whether networks of growing width approximate a functional so that nudged weights keep the memory (Wang, Li & Li 2024, Def. 3.5).

    With the linear activation the models are exponential sums of least W1 error, and norms are exact on [0, inf): see
    `perdure.stability.verdict`. With another one each width is a `ContinuousRNN` placed and trained by `perdure.fit`, and E_m(beta) a lower bound of the
    supremum, on a finite horizon. Either way the outcome is about that family of models, the groups that are moved and their norms, not a theorem about all models.

    Args:
        target: a functional; a linear one for linear networks.
        parametrization: map of the trained value to the recurrent eigenvalue (see `perdure.parametrizations`).
        activation: of the networks, by name.
        widths: m, increasing; at least four for a decision.
        groups: which weights are moved (see `perturbation_error`). With the readout or the input among them, unnormalised modes of a slow
            target fail under every parametrisation.
        radii: beta for the curves; None takes 0 and 24 values from 1e-4 to 2 (12 for nonlinear networks).
        threshold: relative to ||H||_{W1}.
        seed: of training and of random starts.
        structure: of the recurrent weight of nonlinear networks; None takes "dense" for "direct", for the other maps "diagonal", or "symmetric" where
            sigma is never negative.
        dt: time between steps of nonlinear networks.
        horizon: time that inputs last, for nonlinear networks. A stable verdict on the readout or the input needs one beyond the slowest time constant.
        bound: largest |x|_inf, for nonlinear networks.
        perturbations: random directions among the starts, for nonlinear networks.
        tick: called with each width when its network is trained, for progress.

    Returns:
        A `Verdict`; its `family` says what was judged.

    Raises:
        ValueError: unknown names, widths not increasing, threshold outside (0, 1), a target that is 0.
        TypeError: widths that are no sequence of integers, a target that is no functional.

    >>> from perdure import functionals as F
    >>> stable_approximation(F.polynomial(power=2.0), parametrization="direct", widths=(8, 16, 32, 64)).outcome
    'unstable'
    """
    get_activation(activation)
    if activation == "linear" and structure is None:
        return linear.stable_approximation(
            target, parametrization=parametrization, widths=widths, groups=groups, radii=radii, threshold=threshold, seed=seed
        )
    if not callable(target):
        raise ArgumentTypeError(
            f"expected argument `target` to be a functional, but got {type(target).__name__}: build one with perdure.functionals"
        )
    sizes = linear.widths_of(widths)
    seed = _checks.positive_int(seed, "seed", "pass a non-negative integer", least=0)
    threshold = linear.threshold_of(threshold)
    common = np.concatenate([[0.0], np.geomspace(1e-4, 2.0, 12)]) if radii is None else _checks.radii(radii)
    dt = _checks.positive(dt, "dt", "it is the time between steps")
    name = type(get(parametrization, fastest=1.0 / dt)).__name__.lower()
    structure = usual_structure(activation, name) if structure is None else structure
    models, stops = trained(target, sizes, activation, parametrization, structure, dt, horizon, seed, tick)
    options = Searched(target, 1.0, common, threshold, groups, name, seed, horizon, bound, perturbations)
    return judged(models, f"{structure} {activation} networks trained by perdure.fit ({stops})", options)


def usual_structure(activation: str, parametrization: str) -> str:
    """The structure of W that is judged unless another is asked for: the paper's plain matrix for "direct", a diagonal where that can do it.

    >>> usual_structure("tanh", "direct"), usual_structure("tanh", "exp"), usual_structure("relu", "exp")
    ('dense', 'diagonal', 'symmetric')
    """
    if parametrization == "direct":
        return "dense"
    return "symmetric" if activation in RISING else "diagonal"


def trained(
    target: Any, widths: Sequence[int], activation: str, parametrization: str | Parametrization, structure: str, dt: float, horizon: float, seed: int,
    tick: Callable[[int], None] | None = None,
) -> tuple[dict[int, ContinuousRNN], str]:  # fmt: skip
    """A network for each width, and why their trainings stopped."""
    models: dict[int, ContinuousRNN] = {}
    stops: dict[str, None] = {}
    for m in widths:
        with isolated(seed):
            model = ContinuousRNN(
                1, m, activation=activation, parametrization=parametrization, structure=structure, dt=dt, output_size=1, batch_first=True, dtype=torch.float64
            )  # fmt: skip
            stops[fit(model, target, dt=dt, horizon=horizon, seed=seed).stopped] = None
        models[m] = model
        if tick is not None:
            tick(m)
    return models, "; ".join(stops)


def judged(models: dict[int, ContinuousRNN], family: str, options: Searched) -> Verdict:
    """The verdict on trained networks; `options.level` is the relative threshold.

    A readout or input weight of a mode that outlasts the horizon moves more than the horizon shows: there "stable" becomes "undecided".
    """
    size = options.curve(next(iter(models.values())), np.array([0.0])).target_norm
    options = replace(options, size=size, level=options.level * size)
    found = judge(family, models, options)
    seen = f"inputs last {options.horizon:g}: what happens to memory beyond that is not seen"
    slowest = _slowest(models[max(models)])
    if found.outcome == "stable" and not _recurrent_only(models[max(models)], found.groups) and slowest > options.horizon:
        words = f"{found.reason}; but {seen}, and the slowest time constant at m = {max(models)} is {slowest:.3g}: take a horizon beyond it, or move the recurrent weights alone"
        return replace(found, outcome="undecided", beta0=None, reason=words, parametrization=options.parametrization)
    return replace(found, reason=f"{found.reason} ({seen})", parametrization=options.parametrization)


def _recurrent_only(model: ContinuousRNN, groups: Sequence[str]) -> bool:
    """Whether all that is moved belongs to the recurrent weight."""
    named = {name: kind for name, (kind, _) in kinds(model).items()}
    return all(
        g == "recurrent" or (g not in named.values() and all(k == "recurrent" for n, k in named.items() if n.startswith(g))) for g in groups
    )


def _slowest(model: ContinuousRNN) -> float:
    """The slowest time constant at rest, in units of time."""
    try:
        return float(linearise(model).time_constant) * model.dt
    except ModelError:
        return float("inf")


@dataclass(frozen=True)
class Searched(linear.Options):
    """How networks are moved and searched."""

    horizon: float
    bound: float
    perturbations: int

    def nominal(self, model: Any, curve: PerturbationCurve) -> float:
        """E_m(0), as the search found it."""
        if curve.radii[0] == 0:
            return float(curve.error[0])
        return float(self.curve(model, np.array([0.0])).error[0])

    def coefficients(self, model: Any) -> float:
        """Sum of the readout's sizes."""
        return float(model.readout.weight.detach().abs().sum())

    def curve(self, model: Any, radii: Array) -> PerturbationCurve:
        """E_m on some radii."""
        return perturbation_error(
            model,
            self.target,
            radii,
            groups=self.groups,
            seed=self.seed,
            perturbations=self.perturbations,
            horizon=self.horizon,
            bound=self.bound,
        )
