"""What a model says about its own input: how many channels, and which axis is time."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from perdure.errors import ArgumentError

NAMES = ("input_size", "in_features", "in_channels", "d_model", "embed_dim")


def input_size(model: Any) -> int:
    """Number of input channels: the `input_size`, `in_features`, `in_channels`, `d_model` or `embed_dim` of the model or its first layer.

    A model that takes `inputs_embeds` (a language model) is measured at its embeddings: its size is the embedding dimension.

    Raises:
        ArgumentError: nothing about the model tells.

    >>> input_size(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)))
    3
    """
    if takes_embeddings(model):
        return int(model.get_input_embeddings().embedding_dim)
    for part in model.modules() if isinstance(model, nn.Module) else [model]:
        if isinstance(part, nn.Embedding):
            raise ArgumentError(
                "expected argument `model` to take real-valued sequences, but got a model that starts with an embedding of tokens: "
                "pass the part after the embedding, and its input_size"
            )
        for name in NAMES:
            size = getattr(part, name, None)
            if isinstance(size, int) and not isinstance(size, bool) and size > 0:
                return size
    raise ArgumentError(
        f"expected argument `input_size` to be given, because {type(model).__name__} does not tell how many it takes, but got None: "
        "pass input_size=d, where the model takes (B, T, d)"
    )


def first_size(model: Any) -> int | None:
    """Input channels of a recurrent or linear layer, or of a sequence of layers that begins with one; None where that is not certain.

    >>> first_size(nn.LSTM(3, 5)), first_size(nn.Sequential(nn.Linear(2, 8), nn.Tanh())), first_size(nn.Tanh())
    (3, 2, None)
    """
    while isinstance(model, nn.Sequential) and len(model):
        model = model[0]
    if isinstance(model, nn.RNNBase):
        return int(model.input_size)
    return int(model.in_features) if isinstance(model, nn.Linear) else None


def takes_embeddings(model: Any) -> bool:
    """Whether the model is one of those that take vectors as the keyword `inputs_embeds`."""
    return isinstance(model, nn.Module) and hasattr(model, "get_input_embeddings") and "inputs_embeds" in parameters_of(model)


def time_first(model: Any, batch_first: bool | None) -> bool:
    """Whether the model wants (T, B, d): as told, else as its attribute `batch_first` says, else not."""
    said = getattr(model, "batch_first", True) if batch_first is None else batch_first
    return said is False


def parameters_of(model: Any) -> frozenset[str]:
    """Names of the arguments that calling the model takes; empty where Python cannot tell."""
    try:
        return frozenset(inspect.signature(model.forward if isinstance(model, nn.Module) else model).parameters)
    except (TypeError, ValueError):
        return frozenset()
