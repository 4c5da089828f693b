"""A training that is ready to run: the copy, its methods, its first loss, and what tells it from every other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ModelError
from perdure.training import checkpoint, sequences
from perdure.training.adam import Adam
from perdure.training.loop import History, Method, Saver, unpacked
from perdure.training.problem import Problem, everything
from perdure.training.start import Start, stages, start
from perdure.training.task import Task, digest
from perdure.training.twin import Twin, check_outputs

LARGEST = 5000  # parameters of a Gauss-Newton step
HELD = 512  # sequences on which Adam's loss is measured
SQUARES = "mean square error on {} sequences"
SOBOLEV = "squared errors of outputs and slopes per size of the input, relative to the target's"
RELATIVE = "squared errors, relative to the outputs'"


@dataclass(frozen=True)
class AdamOptions:
    """The arguments of `fit` that concern Adam, checked.

    Attributes:
        count: sequences.
        inputs: "gaussian" or "uniform".
        length: time that they last.
        batch: sequences a step.
        lr: learning rate.
    """

    count: int
    inputs: str
    length: float
    batch: int
    lr: float


@dataclass(frozen=True)
class Plan:
    """See the module.

    Attributes:
        twin: the copy that is trained.
        stages: makers of its methods.
        history: before the first step.
        saver: of checkpoints.
        resumed: tensors and record to go on from.
        objective: the loss, in words.
        done: why there is nothing to train, or nothing.
        notes: in words.
    """

    twin: Twin
    stages: Sequence[Callable[[], Method]]
    history: History
    saver: Saver
    resumed: tuple[dict[str, Tensor], dict[str, Any]] | None
    objective: str
    done: str
    notes: tuple[str, ...]


def by_adam(model: nn.Module, task: Task, options: AdamOptions, *, seed: int, path: Path | None) -> Plan:
    """Adam on white sequences of a functional, or on data pairs."""
    twin = Twin(model, None, dt=task.dt, input_size=task.input_size)
    if task.pairs is not None:
        held = data = task.pairs
        held = tuple(part[:HELD] for part in held)
    else:
        data = task.drawn(options.count, options.inputs, options.length, seed)
        held = task.drawn(HELD, options.inputs, options.length, seed + 1)
    kind = {"device": twin.device, "dtype": twin.dtype}
    (x, y), (held_x, held_y) = ((part[0].to(**kind), part[1].to(**kind)) for part in (data, held))
    check_outputs(twin, x, y)
    if not bool((y != 0).any()):
        raise _checks.fail("target", "other than zero", "outputs that are all 0", "an error relative to nothing means nothing")
    settings = {"method": "adam", "lr": options.lr, "batch": options.batch, "seed": seed, "dt": task.dt}
    identity = _identity(settings, model, twin, x, y)
    resumed = None if path is None else checkpoint.load(path, identity)

    def method() -> Adam:
        return Adam(twin, (x, y), (held_x, held_y), lr=options.lr, batch=options.batch, seed=seed)

    return Plan(
        twin,
        [method],
        _history(twin, method().held(), resumed),
        Saver(path, identity, {"notes": []}, {}),
        resumed,
        SQUARES.format(len(held_x)),
        "",
        (),
    )


def by_residuals(model: nn.Module, task: Task, method: str, *, tail: bool, scale: float | None, seed: int, path: Path | None) -> Plan:
    """Gauss-Newton, L-BFGS, or what "auto" chooses."""
    twin = Twin(model, torch.float64, dt=task.dt, input_size=task.input_size)
    twin.model.eval()
    x, y = task.informative(seed)
    check_outputs(twin, x, y)
    functional = task.functional is not None
    problem = Problem(twin, x, y, task.dt, slope=functional, size=sequences.sizes(x, task.bound) if functional else None)
    settings = {"method": method, "tail": tail, "scale": scale, "seed": seed, "dt": task.dt, "bound": task.bound}
    identity = _identity(settings, model, twin, x, y)
    resumed = None if path is None else checkpoint.load(path, identity)
    if resumed is not None:
        plan = resumed[1]["plan"]
        kept = unpacked(resumed[0])["chosen"]
        chosen = {name: kept[name] for name in twin.learned if name in kept}  # in the order of the parameters: files sort theirs
        begun = Start(chosen, plan["then"], "", tuple(plan["notes"]))
    elif method == "auto":
        begun = start(task, problem, tail=tail, scale=scale)
    else:
        begun = Start(_all_of(problem) if method == "gauss-newton" else {}, False, "", ())
    with torch.no_grad():
        first = float(problem.loss())
    return Plan(
        twin,
        stages(problem, begun.chosen, begun.then),
        _history(twin, first, resumed),
        Saver(path, identity, {"notes": list(begun.notes), "then": begun.then}, begun.chosen),
        resumed,
        SOBOLEV if functional else RELATIVE,
        begun.done,
        begun.notes,
    )


def _all_of(problem: Problem) -> dict[str, Tensor]:
    """Every parameter, where a Gauss-Newton step in all of them is possible."""
    chosen = everything(problem.twin)
    total = sum(index.numel() for index in chosen.values())
    if total > LARGEST:
        raise ModelError(
            f"expected argument `model` to have at most {LARGEST} parameters for Gauss-Newton, but got {total}: use method='lbfgs'"
        )
    try:
        problem.jacobian({name: index[:1] for name, index in chosen.items()})
    except (RuntimeError, NotImplementedError, TypeError) as error:  # whatever an operation without a forward derivative raises
        raise ModelError(
            f"expected argument `model` to have a forward-mode derivative for Gauss-Newton, but got {str(error).splitlines()[0][:120]}: "
            "use method='lbfgs' or 'auto'"
        ) from error
    return chosen


def _identity(settings: dict[str, Any], model: nn.Module, twin: Twin, x: Tensor, y: Tensor) -> dict[str, Any]:
    shapes = {name: [str(p.dtype), *p.shape] for name, p in model.named_parameters() if name in twin.learned}
    return settings | {"model": repr(model), "parameters": shapes, "sequences": digest(x, y)}


def _history(twin: Twin, first: float, resumed: tuple[dict[str, Tensor], dict[str, Any]] | None) -> History:
    if resumed is None:
        history = History(twin.snapshot(), first)
        history.rows.append((0, "start", first, 0.0))
        return history
    groups, record = unpacked(resumed[0]), dict(resumed[1]["history"])
    record["rows"] = [tuple(row) for row in record["rows"]]
    return History(groups["best"], **record)
