"""The output sequence inside whatever a model returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from perdure._typing import Tensor
from perdure.errors import ModelError

FIELDS = ("logits", "last_hidden_state", "output", "y")


def unpack(output: Any) -> Tensor:
    """The tensor that holds the output sequence.

    A tensor is taken as it is; of a mapping or an object, the first of `logits`, `last_hidden_state`, `output`, `y` that it has; of
    any other mapping its first tensor; of a tuple or list, such as (output, state), its first item.

    Raises:
        ModelError: there is no tensor to be found.

    >>> unpack((torch.zeros(2, 5, 3), "state")).shape
    torch.Size([2, 5, 3])
    >>> unpack({"loss": torch.zeros(()), "logits": torch.ones(2, 5, 1)}).sum()
    tensor(10.)
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, np.ndarray):
        return torch.as_tensor(output)
    if isinstance(output, Mapping):
        for name in (*FIELDS, *output):
            if isinstance(output.get(name), Tensor):
                return output[name]
    for name in FIELDS:
        if isinstance(getattr(output, name, None), Tensor):
            return getattr(output, name)
    if isinstance(output, tuple | list) and output:
        return unpack(output[0])
    raise ModelError(
        f"expected argument `model` to return a tensor, a tuple that starts with one, or an object with "
        f"one of {', '.join(FIELDS)}, but got {type(output).__name__}: pass a function that picks it, such as lambda x: model(x).something"
    )
