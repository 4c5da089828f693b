"""Copies of a model with moved weights, run as one batch."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap

from perdure._typing import Tensor
from perdure.stability.nonlinear.balls import Moves

NUMBERS = 2**24  # states that a batch of copies may hold at once


class Copies:
    """E copies of a model, each with its own move of the weights and its own inputs.

    torch.func.vmap turns the copies into one batch (for the layers of perdure into one call of their compiled recurrence); a model that it cannot
    transform, such as torch.nn.LSTM, is run copy by copy with the same results.

    Attributes:
        weights: the parameters by name, as they are; integers cannot move and are left out.
        batched: whether vmap is used, once called.
    """

    def __init__(self, call: Any, module: nn.Module | None) -> None:
        self._call = call
        self._wrapped = _Wrapped(call, module)
        parameters = {} if module is None else dict(module.named_parameters())
        self.weights: Moves = {name: p.detach() for name, p in parameters.items() if p.is_floating_point() or p.is_complex()}
        self.batched: bool | None = None if self.weights else False
        self._width = 1

    def outputs(self, moves: Moves, x: Tensor) -> Tensor:
        """(E, R, T, o) for inputs (E, R, T, d) and moves by parameter name, each (E, ...)."""
        params = {f"model.{name}": self.weights[name] + move for name, move in moves.items()}
        if not params:
            y = self._call(x.flatten(0, 1))
            return y.unflatten(0, x.shape[:2])
        if self.batched is None:
            self.batched = self._can_batch(params, x)
        if self.batched:
            return vmap(self._one)(params, x)
        return torch.stack([self._one({name: p[e] for name, p in params.items()}, x[e]) for e in range(x.shape[0])])

    def pieces(self, copies: int, rows: int, steps: int) -> list[slice]:
        """Copies in pieces that fit into memory."""
        each = max(1, NUMBERS // max(1, rows * steps * self._width))
        return [slice(start, min(start + each, copies)) for start in range(0, copies, each)]

    def _one(self, params: Moves, x: Tensor) -> Tensor:
        return functional_call(self._wrapped, params, (x,))

    def _can_batch(self, params: Moves, x: Tensor) -> bool:
        """Whether vmap works and agrees with a plain call."""
        some = {name: p[:2].detach() for name, p in params.items()}
        given = x[:2, :, : min(4, x.shape[2])].detach()
        self._width = max(1, max((p[0].shape[0] if p.ndim > 1 else 1) for p in params.values()))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = vmap(self._one)(some, given)
        except Exception:  # whatever a model that was not written for it may raise
            return False
        plain = self._one({name: p[0] for name, p in some.items()}, given[0])
        return bool(torch.allclose(found[0], plain, rtol=1e-6, atol=1e-9, equal_nan=True))


class _Wrapped(nn.Module):
    """The call of an adapted model as a module, so that functional_call can put weights into it."""

    def __init__(self, call: Any, module: nn.Module | None) -> None:
        super().__init__()
        self.model = module
        self._adapted = call

    def forward(self, x: Tensor) -> Tensor:
        """As the adapted model."""
        return self._adapted(x)
