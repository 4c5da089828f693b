"""The one way in which models are called: (B, T, d_in) -> (B, T, d_out)."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from perdure import _checks
from perdure._typing import Float, Tensor
from perdure.adapters.output import unpack
from perdure.adapters.sizes import first_size, parameters_of, takes_embeddings, time_first
from perdure.adapters.sizes import input_size as infer_input_size
from perdure.errors import ArgumentTypeError, ModelError


@runtime_checkable
class SequenceMap(Protocol):
    """A map of sequences, time on axis 1.

    Attributes:
        input_size: d_in.
        output_size: d_out, or None before the first call where the model does not say it.
    """

    input_size: int
    output_size: int | None

    def __call__(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T o"]:
        """Outputs (B, T, d_out) for inputs (B, T, d_in)."""
        ...


class Adapted:
    """A model behind the `SequenceMap` protocol: axes put in order, the output unpacked, its shape checked."""

    def __init__(self, model: Any, input_size: int, time_first: bool, dt: float) -> None:
        self.model = model
        self.input_size = input_size
        self.output_size: int | None = None
        self._time_first = time_first
        self._embeds = takes_embeddings(model)
        self._options = {"dt": dt} if "dt" in parameters_of(model) else {}

    def __call__(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T o"]:
        """Outputs (B, T, d_out) for inputs (B, T, d_in)."""
        given = x.transpose(0, 1) if self._time_first else x
        y = unpack(self.model(inputs_embeds=given, **self._options) if self._embeds else self.model(given, **self._options))
        want = (*given.shape[:2], self.output_size or "d_out")
        layout = "(T, B, d_in) -> (T, B, d_out)" if self._time_first else "(B, T, d_in) -> (B, T, d_out)"
        if y.ndim != 3:
            raise _broken(f"map {layout}", f"an output of shape {tuple(y.shape)} for an input of shape {tuple(given.shape)}", _rank_fix(y))
        if y.shape[:2] != given.shape[:2] or self.output_size not in (None, y.shape[2]):
            fix = "return one output for each input step; pass batch_first=True (or False) if its first two axes are the other way round"
            raise _broken(f"map {layout}, here to {want}", f"an output of shape {tuple(y.shape)}", fix)
        if y.shape[2] == 0:
            raise _broken("have at least one output channel", f"an output of shape {tuple(y.shape)}", "return at least one channel")
        if not y.is_floating_point():
            raise _broken("return real floating-point numbers", f"an output of {y.dtype}", "return logits or the real part instead")
        self.output_size = int(y.shape[2])
        return y.transpose(0, 1) if self._time_first else y


def _broken(rule: str, got: str, fix: str) -> ModelError:
    return ModelError(f"expected argument `model` to {rule}, but got {got}: {fix}")


def _rank_fix(y: Tensor) -> str:
    return "add the channel axis, y.unsqueeze(-1)" if y.ndim == 2 else "return one vector for each step, not one for the sequence"


def adapt(model: Any, *, input_size: int | None = None, dt: float = 1.0, batch_first: bool | None = None) -> Adapted:
    """`model` as a `SequenceMap`.

    Args:
        model: a torch module, a functional, or a callable of torch tensors. A callable with an argument `dt` is given it.
        input_size: d_in; None asks the model.
        dt: time between samples, for models that take it.
        batch_first: whether the model has the batch on axis 0 and time on axis 1; None asks its attribute `batch_first`; without one, yes.

    Returns:
        A callable (B, T, d_in) -> (B, T, d_out) with `input_size` and, after the first call, `output_size`.

    Raises:
        ArgumentTypeError: the model cannot be called.
        ArgumentError: `input_size` is not a positive integer, is None and the model does not tell, or is not what its first layer takes.
        ModelError: when called: the output is not (B, T, d_out), is empty, or is not floating point.

    >>> import torch
    >>> layer = adapt(torch.nn.GRU(2, 5))  # takes (T, B, d) and returns (output, state)
    >>> layer(torch.zeros(3, 7, 2)).shape, layer.input_size, layer.output_size
    (torch.Size([3, 7, 5]), 2, 5)
    """
    if not callable(model):
        raise ArgumentTypeError(
            f"expected argument `model` to be callable, but got {type(model).__name__}: pass a torch module or a function"
        )
    fix = "it counts input channels: the model takes (B, T, input_size)"
    size = infer_input_size(model) if input_size is None else _checks.positive_int(input_size, "input_size", fix)
    own = first_size(model)
    if own is not None and own != size:
        raise _checks.fail("input_size", f"{own}, the size of the model's first layer", size, "leave it out, and the model is asked")
    return Adapted(model, size, time_first(model, batch_first), dt)
