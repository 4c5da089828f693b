r"""The recurrent parts of a module at rest: whether one is unstable, and whether that matters to what the module does with its inputs.

A recurrent layer inside a module rests under the input that it gets when the module gets none. The module is run on no input, each of its recurrent parts answering at once what it answers
at rest, so that the next one sees the constant that it sees in the end. Parts that stand behind or beside one another make a step of the whole that is block triangular: its eigenvalues are
those of the parts. An unstable one counts if inputs reach it and outputs show it (`perdure.stability.nonlinear.modes`). What reaches a part is watched in its inputs while the module gets a
small pulse; what shows of it, in the module's outputs while the part's output gets one. What arrives at different steps counts as independent, so that an input which cancels at just the
frequency of the unstable mode counts as one that reaches it.

A part is understood if `perdure.linearise` understands it, the module calls it once, with a sequence and no state, and its input on no input is a constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure._typing import Array, Tensor
from perdure.errors import ModelError
from perdure.stability.cells import LAYERS, kind_of
from perdure.stability.equilibrium import Equilibrium, find, newton
from perdure.stability.nonlinear.modes import SMALL, grows, output_at, reached_by, seen_in
from perdure.stability.step_map import StepMap, flat_start, step_map

MARGIN, STILL, STEPS = 1e-12, 1e-14, 2000  # above 1; of a state at rest; of a run that looks for it
CONSTANT = 1e-9  # relative: an input that no longer changes
BENT = 1e-3  # of the slope: a kink at rest
LARGEST = 512  # states of a part inside a module: an eigenvalue problem for every move


@dataclass(frozen=True)
class Resting:
    """A part where it comes to rest, or which it leaves for infinity: its name, module, constant input (d,), step map and equilibrium."""

    name: str
    module: nn.Module
    x: Array
    map: StepMap
    near: Equilibrium

    @property
    def smooth(self) -> bool:
        """Whether the step has a derivative here that tells both sides: relu has not where it is 0."""
        by = SMALL * (1.0 + np.abs(self.near.state).max())
        moves = by * np.concatenate([np.eye(self.map.size), np.ones((1, self.map.size))])
        up, down, here = self.map.many(self.near.state + moves), self.map.many(self.near.state - moves), self.map(self.near.state)
        return bool(np.abs(up + down - 2 * here).max() <= BENT * np.abs(up - down).max())


class Parts:
    """The recurrent parts of a module, which may be one itself.

    Args:
        call: the module as a map (B, T, d) -> (B, T, o), with its weights as they are at the call.
        module: the module.
        steps: T, how long it is run.
        size: d.

    Attributes:
        names: of the parts that are understood and smooth at rest; "" for the module itself.
    """

    def __init__(self, call: Callable[[Tensor], Tensor], module: nn.Module, steps: int, size: int) -> None:
        self._call, self._steps, self._size = call, steps, size
        self._guesses: dict[str, Array] = {}
        self._parts: dict[str, nn.Module] = {}
        self.names: tuple[str, ...] = ()
        for parts in ({"": module} if _looks_recurrent(module) else {}, dict(_inside(module))):
            self._parts = parts
            found = self.rests()
            if found:
                self._guesses = {each.name: each.near.state for each in found}
                self._parts = {each.name: each.module for each in found}
                self.names = tuple(each.name for each in found if each.smooth)
                return
        self._parts = {}

    def unstable(self) -> bool:
        """Whether outputs grow away from the rest of a part."""
        return any(self._grows(each) for each in self.rests())

    def rests(self) -> list[Resting]:
        """The parts that come to rest with the weights as they are, in the order in which they are called."""
        if "" in self._parts:
            found = self._tried("", self._parts[""], np.zeros(self._size))
            return [] if found is None else [found]
        found, calls, busy = [], Counter(), [False]

        def answer(name: str, part: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            if busy[0]:  # a step map may call the part itself
                return None
            calls[name] += 1
            busy[0] = True
            try:
                x = self._constant(part, args, kwargs)
                each = None if x is None else self._tried(name, part, x)
                if each is None:
                    return None
                still = output_at(part, each.map, each.near.state[None])[0]
            finally:
                busy[0] = False
            found.append(each)
            y = _sequence(output)
            return _with_sequence(output, still.to(y).expand_as(y).clone())

        if self._parts:
            with ExitStack() as stack:
                for name, part in self._parts.items():
                    hook = lambda m, a, k, y, name=name: answer(name, m, a, k, y)  # noqa: E731
                    stack.callback(part.register_forward_hook(hook, with_kwargs=True).remove)
                self._call(torch.zeros(1, self._steps, self._size, dtype=torch.float64))
        return [each for each in found if calls[each.name] == 1]

    def _constant(self, part: nn.Module, args: Any, kwargs: Any) -> Array | None:
        """The input (d,) of a part once it no longer changes; None where it does, or where more than one sequence is given."""
        given, *rest = [*args, *kwargs.values()]
        size: Any = part.input_size
        shape = (1, self._steps, size) if getattr(part, "batch_first", False) else (self._steps, 1, size)
        if any(other is not None for other in rest) or not isinstance(given, Tensor) or tuple(given.shape) != shape:
            return None
        rows = given.detach().reshape(self._steps, size).double().cpu().numpy()
        late = np.abs(rows[self._steps // 2 :] - rows[-1]).max()
        return rows[-1] if late <= CONSTANT * (1.0 + np.abs(rows[-1]).max()) else None

    def _tried(self, name: str, part: nn.Module, x: Array) -> Resting | None:
        try:
            return self._resting(name, part, x)
        except Exception:  # no rest, numbers too large to be told apart, or whatever a `step` that means something else may raise
            return None

    def _resting(self, name: str, part: nn.Module, x: Array) -> Resting | None:
        map_ = step_map(part, x, None, None)
        if name and map_.size > LARGEST:
            return None
        start, guess = flat_start(map_, None), self._guesses.get(name)
        near: Equilibrium | None = None
        if guess is None:
            near = find(map_, start, STEPS)
            seen_in(part, map_, near.state)  # for what it may raise
            return Resting(name, part, x, map_, near)
        if np.abs(map_(guess) - guess).max() <= STILL:
            near = Equilibrium(guess, map_.jacobian(guess), 0.0, 0.0)
        else:
            near = newton(map_, guess)
        if near is None or (np.abs(start - near.state).max() > STILL and _largest(near) > 1 + MARGIN):
            near = find(map_, start, STEPS)  # the run may end elsewhere
            leaves = near.motion is not None and near.motion.kind == "diverging"
            if not leaves and near.status == "not reached":
                return None
        return Resting(name, part, x, map_, near)

    def _grows(self, each: Resting) -> bool:
        try:
            if _largest(each.near) <= 1 + MARGIN:
                return False
            reached, seen = reached_by(each.module, each.near.state, each.x), seen_in(each.module, each.map, each.near.state)
            if each.name:
                reached, seen = reached @ self._arriving(each), self._showing(each, len(seen)) @ seen
            return grows(each.near.jacobian, reached, seen, MARGIN)
        except (ModelError, np.linalg.LinAlgError):  # numbers too large to be told apart: the response will tell
            return False

    def _arriving(self, each: Resting) -> Array:
        """Changes of the part's input (d_part, K) after a pulse in each channel of the module's input."""
        caught: list[Tensor] = []
        catch = lambda _, args, kwargs: caught.append([*args, *kwargs.values()][0].detach())  # noqa: E731
        hook = each.module.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            self._call(_pulses(self._size, self._steps, SMALL))
        finally:
            hook.remove()
        given = caught[0] if getattr(each.module, "batch_first", False) else caught[0].transpose(0, 1)
        changes = _halved(given, SMALL).reshape(-1, given.shape[-1])
        return changes[np.abs(changes).max(1) > 0].T if np.isfinite(changes).all() else np.eye(given.shape[-1])

    def _showing(self, each: Resting, size: int) -> Array:
        """Changes of the module's outputs (K, o_part) after a pulse in each channel of the part's output."""
        by = SMALL * (1.0 + float(np.abs(each.near.state).max()))
        pulses = _pulses(size, self._steps, by)

        def push(part: nn.Module, _: Any, output: Any) -> Any:
            y = _sequence(output)
            return _with_sequence(output, y + (pulses if getattr(part, "batch_first", False) else pulses.transpose(0, 1)).to(y))

        hook = each.module.register_forward_hook(push)
        try:
            y = self._call(torch.zeros(2 * size, self._steps, self._size, dtype=torch.float64))
        finally:
            hook.remove()
        changes = _halved(y, by).reshape(size, -1).T
        return changes[np.abs(changes).max(1) > 0] if np.isfinite(changes).all() else np.eye(size)


def _looks_recurrent(module: nn.Module) -> bool:
    layer = kind_of(module) is not None and isinstance(module, LAYERS)
    return layer or (hasattr(module, "step") and hasattr(module, "input_size"))


def _inside(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules inside that look recurrent, with their names."""
    for key, child in module.named_children():
        full = f"{name}.{key}" if name else key
        if _looks_recurrent(child):
            yield full, child
        else:
            yield from _inside(child, full)


def _largest(near: Equilibrium) -> float:
    return float(np.abs(np.linalg.eigvals(near.jacobian)).max())


def _sequence(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _with_sequence(output: Any, y: Tensor) -> Any:
    return (y, *output[1:]) if isinstance(output, tuple) else y


def _pulses(size: int, steps: int, by: float) -> Tensor:
    """A pulse up in each channel, then one down, half way: (2 d, T, d)."""
    x = torch.zeros(2, size, steps, size, dtype=torch.float64)
    x[:, :, steps // 2] = by * torch.stack([torch.eye(size), -torch.eye(size)]).double()
    return x.flatten(0, 1)


def _halved(y: Tensor, by: float) -> Array:
    """Central differences (d, T, o) of outputs (2 d, T, o) for pulses up and down."""
    up, down = y.detach().double().cpu().chunk(2)
    return ((up - down) / (2 * by)).numpy()
