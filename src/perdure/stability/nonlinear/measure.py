"""Distances and perturbation errors of any torch module, from the arguments to the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._random import isolated
from perdure._typing import Array, Tensor
from perdure.adapters import Frozen, adapt, frozen
from perdure.errors import ArgumentTypeError, ModelError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.quadrature import finite_w1
from perdure.stability.curve import PerturbationCurve
from perdure.stability.distance import SobolevDistance, no_target
from perdure.stability.nonlinear.ascent import Points
from perdure.stability.nonlinear.copies import Copies
from perdure.stability.nonlinear.gap import Gap, whole_steps
from perdure.stability.nonlinear.groups import Group, described, kinds, select
from perdure.stability.nonlinear.growth import Growth
from perdure.stability.nonlinear.held import HeldModes, sampled
from perdure.stability.nonlinear.inputs import patterns, starts
from perdure.stability.nonlinear.search import Search
from perdure.stability.nonlinear.slope import at_zero

STEPS = 256
KEPT = 3  # inputs of each size for the unmoved model
NEGLIGIBLE = 1e-10  # of the target's norm
MOST = 2**63 - 1
ROUNDED = 1e-9


@dataclass(frozen=True)
class Options:
    """How a model is measured.

    Attributes:
        dt: time between steps.
        steps: of the horizon.
        bound: largest |x|_inf.
        seed: of random inputs and directions.
        samples: random directions a radius.
        input_size, batch_first: as for `perdure.adapters.adapt`.
    """

    dt: float
    steps: int
    bound: float
    seed: int
    samples: int
    input_size: int | None
    batch_first: bool | None


def options(
    model: Any,
    dt: float | None,
    horizon: float | None,
    bound: float,
    seed: int,
    samples: int,
    input_size: int | None,
    batch_first: bool | None,
) -> Options:
    """Checked arguments; dt is the model's own where it has one, else 1, and the horizon 256 steps."""
    dt = _checks.positive((own_dt(model) or 1.0) if dt is None else dt, "dt", "it is the time between steps")
    steps = STEPS if horizon is None else whole_steps(horizon, dt)
    bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    seed = _checks.positive_int(seed, "seed", "pass a non-negative integer", least=0)
    if seed >= MOST:
        raise _checks.fail("seed", "below 2^63", seed, "torch's generators take no more")
    return Options(dt, steps, bound, seed, _checks.positive_int(samples, "perturbations"), input_size, batch_first)


def own_dt(model: Any) -> float | None:
    """The time between steps that a model says, as an attribute `dt` that is one number above zero: of Python, numpy or torch."""
    try:
        found = float(getattr(model, "dt", None))  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None
    return found if 0 < found < float("inf") else None


@dataclass(frozen=True)
class Case:
    """A model beside a target, ready to be searched."""

    search: Search
    module: nn.Module | None
    biases: frozenset[str]
    norm: float
    norm_status: str

    @cached_property
    def growth(self) -> Growth:
        """Which moves end the decay."""
        if self.module is None:
            raise TypeError("a callable has no weights to move")
        return Growth(self.gap, self.module)

    @property
    def gap(self) -> Gap:
        """Model and target."""
        return self.search.gap


@contextmanager
def case(model: Any, target: Any, chosen: Options) -> Iterator[Case]:
    """Frozen float64 copies of both; the originals are as they were afterwards."""
    with ExitStack() as stack:
        stack.enter_context(isolated(chosen.seed))
        stack.enter_context(torch.inference_mode(False))
        twin = _twin(stack, model, "model")
        call = adapt(twin.model, input_size=chosen.input_size, dt=chosen.dt, batch_first=chosen.batch_first)
        module = twin.model if isinstance(twin.model, nn.Module) else None
        copies = Copies(call, module)
        goal = _goal(target, call, chosen, stack)
        generator = torch.Generator().manual_seed(chosen.seed + 1)
        shapes = patterns(getattr(target, "functional", target), chosen.steps, call.input_size, chosen.dt, generator)
        given = shapes[: min(4, len(shapes))] * chosen.bound
        _check(call, given, "model")
        if target is not None:
            _check(goal, given, "target")
        gap = Gap(copies, goal, chosen.dt, chosen.steps, call.input_size)
        gap.settle(False)
        gap.set_late(given)
        table = {} if module is None else kinds(module)
        recurrent, biases = (frozenset(name for name, (group, _) in table.items() if group == wanted) for wanted in ("recurrent", "bias"))
        search = Search(gap, starts(shapes, chosen.bound), recurrent, chosen.samples, chosen.seed)
        norm, status = _norm(target, goal, search, chosen)
        if norm <= 0:
            raise no_target(target)
        yield Case(search, module, biases, norm, status)


def _twin(stack: ExitStack, model: Any, name: str) -> Frozen:
    """A frozen copy in float64; one that cannot be copied must be in float64 itself."""
    twin = stack.enter_context(frozen(model, torch.float64))
    if twin.dtype != torch.float64:
        raise ModelError(
            f"expected argument `{name}` to allow copy.deepcopy, or to be in float64, but got {'; '.join(twin.notes)}: convert it by {name}.double()"
        )
    return twin


def distance(model: Any, target: Any, chosen: Options) -> SobolevDistance:
    """The Sobolev distance of two maps, of which one at least is not linear."""
    with case(model, target, chosen) as ready:
        point = ready.search.nominal(keep=KEPT)
    level, slope = point.scores.level[0], point.scores.slope[0]
    at_level, at_slope = int(level.argmax()), int(slope.argmax())
    rows = point.x.shape[1]
    rules = [
        f", {role} {rule}" for role, value in (("the model", model), ("against the target", target)) if (rule := sampled(value, chosen.dt))
    ]
    status = (
        f"lower bound: best of {rows} inputs after conditional-gradient ascent (steps, switches, noise, the target's worst linear inputs; three sizes up "
        f"to |x| = {chosen.bound:g}) on {chosen.steps} steps of dt = {chosen.dt:g}{''.join(rules)}{_noted(ready.gap)}"
    )
    return SobolevDistance(
        float(level.max() + slope.max()), status=status, level=float(level.max()), slope=float(slope.max()),
        level_input=point.x[0, at_level].numpy(), slope_input=point.x[0, at_slope].numpy(),
        horizon=chosen.steps * chosen.dt, dt=chosen.dt, bound=chosen.bound,
    )  # fmt: skip


def curve(model: Any, target: Any, radii: Array, groups: Any, method: str, chosen: Options) -> PerturbationCurve:
    """E_m(beta) of a module."""
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"expected argument `model` to be a torch module or an exponential sum, but got {type(model).__name__}: its weights are to be moved"
        )
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    wanted = select(model, groups, trained)
    with case(model, target, chosen) as ready:
        nominal = ready.search.rows(ready.search.nominal(keep=KEPT), KEPT)
        together = Group("all", {name: kind for group in wanted for name, kind in group.balls.items()})
        parts = [together, *(wanted if len(wanted) > 1 else [])]
        found = []
        for group in parts:
            found.append(_of_group(ready, group, nominal, radii, method))
            nominal = max(nominal, found[-1].zero, key=lambda point: float(point.total()))
        infinite = _infinite(ready)
        slopes = [_slope(ready, group, nominal, part.smallest) for group, part in zip(parts, found, strict=True)]
    names = [group.name for group in wanted]
    joint, single = found[0], dict(zip(names, found[1:] or found, strict=True))
    least = max(float(part.zero.total()) for part in found)
    raw = np.maximum(joint.raw, least)
    for part in single.values():  # the ball of one group lies in the product of all
        raw = np.maximum(raw, part.raw)
    rule = sampled(target, chosen.dt)
    how = "ascent from several starts" if method == "ascent" else f"{chosen.samples} random directions of full length"
    return PerturbationCurve(
        radii=radii,
        error=np.maximum.accumulate(raw),
        raw=raw,
        by_group={name: np.maximum.accumulate(np.maximum(part.raw, least)) for name, part in single.items()},
        divergence_radius=min(joint.edge, *(part.edge for part in single.values())),
        upper=np.full(radii.shape, np.inf),
        status=(
            f"lower bound of the sup over weights ({how}) and inputs (ascent, |x| <= {chosen.bound:g}) on {chosen.steps} steps of dt = {chosen.dt:g}"
            f"{', against the target ' if rule else ''}{rule}; {infinite}{_noted(ready.gap)}"
        ),
        method=method,
        groups=tuple(names),
        parametrization=_map_name(model),
        ball=described(wanted),
        horizon=chosen.steps * chosen.dt,
        width=size if isinstance(size := getattr(model, "hidden_size", 0), int) else 0,
        target_norm=ready.norm,
        seed=chosen.seed,
        slope=slopes[0],
        slope_by_group=dict(zip(names, slopes[1:] or slopes, strict=True)),
        dt=chosen.dt,
        bound=chosen.bound,
    )


@dataclass(frozen=True)
class Found:
    """E of one choice of groups at every radius, the best point without a move, the radius from which it is infinite, and the smallest positive radius with its best point."""

    raw: Array
    zero: Points
    edge: float
    smallest: tuple[float, Points] | None


def _of_group(ready: Case, group: Group, nominal: Points, radii: Array, method: str) -> Found:
    search, gap, balls = ready.search, ready.gap, group.balls
    gap.settle(any(name in ready.biases for name in balls))  # a moved bias moves the state of rest
    wanted = torch.as_tensor(np.union1d([0.0], radii))  # what is found at any radius is tried without a move too
    best = (search.sup if method == "ascent" else search.sampled)(balls, wanted, nominal)
    value = best.total().numpy().copy()
    ends = _known if isinstance(ready.module, HeldModes) else _watched
    edge = ends(ready, balls, wanted, best, value, method)
    zero = best[torch.tensor([0])]
    smallest = (float(wanted[1]), best[torch.tensor([1])]) if method == "ascent" and wanted.numel() > 1 else None
    return Found(value[np.searchsorted(wanted.numpy(), radii)], zero, edge, smallest)


def _watched(ready: Case, balls: dict[str, str], wanted: Tensor, best: Points, value: Array, method: str) -> float:
    """The radius from which something grows; values from there on become infinite."""
    search, edge = ready.search, float("inf")
    row = best.scores.level.argmax(1)
    x = best.x[torch.arange(row.numel()), row][:, None]
    ways = [best.moves, *((search.shifts(balls, wanted) or []) if method == "ascent" else [])]
    grown = [ready.growth.grows(moves, x) for moves in ways]  # a shift may end the decay where it is not the worst on the horizon
    endless = torch.stack(grown).any(0).numpy() | np.isinf(value)
    if endless.any():
        first = int(endless.argmax())
        edge, value[first:] = float(wanted[first]), np.inf
        at, low = torch.tensor([first]), float(wanted[max(0, first - 1)])
        for moves, grows in zip(ways, grown, strict=True) if method == "ascent" and first else ():
            if bool(grows[first]):
                found = ready.growth.threshold({name: move[at] for name, move in moves.items()}, x[at], low, float(wanted[first]))
                edge = min(edge, found)
    return edge


def _known(ready: Case, balls: dict[str, str], wanted: Tensor, best: Points, value: Array, method: str) -> float:
    """The same of a linear model, known from its rates: of samples each one that no longer decays is infinite."""
    model, search = ready.module, ready.search
    assert isinstance(model, HeldModes)  # as its caller has seen
    edge = model.divergence_radius(balls)
    if method == "ascent":
        value[wanted.numpy() >= edge] = np.inf
    else:
        drawn = search.drawn(balls, wanted.repeat_interleave(search.samples))
        value[model.endures(drawn).view(wanted.numel(), -1).any(1).numpy()] = np.inf
    return edge


def _infinite(ready: Case) -> str:
    """What is called infinite, in words."""
    if not isinstance(ready.module, HeldModes):
        return ready.growth.described()
    if not ready.module.endless:
        return "on a finite horizon no norm is infinite"
    return "infinite where a mode no longer decays, known from the rates; past the horizon nothing is seen of those that do"


def _slope(ready: Case, group: Group, nominal: Points, smallest: tuple[float, Points] | None) -> float:
    if smallest is None:
        return float("nan")
    ready.gap.settle(any(name in ready.biases for name in group.balls))
    return at_zero(ready.gap, group.balls, nominal, smallest[1], smallest[0], NEGLIGIBLE * ready.norm)


def _goal(target: Any, call: Any, chosen: Options, stack: ExitStack) -> Callable[[Tensor], Tensor]:
    """The target as a map of float64 tensors; None stands for the model as it is."""
    if target is None:
        return call
    if isinstance(target, nn.Module):
        target = _twin(stack, target, "target").model
    size = chosen.input_size or getattr(target, "input_size", None) or call.input_size
    if size != call.input_size:
        raise _checks.fail("model", f"of the target's input size {size}", call.input_size, "compare maps of the same input")
    if isinstance(target, LinearFunctional):
        return lambda x: target(x, dt=chosen.dt)
    if not callable(target):
        raise ArgumentTypeError(
            f"expected argument `target` to be a functional, a module, a callable or None, but got {type(target).__name__}: see perdure.functionals"
        )
    return adapt(target, input_size=size, dt=chosen.dt)


def _check(call: Any, x: Tensor, name: str) -> None:
    """Finite outputs, the same at every call, from each sequence by itself and from its past alone."""
    middle = x.shape[1] // 2
    with torch.no_grad():
        y, again = call(x), call(x)
        others = call(torch.cat([0.5 * x[:-1], x[-1:]]))
        future = call(torch.cat([x[:, :middle], -0.5 * x[:, middle:]], 1))
    if not bool(torch.isfinite(y).all()):
        raise ModelError(f"expected argument `{name}` to give finite outputs, but got NaN or infinity: try a smaller `bound` or `horizon`")
    for rule, got, one, other in (
        ("give the same outputs for the same inputs", "others at the second call: switch off what is random, and any state that is kept from call to call", y, again),
        ("treat each sequence of a batch by itself", "an output that moves with the other sequences: pass batch_first=False if its first axis is time", y[-1], others[-1]),
        ("be causal", "an output that moves with later inputs: take one direction of a bidirectional layer, mask attention, pad a convolution on the left", y[:, :middle], future[:, :middle]),
    ):  # fmt: skip
        if not bool(torch.allclose(one, other, rtol=ROUNDED, atol=ROUNDED * float(y.abs().max()) + 1e-12)):
            raise ModelError(f"expected argument `{name}` to {rule}, but got {got}")


def _noted(gap: Gap) -> str:
    """What else a reader of the result should know."""
    late = "; the maps are not the same at all times: taken at the end of the horizon" if gap.late else ""
    return late + ("; no derivatives to climb with: the best of the starts" if gap.blind else "")


def _norm(target: Any, goal: Callable[[Tensor], Tensor], search: Search, chosen: Options) -> tuple[float, str]:
    """||H||_{W1} on the horizon: exact for a linear functional, else a lower bound."""
    horizon = chosen.steps * chosen.dt
    target = getattr(target, "functional", target)
    if isinstance(target, LinearFunctional):
        return finite_w1(target._kernel, target._kernel_derivative, target.mesh(), horizon), "exact"
    warmup = search.gap.warmup
    alone = Search(Gap(Copies(goal, None), None, chosen.dt, chosen.steps, search.gap.size), search.pool, frozenset(), 1, chosen.seed)
    alone.gap.warmup = warmup
    return float(alone.nominal().total()), "lower bound"


def _map_name(model: nn.Module) -> str:
    """The parametrisation of the recurrent weight where the model says one."""
    for part in model.modules():
        found = getattr(part, "map", None)
        if isinstance(found, nn.Module):
            return type(found).__name__.lower()
    return "direct"
