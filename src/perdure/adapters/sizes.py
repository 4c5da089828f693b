"""What a model says about its own input: how many channels, how many steps at most, and which arguments it takes."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from perdure.adapters.layout import first_layer
from perdure.errors import ArgumentError

NAMES = ("input_size", "in_features", "in_channels", "d_model", "embed_dim")
LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "max_length", "context_length")


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
                "pass the part after the embedding, and its input_size; or perdure.adapters.TokenModel(model, tokens)"
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
    """Input channels of a recurrent, linear or convolutional layer, or of a sequence of layers that begins with one; None if uncertain.

    >>> first_size(nn.LSTM(3, 5)), first_size(nn.Sequential(nn.Linear(2, 8), nn.Tanh())), first_size(nn.Tanh())
    (3, 2, None)
    """
    first = first_layer(model)
    if isinstance(first, nn.RNNBase):
        return int(first.input_size)
    if isinstance(first, nn.Conv1d):
        return int(first.in_channels)
    return int(first.in_features) if isinstance(first, nn.Linear) else None


def declared_length(model: Any) -> tuple[int, str] | None:
    """The most steps a model says it takes, and the name by which it says so, in its `config` or itself; None where it does not.

    >>> from types import SimpleNamespace
    >>> declared_length(SimpleNamespace(config=SimpleNamespace(max_position_embeddings=512)))
    (512, 'max_position_embeddings')
    """
    for owner in (getattr(model, "config", None), model):
        for name in LENGTHS:
            said = getattr(owner, name, None)
            if isinstance(said, int) and not isinstance(said, bool) and said > 0:
                return said, name
    return None


def takes_embeddings(model: Any) -> bool:
    """Whether the model is one of those that take vectors as the keyword `inputs_embeds`."""
    return isinstance(model, nn.Module) and hasattr(model, "get_input_embeddings") and "inputs_embeds" in parameters_of(model)


def parameters_of(model: Any) -> frozenset[str]:
    """Names of the arguments that calling the model takes; empty where Python cannot tell."""
    try:
        return frozenset(inspect.signature(model.forward if isinstance(model, nn.Module) else model).parameters)
    except (TypeError, ValueError):
        return frozenset()
