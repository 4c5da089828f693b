"""The layers of a model by name, and their outputs while the model runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from perdure._typing import Tensor
from perdure.adapters.output import unpack
from perdure.adapters.sequence import Adapted
from perdure.errors import PerdureError

MOST = 48


class Unstacked(nn.Module):
    """A stack of torch's recurrent layers as single layers with the same weights, so that each can be looked at. Same outputs and states."""

    def __init__(self, stack: nn.RNNBase) -> None:
        super().__init__()
        self.batch_first, self.input_size, self.ways = stack.batch_first, stack.input_size, 2 if stack.bidirectional else 1
        more = {"nonlinearity": stack.nonlinearity} if isinstance(stack, nn.RNN) else {}
        if stack.proj_size:
            more["proj_size"] = stack.proj_size
        width = stack.input_size
        made = []
        for k in range(stack.num_layers):
            own = {name.replace(f"_l{k}", "_l0"): p for name, p in stack.named_parameters() if name.endswith((f"_l{k}", f"_l{k}_reverse"))}
            like: Tensor = own["weight_ih_l0"]
            kind: Any = type(stack)
            layer = kind(
                width, stack.hidden_size, 1, bias=stack.bias, batch_first=stack.batch_first, bidirectional=stack.bidirectional,
                device=like.device, dtype=like.dtype, **more,
            )  # fmt: skip
            layer.load_state_dict(own)
            made.append(layer.requires_grad_(False).eval())
            width = self.ways * (stack.proj_size or stack.hidden_size)
        self.layers = nn.ModuleList(made)

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Any]:
        """Outputs and last states, as of the stack."""
        states = []
        for k, layer in enumerate(self.layers):
            mine = slice(k * self.ways, (k + 1) * self.ways)
            given = None if hx is None else tuple(part[mine] for part in hx) if isinstance(hx, tuple) else hx[mine]
            x, state = layer(x, given)
            states.append(state)
        if isinstance(states[0], tuple):
            return x, tuple(torch.cat(parts) for parts in zip(*states, strict=True))
        return x, torch.cat(states)


def unstacked(call: Adapted) -> Adapted:
    """A frozen copy, changed so that stacked recurrent layers of torch stand one by one; or the model alone where it is such a stack."""
    if _stack(call.model):
        return call.on(Unstacked(call.model))
    for part in [] if call.module is None else list(call.module.modules()):
        for name, child in list(part.named_children()):
            if _stack(child):
                setattr(part, name, Unstacked(child))  # pyright: ignore[reportArgumentType]
    return call


def _stack(module: Any) -> bool:
    return isinstance(module, nn.RNNBase) and type(module) in (nn.RNN, nn.GRU, nn.LSTM) and module.num_layers > 1


def find(module: nn.Module | None) -> list[tuple[str, nn.Module]]:
    """Names and modules of the layers: entries of the longest list of modules, recurrent layers outside of it; without either, the children.

    >>> [name for name, _ in find(nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.GRU(2, 3)))]
    ['0', '2']
    """
    if module is None:
        return []
    longest: list[tuple[str, nn.Module]] = []
    for name, part in module.named_modules():
        if isinstance(part, nn.ModuleList | nn.Sequential):
            entries = [
                (f"{name}.{child}" if name else child, m) for child, m in part.named_children() if next(m.parameters(), None) is not None
            ]
            if len(entries) > len(longest):
                longest = entries
    inside = {id(m) for _, entry in longest for m in entry.modules()}
    loops = [(name, m) for name, m in module.named_modules() if name and isinstance(m, nn.RNNBase) and id(m) not in inside]
    found = longest + loops
    if not found:
        found = [(name, m) for name, m in module.named_children() if next(m.parameters(), None) is not None]
    return found[:MOST]


class Outputs:
    """What blocks give during calls, (B, T, C) by name in the order of execution; of a block that is called again under `name#2`.

    Attributes:
        seen: outputs of the last call.
        unread: blocks whose output is no sequence, and why.
    """

    def __init__(self, layout: str) -> None:
        self.seen: dict[str, Tensor] = {}
        self.unread: dict[str, str] = {}
        self.rows, self.steps, self._layout = 0, 0, layout

    def begin(self, rows: int, steps: int) -> None:
        """Before a call with so many rows and steps."""
        self.seen, self.rows, self.steps = {}, rows, steps

    @contextmanager
    def watching(self, blocks: list[tuple[str, nn.Module]]) -> Iterator[None]:
        """Hooks on the blocks, taken off afterwards whatever happens."""
        handles = [m.register_forward_hook(lambda _, __, y, name=name: self._take(name, y)) for name, m in blocks]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _take(self, name: str, output: Any) -> None:
        try:
            y = unpack(output)
        except PerdureError:
            self.unread[name] = "its output is no tensor"
            return
        y = self._ordered(y)
        if y is None:
            self.unread[name] = "its output has no axis of time"
            return
        number, label = 1, name
        while label in self.seen:
            number += 1
            label = f"{name}#{number}"
        self.seen[label] = y.detach()

    def _ordered(self, y: Tensor) -> Tensor | None:
        """(B, T, C) of an output in the model's own order, else in any other that fits."""
        if y.ndim == 2 and y.shape[0] == self.rows * self.steps:
            return y.view(self.rows, self.steps, -1)
        if y.ndim != 3 or not y.is_floating_point():
            return None
        orders = {"BTC": (0, 1, 2), "TBC": (1, 0, 2), "BCT": (0, 2, 1)}
        for layout in dict.fromkeys((self._layout, *orders)):
            order = orders[layout]
            if (y.shape[order[0]], y.shape[order[1]]) == (self.rows, self.steps):
                return y.permute(order)
        return None
