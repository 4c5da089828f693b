"""L-BFGS on a `Problem`, by torch's optimiser with a strong Wolfe search, with a state that can be written down."""

from __future__ import annotations

from typing import Any

import torch

from perdure._typing import Tensor
from perdure.training.problem import Problem

ITERATIONS, HISTORY = 20, 40  # iterations that count as one step here; pairs remembered
WALL = 1e3  # times the loss
LISTS = ("old_dirs", "old_stps", "ro")


class LBFGS:
    """Steps of twenty iterations.

    Attributes:
        rolled_back: trial steps to NaN or infinity, from which the search turned back.
        finished: why no further step can be taken, or None.
    """

    name = "lbfgs"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rolled_back = 0
        self.finished: str | None = None
        self._last = 0.0
        self._optimizer = self._new()

    def _new(self) -> torch.optim.LBFGS:
        return torch.optim.LBFGS(
            list(self.problem.twin.learned.values()),
            max_iter=ITERATIONS, history_size=HISTORY, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe",
        )  # fmt: skip

    def _closure(self) -> Tensor:
        """The loss; where it or its gradient is not finite, a wall, from which the search turns back."""
        self._optimizer.zero_grad()
        loss = self.problem.loss()
        loss.backward()
        learned = self.problem.twin.learned.values()
        if bool(torch.isfinite(loss)) and all(bool(torch.isfinite(p.grad).all()) for p in learned if p.grad is not None):
            return loss
        self.rolled_back += 1
        for p in learned:
            p.grad = torch.zeros_like(p)
        return torch.full_like(loss, WALL * self._last)

    def step(self) -> float:
        """Twenty iterations; the loss afterwards."""
        twin = self.problem.twin
        before, loss = twin.snapshot(), self._now()
        self._last = loss
        self._optimizer.step(self._closure)
        now = self._now()
        if not now < loss:
            twin.restore(before)
            self.finished = "no step lowers the loss"
            return loss
        return now

    @torch.no_grad()
    def _now(self) -> float:
        return float(self.problem.loss())

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a later continuation needs besides the weights."""
        record: dict[str, Any] = {
            "finished": self.finished,
            "rolled_back": self.rolled_back,
            "numbers": {},
            "lists": {},
        }
        tensors: dict[str, Tensor] = {}
        for name, value in next(iter(self._optimizer.state_dict()["state"].values()), {}).items():
            if name in LISTS:
                record["lists"][name] = len(value or [])
                tensors |= {f"{name}.{i}": item for i, item in enumerate(value or [])}
            elif isinstance(value, Tensor):
                tensors[name] = value
            elif isinstance(value, int | float):
                record["numbers"][name] = value
        return tensors, record

    def load(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Back to a `state`."""
        self.finished, self.rolled_back = record["finished"], record["rolled_back"]
        self._optimizer = self._new()
        state: dict[str, Any] = {name: value for name, value in tensors.items() if "." not in name} | record["numbers"]
        for name, count in record["lists"].items():
            state[name] = [tensors[f"{name}.{i}"] for i in range(count)]
        if state:
            whole = self._optimizer.state_dict()
            self._optimizer.load_state_dict({**whole, "state": {0: state}})
