"""A model as the functional to be learned."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ArgumentTypeError, ModelError
from perdure.functionals.nonlinear import Functional


class Teacher(Functional):
    """H_t(x) = model_t(x) - model_t(0), of a copy of the model in evaluation mode whose parameters do not learn.

    Attributes:
        model: the copy.
    """

    def __init__(self, module: nn.Module, input_size: int, batch_first: bool) -> None:
        self.model = copy.deepcopy(module).eval().requires_grad_(False)
        self.input_size = input_size
        self._batch_first = batch_first
        self._dtype = next((t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)

    def _response(self, x: Tensor, dt: float) -> Tensor:
        own = getattr(self.model, "dt", None)
        if isinstance(own, float) and not math.isclose(own, dt, rel_tol=1e-9):
            raise _checks.fail("dt", f"{own:g}, the step of the teacher", dt, f"pass dt={own:g}: a discretised model has a step of its own")
        given = x if self._dtype is None else x.to(self._dtype)
        y = self.model(given if self._batch_first else given.transpose(0, 1))
        y = y[0] if isinstance(y, tuple | list) else y
        if not isinstance(y, Tensor) or y.ndim != 3:
            got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise ModelError(
                f"expected argument `module` to return (B, T, 1), alone or first of a tuple, but got {got}: wrap it in a module"
            )
        return y if self._batch_first else y.transpose(0, 1)

    def __repr__(self) -> str:
        return f"Teacher({type(self.model).__name__}, input_size={self.input_size})"


def teacher(module: nn.Module | Any, *, input_size: int | None = None, batch_first: bool | None = None) -> Teacher:
    """A torch module of one output as a functional: a frozen copy of it, so that training the original later changes nothing here.

    Args:
        module: takes (B, T, d), or (T, B, d) where it says batch_first = False, and returns (B, T, 1), or a tuple that starts with it.
        input_size: d; None asks the module's attribute `input_size`.
        batch_first: the layout; None asks the module's attribute `batch_first`; without one, batch first.

    Raises:
        ArgumentTypeError: no torch module. ArgumentError: the module does not tell its input size.
        ModelError: when called, where the output is not (B, T, 1).

    >>> import torch
    >>> layer = nn.Linear(2, 1)
    >>> H = teacher(layer, input_size=2)
    >>> float(H(torch.zeros(1, 3, 2)).detach().abs().max())  # the bias is the response to no input
    0.0
    """
    if not isinstance(module, nn.Module):
        raise ArgumentTypeError(f"expected argument `module` to be a torch module, but got {type(module).__name__}: wrap it in one")
    if input_size is None:
        input_size = getattr(module, "input_size", None)
        if not isinstance(input_size, int):
            raise _checks.fail("input_size", f"given, because {type(module).__name__} does not tell it", input_size, "pass input_size=d")
    size = _checks.positive_int(input_size, "input_size", "it counts input channels")
    first = getattr(module, "batch_first", True) if batch_first is None else batch_first
    return Teacher(module, size, bool(first))
