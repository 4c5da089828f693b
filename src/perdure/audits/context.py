"""What every part of an audit gets to see: the model, how to call it, what was found so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from perdure.audits.cost import Budget, Cost
from perdure.audits.served import Served

FEW = 8  # input directions where all channels are too many
FIT = 0.03  # seconds to find the decay law of a curve, about
SPARE = 2.0  # seconds that a measure may take beyond what was foreseen
MANY = 1024  # rows: more need no pieces


@dataclass
class Context:
    """An audit while it is under way.

    Attributes:
        call: the model as a sequence map (`perdure.adapters.adapt`); everything that measures takes it for the model.
        horizon: steps.
        dt: time between steps.
        bound: largest |x|_inf.
        seed: of all searches.
        dtype: of the measurement.
        data: the user's input sequences, (N, T, d), or None.
        lengths: multiples of the horizon.
        probes: of the memory part.
        memory: bytes that a call may take.
        cost: of the model's calls.
        budget: of the whole audit.
        tick: progress, called with a few words.
        found: data of the parts so far, by name.
        limit: largest number of steps the model takes, None for no limit known.
        hurried: whether the audit went over to single precision because the budget is too small for double.
    """

    call: Any
    horizon: int
    dt: float
    bound: float
    seed: int
    dtype: torch.dtype
    data: Any
    lengths: tuple[int, ...]
    probes: tuple[str, ...]
    memory: float
    cost: Cost
    budget: Budget
    tick: Callable[[str], None]
    found: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    hurried: bool = False

    @property
    def input_size(self) -> int:
        """Input channels, d."""
        return int(self.call.input_size)

    def known(self, name: str) -> bool | None:
        """A property of the model as it was measured: True, False, or None where it is undecided or was not asked."""
        found = self.found.get("properties")
        return None if found is None else found[name]["holds"]

    def allowed(self, foreseen: float) -> float | None:
        """Seconds for a measure that keeps a limit of its own and was foreseen to take so many; None without a budget."""
        if self.budget.seconds is None:
            return None
        return max(0.1, min(SPARE + 2 * self.budget.corrected(foreseen), 0.5 * self.budget.left))

    def served(self, steps: int, directions: int | None = None) -> Served | Any:
        """The model as it is, or behind `Served` where its rows must come in pieces or its input channels are too many."""
        rows = self.cost.rows_in(self.memory, steps)
        if directions is None and rows >= MANY:
            return self.call
        return Served(self.call, rows=None if rows >= MANY else rows, directions=directions, seed=self.seed)

    def options(self, horizon: int) -> dict[str, Any]:
        """Arguments of `perdure.memory_function` for the model or what `served` made of it."""
        return {"horizon": horizon, "dt": self.dt, "bound": self.bound, "dtype": self.dtype, "seed": self.seed}


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of numbers and text with None for what is not a number, so that it survives the way through JSON; infinity stays.

    >>> without_nan({"a": float("nan"), "b": float("inf"), "c": "x"})
    {'a': None, 'b': inf, 'c': 'x'}
    """
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


@dataclass(frozen=True)
class Way:
    """One way of measuring a part.

    Attributes:
        seconds: foreseen.
        run: does it; returns plain data.
        note: what is less than usual about it, "" for the full measurement.
    """

    seconds: float
    run: Callable[[], dict[str, Any]]
    note: str = ""
