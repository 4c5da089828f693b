"""Gradients that are to be differentiated again: those of the plain torch form, at the tensors that a compiled operation was given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.ops.state_space.chunked import chunked
from perdure.ops.state_space.system import System


def gradients(ctx: Any, gy: Tensor | None, gh: Tensor | None) -> tuple[Tensor | None, ...]:
    """What the backward pass of an operation on the fields of a `System` returns, as a differentiable function of them."""
    fields = ctx.saved_tensors
    outputs = [(out, g) for out, g in zip(chunked(System(*fields)), (gy, gh), strict=True) if g is not None]
    wanted = [t for t, needed in zip(fields, ctx.needs_input_grad, strict=False) if needed]  # the last argument is no field
    found = iter(torch.autograd.grad([o for o, _ in outputs], wanted, [g for _, g in outputs], create_graph=True, allow_unused=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
