"""Train a model on a functional or on data pairs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._threads import one_thread
from perdure.training import checkpoint as files
from perdure.training.error import relative_w1
from perdure.training.loop import Limits, train
from perdure.training.plan import AdamOptions, Plan, by_adam, by_residuals
from perdure.training.result import FitResult
from perdure.training.sequences import KINDS
from perdure.training.task import Task, check_step, read
from perdure.training.twin import check_model

METHODS = ("auto", "gauss-newton", "lbfgs", "adam")
PROTOCOLS = ("paper",)
PAPER = 3.2  # time up to which Wang, Li & Li train, of the 10 on which they test
EPOCHS, STEPS = 1000, 100
MSE, EXACT = 1e-8, 1e-24  # losses at which to stop
PATIENCE = 10
ON_DATA = "root of the mean square error on the data, relative to that of the outputs"


def fit(
    model: nn.Module | Any,
    target: Any,
    *,
    dt: float = 0.1,
    horizon: float = 10.0,
    method: str = "auto",
    protocol: str | None = None,
    seed: int | Any = 0,
    bound: float = 1.0,
    tail: bool = True,
    scale: float | None = None,
    train_horizon: float | None = None,
    inputs: str = "gaussian",
    sequences: int | Any = 12_800,
    batch: int | Any = 128,
    lr: float = 0.005,
    steps: int | Any = None,
    tolerance: float | None = None,
    patience: int | Any = None,
    max_seconds: float | None = None,
    checkpoint: str | Path | None = None,
    callback: Callable[[int, float], Any] | None = None,
) -> FitResult:
    r"""Train a model on a functional or on data, in place: the one thing in perdure that changes the model it is given.

    The parameters change when this returns, and not before: an interruption leaves them as they were. Methods:

    * "auto": a `ContinuousRNN` of one layer with one output starts from the exponential sum that is closest to the target's linear part
      (`perdure.approximate`), placed so that its activation hardly bends (`perdure.training.placement`). Where the network then does what the
      sum does, that is all. Otherwise Gauss-Newton steps follow, from the better of that start and the weights as given, or L-BFGS where a
      Jacobian would be too large.
    * "gauss-newton" (Levenberg-Marquardt) and "lbfgs": from the weights as given, in float64 and evaluation mode, on informative sequences of
      size `bound`: steps, pulses, switching signs, noise. The loss is the quadratic counterpart of the W1 norm: squared errors of outputs
      and of their slopes. With Gauss-Newton steps the linear readout of a ContinuousRNN is solved for. Weights are rounded to the model's type at the end.
    * "adam": mean square error on white sequences, in the model's own type and in training mode; a step is an epoch.

    A linear functional is learned, and measured, as what `target(x, dt)` gives: the rectangle rule y_k = dt sum_j rho(j dt)^T x_{k-j}, O(dt) from the functional in continuous time, about
    dt rho(0) / 2 in the steady state. Take a smaller dt to be nearer, or `perdure.sobolev_distance(..., hold=True)` to measure on held inputs.

    Args:
        model: a torch module, (B, T, d) -> (B, T, o), or (T, B, d) where it says batch_first = False. Parameters without gradients stay.
        target: a functional, see `perdure.functionals`, or a pair (inputs (B, T, d), outputs (B, T, o)).
        dt: time between samples; the model's own where it has one.
        horizon: time up to which a functional counts.
        method: "auto", "gauss-newton", "lbfgs" or "adam".
        protocol: "paper" for the training of Wang, Li & Li (2024): "adam" at its defaults, on sequences up to time 3.2.
        seed: of the training sequences and their order.
        bound: largest size of an informative input; of white ones the standard deviation, or the largest size.
        tail: start from the sum that is best on [0, inf), so that the model is right past the horizon too; False: best up to the horizon.
        scale: size of the input weights at the start of "auto"; None chooses it by the error of the sum.
        train_horizon: how long in time the sequences of "adam" are; None: the horizon.
        inputs: of "adam": "gaussian" or "uniform".
        sequences: of "adam": how many.
        batch: of "adam": sequences a step of the optimiser.
        lr: of "adam".
        steps: at most so many; None: 1000 epochs, or 100 steps of the other methods.
        tolerance: stop at this loss; None: 1e-8 for "adam", 1e-24 for the others.
        patience: stop where so many steps gain less than 2 % of the loss; None: 10, and for "adam" never.
        max_seconds: stop after so long; the result then depends on the machine.
        checkpoint: a file written after each step, and to go on from: the end is that of an uninterrupted run. A file of another training, or a
            damaged one, is set aside with a warning that names it.
        callback: called with (step, loss) after each step.

    Returns:
        A `FitResult`; its `error` is the relative W1 error of the best weights.

    Raises:
        ArgumentError: an unknown name (the message lists the names), a number out of range, shapes or sizes that differ, a target that is zero.
        ArgumentTypeError: no torch module, or a target of another kind.
        ModelError: no parameters, none that learns, outputs that are not finite, or no derivative for the method named.

    >>> from perdure import functionals as F
    >>> from perdure.nn import ContinuousRNN
    >>> model = ContinuousRNN(1, 8, activation="tanh", dt=0.1, output_size=1, dtype=torch.float64)
    >>> result = fit(model, F.polynomial(power=1.5), dt=0.1, horizon=10.0)
    >>> result.error < 2e-3, result.stopped
    (True, 'the network does what the exponential sum does')

    References:
        Wang, Li & Li, "Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", ICLR 2024.
    """
    job = prepare(
        model, target, dt=dt, horizon=horizon, method=method, protocol=protocol, seed=seed, bound=bound, tail=tail, scale=scale, train_horizon=train_horizon,
        inputs=inputs, sequences=sequences, batch=batch, lr=lr, steps=steps, tolerance=tolerance, patience=patience, max_seconds=max_seconds, checkpoint=checkpoint,
    )  # fmt: skip
    return job.run(callback).result()


@dataclass(frozen=True)
class Job:
    """A checked call of `fit`.

    Attributes:
        model: the model to be changed.
        task: what to learn.
        plan: how.
        limits: how long.
        method: by name.
        seed: of the sequences.
    """

    model: nn.Module
    task: Task
    plan: Plan
    limits: Limits
    method: str
    seed: int

    def run(self, callback: Callable[[int, float], Any] | None = None) -> Job:
        """Train the copy."""
        plan = self.plan
        if plan.done:
            plan.history.stopped = plan.done
            return self
        with nullcontext() if self.method == "adam" else one_thread():
            train(plan.twin, plan.stages, self.limits, plan.history, plan.saver, resumed=plan.resumed, callback=callback)
        return self

    def result(self) -> FitResult:
        """Write the best weights into the model, measure it, and say what happened."""
        plan, task, history = self.plan, self.task, self.plan.history
        plan.twin.restore(history.best)
        plan.twin.write(self.model)
        notes = plan.notes
        if task.functional is None:
            error, measure = _data_error(plan, task), ON_DATA
        else:
            with one_thread():
                error, measure = relative_w1(
                    self.model, task.functional, dt=task.dt, horizon=task.horizon, bound=task.bound, seed=self.seed
                )
            if error > 1:
                notes = (*notes, "for its worst input this model is further from the target than one that gives 0, whose error is 1")
        steps, names, losses, seconds = zip(*history.rows, strict=True)
        return FitResult(
            model=self.model,
            method=self.method,
            error=error,
            measure=measure,
            best_loss=history.best_loss,
            best_step=history.best_step,
            rolled_back=history.rolled_back,
            stopped=history.stopped,
            seconds=history.seconds,
            objective=plan.objective,
            dt=task.dt,
            horizon=task.horizon if task.functional is not None else None,
            seed=self.seed,
            notes=notes,
            steps=np.array(steps),
            losses=np.array(losses),
            times=np.array(seconds),
            stages=tuple(names),
        )


def prepare(
    model: nn.Module | Any,
    target: Any,
    *,
    dt: Any = 0.1,
    horizon: Any = 10.0,
    method: Any = "auto",
    protocol: Any = None,
    seed: Any = 0,
    bound: Any = 1.0,
    tail: Any = True,
    scale: Any = None,
    train_horizon: Any = None,
    inputs: Any = "gaussian",
    sequences: Any = 12_800,
    batch: Any = 128,
    lr: Any = 0.005,
    steps: Any = None,
    tolerance: Any = None,
    patience: Any = None,
    max_seconds: Any = None,
    checkpoint: Any = None,
) -> Job:
    """The arguments of `fit`, checked, and everything up to the first step; the model itself is not changed."""
    begun = time.perf_counter()
    _checks.choice(method, "method", METHODS)
    if protocol is not None:
        _checks.choice(protocol, "protocol", PROTOCOLS)
        method, train_horizon = "adam", PAPER if train_horizon is None else train_horizon
    adam = method == "adam"
    seed = _checks.positive_int(seed, "seed", "pass a non-negative integer", least=0)
    task = read(target, dt, horizon, bound)
    check_model(model)
    if task.functional is not None:
        check_step(model, task.dt)
    limits = Limits(
        (EPOCHS if adam else STEPS) if steps is None else _checks.positive_int(steps, "steps"),
        (MSE if adam else EXACT) if tolerance is None else _checks.positive(tolerance, "tolerance"),
        (None if adam else PATIENCE) if patience is None else _checks.positive_int(patience, "patience"),
        None if max_seconds is None else _checks.positive(max_seconds, "max_seconds"),
    )
    path = files.location(checkpoint)
    if adam:
        options = adam_options(task, sequences, inputs, train_horizon, batch, lr)
        plan = by_adam(model, task, options, seed=seed, path=path)
    else:
        scale = None if scale is None else _checks.positive(scale, "scale")
        with one_thread():
            plan = by_residuals(model, task, method, tail=bool(tail), scale=scale, seed=seed, path=path)
    if plan.resumed is None:
        plan.history.rows[0] = (*plan.history.rows[0][:3], time.perf_counter() - begun)
    return Job(model, task, plan, limits, method, seed)


def adam_options(task: Task, sequences: Any, inputs: str, train_horizon: Any, batch: Any, lr: Any) -> AdamOptions:
    """The arguments of "adam", checked.

    Raises:
        ArgumentError: one that breaks its rule.
    """
    length = task.horizon if train_horizon is None else _checks.positive(train_horizon, "train_horizon")
    if task.functional is not None and task.steps(length) < 1:
        raise _checks.fail("train_horizon", f"at least one step of dt = {task.dt:g}", length, "make the sequences longer")
    return AdamOptions(
        _checks.positive_int(sequences, "sequences"),
        _checks.choice(inputs, "inputs", KINDS),
        length,
        _checks.positive_int(batch, "batch"),
        _checks.positive(lr, "lr"),
    )


@torch.no_grad()
def _data_error(plan: Plan, task: Task) -> float:
    assert task.pairs is not None  # of data only
    x, y = (part.to(device=plan.twin.device, dtype=plan.twin.dtype) for part in task.pairs)
    plan.twin.model.eval()
    return math.sqrt(float((plan.twin(x) - y).square().mean() / y.square().mean()))
