"""Influence: how much an output depends on what each layer held at each step before it, and after it where the model looks ahead.

For an output step t, amid random input, the gradient of r . y_t by the input (or by a layer's output) at step s, with r a random sign vector, has
the size |r^T dy_t / dh_s|_1 at lag t - s. Shown is the mean over signs and over output steps from the middle of the sequence; it is a profile, not a
supremum. This is the only probe that applies to models that see the future.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from perdure._typing import Array
from perdure.adapters import frozen
from perdure.audits.context import Context, Way
from perdure.errors import ModelError

STEPS_READ = 3
SIGNS = 2
MOST = 24  # layers


def blocks(module: nn.Module | None) -> list[tuple[str, nn.Module]]:
    """The layers stacked in a model: the entries of its longest module list, or the children of a sequence."""
    best: list[tuple[str, nn.Module]] = []
    for name, part in () if module is None else module.named_modules():
        if isinstance(part, nn.ModuleList | nn.Sequential):
            entries = [(f"{name}.{child}" if name else child, m) for child, m in part.named_children() if list(m.parameters())]
            if len(entries) > len(best):
                best = entries
    return best[:MOST]


def reach(context: Context) -> list[Way]:
    """Influence by layer and lag over half the horizon on either side."""
    full = context.horizon if context.limit is None else min(context.horizon, context.limit)
    ways = []
    for steps in dict.fromkeys((min(full, 512), min(full, 128), min(full, 48))):
        seconds = STEPS_READ * SIGNS * context.cost.gradient(1, steps)
        ways.append(Way(seconds, lambda n=steps: _run(context, n), "" if steps == min(full, 512) else f"over {steps} steps"))
    return ways


def _run(context: Context, steps: int) -> dict[str, Any]:
    rng = np.random.default_rng(context.seed)
    with frozen(context.call, context.dtype) as twin:
        call = twin.model
        held: dict[str, torch.Tensor] = {}
        handles = [part.register_forward_hook(_keep(held, name)) for name, part in blocks(getattr(call, "module", None))]
        try:
            with torch.enable_grad():
                x = torch.as_tensor(rng.uniform(-context.bound, context.bound, (1, steps, context.input_size))).to(twin.device, twin.dtype)
                x.requires_grad_(True)
                y = call(x)
                if not y.requires_grad:
                    raise ModelError("the output does not follow the input differentiably")
                layers = {"input": x, **{n: h for n, h in held.items() if h.ndim == 3 and h.requires_grad and steps in h.shape[:2]}}
                ahead = context.known("causal") is False
                reads = np.unique(
                    np.linspace(*((3 * steps // 8, 5 * steps // 8) if ahead else (steps // 2, steps - 1)), STEPS_READ).astype(int)
                )
                totals = {name: np.zeros(2 * steps - 1) for name in layers}
                counts = np.zeros(2 * steps - 1)
                for t in reads.tolist():
                    for _ in range(SIGNS):
                        r = torch.as_tensor(rng.choice([-1.0, 1.0], y.shape[2])).to(y)
                        grads = torch.autograd.grad((y[0, t] * r).sum(), list(layers.values()), retain_graph=True, allow_unused=True)
                        for (name, h), g in zip(layers.items(), grads, strict=True):
                            totals[name][steps - 1 + t - np.arange(steps)] += _sizes(h, g, steps)
                        counts[steps - 1 + t - np.arange(steps)] += 1
        finally:
            for handle in handles:
                handle.remove()
    lags = np.arange(-(steps - 1), steps)
    seen = (counts > 0) & ((lags >= 0) | ahead)
    profiles = {name: (total[seen] / counts[seen]).tolist() for name, total in totals.items()}
    return {
        "lags": lags[seen].tolist(),
        "profiles": profiles,
        "steps": steps,
        "ahead": ahead,
        "half": {n: _half(lags[seen], np.array(p)) for n, p in profiles.items()},
    }


def _keep(held: dict[str, torch.Tensor], name: str) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        if isinstance(first, torch.Tensor):
            held[name] = first

    return hook


def _sizes(h: torch.Tensor, gradient: torch.Tensor | None, steps: int) -> Array:
    """|gradient|_1 at each step, whichever axis time is."""
    if gradient is None:
        return np.zeros(steps)
    g = gradient.detach().abs().double().cpu()
    axis = 1 if h.shape[0] == 1 and h.shape[1] == steps else 0
    return g.sum([a for a in range(3) if a != axis]).numpy()


def _half(lags: Array, profile: Array) -> dict[str, Any]:
    """The lag within which half, and 99 %, of the influence lies (on both sides together)."""
    order = np.argsort(np.abs(lags), kind="stable")
    mass = np.cumsum(profile[order])
    if mass.size == 0 or mass[-1] <= 0:
        return {"half": None, "most": None}
    return {name: int(np.abs(lags[order][np.searchsorted(mass, share * mass[-1])])) for name, share in (("half", 0.5), ("most", 0.99))}
