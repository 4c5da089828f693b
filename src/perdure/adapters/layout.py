"""Which axis of a model's input is what: (B, T, C), (T, B, C) as torch's recurrent layers have it, (B, C, T) as convolutions do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ArgumentError, ArgumentTypeError

SWAPS = {"BTC": None, "TBC": (0, 1), "BCT": (1, 2)}  # each exchange of axes is its own inverse
SHAPES = {"BTC": "(B, T, {})", "TBC": "(T, B, {})", "BCT": "(B, {}, T)"}
_PASSING = ("torch.nn.modules.activation", "torch.nn.modules.dropout", "torch.nn.modules.padding", "torch.nn.modules.batchnorm")


def layout(model: Any, batch_first: Any, named: Any) -> str:
    """The layout of a model: as told, else as its first layer says, else "BTC".

    A recurrent or transformer layer says it by `batch_first`, a `Conv1d` at the beginning of a `Sequential` by being one. What a module of
    the user's own does inside is not looked at.

    Raises:
        ArgumentError: `named` is no layout, or `batch_first` contradicts it.
        ArgumentTypeError: `batch_first` is neither True, False nor None.

    >>> layout(nn.LSTM(1, 4), None, None), layout(nn.Sequential(nn.Conv1d(3, 4, 1)), None, None), layout(nn.Linear(1, 1), None, None)
    ('TBC', 'BCT', 'BTC')
    """
    if batch_first not in (None, True, False):
        raise ArgumentTypeError(
            f"expected argument `batch_first` to be True, False or None, but got {batch_first!r}: leave it out to ask the model"
        )
    if named is not None:
        found = _checks.choice(named, "layout", SWAPS)
        if batch_first is not None and batch_first == (found == "TBC"):
            raise ArgumentError(
                f"expected argument `batch_first` to go with layout={found!r}, but got {batch_first}: pass one of the two, layout says it all"
            )
        return found
    if batch_first is not None:
        return "TBC" if not batch_first else "BCT" if _own(model) == "BCT" else "BTC"
    return _own(model)


def arrange(x: Tensor, order: str) -> Tensor:
    """(B, T, C) in the given order, or back.

    >>> import torch
    >>> arrange(torch.zeros(2, 7, 3), "BCT").shape
    torch.Size([2, 3, 7])
    """
    swap = SWAPS[order]
    return x if swap is None else x.transpose(*swap)


def first_layer(model: Any) -> Any:
    """The layer that an input meets first: of a `Sequential`, past activations, dropout, padding and normalisation by channel.

    >>> first_layer(nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Linear(2, 3))))
    Linear(in_features=2, out_features=3, bias=True)
    """
    if not isinstance(model, nn.Sequential):
        return model
    return next((part for part in _parts(model) if not (type(part).__module__ in _PASSING or isinstance(part, nn.Identity))), model)


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    for part in model:  # type: ignore[attr-defined] - a Sequential iterates over its parts
        if isinstance(part, nn.Sequential):
            yield from _parts(part)
        else:
            yield part


def _own(model: Any) -> str:
    first = first_layer(model)
    if isinstance(first, nn.Conv1d):
        return "BCT"
    if isinstance(first, nn.TransformerEncoder | nn.TransformerDecoder) and len(first.layers):
        first = first.layers[0]
    said = getattr(first, "batch_first", None)
    if said is None:  # the layers of a transformer leave it with their attention
        said = getattr(getattr(first, "self_attn", None), "batch_first", True)
    return "TBC" if said is False else "BTC"
