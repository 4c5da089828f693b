"""Steps until one of the reasons to stop, with the best weights kept and everything written down on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from perdure._typing import Tensor
from perdure.training import checkpoint
from perdure.training.twin import Twin

GAIN = 0.98  # of the best loss: less than that within `patience` steps counts as no progress


@runtime_checkable
class Method(Protocol):
    """A way to take steps. It undoes those that lead to NaN or infinity, and counts them."""

    name: str
    rolled_back: int
    finished: str | None

    def step(self) -> float:
        """One step; the loss afterwards."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a later continuation needs besides the weights."""
        ...

    def load(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Back to a `state`."""
        ...


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes:
        steps: at most so many.
        tolerance: as soon as the loss is at most this.
        patience: after so many steps without progress; None for never.
        seconds: after so many; None for never.
    """

    steps: int
    tolerance: float
    patience: int | None
    seconds: float | None

    @property
    def idle(self) -> str:
        """Why to stop without progress."""
        return f"less than {100 * (1 - GAIN):.0f} % gained in {self.patience} steps"


@dataclass
class History:
    """What happened so far.

    Attributes:
        best: the weights of the least loss.
        rows: (step, method, loss, seconds).
    """

    best: dict[str, Tensor]
    best_loss: float
    best_step: int = 0
    rolled_back: int = 0
    stopped: str = ""
    rows: list[tuple[int, str, float, float]] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.rows[-1][0] if self.rows else 0

    @property
    def seconds(self) -> float:
        """Seconds spent."""
        return self.rows[-1][3] if self.rows else 0.0

    def add(self, twin: Twin, method: str, loss: float, seconds: float) -> None:
        """One more step."""
        self.rows.append((self.step + 1, method, loss, seconds))
        if loss < self.best_loss:
            self.best, self.best_loss, self.best_step = twin.snapshot(), loss, self.step

    def stalled(self, patience: int | None, since: int) -> bool:
        """Whether the best of the last `patience` losses, all after step `since`, is hardly better than the best before them."""
        if patience is None or self.step - since <= patience:
            return False
        losses = [row[2] for row in self.rows]
        return min(losses[-patience:]) > GAIN * min(losses[:-patience])


class Saver:
    """Writes a checkpoint after every step, or nothing without a path.

    Attributes:
        identity: which training it is.
        plan: what was decided at the start.
        chosen: tensors that belong to the plan.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any], plan: dict[str, Any], chosen: dict[str, Tensor]) -> None:
        self.path, self.identity, self.plan, self.chosen = path, identity, plan, chosen

    def save(self, twin: Twin, history: History, stage: int, method: Method | None, since: int) -> None:
        """One file with all of it."""
        if self.path is None:
            return
        tensors, record = method.state() if method is not None else ({}, None)
        groups = {"now": twin.snapshot(), "best": history.best, "method": tensors, "chosen": self.chosen}
        flat = {f"{group}/{name}": t for group, named in groups.items() for name, t in named.items()}
        own = {name: getattr(history, name) for name in ("best_loss", "best_step", "rolled_back", "stopped", "rows")}
        whole = {"identity": self.identity, "plan": self.plan, "stage": stage, "since": since, "method": record, "history": own}
        checkpoint.save(self.path, flat, whole)


def unpacked(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The groups of a checkpoint's tensors."""
    groups: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "method": {}, "chosen": {}}
    for name, t in tensors.items():
        group, _, own = name.partition("/")
        groups[group][own] = t
    return groups


def train(
    twin: Twin,
    stages: Sequence[Callable[[], Method]],
    limits: Limits,
    history: History,
    saver: Saver,
    *,
    resumed: tuple[dict[str, Tensor], dict[str, Any]] | None = None,
    callback: Callable[[int, float], Any] | None = None,
) -> History:
    """Take steps, stage by stage, until there is a reason to stop; `history` says which, and holds the best weights.

    Args:
        twin: the model, changed.
        stages: each makes a method; the next one begins where the one before cannot go on or makes no progress.
        limits: when to stop.
        history: what happened before.
        saver: of checkpoints.
        resumed: tensors and record of a checkpoint, to go on from.
        callback: called with step and loss after each, when the checkpoint is written.
    """
    stage, since, method = 0, 0, None
    if resumed is not None:
        groups, record = unpacked(resumed[0]), resumed[1]
        stage, since = record["stage"], record["since"]
        twin.restore(groups["now"])
        if record["method"] is not None:
            method = stages[stage]()
            method.load(groups["method"], record["method"])
    start, rolled = time.perf_counter() - history.seconds, history.rolled_back - (0 if method is None else method.rolled_back)
    history.stopped = ""
    while not history.stopped:
        history.stopped = reason(history, limits)
        if history.stopped:
            break
        if method is not None and (method.finished is not None or history.stalled(limits.patience, since)):
            why = method.finished or limits.idle
            stage, since, rolled, method = stage + 1, history.step, history.rolled_back, None
            if stage >= len(stages):
                history.stopped = why
                break
        if method is None:
            method = stages[stage]()
        loss = method.step()
        history.add(twin, method.name, loss, time.perf_counter() - start)
        history.rolled_back = rolled + method.rolled_back
        saver.save(twin, history, stage, method, since)
        if callback is not None:
            callback(history.step, loss)
    return history


def reason(history: History, limits: Limits) -> str:
    """Why to stop whatever the method, or nothing."""
    if history.best_loss <= limits.tolerance:
        return f"loss at most {limits.tolerance:g}"
    if history.step >= limits.steps:
        return f"{limits.steps} steps"
    if limits.seconds is not None and history.seconds >= limits.seconds:
        return f"{limits.seconds:g} seconds"
    return ""
