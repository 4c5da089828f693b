"""The one way in which models are called: (B, T, d_in) -> (B, T, d_out)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from perdure import _checks
from perdure._typing import Float, Tensor
from perdure.adapters.arguments import Arguments
from perdure.adapters.layout import SHAPES, arrange
from perdure.adapters.layout import layout as layout_of
from perdure.adapters.output import unpack
from perdure.adapters.owner import owner
from perdure.adapters.sizes import first_size, takes_embeddings
from perdure.adapters.sizes import input_size as infer_input_size
from perdure.errors import ArgumentTypeError, ModelError, PerdureError


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
    """A model behind the `SequenceMap` protocol: axes put in order, the output unpacked, its shape checked.

    Attributes:
        model: what was adapted.
        input_size, output_size: of the protocol.
        layout: "BTC", "TBC" or "BCT": the order of axes in which the model is called.
        options: the other arguments of `adapt`, by name.
    """

    def __init__(self, model: Any, input_size: int, layout: str, options: Mapping[str, Any]) -> None:
        self.model = model
        self.input_size = input_size
        self.output_size: int | None = None
        self.layout = layout
        self.options = dict(options)
        self._embeds = takes_embeddings(model)
        self._arguments = Arguments(model, options["dt"], options["mask"], options["arguments"])
        self._arrays: bool | None = False if isinstance(model, nn.Module) and options["arrays"] is None else options["arrays"]

    @property
    def module(self) -> nn.Module | None:
        """The module whose weights the model runs on; None for a plain function."""
        return owner(self.model)

    def parameters(self) -> Iterable[nn.Parameter]:
        """The parameters of that module."""
        return () if self.module is None else self.module.parameters()

    def on(self, model: Any) -> Adapted:
        """Another model, such as a copy with other weights, called in the same way."""
        return Adapted(model, self.input_size, self.layout, self.options)

    def __call__(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T o"]:
        """Outputs (B, T, d_out) for inputs (B, T, d_in)."""
        given = arrange(x, self.layout)
        given = given if self.layout == "BTC" else given.contiguous()
        y = self._outputs(given, x.shape[1])
        axes, channels = ((0, 2), 1) if self.layout == "BCT" else ((0, 1), 2)
        shape = SHAPES[self.layout]
        if y.ndim != 3:
            rule = f"map {shape.format('d_in')} -> {shape.format('d_out')}"
            raise _broken(rule, f"an output of shape {tuple(y.shape)} for an input of shape {tuple(given.shape)}", _rank_fix(y))
        if any(y.shape[axis] != given.shape[axis] for axis in axes) or self.output_size not in (None, y.shape[channels]):
            want: list[Any] = list(given.shape)
            want[channels] = self.output_size or "d_out"
            rule = f"map {shape.format('d_in')} -> {shape.format('d_out')}, here to {tuple(want)}"
            raise _broken(rule, f"an output of shape {tuple(y.shape)}", _length_fix(self.layout))
        if y.shape[channels] == 0:
            raise _broken("have at least one output channel", f"an output of shape {tuple(y.shape)}", "return at least one channel")
        if not y.is_floating_point():
            raise _broken("return real floating-point numbers", f"an output of {y.dtype}", "return logits or the real part instead")
        self.output_size = int(y.shape[channels])
        return arrange(y, self.layout)

    def _outputs(self, given: Tensor, steps: int) -> Tensor:
        if self._arrays is None:
            return self._try_both(given, steps)
        return self._on_arrays(given, steps) if self._arrays else self._on_tensors(given, steps)

    def _on_tensors(self, given: Tensor, steps: int) -> Tensor:
        more = self._arguments.of(given, steps)
        try:
            return unpack(self.model(inputs_embeds=given, **more) if self._embeds else self.model(given, **more))
        except RuntimeError as error:
            if self.layout == "BTC" and isinstance(self.model, nn.Module) and any(isinstance(m, nn.Conv1d) for m in self.model.modules()):
                error.add_note(
                    "it was given (B, T, C): if it takes (B, C, T) as convolutions do, pass perdure.adapters.adapt(model, layout='BCT')"
                )
            raise

    def _on_arrays(self, given: Tensor, steps: int) -> Tensor:
        plain = given.detach().cpu()
        plain = plain if plain.dtype in (torch.float32, torch.float64) else plain.float()
        y = unpack(self.model(plain.numpy().copy(), **self._arguments.of(plain, steps)))
        return y.to(given.device)

    def _try_both(self, given: Tensor, steps: int) -> Tensor:
        """A function that has not been called yet: torch tensors, and if that raises numpy arrays; what works is kept to."""
        try:
            y = self._on_tensors(given, steps)
            self._arrays = False
            return y
        except PerdureError:
            raise
        except Exception as error:
            try:
                y = self._on_arrays(given, steps)
            except Exception:  # neither: the first says more
                raise error from None
            self._arrays = True
            return y


def _broken(rule: str, got: str, fix: str) -> ModelError:
    return ModelError(f"expected argument `model` to {rule}, but got {got}: {fix}")


def _rank_fix(y: Tensor) -> str:
    return "add the channel axis, y.unsqueeze(-1)" if y.ndim == 2 else "return one vector for each step, not one for the sequence"


def _length_fix(layout: str) -> str:
    if layout == "BCT":
        return "return one output for each input step: cut off what padding adds, y[..., :x.shape[-1]]"
    return (
        "return one output for each input step; pass batch_first=True (or False) if its first two axes are the other way round, "
        "adapt(model, layout='BCT') if it takes channels before time"
    )


def adapt(
    model: Any,
    *,
    input_size: int | None = None,
    dt: float | None = None,
    batch_first: Any = None,
    layout: Any = None,
    mask: Any = None,
    arguments: Any = None,
    arrays: Any = None,
) -> Adapted:
    """`model` as a `SequenceMap`.

    What is adapted already may be given again: options passed take the place of its own, the others stay. So whatever takes a model takes an
    adapted one, `perdure.memory_function(adapt(tcn, layout="BCT"))` for example.

    Args:
        model: a torch module, a functional, a callable of torch tensors or numpy arrays, or an adapted model. A callable with an argument
            `dt` is given it; a module with `inputs_embeds` is called by that.
        input_size: d_in; None asks the model.
        dt: time between samples, for models that take it; None for 1.
        batch_first: whether the model has the batch on axis 0 and time on axis 1; None asks its attribute `batch_first`; without one, yes.
        layout: "BTC", "TBC" or "BCT", the order of axes (batch, time, channels) of input and output; None goes by `batch_first`, and takes
            "BCT" for a `Sequential` that begins with a `Conv1d`.
        mask: "causal" gives the model a mask (T, T) that hides the future, as its argument `mask`, `src_mask`, `tgt_mask` or `attn_mask`, and
            says so in `is_causal` where there is one. Such a model sees both ways without.
        arguments: further keyword arguments by name; a function in place of a value is called with the input as the model is given it.
        arrays: whether the callable takes numpy arrays; None: a module takes tensors; a function is tried with tensors first, and with
            arrays if that raises. Say True if it would accept a tensor and then do something else with it.

    Returns:
        A callable (B, T, d_in) -> (B, T, d_out) with `input_size` and, after the first call, `output_size`.

    Raises:
        ArgumentTypeError: the model cannot be called.
        ArgumentError: `input_size` is not a positive integer, is None and the model does not tell, or is not what its first layer takes;
            the model takes no mask or no argument of that name; `layout` is none, or contradicts `batch_first`.
        ModelError: when called: the output is not (B, T, d_out), is empty, or is not floating point.

    >>> layer = adapt(nn.GRU(2, 5))  # takes (T, B, d) and returns (output, state)
    >>> layer(torch.zeros(3, 7, 2)).shape, layer.input_size, layer.output_size
    (torch.Size([3, 7, 5]), 2, 5)
    >>> adapt(nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 4, 3)))(torch.zeros(3, 7, 2)).shape
    torch.Size([3, 7, 4])
    """
    chosen: dict[str, Any] = {"dt": dt, "mask": mask, "arguments": arguments, "arrays": arrays}
    if isinstance(model, Adapted):
        chosen = {name: model.options[name] if value is None else value for name, value in chosen.items()}
        input_size = model.input_size if input_size is None else input_size
        layout = model.layout if layout is None and batch_first is None else layout
        model = model.model
    if not callable(model):
        raise ArgumentTypeError(
            f"expected argument `model` to be callable, but got {type(model).__name__}: pass a torch module or a function"
        )
    fix = "it counts input channels: the model takes (B, T, input_size)"
    size = infer_input_size(model) if input_size is None else _checks.positive_int(input_size, "input_size", fix)
    own = first_size(model)
    if own is not None and own != size:
        raise _checks.fail("input_size", f"{own}, the size of the model's first layer", size, "leave it out, and the model is asked")
    if arrays not in (None, True, False):
        raise ArgumentTypeError(
            f"expected argument `arrays` to be True, False or None, but got {arrays!r}: leave it out to have it found out"
        )
    chosen["dt"] = 1.0 if chosen["dt"] is None else _checks.positive(chosen["dt"], "dt", "it is the time between steps of the model")
    return Adapted(model, size, layout_of(model, batch_first, layout), chosen)
