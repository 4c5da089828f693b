"""The family of models that the theorem is checked on: what may be in it, the radii it is moved by, and what it does not give."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from perdure import _checks
from perdure._typing import Array
from perdure.approximation import approximate
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.parametrizations import Direct, Parametrization, get
from perdure.parametrizations.structures import Complex, Dense, Diagonal, Structure
from perdure.stability.curve import PerturbationCurve
from perdure.stability.network import folded
from perdure.stability.norm import check_pair
from perdure.stability.perturbation import perturbation_error

EDGE = (0.9, 0.98, 1.0, 1.02)  # of the divergence radius at the largest width
COUNT = 13
GROWTH = 2.0  # weights whose norm grows by more than this over the family are not bounded, as far as it goes
PROVED = ("linear", "tanh", "hardtanh")


def checked_map(parametrization: Any) -> None:
    """Refuse what the theorem does not speak of."""
    if not isinstance(get(parametrization), Direct):
        name = parametrization if isinstance(parametrization, str) else type(parametrization).__name__
        fix = (
            "the theorem moves W itself. With W = g(v) a radius in v is another quantity, a stable g survives any of them, and no decay follows: "
            "see perdure.stable_approximation for verdicts there"
        )
        raise _checks.fail("parametrization", "'direct'", name, fix)


def family_of(target: Any, models: Any, widths: Any) -> dict[int, Any]:
    """The models by width, increasing; built for a linear target where none are given."""
    if models is None:
        if not isinstance(target, LinearFunctional):
            fix = "models are built for linear functionals only: train some, for example {16: perdure.nn.ContinuousRNN(...), 32: ...}"
            raise _checks.fail("models", "given for a target that is no linear functional", None, fix)
        if target.norm() == 0:
            raise _checks.fail("target", "other than zero", repr(target), "nothing is to be remembered: the theorem says nothing")
        return {m: approximate(target, m) for m in _widths(widths)}
    if isinstance(models, Mapping):
        family = {_checks.positive_int(m, "models", "its keys are widths"): model for m, model in models.items()}
    elif isinstance(models, Sequence) and not isinstance(models, str):
        for model in models:
            if not isinstance(model, ExponentialSum):
                raise ArgumentTypeError(
                    f"expected argument `models` to be a dict {{width: model}}, but got a list with {type(model).__name__}: only exponential sums tell their width"
                )
        family = {model.width: model for model in models}
        if len(family) < len(models):
            raise _checks.fail("models", "of different widths", [model.width for model in models], "keep one of each width")
    else:
        raise ArgumentTypeError(f"expected argument `models` to be a dict {{width: model}} or None, but got {type(models).__name__}")
    if not family:
        raise _checks.fail("models", "non-empty", models, "pass models of at least three widths, or None for a linear target")
    for model in family.values():
        _check_model(model, target)
    return dict(sorted(family.items()))


def _check_model(model: Any, target: Any) -> None:
    if isinstance(model, ExponentialSum):
        if isinstance(target, LinearFunctional):
            check_pair(model, target)
        return
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"expected argument `models` to hold exponential sums or torch modules, but got {type(model).__name__}: their weights are to be moved"
        )
    dt = getattr(model, "dt", None)
    if not isinstance(dt, int | float) or not dt > 0:
        fix = "the theorem is about dh/dt = sigma(W h + U x + b): pass perdure.nn.ContinuousRNN, or a module of yours with an attribute dt, the time of its steps"
        raise _checks.fail("models", "in continuous time", type(model).__name__, fix)
    for part in model.modules():
        derived = isinstance(part, Structure) and not isinstance(part, Diagonal | Complex | Dense)
        if derived or (isinstance(part, Parametrization) and not isinstance(part, Direct)) or is_parametrized(part):
            fix = 'the theorem moves W itself: build it with parametrization="direct" and a structure that holds W as it is ("diagonal", "complex" or "dense")'
            raise _checks.fail("models", "parametrised directly", type(part).__name__, fix)
    own, wanted = getattr(model, "input_size", None), getattr(target, "input_size", None)
    if isinstance(own, int) and isinstance(wanted, int) and own != wanted:
        raise _checks.fail("models", f"of the target's input size {wanted}", own, "compare maps of the same input")


def _widths(widths: Any) -> list[int]:
    if isinstance(widths, str) or not isinstance(widths, Sequence | np.ndarray):
        raise ArgumentTypeError(
            f"expected argument `widths` to be a sequence of integers, but got {widths!r}: for example (4, 8, 16, 32, 64)"
        )
    sizes = [_checks.positive_int(m, "widths") for m in widths]
    if not sizes or sorted(set(sizes)) != sizes:
        raise _checks.fail("widths", "non-empty and strictly increasing", list(widths), "for example (4, 8, 16, 32, 64)")
    return sizes


def chosen_radii(family: dict[int, Any], target: Any, radii: Any, groups: Any) -> Array:
    """0 and positive radii; by default those around the divergence radii of linear models."""
    names = [groups] if isinstance(groups, str) else list(groups)
    if not {"all", "recurrent"} & set(names):
        fix = "the theorem moves W; the readout and the input alone leave every decay as it is"
        raise _checks.fail("groups", "'recurrent' or a list with it", groups, fix)
    if radii is not None:
        given = _checks.radii(radii)
        if not (given > 0).any():
            raise _checks.fail("radii", "positive somewhere", given.tolist(), "stability is asked at positive radii")
        return np.unique(np.concatenate([[0.0], given]))
    if not all(isinstance(model, ExponentialSum) for model in family.values()) or not isinstance(target, LinearFunctional):
        return np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 13)])
    edges = [perturbation_error(model, target, [0.0], groups=groups).divergence_radius for model in family.values()]
    finite = [edge for edge in edges if math.isfinite(edge)]
    if not finite:
        return np.concatenate([[0.0], np.geomspace(1e-3, 1.0, COUNT)])
    spread = np.geomspace(1e-2 * min(finite), 0.9 * max(finite), COUNT)
    return np.unique(np.concatenate([[0.0], spread, [EDGE[1] * edge for edge in finite], [share * finite[-1] for share in EDGE]]))


def options(value: Any, argument: str, function: Any, fixed: tuple[str, ...]) -> dict[str, Any]:
    """Options for a function, by names that it takes and that are not `fixed` otherwise."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ArgumentTypeError(
            f"expected argument `{argument}` to be a dict of options for {function.__name__}, but got {type(value).__name__}: name them"
        )
    allowed = [name for name in inspect.signature(function).parameters if name not in fixed]
    return {_checks.choice(name, argument, allowed): given for name, given in value.items()}


def curves_of(
    family: dict[int, Any], target: Any, radii: Array, groups: Any, search: dict[str, Any], seed: int
) -> dict[int, PerturbationCurve]:
    """E_m on common radii by width; models of the same modes in more copies share theirs."""
    curves: dict[int, PerturbationCurve] = {}
    before: tuple[int, Any] | None = None
    for m, model in family.items():
        if before is not None and groups == "recurrent" and _same(before[1], model):
            curves[m] = replace(curves[before[0]], width=m)
        else:
            own = {"perturbations": 1} if isinstance(model, ExponentialSum) and isinstance(target, LinearFunctional) else {}
            curves[m] = perturbation_error(model, target, radii, groups=groups, **{**own, "seed": seed, **search})
        before = (m, model)
    return curves


def _same(one: Any, other: Any) -> bool:
    """Whether two sums are the same modes in different numbers of copies, which move alike where only the rates do."""
    if not (isinstance(one, ExponentialSum) and isinstance(other, ExponentialSum)):
        return False
    (rates, weights), (rates2, weights2) = folded(*one.modes()), folded(*other.modes())
    return rates.size == rates2.size and bool(np.array_equal(rates, rates2)) and bool(np.allclose(weights, weights2, rtol=1e-12, atol=0))


def warnings_of(family: dict[int, Any], curves: dict[int, PerturbationCurve]) -> list[str]:
    """What the theorem asks and a family does not give."""
    said = []
    sums = {m: model for m, model in family.items() if isinstance(model, ExponentialSum)}
    for name, size in (
        ("|W|, the fastest rate,", lambda model: float(np.abs(model.rates).max())),
        ("sum |a_k|, input times readout,", lambda model: float(np.abs(model.coefficients).sum())),
    ):
        values = {m: size(model) for m, model in sums.items()}
        if values and max(values.values()) > GROWTH * values[min(values)]:
            said.append(
                f"the theorem asks for weights that stay bounded over the widths: {name} goes from {values[min(values)]:.3g} at m = {min(values)} to "
                f"{values[max(values)]:.3g} at m = {max(values)}, so that another family may behave otherwise"
            )
    kinds = {str(getattr(model, "activation", "")) for model in family.values()} - {"", *PROVED}
    if kinds:
        said.append(f"the theorem is proved for tanh- and hardtanh-like activations, not for {', '.join(sorted(kinds))}")
    if any("lower bound" in curve.status for curve in curves.values()) and any(curve.horizon is not None for curve in curves.values()):
        said.append("the curves are lower bounds on a finite horizon: an error that was not found, or comes later, is not in them")
    return said
