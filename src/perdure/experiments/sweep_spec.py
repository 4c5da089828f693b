"""What a user's own sweep is made of: lists whose every combination is a cell, and which combinations make no sense."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from perdure import functionals as F
from perdure.errors import ArgumentError, PerdureError
from perdure.experiments.base import Job, Spec
from perdure.functionals.base import LinearFunctional
from perdure.ops.recurrence import get_activation
from perdure.parametrizations import BY_NAME as MAPS
from perdure.parametrizations.structures import BY_NAME as STRUCTURES

GROUPS = ("recurrent", "input", "readout", "bias")
WIDEST = 4096


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not yes or no")
    return value


Number = Annotated[float, BeforeValidator(_no_truth)]
Whole = Annotated[int, BeforeValidator(_no_truth)]


class Target(Spec):
    """A functional by its kind and parameters, written as one text in the table."""

    def functional(self) -> LinearFunctional:
        """The functional itself."""
        values = self.model_dump()
        return getattr(F, values.pop("kind"))(**values)

    def __str__(self) -> str:
        values = self.model_dump()
        kind = values.pop("kind")
        return f"{kind}({', '.join(f'{name}={list(v) if isinstance(v, tuple) else v!r}' for name, v in values.items())})"


class Polynomial(Target):
    """(1 + t/scale)^-power."""

    kind: Literal["polynomial"]
    power: Number = 1.5
    scale: Number = 1.0


class Exponential(Target):
    """e^(-rate t)."""

    kind: Literal["exponential"]
    rate: Number = 1.0


class Oscillating(Target):
    """e^(-rate t) cos(frequency t)."""

    kind: Literal["oscillating"]
    rate: Number = 1.0
    frequency: Number = 1.0


class Shift(Target):
    """A pulse of a width around a delay."""

    kind: Literal["shift"]
    delay: Number = 1.0
    width: Number = 0.1


class Airy(Target):
    """Airy's function from an offset on."""

    kind: Literal["airy"]
    offset: Number = 2.0


class ExponentialSum(Target):
    """Sum of coefficient e^(-rate t)."""

    kind: Literal["exponential_sum"]
    rates: tuple[Number, ...]
    coefficients: tuple[Number, ...]


KINDS: dict[str, type[Target]] = {
    "polynomial": Polynomial,
    "exponential": Exponential,
    "oscillating": Oscillating,
    "shift": Shift,
    "airy": Airy,
    "exponential_sum": ExponentialSum,
}
AnyTarget = Annotated[Polynomial | Exponential | Oscillating | Shift | Airy | ExponentialSum, Field(discriminator="kind")]


@cache
def target_of(text: str) -> LinearFunctional:
    """The functional of a text that a target gave.

    >>> target_of("polynomial(power=1.5, scale=1.0)")
    Polynomial(power=1.5, scale=1)
    """
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)  # written by `Target.__str__`
    assert isinstance(call.func, ast.Name)
    values = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    return KINDS[call.func.id].model_validate({"kind": call.func.id, **values}).functional()


class SweepSpec(Spec):
    """A grid: every combination of the lists is a cell.

    Attributes:
        title: of the page.
        targets: functionals, each {kind: ..., parameters}.
        widths: states m.
        activations: "linear" for exponential sums of least error, else networks placed and trained by `perdure.fit`.
        parametrizations: maps of the trained value.
        structures: of the recurrent weight of networks; "usual" is dense for direct, else diagonal, or symmetric where the activation is never negative.
        groups: of weights that move: "recurrent", "input", "readout", "bias", several joined by "+", or "all".
        seeds: of the training and the search.
        radii: beta, increasing.
        dt: time between steps of networks.
        horizon: time that the inputs of networks last; linear ones are measured on [0, inf).
        bound: largest |x| of the inputs of networks.
        perturbations: random directions among the starts of a search.
    """

    title: str = "sweep"
    targets: Annotated[tuple[AnyTarget, ...], Field(min_length=1)]
    widths: Annotated[tuple[Annotated[Whole, Field(ge=1, le=WIDEST)], ...], Field(min_length=1)]
    activations: Annotated[tuple[str, ...], Field(min_length=1)] = ("linear",)
    parametrizations: Annotated[tuple[str, ...], Field(min_length=1)] = ("direct", "exp")
    structures: Annotated[tuple[str, ...], Field(min_length=1)] = ("usual",)
    groups: Annotated[tuple[str, ...], Field(min_length=1)] = ("recurrent",)
    seeds: Annotated[tuple[Annotated[Whole, Field(ge=0, lt=2**32)], ...], Field(min_length=1)] = (0,)
    radii: Annotated[tuple[Annotated[Number, Field(ge=0)], ...], Field(min_length=1)] = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
    dt: Annotated[Number, Field(gt=0)] = 0.1
    horizon: Annotated[Number, Field(gt=0)] = 25.6
    bound: Annotated[Number, Field(gt=0)] = 1.0
    perturbations: Annotated[Whole, Field(ge=1, le=100_000)] = 8

    @field_validator("targets")
    @classmethod
    def _buildable(cls, value: tuple[Target, ...]) -> tuple[Target, ...]:
        for target in value:
            target.functional()  # raises an error that names the parameter
        return value

    @field_validator("activations")
    @classmethod
    def _activations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            get_activation(name)
        return value

    @field_validator("parametrizations", "structures")
    @classmethod
    def _names(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        allowed = list(MAPS) if info.field_name == "parametrizations" else ["usual", *STRUCTURES]
        for name in value:
            if name not in allowed:
                raise ValueError(f"Input should be among {', '.join(allowed)}; {name!r} is not")
        return value

    @field_validator("groups")
    @classmethod
    def _known_groups(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        found = []
        for name in value:
            parts = {part.strip() for part in name.split("+")}
            if name != "all" and parts - set(GROUPS):
                raise ValueError(f"Input should be all, or some of {', '.join(GROUPS)} joined by +; {name!r} is not")
            found.append("all" if name == "all" else "+".join(group for group in GROUPS if group in parts))
        return tuple(found)  # in one order, so that two names of the same groups are one cell

    @field_validator("radii")
    @classmethod
    def _increasing(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in itertools.pairwise(value)):
            raise ValueError("Input should be increasing, without repeats")
        return value

    @field_validator("targets", "widths", "activations", "parametrizations", "structures", "groups", "seeds")
    @classmethod
    def _different(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        for i, one in enumerate(value):
            if one in value[:i]:
                raise ValueError(f"Input should be without repeats; {one} is there twice")
        return value


def cells(spec: SweepSpec) -> tuple[list[Job], dict[str, str]]:
    """The cells that make sense, and of the combinations left out which and why.

    Raises:
        ArgumentError: none makes sense.
    """
    jobs: dict[tuple[Any, ...], Job] = {}
    skipped: dict[str, str] = {}
    for activation in spec.activations:
        for map_ in spec.parametrizations:
            for structure in spec.structures:
                for group in spec.groups:
                    found = _structure(spec, activation, map_, structure, group)
                    if isinstance(found, str):
                        skipped[f"{activation}, {map_}, {structure}, {group}"] = found
                        continue
                    for job in _grid(spec, activation, map_, found[0], group):
                        if tuple(job.values()) in jobs:
                            skipped[f"{activation}, {map_}, {structure}, {group}"] = (
                                f"usual means {found[0]} here, which is in the list too"
                            )
                        jobs[tuple(job.values())] = job
    if not jobs:
        reasons = "; ".join(dict.fromkeys(skipped.values()))
        raise ArgumentError(
            f"expected one combination of activation, parametrization, structure and group at least to make sense, but all are left out ({reasons}): "
            "add to these lists"
        )
    order = {str(target): i for i, target in enumerate(spec.targets)}
    return sorted(jobs.values(), key=lambda job: order[str(job["target"])]), skipped


def _grid(spec: SweepSpec, activation: str, map_: str, structure: str | None, group: str) -> list[Job]:
    linear = activation == "linear"
    rest = {"radii": " ".join(repr(radius) for radius in spec.radii), "perturbations": spec.perturbations,
            "dt": None if linear else spec.dt, "horizon": None if linear else spec.horizon, "bound": None if linear else spec.bound}  # fmt: skip
    return [
        {
            "target": str(target),
            "width": m,
            "activation": activation,
            "parametrization": map_,
            "structure": structure,
            "group": group,
            "seed": seed,
            **rest,
        }
        for target in spec.targets
        for m in spec.widths
        for seed in spec.seeds
    ]


def _structure(spec: SweepSpec, activation: str, map_: str, structure: str, group: str) -> tuple[str | None] | str:
    """What "usual" means there; or why the combination makes no sense."""
    if activation == "linear":
        if structure != "usual":
            return "a linear model is an exponential sum, which has rates and no structure: leave structures at usual"
        return "an exponential sum has no bias" if "bias" in group else (None,)
    from perdure.nn import ContinuousRNN
    from perdure.training.verdict import usual_structure

    name = usual_structure(activation, map_) if structure == "usual" else structure
    try:
        for m in spec.widths:
            ContinuousRNN(1, m, activation=activation, parametrization=map_, structure=name, dt=spec.dt, output_size=1, device="meta")
    except PerdureError as error:
        return str(error)
    return (name,)


def sweep_spec(values: Mapping[str, Any]) -> SweepSpec:
    """A spec from plain values.

    Raises:
        ArgumentError: the first thing that is wrong, in one line.
    """
    from pydantic import ValidationError

    from perdure.experiments.sweep_errors import explained

    try:
        return SweepSpec.model_validate(dict(values))
    except ValidationError as error:
        raise ArgumentError(explained(error, SweepSpec)) from None
