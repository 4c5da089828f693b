"""How much outputs and memory move when one group of weights does, each weight by the same share of its group's size.

Group g with parameters w_g is moved by d, |d|_2 = EPS |w_g|_2, in random directions; what is reported is |y(w + d) - y(w)|_2 / (EPS |y(w)|_2) on random
input, the relative change of the output per relative change of the weights, and the same for the response to a pulse amid that input, which is the memory. The worst
of a few random directions is a lower bound of the supremum, and in many dimensions a low one: it ranks groups, it certifies none.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from perdure._typing import Tensor
from perdure.adapters import adapt, frozen
from perdure.audits.context import Context, Way
from perdure.errors import ModelError

EPS = 1e-3
DIRECTIONS = 3
MOST = 24


def groups(module: torch.nn.Module) -> dict[str, list[str]]:
    """Parameters by the module that owns them; one group a parameter where there is a single module; the largest groups where there are many."""
    names = [name for name, p in module.named_parameters() if p.is_floating_point() and p.numel()]
    made: dict[str, list[str]] = {}
    for name in names:
        made.setdefault(name.rpartition(".")[0], []).append(name)
    depth = 1
    while len(made) > MOST and depth < 4:
        made = {}
        for name in names:
            made.setdefault(".".join(name.split(".")[: 5 - depth]), []).append(name)
        depth += 1
    return {name: [name] for name in names} if len(made) <= 1 else made


def fragility(context: Context) -> list[Way]:
    """Every group, over part of the horizon."""
    if context.call.module is None or not any(True for _ in context.call.module.parameters()):
        raise ModelError("the model has no parameters to move")
    count = len(groups(context.call.module))
    full = context.horizon if context.limit is None else min(context.horizon, context.limit)
    ways = []
    for steps in dict.fromkeys((min(full, 256), min(full, 64), min(full, 24))):
        seconds = (1 + DIRECTIONS * count) * context.cost.forward(4, steps)
        ways.append(Way(seconds, lambda n=steps: _run(context, n), "" if steps == min(full, 256) else f"over {steps} steps"))
    return ways


def _run(context: Context, steps: int) -> dict[str, Any]:
    rng = np.random.default_rng(context.seed)
    u = rng.uniform(-context.bound, context.bound, (4, steps, context.input_size))
    u[2:] = u[0]  # a pulse amid noise: amid zeros, layers that normalise are at their most singular
    u[3, 0] += context.bound * rng.choice([-1.0, 1.0], context.input_size)
    rows = []
    with torch.no_grad(), frozen(context.call, context.dtype) as twin:
        x = torch.as_tensor(u).to(twin.device, twin.dtype)
        call = adapt(twin.model)
        module = copy.deepcopy(call.module)
        if module is None:
            raise ModelError("the model has no parameters to move")
        call = call.on(module)
        output, pulse = _responses(call(x))
        parameters = dict(module.named_parameters())
        for name, members in groups(module).items():
            context.tick(f"weights of {name}")
            size = sum(float(parameters[m].double().square().sum()) for m in members) ** 0.5
            worst = [0.0, 0.0]
            for _ in range(DIRECTIONS if size else 0):
                kept = {m: parameters[m].detach().clone() for m in members}
                moves = {m: torch.as_tensor(rng.standard_normal(tuple(kept[m].shape))).to(kept[m]) for m in members}
                length = sum(float(v.double().square().sum()) for v in moves.values()) ** 0.5
                for m in members:
                    parameters[m].data = kept[m] + moves[m] * (EPS * size / length)
                moved = _responses(call(x))
                for m in members:
                    parameters[m].data = kept[m]
                for i, (a, b) in enumerate(zip(moved, (output, pulse), strict=True)):
                    worst[i] = max(worst[i], float((a - b).norm() / (EPS * b.norm().clamp_min(1e-300))))
            rows.append(
                {"group": name or "all", "parameters": sum(parameters[m].numel() for m in members), "output": worst[0], "memory": worst[1]}
            )
    rows.sort(key=lambda row: -row["memory"])
    return {"rows": rows, "steps": steps, "directions": DIRECTIONS, "eps": EPS}


def _responses(y: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs to random input, and the response to a pulse less that without it, after the first step."""
    return y[:2].double(), (y[3] - y[2])[1:].double()
