r"""Adam on many one-layer ContinuousRNNs at once: one recurrence for all copies, narrower ones padded with states that stay zero.

h_k = h_{k-1} + p sigma(W h_{k-1} + U x_k + b) with p = dt for a state of the model and p = 0 for one that pads: whatever sigma(0) is, it stays where
it began, at 0, and its rows and columns get no gradient that anybody reads. The losses of the copies are added up; no parameter occurs in two of them, so each
copy gets the gradient it would get alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import pad

from perdure._typing import Tensor
from perdure.nn import ContinuousRNN
from perdure.ops.recurrence import recurrence
from perdure.parametrizations.structures import Diagonal, Structure
from perdure.training.adam import Adam
from perdure.training.loop import Limits, reason
from perdure.training.plan import Plan
from perdure.training.sensitivity import has_closed_form


def go_together(models: Sequence[nn.Module]) -> bool:
    """Whether `outputs` takes these models: one-layer ContinuousRNNs by Euler's method with one output, alike but for width and structure."""
    kinds = set()
    for model in models:
        if not has_closed_form(model):
            return False
        one = cast(ContinuousRNN, model)
        cell = one.recurrent_l0
        kinds.add((one.activation, one.dt, one.input_size, one.weight_ih_l0.dtype, one.weight_ih_l0.device, isinstance(cell, Diagonal)))
    return len(kinds) == 1


def outputs(models: Sequence[ContinuousRNN], x: Tensor) -> Tensor:
    """Outputs (E, B, T) of E models for inputs (E, B, T, d)."""
    m = max(model.hidden_size for model in models)
    first = models[0]
    weights, into, biases, reads, gains = [], [], [], [], []
    for model in models:
        more = m - model.hidden_size
        cell = cast(Structure, model.recurrent_l0)
        weights.append(pad(cell.vector()[None], (0, more)) if isinstance(cell, Diagonal) else pad(cell(), (0, more, 0, more)))
        into.append(pad(model.weight_ih_l0, (0, 0, 0, more)))
        biases.append(pad(cast(Tensor, model.bias_l0), (0, more)) if model.bias else x.new_zeros(m))
        reads.append(pad(cast(nn.Linear, model.readout).weight[0], (0, more)))
        gains.append(pad(x.new_full((model.hidden_size,), model.dt), (0, more)))
    drive = torch.einsum("ebtd,emd->etbm", x, torch.stack(into)) + torch.stack(biases)[:, None, None]
    states, _ = recurrence(drive, torch.stack(weights), step=torch.stack(gains), activation=first.activation)
    return torch.einsum("etbm,em->ebt", states, torch.stack(reads))


def train_together(plans: Sequence[Plan], limits: Limits) -> None:
    """Run plans of Adam whose models `go_together`, one epoch of all after the other; each stops for its own reason."""
    start = time.perf_counter()
    methods = [cast(Adam, plan.stages[0]()) for plan in plans]
    running = list(range(len(plans)))
    while running:
        for i in list(running):
            history = plans[i].history
            history.stopped = reason(history, limits) or methods[i].finished or (limits.idle if history.stalled(limits.patience, 0) else "")
            if history.stopped:
                running.remove(i)
        if running:
            losses = _epoch([methods[i] for i in running])
            for i, loss in zip(running, losses, strict=True):
                plans[i].history.add(plans[i].twin, "adam", methods[i].close(loss), time.perf_counter() - start)
                plans[i].history.rolled_back = methods[i].rolled_back


def _epoch(methods: Sequence[Adam]) -> list[float]:
    """The loss of each after an epoch; NaN where something was not finite."""
    orders: list[Any] = []
    for method in methods:
        method.open()
        with method.drawing():
            orders.append(method.order())
    models = [cast(ContinuousRNN, method.twin.model) for method in methods]
    sound = [True] * len(methods)
    for rows in zip(*orders, strict=True):
        x, y = (torch.stack([method.data[part][own] for method, own in zip(methods, rows, strict=True)]) for part in (0, 1))
        losses = (outputs(models, x) - y[..., 0]).square().mean((1, 2))
        for i, loss in enumerate(losses.detach().tolist()):
            sound[i] = sound[i] and math.isfinite(loss)
        for method in methods:
            method.optimizer.zero_grad()
        losses[[i for i, good in enumerate(sound) if good]].sum().backward()
        for method, good in zip(methods, sound, strict=True):
            if good:
                method.optimizer.step()
    with torch.no_grad():
        x, y = (torch.stack([method.apart[part] for method in methods]) for part in (0, 1))
        found = (outputs(models, x) - y[..., 0]).square().mean((1, 2)).tolist()
    return [loss if good else math.nan for loss, good in zip(found, sound, strict=True)]
