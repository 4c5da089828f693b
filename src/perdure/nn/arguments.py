"""Checks that the layers share: the type of weights, a state, and how many steps of each row count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.ops.state_space.arguments import within

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def weights_dtype(dtype: Any) -> torch.dtype | None:
    """`dtype` if weights can have it; None is torch's default.

    >>> weights_dtype("float32")
    Traceback (most recent call last):
    perdure.errors.ArgumentTypeError: expected argument `dtype` to be None, torch.float32, torch.float64, torch.bfloat16 or torch.float16, but got 'float32': ...
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in DTYPES):
        *most, last = map(str, DTYPES)
        fix = (
            f"pass torch.{dtype}" if any(str(known) == f"torch.{dtype}" for known in DTYPES) else "weights are real floating point numbers"
        )
        raise ArgumentTypeError(f"expected argument `dtype` to be None, {', '.join(most)} or {last}, but got {dtype!r}: {fix}")
    return dtype


def tensor(value: Any, argument: str, shape: Any) -> Tensor:
    """`value` if it is a tensor; `shape` is what to pass instead, for the message."""
    if isinstance(value, Tensor):
        return value
    raise ArgumentTypeError(f"expected argument `{argument}` to be a tensor, but got a {type(value).__name__}: pass one of shape {shape}")


def one_state(value: Any, argument: str, shape: Any) -> Tensor:
    """`value` if it is a tensor; the pair (h, c) of torch.nn.LSTM is refused as such."""
    if isinstance(value, list | tuple):
        rule = f"expected argument `{argument}` to be one tensor, not (h, c), but got a {type(value).__name__} of {len(value)}"
        raise ArgumentTypeError(f"{rule}: the layer has one state; pass what an earlier call returned, of shape {shape}")
    return tensor(value, argument, shape)


def row_lengths(lengths: Any, x: Tensor) -> Tensor:
    """`lengths`, a tensor, list or array of integers, as int64 (B,) on the device of x (B, T, d), each from 0 to T.

    >>> row_lengths([3, 4], torch.zeros(2, 4, 1)).tolist()
    [3, 4]
    """
    try:
        given = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError):
        kind = type(lengths).__name__
        raise ArgumentTypeError(
            f"expected argument `lengths` to hold integers, but got a {kind}: pass steps of each row, for example [7, 3]"
        ) from None
    if tuple(given.shape) != (len(x),):
        raise _checks.fail(
            "lengths", f"of shape ({len(x)},)", tuple(given.shape), "pass the steps of each row of the batch, even for a single row"
        )
    return within(given if given.numel() else given.long(), x)
