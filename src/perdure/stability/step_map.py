r"""A recurrent model for a constant input: the map of its flattened state over one step, and that map's Jacobian.

Three kinds of models: recurrent layers and cells of `torch.nn` (written out in `perdure.stability.cells`), modules with
`step(x, state) -> (y, state)` such as `perdure.nn.ContinuousRNN` and `DiagonalSSM`, and functions `step(h, x) -> h`.

Jacobian of a map that takes batches: with n copies of h as rows, d( sum_i f_i(row i) ) / d(row i) is row i of J, so that one
backward pass gives all of it. A function of single states is differentiated output by output, and checked against a central difference in one
direction: one that leaves torch's graph is differenced in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.errors import ArgumentTypeError, ModelError
from perdure.stability.cells import Block, kind_of, stacked, two_ways

KNOWN = (
    "a torch.nn.RNN, GRU, LSTM or cell of these, a module with step(x, state) -> (y, state) such as perdure.nn.ContinuousRNN, "
    "or a function step(h, x) -> h"
)


@dataclass(frozen=True)
class StepMap:
    """h -> step(h, x) with x held constant.

    Attributes:
        step: the map on states (B, n).
        blocks: name and shape of each part of the state, in order.
        x: the input, (d,), or what a function was given.
        dt: time of a step.
        euler: whether a step is Euler's for a differential equation, so that (J - I)/dt is the equation's own Jacobian.
        single: whether the model takes one state at a time.
        dtype: of the states.
        device: of the states.
        notes: what a reader of the result should know; filled as things are found.
    """

    step: Callable[[Tensor], Tensor]
    blocks: tuple[Block, ...]
    x: Array | None
    dt: float
    euler: bool
    single: bool = False
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """n, numbers in the state."""
        return sum(int(np.prod(shape)) for _, shape in self.blocks)

    @property
    def eps(self) -> float:
        """Relative spacing of the numbers that states are held in."""
        return float(torch.finfo(self.dtype).eps)

    @torch.no_grad()
    def many(self, h: Array) -> Array:
        """The map on states (B, n)."""
        return self.step(self.tensor(h)).double().cpu().numpy()

    def __call__(self, h: Array) -> Array:
        """The map on one state (n,)."""
        return self.many(h[None])[0]

    def tensor(self, h: Array) -> Tensor:
        """A state or states as the model takes them."""
        return torch.as_tensor(np.ascontiguousarray(h)).to(self.device, self.dtype)

    def jacobian(self, h: Array) -> Array:
        """J (n, n) at the state h (n,)."""
        if self.single:
            return self._jacobian_of_one(h)
        with torch.enable_grad():
            rows = self.tensor(h).repeat(self.size, 1).requires_grad_(True)
            (found,) = torch.autograd.grad(self.step(rows).diagonal().sum(), rows)
        return found.double().cpu().numpy()

    def _jacobian_of_one(self, h: Array) -> Array:
        with torch.enable_grad():
            given = self.tensor(h)[None].requires_grad_(True)
            new = self.step(given)[0]
            rows = [torch.autograd.grad(y, given, retain_graph=True, allow_unused=True)[0] for y in new] if new.requires_grad else []
        if rows and all(row is not None for row in rows):
            found = torch.cat(rows).double().cpu().numpy()
            along = np.random.default_rng(0).choice([-1.0, 1.0], self.size)
            if np.abs(found @ along - self._difference(h, along)).max() <= self.eps**0.25 * (1.0 + np.abs(found).sum(1).max()):
                return found
        note = "the step map has no derivative that torch can follow, or another one than its values say: differentiated by central differences"
        if note not in self.notes:
            self.notes.append(note)
        return np.stack([self._difference(h, unit) for unit in np.eye(self.size)], 1)

    def _difference(self, h: Array, along: Array) -> Array:
        by = self.eps ** (1 / 3) * (1.0 + np.abs(h).max())
        ends = self.many(np.stack([h + by * along, h - by * along]))
        return (ends[0] - ends[1]) / (2 * by)


def step_map(model: Any, x: Any, dt: float | None, start: Any) -> StepMap:
    """The step map of a model, or of a frozen copy of it (see `perdure.linearise` for the arguments)."""
    kind = kind_of(model)
    if kind is not None:
        given = _input(x, model.input_size)
        step, blocks = stacked(model, kind, torch.as_tensor(given))
        return StepMap(step, tuple(blocks), given, 1.0 if dt is None else dt, euler=kind == "gru")
    if isinstance(model, nn.Module) and hasattr(model, "step") and hasattr(model, "input_size"):
        return _stepper(model, x, dt)
    if not callable(model) or (isinstance(model, nn.Module) and start is None):
        fix = "pass the recurrent part of it; for a module whose forward is a step map, pass `start` as well"
        raise ArgumentTypeError(f"expected argument `model` to be {KNOWN}, but got {type(model).__name__}: {fix}")
    return _function(model, x, 1.0 if dt is None else dt, start)


def flat_start(map_: StepMap, start: Any) -> Array:
    """`start` as a flattened state (n,): None for zeros; of an LSTM also a pair (h_0, c_0), each like torch's.

    Raises:
        ArgumentError: a wrong count of numbers, NaN.
    """
    if start is None:
        return np.zeros(map_.size)
    layers = sum(name.startswith("c_l") for name, _ in map_.blocks)
    if layers and isinstance(start, tuple) and len(start) == 2:
        h, c = (_array(part, "start") for part in start)
        whole = h.size % layers == 0 and c.size % layers == 0
        start = np.concatenate([h.reshape(layers, -1), c.reshape(layers, -1)], 1) if whole else np.concatenate([h.ravel(), c.ravel()])
    found = _array(start, "start").reshape(-1)
    if found.size != map_.size:
        parts = " + ".join(f"{int(np.prod(shape))} ({name})" for name, shape in map_.blocks)
        raise _checks.fail("start", f"of {map_.size} numbers, {parts}", found.size, "leave it out to start from zero")
    return found


def _array(value: Any, name: str) -> Array:
    return _checks.finite_array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value, name)


def _input(x: Any, size: int) -> Array:
    if x is None:
        return np.zeros(size)
    found = np.atleast_1d(_array(x, "x"))
    if found.shape != (size,):
        raise _checks.fail("x", f"of shape ({size},), one number an input channel", found.shape, "it is held constant: pass one time step")
    return found


def _stepper(model: Any, x: Any, dt: float | None) -> StepMap:
    """A module with step(x, state) -> (y, state), the batch on axis 1 of the state (layers first)."""
    if getattr(model, "bidirectional", False):
        raise two_ways()
    own = getattr(model, "dt", None)
    if own is not None and dt is not None and dt != float(own):
        raise _checks.fail("dt", f"None or {float(own):g}, the time between steps of the model", dt, "leave it out: the model is asked")
    given = _input(x, int(model.input_size))
    parameter = next(model.parameters(), torch.zeros(0, dtype=torch.float64))
    row = torch.as_tensor(given).to(parameter.device, parameter.dtype if parameter.is_floating_point() else torch.float64)
    _, state = model.step(row[None], None)
    if not isinstance(state, Tensor) or state.ndim < 3 or state.shape[1] != 1:
        got = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
        raise ModelError(
            f"expected argument `model` to have step(x, state) return a state (layers, B, ...), but got {got}: pass a function step(h, x) -> h"
        )
    layers, rest = state.shape[0], tuple(state.shape[2:])
    each = int(np.prod(rest))

    def step(h: Tensor) -> Tensor:
        before = h.reshape(-1, layers, *rest).transpose(0, 1)
        _, after = model.step(row.expand(h.shape[0], -1), before)
        return after.transpose(0, 1).reshape(-1, layers * each)

    blocks = tuple((f"h_l{k}", rest) for k in range(layers))
    length = 1.0 if own is None and dt is None else float(own if dt is None else dt)  # type: ignore[arg-type]
    return StepMap(step, blocks, given, length, getattr(model, "integrator", "") == "euler", dtype=state.dtype, device=state.device)


def _function(model: Callable[..., Any], x: Any, dt: float, start: Any) -> StepMap:
    """A function of one state of the shape of `start`."""
    if start is None:
        fix = "pass a start such as torch.zeros(n), for a function does not tell the shape of its state"
        raise _checks.fail("start", "given for a step map", None, fix)
    shape = tuple(_array(start, "start").shape)
    if int(np.prod(shape)) == 0:
        raise _checks.fail("start", "non-empty", shape, "a state has at least one number")
    floating = isinstance(start, Tensor) and start.is_floating_point()
    dtype = start.dtype if floating else torch.float64
    device = start.device if isinstance(start, Tensor) else torch.device("cpu")
    given = None if x is None else torch.as_tensor(_array(x, "x")).to(device, dtype)

    def step(h: Tensor) -> Tensor:
        new = [model(row.reshape(shape), given) for row in h]
        for y in new:
            if not isinstance(y, Tensor) or tuple(y.shape) != shape:
                got = f"one of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
                raise ModelError(
                    f"expected argument `model` to map a state of shape {shape} to another, a tensor, but got {got}: return the new state"
                )
        return torch.stack([y.to(device, dtype).reshape(-1) for y in new])

    seen = None if given is None else given.detach().double().cpu().numpy()
    return StepMap(step, (("h", shape),), seen, dt, euler=False, single=True, dtype=dtype, device=device)
