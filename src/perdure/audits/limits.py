"""The longest sequence a model takes: learned position embeddings end somewhere."""

from __future__ import annotations

from typing import Any

import torch

from perdure.audits.cost import Budget, Cost
from perdure.errors import ModelError

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_length")
SHARE = 0.05  # of the budget that a single trial may take


def longest(
    call: Any,
    horizon: int,
    lengths: tuple[int, ...],
    cost: Cost,
    budget: Budget,
    dtype: torch.dtype,
    device: torch.device | str,
) -> int | None:
    """The largest number of steps the model takes, or None where all that is asked for works.

    The lengths asked for are tried with one row, longest first. Where one fails, the limit is the one the model's configuration names, if that
    works, else found by bisection.

    Raises:
        ModelError: no length of 16 steps or more works.
    """

    def works(steps: int) -> bool:
        try:
            call(torch.zeros(1, steps, call.input_size, dtype=dtype, device=device))
        except Exception:  # whatever a model raises where its positions end, or memory does
            return False
        return True

    asked = [n * horizon for n in sorted({1, *lengths}, reverse=True)]
    affordable = [n for n in asked if n == horizon or cost.forward(1, n) < SHARE * budget.left]
    if works(affordable[0]):
        return None
    config = getattr(call.module, "config", None)
    for name in NAMES:
        said = getattr(config, name, None)
        if isinstance(said, int) and 16 <= said < affordable[0] and works(said):
            return said
    low, high = 16, affordable[0]
    if not works(low):
        raise ModelError(f"expected argument `model` to take sequences of {low} steps of zeros, but it raises: check its inputs")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if works(middle) else (low, middle)
    return low
