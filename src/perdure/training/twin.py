"""The copy that is trained: in double precision where a method wants it, written back to the model at the end and not before."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.adapters import adapt
from perdure.adapters.frozen import COMPLEX
from perdure.errors import ArgumentTypeError, ModelError


class Twin(nn.Module):
    """A copy of a model behind (B, T, d) -> (B, T, o); with a dtype, in that and on the CPU.

    Attributes:
        model: the copy.
        learned: its parameters that learn, by name.
        input_size: d.
    """

    def __init__(self, model: nn.Module | Any, dtype: torch.dtype | None, *, dt: float, input_size: int | None = None) -> None:
        super().__init__()
        check_model(model)
        try:
            self.model = copy.deepcopy(model)
        except Exception as error:  # whatever a user's __deepcopy__ may raise
            raise ModelError(
                f"expected argument `model` to be copyable, but got {type(error).__name__}: {error}: training works on a copy"
            ) from error
        if dtype is not None:
            self.model._apply(lambda t: _cast(t, dtype))
        own = getattr(model, "input_size", None)
        if isinstance(own, int) and input_size not in (None, own):
            raise _checks.fail("model", f"of the target's input size {input_size}", own, "give both the same input")
        self._call = adapt(self.model, input_size=input_size, dt=dt)
        self.input_size = self._call.input_size
        self.learned = {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @property
    def dtype(self) -> torch.dtype:
        """Of its inputs."""
        return next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """Of its inputs."""
        return next(self.model.parameters()).device

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, T, o)."""
        return self._call(x)

    @torch.no_grad()
    def snapshot(self) -> dict[str, Tensor]:
        """Everything that training may change: parameters that learn, and buffers."""
        return {name: t.detach().clone() for name, t in (*self.learned.items(), *self.model.named_buffers())}

    @torch.no_grad()
    def restore(self, values: dict[str, Tensor]) -> None:
        """Back to a snapshot."""
        for name, t in (*self.learned.items(), *self.model.named_buffers()):
            t.copy_(values[name])

    @torch.no_grad()
    def write(self, model: nn.Module) -> None:
        """Put the values of this copy into the model, in its own types."""
        own = dict((*self.learned.items(), *self.model.named_buffers()))
        for name, t in (*model.named_parameters(), *model.named_buffers()):
            if name in own:
                t.copy_(own[name])

    def finite(self) -> bool:
        """Whether every parameter that learns is."""
        return all(bool(torch.isfinite(p.detach()).all()) for p in self.learned.values())


def check_model(model: Any) -> None:
    """A module with parameters that may learn, all of them finite.

    Raises:
        ArgumentTypeError: no torch module. ModelError: no parameters, none that learns, or NaN or infinity in one.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"expected argument `model` to be a torch module, but got {type(model).__name__}: only modules have weights to train"
        )
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ModelError(
            f"expected argument `model` to have parameters, but got {type(model).__name__} without any: there is nothing to train"
        )
    if not any(p.requires_grad for p in parameters.values()):
        raise ModelError(
            f"expected argument `model` to have parameters that learn, but got all {len(parameters)} frozen: call model.requires_grad_(True), "
            "or unfreeze some"
        )
    for name, p in parameters.items():
        if not bool(torch.isfinite(p.detach()).all()):
            raise ModelError(f"expected argument `model` to have finite weights, but got NaN or infinity in `{name}`: initialise it anew")


def check_outputs(twin: Twin, x: Tensor, y: Tensor) -> None:
    """Refuse a model whose outputs have another shape than the target's, or are not finite.

    Raises:
        ArgumentError: shapes that differ. ModelError: outputs that are not finite.
    """
    rows = slice(0, 2)
    with torch.no_grad():
        found = twin(x[rows].to(device=twin.device, dtype=twin.dtype))
    if found.shape != y[rows].shape:
        rule = f"a model of {y.shape[2]} output channels, as the target"
        raise _checks.fail(
            "model", rule, f"outputs of shape (B, T, {found.shape[2]})", "add a readout: output_size= of ContinuousRNN, or a Linear"
        )
    if not bool(torch.isfinite(found).all()):
        raise ModelError(
            "expected argument `model` to give finite outputs, but got NaN or infinity before the first step: initialise it anew"
        )


def _cast(t: Tensor, dtype: torch.dtype) -> Tensor:
    if t.is_complex():
        return t.to(device="cpu", dtype=COMPLEX[dtype])  # Module.to would drop the imaginary part
    return t.to(device="cpu", dtype=dtype) if t.is_floating_point() else t.cpu()
