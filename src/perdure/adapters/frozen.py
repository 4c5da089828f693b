"""A stand-in for the model that can be measured without the model noticing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from perdure._typing import Tensor
from perdure.errors import ModelError

COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}


@dataclass(frozen=True)
class Frozen:
    """What to call in place of the model.

    Attributes:
        model: a copy in evaluation mode without gradients, or the model itself where it cannot be copied or is no module.
        dtype: floating-point type of the inputs to give it.
        device: device of the inputs to give it.
        notes: what a reader of the result should know.
    """

    model: Any
    dtype: torch.dtype
    device: torch.device
    notes: tuple[str, ...]


def native_dtype(model: Any) -> torch.dtype:
    """The floating-point type the model lives in: that of its first real parameter or buffer, else torch's default."""
    owner = _owner(model)
    return next((t.dtype for t in _tensors(owner).values() if t.is_floating_point()), torch.get_default_dtype())


@contextmanager
def frozen(model: Any, dtype: torch.dtype) -> Iterator[Frozen]:
    """A copy of `model` in evaluation mode and `dtype`; afterwards, whatever happened, the model is as it was.

    Complex parameters go to the complex type of the same precision. A module that cannot be copied is run itself, in its own type, and its
    modes and buffers are put back. A plain function is called as it is: a module inside it keeps its mode.

    Raises:
        ModelError: a parameter or buffer holds NaN or infinity, or has no shape yet (a lazy module).
    """
    owner = _owner(model)
    if owner is None:
        yield Frozen(model, dtype, torch.device("cpu"), ())
        return
    tensors = _tensors(owner)
    _check(tensors)
    device = next((t.device for t in tensors.values()), torch.device("cpu"))
    try:
        twin = copy.deepcopy(owner)
    except Exception as error:  # whatever a user's __deepcopy__ may raise
        note = f"the model cannot be copied ({type(error).__name__}: {error}): measured in place, in {native_dtype(model)}"
        with _in_place(owner):
            yield Frozen(model, native_dtype(model), device, (note,))
        return
    twin.eval()
    twin.requires_grad_(False)
    twin._apply(lambda t: _cast(t, dtype))
    yield Frozen(twin if owner is model else getattr(twin, model.__name__), dtype, device, ())


def _owner(model: Any) -> nn.Module | None:
    """The module to be protected: the model, or the one whose bound method it is."""
    for candidate in (model, getattr(model, "__self__", None)):
        if isinstance(candidate, nn.Module):
            return candidate
    return None


def _tensors(owner: nn.Module | None) -> dict[str, Tensor]:
    return {} if owner is None else {**dict(owner.named_parameters()), **dict(owner.named_buffers())}


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.is_complex():
        return tensor.to(COMPLEX.get(dtype, torch.complex64))  # Module.to would drop the imaginary part
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _check(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if is_lazy(tensor):
            raise ModelError(
                f"expected argument `model` to be initialised, but got a lazy parameter `{name}`: call the model once on data first"
            )
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isnan(tensor).logical_not().all()):
            raise ModelError(f"expected argument `model` to have weights without NaN, but got NaN in `{name}`: load or train it anew")
        if isinstance(tensor, nn.Parameter) and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"expected argument `model` to have finite weights, but got infinity in `{name}`: load or train it anew")


@contextmanager
def _in_place(owner: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in owner.modules()}
    buffers = {buffer: buffer.detach().clone() for buffer in owner.buffers()}
    for module in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers.items():
                buffer.copy_(value)
